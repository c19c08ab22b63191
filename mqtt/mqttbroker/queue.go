package mqttbroker

import "github.com/quartet-mq/quartet/mqtt"

// QueuePolicy says what happens to a message for a session whose queue is full.
type QueuePolicy uint8

// The queue policies.
const (
	// DropNewest drops the message that came last. It is the default.
	DropNewest QueuePolicy = iota
	// DropOldest drops the messages that wait longest.
	DropOldest
	// RejectPublisher delivers the message to nobody and tells its publisher ReasonQuotaExceeded, if one of the
	// receivers' queues is full. Before version 5 a publisher cannot be told; it gets a positive acknowledgement
	// [MQTT311-3.3.5-2].
	RejectPublisher
)

// queue is a first-in first-out queue of references to messages, see [unpack]. The zero value is empty and small.
type queue struct {
	ring  []any // length a power of two, or nil
	head  int
	k     int   // how many are in the ring: the front of the queue
	cold  *cold // the rest, by number only: of sessions with a journal
	n     int
	bytes int
}

// minQueue is the first size of a ring.
const minQueue = 4

func (q *queue) len() int { return q.n }

// push appends ref to the ring.
func (q *queue) push(ref any) {
	q.load(ref)
	q.n++
	q.bytes += sizeOf(ref)
}

// load puts ref, which was in the queue already, in the ring.
func (q *queue) load(ref any) {
	if q.k == len(q.ring) {
		q.resize(max(2*q.k, minQueue))
	}
	q.ring[(q.head+q.k)&(len(q.ring)-1)] = ref
	q.k++
}

// sizeOf returns what the message of a reference counts.
func sizeOf(ref any) int {
	m, _, _, _ := unpack(ref)
	return m.bytes()
}

// front returns the oldest reference; there must be one in the ring.
func (q *queue) front() any { return q.ring[q.head] }

// pop takes the oldest reference out of the ring.
func (q *queue) pop() any {
	ref := q.ring[q.head]
	q.ring[q.head] = nil
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.k--
	q.n--
	q.bytes -= sizeOf(ref)
	switch {
	case q.n == 0 && q.cold == nil:
		*q = queue{}
	case len(q.ring) >= 64 && q.k <= len(q.ring)/8:
		q.resize(len(q.ring) / 2)
	}
	return ref
}

// resize moves the ring to one of n places, a power of two.
func (q *queue) resize(n int) {
	ring := make([]any, n)
	for i := range q.k {
		ring[i] = q.at(i)
	}
	q.ring, q.head = ring, 0
}

func (q *queue) at(i int) any { return q.ring[(q.head+i)&(len(q.ring)-1)] }

// filter keeps the references in the ring that keep likes, in their order, and returns the others.
func (q *queue) filter(keep func(ref any) bool) (out []any) {
	kept := queue{cold: q.cold, n: q.n - q.k, bytes: q.bytes}
	for i := range q.k {
		ref := q.at(i)
		kept.bytes -= sizeOf(ref)
		if keep(ref) {
			kept.push(ref)
		} else {
			out = append(out, ref)
		}
	}
	*q = kept
	return out
}

// full reports whether the queue has reached one of the bounds, of which those that are not positive do not hold.
func (q *queue) full(messages, bytes int) bool {
	return messages > 0 && q.n >= messages || bytes > 0 && q.bytes >= bytes
}

// refOf returns how m travels to a session: as itself where possible, which allocates nothing.
func refOf(m *Message, qos mqtt.QoS, retain bool, ids []uint32, member *subscription) any {
	if qos == m.QoS() && !retain && len(ids) == 0 && member == nil {
		return m
	}
	return &outgoing{m: m, qos: qos, retain: retain, ids: append([]uint32(nil), ids...), member: member}
}
