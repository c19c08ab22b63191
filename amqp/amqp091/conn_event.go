package amqp091

// EventKind says what an [Event] tells.
type EventKind uint8

// The kinds of events. Fields of Event that a kind does not name are zero.
const (
	// EventSend: encode the event with [Event.AppendTo] and send it.
	EventSend EventKind = iota + 1

	// EventHeader (server): the client sent the protocol header. Answer with Start.
	EventHeader
	// EventStartOK (server): Method is a *ConnectionStartOK. Answer with Tune, Secure, Refuse or Close.
	EventStartOK
	// EventSecureOK (server): Method is a *ConnectionSecureOK. Answer as EventStartOK.
	EventSecureOK
	// EventOpen (server): Method is a *ConnectionOpen, the limits are negotiated. Answer with OpenOK or Close.
	EventOpen
	// EventUpdateSecret (server): Method is a *ConnectionUpdateSecret. Answer with UpdateSecretOK or Close.
	EventUpdateSecret
	// EventChannelOpen (server): Channel is new. Answer with Channel.OpenOK or Channel.Close.
	EventChannelOpen
	// EventMethod: the peer sent Method on Channel, and it is for the shell to act on. Server: the methods of the classes
	// exchange and queue, basic.consume, cancel and get, tx.commit and rollback; answer with Channel.Send. Client:
	// *BasicCancel (the consumer has ended; it is answered if it has to be) and *ChannelFlow (it is answered).
	EventMethod
	// EventPublish (server): a message came on Channel; Content has Exchange, RoutingKey, Mandatory, Properties, Body.
	// Seq is its number for Channel.Confirm, 0 when the channel confirms nothing.
	EventPublish
	// EventSettled (server): the peer has settled deliveries on Channel. Refs are the references of Deliver and Get, in
	// the order of their tags; Settlement says how. On a transactional channel the settlement is the transaction's, unless it
	// is Recovered.
	EventSettled
	// EventReady (server): Channel.Deliver had no credit, and may have some again.
	EventReady

	// EventStart (client): the server began; Method is a *ConnectionStart. Answer with StartOK.
	EventStart
	// EventSecure (client): Method is a *ConnectionSecure. Answer with SecureOK.
	EventSecure
	// EventOpened (client): the connection is open, the limits are negotiated.
	EventOpened
	// EventReply (client): Method answers the call on Channel that was given Ref. With *BasicGetOK there is a Content,
	// which has the names that the method lacks.
	// Channel is nil for *ConnectionUpdateSecretOK.
	EventReply
	// EventDeliver (client): a message came on Channel; Content has ConsumerTag, DeliveryTag, Redelivered, Exchange,
	// RoutingKey, Properties, Body.
	EventDeliver
	// EventReturn (client): the server returned a message on Channel; Content has Code, Text, Exchange, RoutingKey,
	// Properties, Body. Ref and Seq are those of the message when its channel confirms and it is known, see
	// Channel.Publish.
	EventReturn
	// EventConfirm (client): the server has confirmed messages on Channel, or refused them if Nack is set. Refs are those
	// given to Channel.Publish, in their order.
	EventConfirm
	// EventBlocked (client): the server takes no messages; Method is a *ConnectionBlocked.
	EventBlocked
	// EventUnblocked (client): it takes them again.
	EventUnblocked

	// EventChannelClose: the peer sent channel.close; Channel.Err tells why (nil with code 200). Take the references with
	// Channel.Unsettled, Channel.Unconfirmed and Channel.Calls. A server answers with Channel.CloseOK; a client's answer
	// is on its way.
	EventChannelClose
	// EventChannelClosed: this side closed Channel, by Channel.Close or because the peer broke a rule; Channel.Err tells
	// why. Take the references as above. What the peer still sends on it is dropped.
	EventChannelClosed
	// EventChannelGone (client, and with ReceiveOn server): Channel.Close was answered; its number is free again.
	EventChannelGone
	// EventDown: the connection is closed by either side, and so are all channels; Conn.Err tells why (nil with code
	// 200). Take the references of all channels. When the peer closed it, a server answers with CloseOK; a client's
	// answer is on its way.
	EventDown
	// EventClose: the machine is at its end; close the connection once everything before is written. It is the last event,
	// and EventDown is always before it.
	EventClose
)

