package amqpbroker

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// managed is what the management API needs of a broker. Names of users say on whose behalf something is done, with that
// user's permissions; the errors are those of the protocol.
type managed interface {
	settingsOf() *registry
	// change makes settings effective once they are safe.
	change(ctx context.Context, list []setting) error
	loginUser(ctx context.Context, name, password string, addr net.Addr) (User, error)
	totals() totals

	hasVhost(name string) bool
	vhostNames() []string
	vhostViews() []vhostView
	putVhost(ctx context.Context, v VhostDefinition) (isNew bool, err error)
	dropVhost(ctx context.Context, name string) error

	connViews() []*connView
	// closeConnections closes those that are wanted and returns how many.
	closeConnections(wanted func(*connView) bool, reason string) int
	channelViews() []*channelView
	consumerViews(vhost string) []*consumerView

	queueNames(vhost string) []string
	queueView(vhost, name string) (queueView, bool)
	putQueue(ctx context.Context, user string, q QueueDefinition) (isNew bool, err error)
	dropQueue(ctx context.Context, user, vhost, name string, ifUnused, ifEmpty bool) error
	purgeQueue(ctx context.Context, user, vhost, name string) error

	exchangeNames(vhost string) []string
	exchangeView(vhost, name string) (exchangeView, bool)
	putExchange(ctx context.Context, user string, x ExchangeDefinition) (isNew bool, err error)
	dropExchange(ctx context.Context, user, vhost, name string, ifUnused bool) error

	// bindingsFrom and bindingsTo return the bindings of an exchange, or to a queue or exchange.
	bindingsFrom(vhost, exchange string) []BindingDefinition
	bindingsTo(vhost, kind, name string) []BindingDefinition
	putBinding(ctx context.Context, user string, b BindingDefinition) error
	dropBinding(ctx context.Context, user string, b BindingDefinition) error

	publishMessage(ctx context.Context, user, vhost, exchange, key string, p amqp091.RawProperties, body []byte) (routed bool, err error)
	getMessages(ctx context.Context, user, vhost, queue string, n int, mode getMode) ([]gotMessage, error)

	exportDefinitions(vhost string) *Definitions
	importDefinitions(ctx context.Context, d *Definitions, vhost string) error
}

// getMode is what becomes of messages that are got.
type getMode uint8

const (
	getAckRequeue getMode = iota // acknowledged by putting back: they carry redelivered then
	getAckRemove
	getRejectRequeue
	getRejectRemove // rejected, so dead-lettered
)

// gotMessage is a message that was got.
type gotMessage struct {
	exchange    string
	key         string
	redelivered bool
	left        int // how many are still ready
	props       amqp091.RawProperties
	body        []byte
}

// messageStats counts messages. The members that are zero are shown too.
type messageStats struct {
	Ack        uint64 `json:"ack"`
	Confirm    uint64 `json:"confirm"`
	Deliver    uint64 `json:"deliver"`
	DeliverGet uint64 `json:"deliver_get"`
	DeliverNo  uint64 `json:"deliver_no_ack"`
	Unroutable uint64 `json:"drop_unroutable"`
	Get        uint64 `json:"get"`
	GetEmpty   uint64 `json:"get_empty"`
	GetNo      uint64 `json:"get_no_ack"`
	Publish    uint64 `json:"publish"`
	Redeliver  uint64 `json:"redeliver"`
	Returned   uint64 `json:"return_unroutable"`

	AckRate        rate `json:"ack_details"`
	ConfirmRate    rate `json:"confirm_details"`
	DeliverRate    rate `json:"deliver_details"`
	DeliverGetRate rate `json:"deliver_get_details"`
	PublishRate    rate `json:"publish_details"`
	RedeliverRate  rate `json:"redeliver_details"`
}

// rate is how fast a number grows.
type rate struct {
	Rate    float64       `json:"rate"` // per second
	Average *float64      `json:"avg,omitempty"`
	Growth  *float64      `json:"avg_rate,omitempty"`
	Samples []sampleOfNow `json:"samples,omitempty"`
}

// sampleOfNow is the only sample that there is of a number.
type sampleOfNow struct {
	Sample int   `json:"sample"`
	At     int64 `json:"timestamp"` // milliseconds
}

// sampled adds a sample, for those who ask for history: there is none.
func (r *rate) sampled(n int, now time.Time) {
	average, growth := float64(n), 0.0
	r.Average, r.Growth, r.Samples = &average, &growth, []sampleOfNow{{n, now.UnixMilli()}}
}

// sampled adds samples to all numbers.
func (t *queueTotals) sampled(now time.Time) {
	t.MessagesDetails.sampled(t.Messages, now)
	t.ReadyDetails.sampled(t.Ready, now)
	t.UnackedDetails.sampled(t.Unacked, now)
}

