package mqtt

import (
	"time"

	"github.com/quartet-mq/quartet/topic/delivery"
)

// inbound is what a connection owes its peer. It exists only while it is needed.
type inbound struct {
	pubacks ackRing
	pubrecs ackRing
	// Properties of acknowledgements that wait for their turn, by identifier.
	props map[uint16]Properties
	// Streams of SUBSCRIBE and UNSUBSCRIBE packets that came on data streams and are not answered.
	streams map[uint16]uint64
}

func (in *inbound) idle() bool {
	return in.pubacks.n == 0 && in.pubrecs.n == 0 && len(in.props) == 0 && len(in.streams) == 0
}

// owes returns the acknowledgements that are owed.
func (s *Session) owes() *inbound {
	if s.in == nil {
		s.in = new(inbound)
	}
	return s.in
}

// owed is an acknowledgement that is owed for a received message.
type owed struct {
	stream uint64
	id     uint16
	reason ReasonCode
	acked  bool
	sent   bool
}

// ackRing holds the acknowledgements of one kind that are owed, in the order in which the messages came. The standard
// wants them sent in that order [MQTT-4.6.0-2] [MQTT-4.6.0-3]; where there are several streams the order holds in each.
type ackRing struct {
	buf     []owed // of a size that is a power of two
	head, n int
	gaps    int  // entries that are sent, behind one that is not: only with several streams
	streams bool // more than one stream is in use
	indexed bool // there are so many that ids is in use
	ids     delivery.IDs
}

// indexAt is how many entries a ring has before it gets an index.
const indexAt = 16

func (r *ackRing) at(i int) *owed { return &r.buf[(r.head+i)&(len(r.buf)-1)] }

// push adds an entry at the end.
func (r *ackRing) push(o owed) {
	if r.n == len(r.buf) {
		r.grow()
	}
	if o.stream != 0 {
		r.streams = true
	}
	*r.at(r.n) = o
	r.n++
	switch {
	case r.indexed:
		r.ids.Add(o.id)
	case r.n > indexAt:
		r.index()
	}
}

// index enters those that are not sent into ids.
func (r *ackRing) index() {
	r.indexed = true
	for i := range r.n {
		if o := r.at(i); !o.sent {
			r.ids.Add(o.id)
		}
	}
}

// has reports whether there is an entry for id that is not sent.
func (r *ackRing) has(id uint16) bool {
	if r.indexed {
		return r.ids.Has(id)
	}
	for i := range r.n {
		if o := r.at(i); o.id == id && !o.sent {
			return true
		}
	}
	return false
}

// done takes an entry that is sent out of the index.
func (r *ackRing) done(id uint16) {
	if r.indexed {
		r.ids.Remove(id)
		r.indexed = r.ids.Len() > 0
	}
}

// grow makes room: it closes gaps when there are many, and doubles the ring otherwise.
func (r *ackRing) grow() {
	size := max(4, 2*len(r.buf))
	if r.gaps > r.n/2 {
		size = len(r.buf)
	}
	buf := make([]owed, size)
	n := 0
	for i := range r.n {
		if o := r.at(i); !o.sent {
			buf[n] = *o
			n++
		}
	}
	r.buf, r.head, r.n, r.gaps = buf, 0, n, 0
}

// find returns the place of the entry for id. Peers count identifiers up, so it is mostly where the distance to the
// first one says.
func (r *ackRing) find(id uint16) int {
	if r.n == 0 {
		return -1
	}
	guess := int((uint32(id) + maxSpan - uint32(r.at(0).id)) % maxSpan)
	if guess < r.n && r.at(guess).id == id && !r.at(guess).sent {
		return guess
	}
	if r.indexed && !r.ids.Has(id) {
		return -1
	}
	for i := range r.n {
		if o := r.at(i); o.id == id && !o.sent {
			return i
		}
	}
	return -1
}

// pop removes the first entry and those behind it that are sent already.
func (r *ackRing) pop() {
	r.head++
	r.n--
	for r.gaps > 0 && r.n > 0 && r.at(0).sent {
		r.gaps--
		r.head++
		r.n--
	}
	if r.head >= len(r.buf) {
		r.head &= len(r.buf) - 1
	}
}

