package mqtt

import "time"

// Session is the state machine of one connection and of the session it serves, in one role. It does no I/O: the shell
// feeds it decoded packets with Receive, calls its verbs, and then takes events with Next until there are none.
//
// A Session is not safe for concurrent use. It is made for one connection; what outlives the connection is its
// [State]. An error from Receive is terminal: it carries the reason code, the closing packet (if the version has one)
// is queued as an EventSend and EventClose follows. A verb called at a wrong moment returns an error and changes nothing.
type Session struct{}

// Config is the configuration of a [Session].
type Config struct {
	Role Role
	// ReceiveMaximum is how many inbound QoS 1 and 2 messages may be unacknowledged at a time. Zero is 65,535.
	ReceiveMaximum uint16
	// TopicAliasMaximum is the highest topic alias the peer may use. Zero allows none.
	TopicAliasMaximum uint16
	// SendAliasMaximum bounds the aliases that this side assigns, within what the peer allows. Zero assigns none.
	SendAliasMaximum uint16
	// MaximumPacketSize is the largest packet the peer may send, in bytes. Zero is the protocol's limit.
	MaximumPacketSize uint32
	// MaximumQoS is the highest QoS that a server accepts when LimitQoS is set.
	LimitQoS   bool
	MaximumQoS QoS
	// RetainUnavailable makes a server refuse retained messages.
	RetainUnavailable bool
	// ServerKeepAlive, in seconds, overrides (server, version 5) a client's keep alive that is longer or zero. Zero does not.
	ServerKeepAlive uint16
	// Barriers makes the machine wait for Persisted at each barrier of QoS 2. Without it barriers complete at once.
	Barriers bool
}

// NewSession returns a machine in its initial state.
func NewSession(c Config) *Session { panic("seam") }

// Receive takes the next packet of the peer from a stream (0 on TCP). now must not go backwards.
func (s *Session) Receive(now time.Time, stream uint64, p Packet) error { panic("seam") }

// Fail reports an error of the decoder: the machine answers with its reason code and closes.
func (s *Session) Fail(now time.Time, err error) { panic("seam") }

// Next returns the next event. Call it until it returns false after each Receive, Advance or verb.
func (s *Session) Next() (Event, bool) { panic("seam") }

// Timeout returns when Advance must be called, the zero time for never.
func (s *Session) Timeout() time.Time { panic("seam") }

// Advance lets time pass: keep alive.
func (s *Session) Advance(now time.Time) { panic("seam") }

// Err returns why the machine ended: nil before that and after a normal DISCONNECT.
func (s *Session) Err() error { panic("seam") }

// Version returns the protocol version, 0 before CONNECT.
func (s *Session) Version() Version { panic("seam") }

// Connect (client) sends CONNECT for the session state (a new State for a new session).
func (s *Session) Connect(now time.Time, p *Connect, st *State) error { panic("seam") }

// Accept (server) answers CONNECT with a CONNACK of reason success: the machine adds the negotiated limits to ack's
// properties, and when ack.SessionPresent resumes st: PUBRELs are sent, an EventResend asks for each message in order.
func (s *Session) Accept(now time.Time, ack *Connack, st *State) error { panic("seam") }

// Reject (server) answers CONNECT with a failure, and closes.
func (s *Session) Reject(now time.Time, ack *Connack) error { panic("seam") }

// Auth sends AUTH: a step of enhanced authentication or (client) the begin of a re-authentication.
func (s *Session) Auth(now time.Time, p *Auth) error { panic("seam") }

// Publish sends an application message. ref is the caller's own reference, it comes back in EventSettled and EventResend.
// At QoS 0 ref is ignored. It sets p.ID and p.Dup, and on the wire replaces the topic by an alias where one is assigned.
// send tells that p must be encoded and sent on stream now, by the caller (no event is made for it); otherwise, with a nil error, it is
// held by a barrier and an EventResend will ask for it.
// Errors: ErrQuota (receive maximum reached: wait for EventQuota), ErrTooLarge (exceeds the peer's maximum packet size),
// ErrState, or an *Error for what the peer does not allow (QoS, retain).
func (s *Session) Publish(now time.Time, stream uint64, p *Publish, ref any) (send bool, err error) {
	panic("seam")
}

// Resend answers EventResend with the message. The caller encodes and sends p now.
func (s *Session) Resend(now time.Time, stream uint64, id uint16, p *Publish) error { panic("seam") }

// Drop answers EventResend when the message is gone; it is settled.
func (s *Session) Drop(id uint16) { panic("seam") }

// Ack acknowledges an inbound message: PUBACK or PUBREC with reason, when it is its turn. It may be called in any order,
// exactly once for each EventPublish of QoS 1 and 2, also after the connection has ended (then it only changes the State).
func (s *Session) Ack(now time.Time, id uint16, reason ReasonCode, props Properties) error {
	panic("seam")
}

// Persisted tells that the deltas up to and including token are durable.
func (s *Session) Persisted(now time.Time, token uint64) { panic("seam") }

// Quota returns how many QoS 1 and 2 messages may be published now.
func (s *Session) Quota() int { panic("seam") }

// Subscribe (client) sends SUBSCRIBE with an id of the machine's choice; ref comes back in EventSuback.
func (s *Session) Subscribe(now time.Time, stream uint64, p *Subscribe, ref any) error { panic("seam") }

// Unsubscribe (client) sends UNSUBSCRIBE.
func (s *Session) Unsubscribe(now time.Time, stream uint64, p *Unsubscribe, ref any) error {
	panic("seam")
}

// Suback (server) answers SUBSCRIBE.
func (s *Session) Suback(now time.Time, p *Suback) error { panic("seam") }

// Unsuback (server) answers UNSUBSCRIBE.
func (s *Session) Unsuback(now time.Time, p *Unsuback) error { panic("seam") }

// Disconnect sends DISCONNECT and closes. Servers of version 3 have no DISCONNECT: they only close.
func (s *Session) Disconnect(now time.Time, p *Disconnect) error { panic("seam") }

// State is what a session keeps between connections: the outbound window and the ids of received QoS 2 messages.
// The zero value is an empty state. It is used by one Session at a time.
type State struct{}

// Apply replays a delta. For DeltaAssigned qos and ref describe the message.
func (st *State) Apply(d Delta, id uint16, qos QoS, ref any) error { panic("seam") }

// Empty reports whether nothing is in flight.
func (st *State) Empty() bool { panic("seam") }
