package mqtt

// EventKind says what an [Event] tells.
type EventKind uint8

// The kinds of events. Fields of Event that a kind does not name are zero.
const (
	// EventSend: encode the event with [Event.AppendTo] and send it on Stream.
	EventSend EventKind = iota + 1
	// EventConnect (server): the peer sent CONNECT; Packet is a *Connect. Answer with Accept, Reject or Auth.
	EventConnect
	// EventConnack (client): the server answered; Packet is a *Connack. Reason is its reason code: when it is a failure,
	// EventClose follows.
	EventConnack
	// EventAuth: the peer sent AUTH; Packet is an *Auth. Answer with Auth, Accept or Reject.
	EventAuth
	// EventPublish: an application message came; Packet is a *Publish whose topic alias is resolved. At QoS 1 and 2
	// answer with Ack(ID), once, when the message is owned (and durable, where that is promised). At QoS 2 the event
	// carries Barrier BarrierPubrec and the delta DeltaReceived: persist it together with the message.
	EventPublish
	// EventSubscribe (server): Packet is a *Subscribe. Answer with Suback.
	EventSubscribe
	// EventUnsubscribe (server): Packet is an *Unsubscribe. Answer with Unsuback.
	EventUnsubscribe
	// EventSuback (client): the answer to Subscribe; Packet is a *Suback, Ref what Subscribe was given.
	EventSuback
	// EventUnsuback (client): the answer to Unsubscribe; Packet is an *Unsuback, Ref what Unsubscribe was given.
	EventUnsuback
	// EventPersist: persist Delta (ID, QoS, Ref), then call Persisted(Token). A packet waits for it.
	EventPersist
	// EventResend: the machine needs the body of the outbound message Ref again: after a resume (Dup set), or because
	// its barrier is passed (Dup not set). Answer with Resend(ID, message) or Drop(ID), in the order of these events.
	EventResend
	// EventSettled: the outbound QoS 1 or 2 message Ref is done. Release it. Reason is that of PUBACK or PUBREC,
	// ReasonPacketTooLarge when Resend found it too large, ReasonUnspecifiedError when Drop ended it. Delta is
	// DeltaSettled.
	EventSettled
	// EventLost (client): the server does not have the session, the outbound QoS 1 or 2 message Ref is not in flight any
	// more. Reason is ReasonSuccess when the server had received it (PUBREC), otherwise it may be published anew. In both
	// roles it comes also from Session.CloseStream, then with DeltaSettled; there Ref may be a request, too.
	EventLost
	// EventQuota: the send quota was exhausted and is not any more; Publish may be called again.
	EventQuota
	// EventPong (client): PINGRESP came.
	EventPong
	// EventDisconnect: the peer sent DISCONNECT; Packet is a *Disconnect.
	EventDisconnect
	// EventClose: the machine is at its end; close the connection once everything before is written. Session.Err
	// tells why. It is the last event.
	EventClose
)

// Barrier names what waits for a delta to be durable.
type Barrier uint8

// The durability barriers of QoS 2 (section 4.3.3). QoS 1 has one only, before PUBACK: it is the call of Ack.
const (
	BarrierNone    Barrier = iota
	BarrierPubrec          // a received message and its id, before PUBREC
	BarrierPubcomp         // the release of a received id, before PUBCOMP
	BarrierPublish         // the assignment of an id to an outbound message, before PUBLISH
	BarrierPubrel          // the PUBREC for an outbound message, before PUBREL
)

// Delta is a change of a [State]. Replaying a session's deltas in order with State.Apply restores it.
type Delta uint8

// The deltas. Settled deltas are lazy: losing the last of them repeats a step that the protocol tolerates.
const (
	DeltaNone     Delta = iota
	DeltaReceived       // inbound QoS 2 message ID received
	DeltaReleased       // inbound QoS 2 message ID released by PUBREL
	DeltaAssigned       // outbound message Ref got ID
	DeltaPubrec         // outbound QoS 2 message ID was received by the peer; its body is not needed any more
	DeltaSettled        // outbound message ID is done
)

// Event is what a [Session] tells its shell. It is a value; Packet and the slices in it are valid until the next call
// of Receive.
type Event struct {
	Kind    EventKind
	Barrier Barrier
	Delta   Delta
	Type    PacketType // EventSend of an acknowledgement or ping: its type, Packet is nil then
	QoS     QoS
	Dup     bool
	Reason  ReasonCode
	ID      uint16
	Stream  uint64
	Token   uint64
	Ref     any // the caller's own reference to an outbound message or request
	Packet  Packet
}

// AppendTo encodes the packet of an EventSend in the format of version v after dst and returns the extended slice.
func (e *Event) AppendTo(dst []byte, v Version) ([]byte, error) {
	if e.Packet != nil {
		return Append(dst, e.Packet, v)
	}
	head := byte(e.Type) << 4
	switch e.Type {
	case TypePubrel:
		head |= 2
		fallthrough
	case TypePuback, TypePubrec, TypePubcomp:
		if e.Reason == ReasonSuccess || v < Version5 {
			return append(dst, head, 2, byte(e.ID>>8), byte(e.ID)), nil
		}
		return append(dst, head, 3, byte(e.ID>>8), byte(e.ID), byte(e.Reason)), nil
	case TypePingreq, TypePingresp:
		return append(dst, head, 0), nil
	}
	return dst, ErrState
}
