package mqtt

import (
	"iter"

	"github.com/quartet-mq/quartet/topic/delivery"
)

// State is what a session keeps between connections: the outbound window and the identifiers of received QoS 2 messages
// (section 4.1). The zero value is an empty state of no session yet. It is used by one [Session] at a time, and is not
// safe for concurrent use.
//
// A State that must survive its process is rebuilt by replaying the deltas of the session's events with Apply, in their
// order, from the begin of the session: when a connection starts a new session (CONNACK without session present) the
// deltas before it are void. Any prefix of the deltas gives a State that loses and repeats no QoS 2 message.
type State struct {
	out      delivery.Window[outbound]
	in       *inbound2 // nil while there is nothing
	requests int       // SUBSCRIBE and UNSUBSCRIBE packets in out
	session  bool
}

// inbound2 holds the identifiers of inbound QoS 2 messages. One is in received only while its message is not owned yet
// (Ack is awaited), in both sets until PUBREL comes, and in owned only until that release is durable.
type inbound2 struct {
	received delivery.IDs
	owned    delivery.IDs
	streams  map[uint16]uint64 // of those received that came on data streams of the connection
}

// qos2 returns the identifiers of inbound QoS 2 messages.
func (st *State) qos2() *inbound2 {
	if st.in == nil {
		st.in = new(inbound2)
	}
	return st.in
}

// has returns in which sets id is.
func (st *State) has(id uint16) (received, owned bool) {
	if st.in == nil {
		return false, false
	}
	return st.in.received.Has(id), st.in.owned.Has(id)
}

// step is how far an outbound packet that awaits an answer has come.
type step uint8

const (
	stepPublish     step = iota // PUBACK or PUBREC is awaited
	stepRelease                 // PUBREC came, PUBCOMP is awaited
	stepSubscribe               // SUBACK is awaited
	stepUnsubscribe             // UNSUBACK is awaited
)

// outbound is an entry of the outbound window.
type outbound struct {
	ref     any
	stream  uint64
	detail  uint16 // SUBSCRIBE and UNSUBSCRIBE: how many filters; PUBLISH: the reason of PUBREC
	step    step
	qos     QoS
	sent    bool // the PUBLISH may have been sent
	durable bool // the delta of the step is durable
	counted bool // uses the send quota of this connection
	asked   bool // EventResend awaits its answer
}

// maxSpan is how many packet identifiers there are.
const maxSpan = 65_535

// idOf returns the packet identifier of a sequence number of the window: they go round robin from 1 to 65,535.
func idOf(seq uint64) uint16 { return uint16(seq%maxSpan) + 1 }

// seqOf returns the lowest sequence number from low on that has the packet identifier id.
func seqOf(id uint16, low uint64) uint64 {
	return low + (uint64(id)+2*maxSpan-1-low%maxSpan)%maxSpan
}

// find returns the entry with the packet identifier id, nil when it is not in use.
func (st *State) find(id uint16) (uint64, *outbound) {
	if st == nil || id == 0 {
		return 0, nil
	}
	seq := seqOf(id, st.out.Low())
	return seq, st.out.Get(seq)
}

// free returns how many packet identifiers are free.
func (st *State) free() int { return maxSpan - int(st.out.Span()) }

// add puts e into the window and returns its packet identifier. The caller has seen that one is free.
func (st *State) add(e outbound) uint16 { return idOf(st.out.Add(e)) }

// reset empties st.
func (st *State) reset() { *st = State{} }

// forgetReleases drops the identifiers of which the release was not durable when the connection ended: the peer asks
// again, and their deltas are on their way. The streams of the connection are gone, too.
func (st *State) forgetReleases() {
	if st.in == nil {
		return
	}
	st.in.streams = nil
	for id := range st.in.owned.All() {
		if !st.in.received.Has(id) {
			st.in.owned.Remove(id)
		}
	}
}

// trim gives memory back when nothing is in flight.
func (st *State) trim() {
	st.out.Release()
	if st.in != nil && st.in.received.Len() == 0 && st.in.owned.Len() == 0 {
		st.in = nil
	}
}

// Empty reports whether nothing is in flight.
func (st *State) Empty() bool {
	return st.out.Len() == st.requests && (st.in == nil || st.in.received.Len() == 0 && st.in.owned.Len() == 0)
}

// Resume marks st as the state of a session that exists, although nothing may be in flight. Without it a client machine
// takes a State that was neither connected before nor rebuilt with Apply for no session, and refuses a server that
// resumes one [MQTT-3.2.2-4].
func (st *State) Resume() { st.session = true }

// Apply replays a delta. For DeltaAssigned qos and ref describe the message. A delta may be applied again: without
// Settled deltas, which may be lost, the message is sent or released again. The error is ErrState for something that no
// session emits: an identifier of zero, another delta or QoS, more than 65,535 identifiers.
func (st *State) Apply(d Delta, id uint16, qos QoS, ref any) error {
	if id == 0 {
		return ErrState
	}
	st.session = true
	switch d {
	case DeltaReceived:
		in := st.qos2()
		in.received.Add(id)
		in.owned.Add(id)
	case DeltaReleased:
		in := st.qos2()
		in.received.Remove(id)
		in.owned.Remove(id)
	case DeltaAssigned:
		return st.assign(id, qos, ref)
	case DeltaPubrec:
		if _, e := st.find(id); e != nil {
			e.step, e.durable = stepRelease, true
		}
	case DeltaSettled:
		if seq, e := st.find(id); e != nil {
			st.out.Settle(seq)
		}
	default:
		return ErrState
	}
	return nil
}

// assign replays the assignment of id.
func (st *State) assign(id uint16, qos QoS, ref any) error {
	if qos != QoS1 && qos != QoS2 {
		return ErrState
	}
	e := outbound{ref: ref, qos: qos, sent: true, durable: true}
	if _, old := st.find(id); old != nil {
		*old = e
		return nil
	}
	seq := seqOf(id, st.out.Next())
	if seq-st.out.Low() >= maxSpan {
		return ErrState
	}
	st.out.SkipTo(seq)
	st.out.Add(e)
	return nil
}

// Outbound is an outbound message of a [State] that is in flight.
type Outbound struct {
	ID       uint16
	QoS      QoS
	Released bool // PUBREC came, PUBCOMP is awaited; the body is not needed any more
	Ref      any
}

// Outbound returns the outbound messages in flight, in the order in which they were sent. Replayed with Apply as
// DeltaAssigned, and those that are Released as DeltaPubrec too, they give the outbound part of the State back.
func (st *State) Outbound() iter.Seq[Outbound] {
	return func(yield func(Outbound) bool) {
		for seq, e := range st.out.Unsettled() {
			if e.step > stepRelease {
				continue
			}
			if !yield(Outbound{ID: idOf(seq), QoS: e.qos, Released: e.step == stepRelease, Ref: e.ref}) {
				return
			}
		}
	}
}

// Rebind replaces the references to the outbound messages in flight by what f returns for them.
func (st *State) Rebind(f func(ref any) any) {
	for _, e := range st.out.Unsettled() {
		if e.step <= stepRelease {
			e.ref = f(e.ref)
		}
	}
}