// setRates sets the rates from what was counted before.
func (s *messageStats) setRates(before *messageStats, seconds float64) {
	per := func(now, then uint64) rate {
		if seconds <= 0 || now < then {
			return rate{}
		}
		return rate{Rate: float64(now-then) / seconds}
	}
	s.AckRate = per(s.Ack, before.Ack)
	s.ConfirmRate = per(s.Confirm, before.Confirm)
	s.DeliverRate = per(s.Deliver, before.Deliver)
	s.DeliverGetRate = per(s.DeliverGet, before.DeliverGet)
	s.PublishRate = per(s.Publish, before.Publish)
	s.RedeliverRate = per(s.Redeliver, before.Redeliver)
}

// rates remembers what was counted when somebody asked. A rate is that since the last sample, which is replaced once it is
// old.
type rates struct {
	mu      sync.Mutex
	samples map[rateKey]*sample
}

// rateKey is a queue, or with empty names the broker.
type rateKey struct{ vhost, queue string }

type sample struct {
	at    time.Time // of before
	stats messageStats
	newer time.Time // of next
	next  messageStats
}

const (
	sampleAge  = 5 * time.Second
	maxSamples = 10_000
)

// apply sets the rates of stats.
func (r *rates) apply(k rateKey, stats *messageStats, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.samples[k]
	if s == nil {
		if r.samples == nil || len(r.samples) >= maxSamples {
			r.samples = make(map[rateKey]*sample)
		}
		r.samples[k] = &sample{at: now, stats: *stats, newer: now, next: *stats}
		return
	}
	if now.Sub(s.newer) >= sampleAge {
		s.at, s.stats, s.newer, s.next = s.newer, s.next, now, *stats
	}
	stats.setRates(&s.stats, now.Sub(s.at).Seconds())
}

// totals are the numbers of the whole broker.
type totals struct {
	messages                                         queueTotals
	stats                                            messageStats
	connections, channels, consumers                 int
	exchanges, queues                                int
	connectionsOpened, connectionsClosed             uint64
	channelsOpened, channelsClosed                   uint64
	queuesDeclared, queuesCreated, queuesDeleted     uint64
	memoryUsed, memoryLimit, diskFree, diskFreeLimit int64
	memoryAlarm, diskAlarm                           bool
	started                                          time.Time
	dir                                              string
}

// queueTotals count the messages of queues.
type queueTotals struct {
	Messages        int  `json:"messages"`
	MessagesDetails rate `json:"messages_details"`
	Ready           int  `json:"messages_ready"`
	ReadyDetails    rate `json:"messages_ready_details"`
	Unacked         int  `json:"messages_unacknowledged"`
	UnackedDetails  rate `json:"messages_unacknowledged_details"`
}

// vhostView is a virtual host.
type vhostView struct {
	Name             string            `json:"name"`
	Description      string            `json:"description"`
	Tags             UserTags          `json:"tags"`
	DefaultQueueType string            `json:"default_queue_type"`
	Metadata         VhostMetadata     `json:"metadata"`
	Tracing          bool              `json:"tracing"`
	ClusterState     map[string]string `json:"cluster_state"`
	queueTotals
	Stats   *messageStats `json:"message_stats,omitempty"`
	Recv    uint64        `json:"recv_oct"`
	RecvPer rate          `json:"recv_oct_details"`
	Send    uint64        `json:"send_oct"`
	SendPer rate          `json:"send_oct_details"`
}

// connView is a connection.
type connView struct {
	Name           string    `json:"name"`
	UserName       string    `json:"user_provided_name,omitempty"`
	Node           string    `json:"node"`
	Vhost          string    `json:"vhost"`
	User           string    `json:"user"`
	Who            string    `json:"user_who_performed_action"`
	Type           string    `json:"type"`
	Protocol       string    `json:"protocol"`
	State          string    `json:"state"` // running, blocked, blocking, flow
	Channels       int       `json:"channels"`
	ChannelMax     int       `json:"channel_max"`
	FrameMax       int64     `json:"frame_max"`
	Timeout        int       `json:"timeout"` // heartbeat in seconds
	ConnectedAt    int64     `json:"connected_at"`
	Auth           string    `json:"auth_mechanism"`
	Properties     Arguments `json:"client_properties"`
	Host           string    `json:"host"`
	Port           int       `json:"port"`
	PeerHost       string    `json:"peer_host"`
	PeerPort       int       `json:"peer_port"`
	SSL            bool      `json:"ssl"`
	SSLProtocol    *string   `json:"ssl_protocol"`
	SSLCipher      *string   `json:"ssl_cipher"`
	SSLHash        *string   `json:"ssl_hash"`
	SSLKeyExchange *string   `json:"ssl_key_exchange"`
	PeerSubject    *string   `json:"peer_cert_subject"`
	PeerIssuer     *string   `json:"peer_cert_issuer"`
	PeerValidity   *string   `json:"peer_cert_validity"`
	Recv           uint64    `json:"recv_oct"`
	RecvPer        rate      `json:"recv_oct_details"`
	RecvCount      uint64    `json:"recv_cnt"`
	Send           uint64    `json:"send_oct"`
	SendPer        rate      `json:"send_oct_details"`
	SendCount      uint64    `json:"send_cnt"`
	SendPending    uint64    `json:"send_pend"`
}

