package amqpbroker

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// Options are the options of a [Broker]. The zero value is a broker that refuses everybody: it has no users. A number that
// is zero has its documented default; a negative one is no limit.
type Options struct {
	// Authenticate decides who may connect, in place of the broker's own users and their passwords. [AllowAll] lets
	// everybody in. What somebody may do is another question: who is a user of the broker has that user's permissions, others
	// have those of Unregistered.
	Authenticate Authenticator
	// Unregistered is what users may do, in every virtual host, whom Authenticate lets in and who are not users of the broker.
	// Nil is nothing at all: no virtual host opens for them, with 530 NOT_ALLOWED. [Everything] lets them do all; then whoever
	// gets past Authenticate can read and delete what others have. Its User and Vhost do not count.
	Unregistered *Permission
	// LoopbackUsers are the users of the broker who must connect from this machine. Nil is guest.
	LoopbackUsers []string
	// Definitions are what a broker begins with that has nothing yet: users, virtual hosts, permissions, queues and so on.
	// Without virtual hosts it has the virtual host "/". See [Guest].
	Definitions *Definitions

	// MemoryLimit is how many bytes of heap the process may use before publishers are blocked. Default 4/10 of the memory
	// limit of the Go runtime if there is one, otherwise 2 GiB.
	MemoryLimit int64
	// MemoryUsed returns the use of memory for MemoryLimit. Nil is the heap of the process.
	MemoryUsed func() int64
	// ConsumerTimeout is how long a delivery may stay unacknowledged. Then the channel is closed with
	// PRECONDITION_FAILED. Default 30 minutes. The argument and policy x-consumer-timeout of a queue take precedence.
	ConsumerTimeout time.Duration
	// MaxTransaction is how many bytes of messages a transaction may have. Beyond it the channel is closed. Default 256 MiB.
	MaxTransaction int64
	// MaxReplies is how many replies may wait for a client that uses direct reply-to, see RabbitMQ. The oldest are dropped.
	// Default 10,000.
	MaxReplies int64

	// Events are told.
	Events Events

	// Dir is the directory in which the broker keeps what must outlive the process: definitions, durable exchanges and
	// queues with their bindings, persistent messages. It is made if need be, and locked. Empty keeps everything in memory,
	// where Journal is nil too.
	Dir string
	// NoSync confirms what the operating system has taken, without waiting for the disk. What was confirmed survives the end
	// of the process, but not of the machine: power loss takes the last moments, about 30 seconds on Linux.
	NoSync bool
	// DiskReserve is how many bytes the broker leaves free on the file system of Dir. Below it publishers are blocked.
	// Default 256 MiB.
	DiskReserve int64
	// DiskLimit is how many bytes Dir may have; above it publishers are blocked. It must be more than Dir takes anyway, see
	// SegmentSize. Default no limit.
	DiskLimit int64
	// SegmentSize is the size of the largest files in Dir, at least 4 KiB. Default 64 MiB. Dir takes up to three times what is
	// needed of it and two such files.
	SegmentSize int64
	// Journal keeps what must outlive the process elsewhere than in Dir.
	Journal Journal

	// Logger takes what goes wrong; nil is silent. Bodies and passwords are never logged.
	Logger *slog.Logger

	// For tests:
	fs          vfs.FS // nil is that of the operating system
	hotMessages int    // how many ready messages of a durable queue are in memory
	hotBytes    int64
}

// The defaults of [Options].
const (
	defaultMemory      = 2 << 30
	defaultTimeout     = 30 * time.Minute
	defaultTransaction = 256 << 20
	defaultReplies     = 10_000
	defaultHot         = 8192
	defaultHotBytes    = 8 << 20
)

// withDefaults returns a copy in which zeros have become their defaults.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.LoopbackUsers == nil {
		c.LoopbackUsers = []string{"guest"}
	}
	if c.MemoryLimit == 0 {
		c.MemoryLimit = defaultMemory
		if process := debug.SetMemoryLimit(-1); process < math.MaxInt64 {
			c.MemoryLimit = process / 10 * 4
		}
	}
	if c.MemoryUsed == nil {
		c.MemoryUsed = heapUsed
	}
	if c.ConsumerTimeout == 0 {
		c.ConsumerTimeout = defaultTimeout
	}
	if c.MaxTransaction == 0 {
		c.MaxTransaction = defaultTransaction
	}
	if c.MaxReplies == 0 {
		c.MaxReplies = defaultReplies
	}
	if c.hotMessages == 0 {
		c.hotMessages = defaultHot
	}
	if c.hotBytes == 0 {
		c.hotBytes = defaultHotBytes
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Login is what a client says about itself when it connects.
type Login struct {
	Mechanism   string // PLAIN, AMQPLAIN, EXTERNAL or ANONYMOUS
	User        string
	Password    string            // of PLAIN and AMQPLAIN
	Certificate *x509.Certificate // the client's, nil when it has none or when it was not verified
	RemoteAddr  net.Addr
	Listener    string // name of the listener, see amqpserver.ListenerOptions
}

// Authenticator decides who may connect. It returns the name of the user, which is mostly that of the login. It may be
// called from many goroutines at a time and may block; ctx ends with the time for the handshake. An error refuses the client;
// it is logged and not sent.
type Authenticator func(ctx context.Context, l *Login) (user string, err error)

// AllowAll is an [Authenticator] that lets everybody in, under whatever name the client claims.
func AllowAll(_ context.Context, l *Login) (string, error) { return l.User, nil }

// Everything returns a permission to do everything, for [Options].Unregistered.
func Everything() *Permission { return &Permission{Configure: ".*", Write: ".*", Read: ".*"} }

// Guest returns the definitions of a user guest with the password guest, who may do everything in the virtual host "/".
// [Options].LoopbackUsers lets guest connect from this machine only.
func Guest() *Definitions {
	return &Definitions{
		Vhosts:      []VhostDefinition{{Name: "/"}},
		Users:       []User{{Name: "guest", PasswordHash: HashPassword("guest"), HashingAlgorithm: HashingSHA256, Tags: UserTags{TagAdministrator}}},
		Permissions: []Permission{{User: "guest", Vhost: "/", Configure: ".*", Write: ".*", Read: ".*"}},
	}
}