// Event is what a [Conn] tells its shell. It is a value; Method may be kept, Content and Refs and the slices in them are
// valid until the next call of Receive. The shell may clear Refs when it is done with them.
type Event struct {
	Kind       EventKind
	Settlement Settlement
	Nack       bool
	frame      sendKind
	multiple   bool
	channel    uint16 // EventSend
	Channel    *Channel
	Seq        uint64
	Ref        any
	Method     Method
	Content    *Content
	Refs       []any
}

// Content is a message with what the method before it says. Which fields are set depends on the event.
type Content struct {
	ConsumerTag []byte
	DeliveryTag uint64
	Exchange    []byte
	RoutingKey  []byte
	Text        []byte // reply text of a return
	Code        Code   // reply code of a return
	Mandatory   bool
	Redelivered bool
	Remaining   uint32 // messages left in the queue, of basic.get-ok
	// Owned says that Body was allocated for this message alone: it may be kept.
	Owned      bool
	Properties RawProperties
	Body       []byte
}

// Settlement is what the receiver of deliveries did with them.
type Settlement uint8

const (
	// Acked: basic.ack.
	Acked Settlement = iota + 1
	// Rejected: basic.reject or basic.nack without requeue.
	Rejected
	// Requeued: basic.reject or basic.nack with requeue.
	Requeued
	// Recovered: basic.recover, as Requeued; but it is done at once also on a transactional channel.
	Recovered
)

// String returns "acked", "rejected", "requeued" or "recovered".
func (s Settlement) String() string {
	switch s {
	case Acked:
		return "acked"
	case Rejected:
		return "rejected"
	case Requeued:
		return "requeued"
	case Recovered:
		return "recovered"
	}
	return "unknown"
}

// settlement returns what a basic.ack, basic.nack or basic.reject does.
func (v *AckView) settlement() Settlement {
	switch {
	case v.Method == IDBasicAck:
		return Acked
	case v.Requeue:
		return Requeued
	}
	return Rejected
}

// sendKind is what an EventSend without a method sends.
type sendKind uint8

const (
	sendMethod sendKind = iota
	sendHeader
	sendHeartbeat
	sendAck
	sendNack
	sendRequeue
	sendReject
	sendRejectRequeue
)

// ChannelID returns the number of the channel that the event is about, 0 for none.
func (e *Event) ChannelID() uint16 {
	if e.Channel != nil {
		return e.Channel.id
	}
	return e.channel
}

// AppendTo encodes what an EventSend sends after dst and returns the extended slice. On error, an *[Error], dst is
// returned as it was.
func (e *Event) AppendTo(dst []byte) ([]byte, error) {
	switch e.frame {
	case sendHeader:
		return append(dst, ProtocolHeader...), nil
	case sendHeartbeat:
		return AppendHeartbeat(dst), nil
	case sendAck:
		return AppendAck(dst, e.channel, e.Seq, e.multiple), nil
	case sendNack, sendRequeue:
		return AppendNack(dst, e.channel, e.Seq, e.multiple, e.frame == sendRequeue), nil
	case sendReject, sendRejectRequeue:
		return AppendReject(dst, e.channel, e.Seq, e.frame == sendRejectRequeue), nil
	}
	if e.Method == nil {
		return dst, ErrState
	}
	return AppendMethod(dst, e.channel, e.Method)
}

// eventQueue holds the events that the shell has not taken yet. The first one needs no memory of its own.
type eventQueue struct {
	buf   []Event
	head  int
	first [1]Event
}

// push adds an empty event and returns it to be filled; the pointer is good until the next push.
func (q *eventQueue) push(k EventKind) *Event {
	n := len(q.buf)
	if n == cap(q.buf) {
		q.grow()
		n = len(q.buf)
	}
	q.buf = q.buf[:n+1]
	e := &q.buf[n]
	e.Kind = k
	return e
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