// connDetails name the connection of a channel.
type connDetails struct {
	Name     string `json:"name"`
	PeerHost string `json:"peer_host"`
	PeerPort int    `json:"peer_port"`
}

// channelView is a channel.
type channelView struct {
	Name           string          `json:"name"`
	Number         int             `json:"number"`
	Node           string          `json:"node"`
	Vhost          string          `json:"vhost"`
	User           string          `json:"user"`
	Who            string          `json:"user_who_performed_action"`
	State          string          `json:"state"`
	Connection     connDetails     `json:"connection_details"`
	Confirm        bool            `json:"confirm"`
	Transactional  bool            `json:"transactional"`
	Consumers      int             `json:"consumer_count"`
	Prefetch       int             `json:"prefetch_count"`
	GlobalPrefetch int             `json:"global_prefetch_count"`
	Unacked        int             `json:"messages_unacknowledged"`
	Uncommitted    int             `json:"messages_uncommitted"`
	Unconfirmed    int             `json:"messages_unconfirmed"`
	AcksPending    int             `json:"acks_uncommitted"`
	Stats          *messageStats   `json:"message_stats,omitempty"`
	ConsumerList   []*consumerView `json:"consumer_details,omitempty"`
}

// consumerView is a consumer.
type consumerView struct {
	Tag            string          `json:"consumer_tag"`
	AckRequired    bool            `json:"ack_required"`
	Active         bool            `json:"active"`
	ActivityStatus string          `json:"activity_status"`
	Exclusive      bool            `json:"exclusive"`
	Prefetch       int             `json:"prefetch_count"`
	Arguments      Arguments       `json:"arguments"`
	Queue          queueName       `json:"queue"`
	Channel        consumerChannel `json:"channel_details"`
}

// queueName names a queue.
type queueName struct {
	Name  string `json:"name"`
	Vhost string `json:"vhost"`
}

// consumerChannel names the channel of a consumer.
type consumerChannel struct {
	Name       string `json:"name"`
	Connection string `json:"connection_name"`
	Node       string `json:"node"`
	Number     int    `json:"number"`
	PeerHost   string `json:"peer_host"`
	PeerPort   int    `json:"peer_port"`
	User       string `json:"user"`
}

// queueView is a queue.
type queueView struct {
	Name       string       `json:"name"`
	Vhost      string       `json:"vhost"`
	Type       string       `json:"type"`
	Node       string       `json:"node"`
	State      string       `json:"state"`
	Durable    bool         `json:"durable"`
	AutoDelete bool         `json:"auto_delete"`
	Exclusive  bool         `json:"exclusive"`
	Owner      *connDetails `json:"owner_pid_details,omitempty"`
	Arguments  Arguments    `json:"arguments"`
	Policy     *string      `json:"policy"`
	Operator   *string      `json:"operator_policy"`
	Effective  Arguments    `json:"effective_policy_definition"`
	queueTotals
	Consumers       int             `json:"consumers"`
	Utilisation     float64         `json:"consumer_utilisation"`
	Capacity        float64         `json:"consumer_capacity"`
	ExclusiveTag    *string         `json:"exclusive_consumer_tag"`
	SingleActive    *string         `json:"single_active_consumer_tag"`
	Bytes           int64           `json:"message_bytes"`
	BytesReady      int64           `json:"message_bytes_ready"`
	BytesUnacked    int64           `json:"message_bytes_unacknowledged"`
	BytesPersistent int64           `json:"message_bytes_persistent"`
	BytesRAM        int64           `json:"message_bytes_ram"`
	BytesPaged      int64           `json:"message_bytes_paged_out"`
	Persistent      int             `json:"messages_persistent"`
	RAM             int             `json:"messages_ram"`
	Paged           int             `json:"messages_paged_out"`
	Memory          int64           `json:"memory"`
	HeadTimestamp   *int64          `json:"head_message_timestamp"`
	IdleSince       string          `json:"idle_since,omitempty"`
	Stats           *messageStats   `json:"message_stats,omitempty"`
	ConsumerList    []*consumerView `json:"consumer_details,omitempty"`
	Incoming        []any           `json:"incoming,omitzero"`
	Deliveries      []any           `json:"deliveries,omitzero"`
}

// exchangeView is an exchange.
type exchangeView struct {
	Name       string         `json:"name"`
	Vhost      string         `json:"vhost"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Internal   bool           `json:"internal"`
	Arguments  Arguments      `json:"arguments"`
	Policy     *string        `json:"policy,omitempty"`
	Who        string         `json:"user_who_performed_action,omitempty"`
	Stats      *exchangeStats `json:"message_stats,omitempty"`
	Incoming   []any          `json:"incoming,omitzero"`
	Outgoing   []any          `json:"outgoing,omitzero"`
}

// exchangeStats counts messages of an exchange.
type exchangeStats struct {
	In      uint64 `json:"publish_in"`
	InRate  rate   `json:"publish_in_details"`
	Out     uint64 `json:"publish_out"`
	OutRate rate   `json:"publish_out_details"`
}

// bindingView is a binding.
type bindingView struct {
	BindingDefinition
	PropertiesKey string `json:"properties_key"`
}