// Ack acknowledges an inbound message: PUBACK or PUBREC with reason, when it is its turn. It may be called in any order,
// exactly once for each EventPublish of QoS 1 and 2, also after the connection has ended (then it only changes the
// State). props, for version 5, must not change until the acknowledgement is encoded; they are left out where the peer
// does not want them. Before version 5 there are no reasons: a failure is acknowledged like a success.
//
// A QoS 2 message that came over an earlier connection is acknowledged on the Session that has the State now. One of
// QoS 1 is not acknowledged at all then: its sender repeats it.
func (s *Session) Ack(now time.Time, id uint16, reason ReasonCode, props Properties) error {
	st := s.st
	if st == nil {
		return ErrState
	}
	if s.version < Version5 {
		reason, props = ReasonSuccess, nil
	}
	if received, owned := st.has(id); received {
		if owned {
			return ErrState
		}
		if reason.IsError() {
			st.in.received.Remove(id) // [MQTT-4.3.3-9]
			st.in.own(id, 0)
		} else {
			st.in.owned.Add(id)
		}
		if s.in != nil {
			s.answer(now, &s.in.pubrecs, TypePubrec, owed{id: id, reason: reason}, props)
		}
		return nil
	}
	if s.phase != phaseOpen {
		return nil
	}
	if s.in == nil || !s.answer(now, &s.in.pubacks, TypePuback, owed{id: id, reason: reason}, props) {
		return ErrState
	}
	return nil
}

// answer marks an entry as acknowledged and sends what has its turn. It is false when there is no such entry.
func (s *Session) answer(now time.Time, r *ackRing, t PacketType, a owed, props Properties) bool {
	i := r.find(a.id)
	if i < 0 || r.at(i).acked {
		return false
	}
	o := r.at(i)
	o.acked, o.reason = true, a.reason
	if len(props) > 0 {
		if s.in.props == nil {
			s.in.props = make(map[uint16]Properties)
		}
		s.in.props[a.id] = props
	}
	s.flush(now, r, t, o.stream)
	return true
}

// flush sends the acknowledgements of a stream that have their turn.
func (s *Session) flush(now time.Time, r *ackRing, t PacketType, stream uint64) {
	for r.n > 0 && r.at(0).acked && r.at(0).stream == stream {
		o := *r.at(0)
		r.pop()
		s.acknowledge(now, r, t, &o)
	}
	if !r.streams {
		return
	}
	for i := 0; i < r.n; i++ {
		o := r.at(i)
		if o.sent || o.stream != stream {
			continue
		}
		if !o.acked {
			return
		}
		o.sent = true
		r.gaps++
		s.acknowledge(now, r, t, o)
	}
}

// acknowledge sends PUBACK or PUBREC.
func (s *Session) acknowledge(now time.Time, r *ackRing, t PacketType, o *owed) {
	r.done(o.id)
	if t == TypePuback || o.reason.IsError() {
		s.restore()
	}
	if len(s.in.props) > 0 {
		if props, ok := s.in.props[o.id]; ok {
			delete(s.in.props, o.id)
			s.sendAck(now, t, o, props)
			return
		}
	}
	s.send(now, t, o.stream, o.id, o.reason)
}

// sendAck sends PUBACK or PUBREC with properties.
func (s *Session) sendAck(now time.Time, t PacketType, o *owed, props Properties) {
	props = s.problem(props)
	if t == TypePuback {
		p := &Puback{ID: o.id, Reason: o.reason, Properties: props}
		s.fit(p, &p.Properties)
		s.sendPacket(now, o.stream, p)
		return
	}
	p := &Pubrec{ID: o.id, Reason: o.reason, Properties: props}
	s.fit(p, &p.Properties)
	s.sendPacket(now, o.stream, p)
}

// restore gives the peer a part of its send quota back, as it counts itself (section 4.9).
func (s *Session) restore() {
	if s.received > 0 {
		s.received--
	}
}

// problem drops what the peer does not want on packets other than PUBLISH, CONNACK and DISCONNECT [MQTT-3.1.2-29].
func (s *Session) problem(p Properties) Properties {
	if !s.noProblem {
		return p
	}
	return p.without(PropReasonString).without(PropUserProperty)
}

// fit makes a packet that is to be sent fit into the peer's maximum packet size: it drops user properties, then the
// reason string from props, the packet's properties. It is false when that is not enough.
func (s *Session) fit(p Packet, props *Properties) bool {
	if s.maxPacket == 0 {
		return true
	}
	for _, id := range [...]PropertyID{0, PropUserProperty, PropReasonString} {
		if id != 0 {
			*props = props.without(id)
		}
		b, err := p.appendTo(nil, s.version)
		if err == nil && uint64(len(b)) <= uint64(s.maxPacket) {
			return true
		}
	}
	return false
}

// without returns p without the properties id; p itself when there are none.
func (p Properties) without(id PropertyID) Properties {
	if !p.Has(id) {
		return p
	}
	kept := make(Properties, 0, len(p))
	for q := range p.All() {
		if q.ID != id {
			kept = kept.Append(q)
		}
	}
	return kept
}
