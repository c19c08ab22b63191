package mqtt

import (
	"errors"
	"time"

	"github.com/quartet-mq/quartet/topic/delivery"
)

// Session is the state machine of one connection and of the session it serves, in one role. It does no I/O: the shell
// feeds it decoded packets with Receive, calls its verbs, and then takes events with Next until there are none.
//
// A shell's loop takes a packet from its decoder, calls Receive, and handles the events: it encodes each EventSend with
// [Event.AppendTo], passes the others on, and writes to the connection when there is nothing left to do. It arms a timer
// for Timeout and calls Advance. Encoding PUBLISH is left to the caller of Publish and Resend, who has the message at
// hand: no event is made for it.
//
// A Session is not safe for concurrent use. It is made for one connection; what outlives the connection is its
// [State]. An error from Receive is terminal, unless it is ErrState: it carries the reason code, the closing packet (if
// the version has one) is queued as an EventSend and EventClose follows. A verb called at a wrong moment returns
// ErrState and changes nothing.
//
// A connection may have several streams, each an ordered sequence of packets in both directions (MQTT over QUIC). Stream
// 0 is the control stream and the only one on TCP: CONNECT, CONNACK, PINGREQ, PINGRESP, DISCONNECT and AUTH travel
// there. Acknowledgements return on the stream of what they acknowledge. Packet identifiers belong to the session,
// whatever the stream; a data stream that takes its state with it (IsolateStreams) frees those of the messages that came on
// it.
//
// Sections 3.1, 3.2, 3.14, 3.15 and 4.3 to 4.13.
type Session struct {
	st      *State
	err     *Error
	cfg     Config
	events  eventQueue
	last    time.Time // server: when the last packet came; client: when the last packet was sent
	hs      *handshake
	client  *clientState
	in      *inbound
	aliases *aliases
	held    *heldQueue
	redo    *redelivery

	credit    delivery.Credit // what is left of the send quota
	tokens    uint64          // the last token given out
	keepAlive time.Duration   // server: one and a half times the interval; 0 is off
	maxPacket uint32          // largest packet the peer takes, 0 is any
	orphans   uint32          // messages that wait for Ack, but their stream is gone
	sendMax   uint16          // send quota at the begin
	received  uint16          // the peer's quota that is used
	bonus     uint16          // PUBRELs for unknown identifiers that gave some back
	version   Version
	phase     phase
	maxQoS    QoS  // outbound
	noRetain  bool // outbound
	noProblem bool // no reason strings and user properties except on PUBLISH, CONNACK and DISCONNECT
	noExpiry  bool // the session expiry interval of CONNECT was zero
	resumed   bool
	starved   bool // somebody found the send quota exhausted
	isolated  bool // data streams take their state with them
}

// Config is the configuration of a [Session].
type Config struct {
	Role Role
	// Barriers makes the machine wait for Persisted at each barrier of QoS 2. Without it barriers complete at once.
	Barriers bool
	// MaximumQoS is the highest QoS that a server accepts when LimitQoS is set.
	LimitQoS   bool
	MaximumQoS QoS
	// RetainUnavailable makes a server refuse retained messages.
	RetainUnavailable bool
	// ReceiveMaximum is how many inbound QoS 1 and 2 messages may be unacknowledged at a time. Zero is 65,535. A version
	// 5 peer that exceeds it is disconnected; earlier versions cannot be told, the field does not hold for them.
	ReceiveMaximum uint16
	// SendMaximum bounds how many outbound QoS 1 and 2 messages are unacknowledged at a time, within what the peer
	// allows. Zero is what the peer allows.
	SendMaximum uint16
	// TopicAliasMaximum is the highest topic alias the peer may use. Zero allows none.
	TopicAliasMaximum uint16
	// SendAliasMaximum bounds the aliases that this side assigns, within what the peer allows. Zero assigns none.
	SendAliasMaximum uint16
	// ServerKeepAlive, in seconds, overrides (server, version 5) a client's keep alive that is longer or zero. Zero does
	// not.
	ServerKeepAlive uint16
	// MaximumPacketSize is the largest packet the peer may send, in bytes. Zero is the protocol's limit. The machine
	// announces it, the decoder enforces it.
	MaximumPacketSize uint32
	// PingTimeout is how long a client waits for PINGRESP (or any other packet) after PINGREQ. Zero is half the keep
	// alive interval.
	PingTimeout time.Duration
}

