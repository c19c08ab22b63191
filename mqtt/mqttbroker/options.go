package mqttbroker

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// Options are the options of a [Broker]. The zero value is a broker that refuses everybody. A number that is zero has
// its documented default; a negative one is no limit.
type Options struct {
	// Authenticate decides who may connect. Nil refuses everybody; [AllowAll] lets everybody in.
	Authenticate Authenticator
	// Authorize says what clients may do. Nil permits everything to those who are let in, but publishing to topics that
	// begin with $SYS.
	Authorize Authorizer
	// Exchange begins enhanced authentication (section 4.12) with a method; its result takes the place of Authenticate,
	// see [mqttserver.Authenticator]. The user name is then what the AuthExchange returns from its method User() string
	// if it has one, otherwise that of CONNECT. Nil knows no method.
	Exchange func(ctx context.Context, c *mqttserver.Conn, method string) (mqttserver.AuthExchange, error)

	// MaxSessions is how many sessions there may be, those of clients that are away included. Default no limit. A
	// client for which there is no room is refused with ReasonQuotaExceeded.
	MaxSessions int
	// MaxSessionExpiry is the longest session expiry interval. Version 5 clients that ask for more are told; it also
	// holds for clients of older versions without a clean session. Default no limit. Negative ends each session with
	// its connection.
	MaxSessionExpiry time.Duration

	// QueueMessages and QueueBytes bound what waits for one session: messages of QoS 1 and 2 while the client is away or
	// slow. Defaults 10,000 messages and 64 MiB.
	QueueMessages int
	QueueBytes    int
	// QueuePolicy says what happens when a queue is full.
	QueuePolicy QueuePolicy
	// QueueQoS0 queues messages of QoS 0 too for clients that are away.
	QueueQoS0 bool

	// MaxRetained and MaxRetainedBytes bound the retained messages. Default no limit. A message that does not fit is
	// not retained and not delivered; its publisher is told ReasonQuotaExceeded.
	MaxRetained      int
	MaxRetainedBytes int

	// Strategy chooses the members of shared subscriptions. Seed makes StrategyRandom reproducible; 0 takes a random one.
	Strategy Strategy
	Seed     uint64

	// ResponseInformation returns the response information (section 3.2.2.3.15) for a client that asks for it: a topic
	// below which it may expect responses. Nil or an empty result gives none.
	ResponseInformation func(c *Client) string

	// SysInterval is how often the topics below $SYS are published. Default 10 seconds, negative never.
	SysInterval time.Duration
	// Sys returns more of them: topic names and texts. It is called at each interval.
	Sys func() iter.Seq2[string, string]

	// Hooks take part in what the broker does, Events are told.
	Hooks  Hooks
	Events Events

	// Dir is the directory in which the broker keeps what must outlive the process: sessions with their subscriptions,
	// queues and messages in flight, retained messages, wills. It is made if need be, and locked. Empty keeps everything in
	// memory, where Journal is nil too.
	Dir string
	// NoSync acknowledges what the operating system has taken, without waiting for the disk. What was acknowledged survives
	// the end of the process, but not of the machine: power loss takes the last moments, about 30 seconds on Linux.
	NoSync bool
	// DiskReserve is how many bytes the broker leaves free on the file system of Dir. Below twice that publishers are slowed,
	// below it messages of QoS 1 and 2 and retained ones are refused with ReasonQuotaExceeded. Default 256 MiB.
	DiskReserve int64
	// DiskLimit is how many bytes Dir may have; above seven eighths of it publishers are slowed, above it refused. It must be
	// more than Dir takes anyway, see SegmentSize. Default no limit.
	DiskLimit int64
	// SegmentSize is the size of the largest files in Dir, at least 4 KiB. Default 64 MiB. Dir takes up to three times what is
	// needed of it and two such files.
	SegmentSize int64
	// RetainedMemory is how many bytes of retained payloads stay in memory beside the journal; more are read when somebody
	// subscribes. Default 64 MiB, negative all. Without a journal all are in memory.
	RetainedMemory int
	// Journal keeps what must outlive the process elsewhere than in Dir.
	Journal Journal
	// DeliverAfterSync delivers a message of QoS 1 or 2 only when it is durable: a subscriber then never has a message
	// that a crash took away from everybody else. Without it delivery does not wait, only acknowledgements do: a subscriber
	// may have a message at QoS 0 or 1 which after power loss nobody else gets, unless its publisher, who was not
	// acknowledged, sends it again.
	DeliverAfterSync bool

	// Logger takes what goes wrong; nil is silent. Payloads are never logged.
	Logger *slog.Logger

	// For tests:
	fs          vfs.FS // nil is that of the operating system
	hotMessages int    // how many messages of a session with a journal wait in memory
	pageEntries int    // how many of those that do not are a page
}

// The defaults of [Options].
const (
	defaultQueueMessages = 10_000
	defaultQueueBytes    = 64 << 20
	defaultSysInterval   = 10 * time.Second
	defaultRetained      = 64 << 20
	defaultHot           = 256
	defaultPage          = 1024
)

// withDefaults returns a copy in which zeros have become their defaults.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.QueueMessages == 0 {
		c.QueueMessages = defaultQueueMessages
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = defaultQueueBytes
	}
	if c.SysInterval == 0 {
		c.SysInterval = defaultSysInterval
	}
	if c.hotMessages == 0 {
		c.hotMessages = defaultHot
	}
	if c.pageEntries == 0 {
		c.pageEntries = defaultPage
	}
	if c.RetainedMemory == 0 {
		c.RetainedMemory = defaultRetained
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