// Errors of the verbs of a [Session].
var (
	// ErrState: the verb does not fit the state of the connection, or names an unknown packet identifier.
	ErrState = errors.New("mqtt: not possible in this state of the session")
	// ErrQuota: the send quota is exhausted, or no packet identifier is free. EventQuota tells when to try again.
	ErrQuota = errors.New("mqtt: send quota exhausted")
	// ErrTooLarge: the packet exceeds the maximum packet size of the peer.
	ErrTooLarge = errors.New("mqtt: packet exceeds the maximum packet size of the peer")
)

// phase is where a connection is in its life.
type phase uint8

const (
	phaseStart      phase = iota
	phaseConnecting       // CONNECT was sent or received, CONNACK not yet
	phaseOpen
	phaseClosed
)

// NewSession returns a machine in its initial state.
func NewSession(c Config) *Session {
	return &Session{cfg: c, maxQoS: QoS2}
}

// UseBarriers sets Config.Barriers, for a shell that learns only with CONNECT whether the session is durable. It has no
// effect after CONNACK.
func (s *Session) UseBarriers() {
	if s.phase < phaseOpen {
		s.cfg.Barriers = true
	}
}

// Next returns the next event. Call it until it returns false after each Receive, Advance or verb.
func (s *Session) Next() (Event, bool) { return s.events.pop() }

// Err returns why the machine ended: nil before that and after a normal DISCONNECT.
func (s *Session) Err() error {
	if s.err == nil {
		return nil
	}
	return s.err
}

// Version returns the protocol version, 0 before CONNECT.
func (s *Session) Version() Version { return s.version }

// send queues an event that sends an acknowledgement or ping of type t.
func (s *Session) send(now time.Time, t PacketType, stream uint64, id uint16, reason ReasonCode) {
	e := s.events.push()
	e.Kind = EventSend
	e.Type = t
	e.Stream = stream
	e.ID = id
	e.Reason = reason
	s.sentAt(now)
}

// sendPacket queues an event that sends p.
func (s *Session) sendPacket(now time.Time, stream uint64, p Packet) {
	e := s.events.push()
	e.Kind = EventSend
	e.Type = p.Type()
	e.Stream = stream
	e.Packet = p
	s.sentAt(now)
}

// tell queues an event that hands a packet of the peer to the shell.
func (s *Session) tell(k EventKind, stream uint64, p Packet) *Event {
	e := s.events.push()
	e.Kind = k
	e.Stream = stream
	e.Packet = p
	return e
}

// eventQueue holds the events that the shell has not taken yet. The first one needs no memory of its own.
type eventQueue struct {
	buf   []Event
	head  int
	first [1]Event
}

// push adds an empty event and returns it to be filled; the pointer is good until the next push.
func (q *eventQueue) push() *Event {
	n := len(q.buf)
	if n == cap(q.buf) {
		q.grow()
		n = len(q.buf)
	}
	q.buf = q.buf[:n+1]
	return &q.buf[n]
}

// grow makes room for an event.
func (q *eventQueue) grow() {
	switch {
	case q.buf == nil:
		q.buf = q.first[:0]
	case q.head > cap(q.buf)/2:
		n := copy(q.buf, q.buf[q.head:])
		clear(q.buf[n:])
		q.buf, q.head = q.buf[:n], 0
	default:
		old := q.buf[q.head:]
		q.buf = append(make([]Event, 0, max(4, 2*len(old))), old...)
		q.head = 0
		q.first[0] = Event{}
	}
}

func (q *eventQueue) pop() (Event, bool) {
	if q.head == len(q.buf) {
		return Event{}, false
	}
	slot := &q.buf[q.head]
	e := *slot
	*slot = Event{}
	q.head++
	if q.head == len(q.buf) {
		q.buf, q.head = q.buf[:0], 0
	}
	return e, true
}

// trim gives memory back when nothing is queued.
func (q *eventQueue) trim() {
	if len(q.buf) == 0 {
		q.buf = nil
	}
}

// trim gives back what an idle connection does not need.
func (s *Session) trim() {
	s.events.trim()
	if s.in != nil && s.in.idle() {
		s.in = nil
	}
	if s.held != nil && s.held.empty() {
		s.held = nil
	}
	if s.st != nil {
		s.st.trim()
	}
}
