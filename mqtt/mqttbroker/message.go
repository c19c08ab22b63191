package mqttbroker

import (
	"encoding/binary"
	"time"
	"unsafe"

	"github.com/quartet-mq/quartet/mqtt"
)

// Message is an application message that outlives the call which published it: a retained message, one of QoS 1 or 2,
// one for an in-process subscriber. It is immutable and shared by everybody who has to do with it; the slices that its
// methods return must not be changed.
//
// A broker holds millions of them. That is why it is packed into 32 bytes beside its topic, which it shares with the
// index of retained messages, and its body.
type Message struct {
	topic    *byte
	body     *byte // expiry if flagExpires, length of the properties if flagProperties, properties, payload
	seq      uint64
	size     uint32 // of the body
	topicLen uint16
	flags    messageFlags
}

// messageFlags are the QoS and flags of a Message.
type messageFlags uint8

const (
	flagQoS        messageFlags = 3
	flagRetain     messageFlags = 1 << 2
	flagExpires    messageFlags = 1 << 3 // eight bytes, unix milliseconds
	flagProperties messageFlags = 1 << 4 // four bytes
	flagJournaled  messageFlags = 1 << 5 // the journal has it
	flagCold       messageFlags = 1 << 6 // only the journal has its body; what is here is when it expires
	flagStored                  = flagQoS | flagRetain | flagExpires | flagProperties
)

// Topic returns the topic name.
func (m *Message) Topic() string { return unsafe.String(m.topic, m.topicLen) }

// Payload returns the application data.
func (m *Message) Payload() []byte {
	props, payload := m.parts()
	return payload[len(props):]
}

// Properties returns the properties that are forwarded. The message expiry interval among them is the one that the
// publisher gave; see [Message.Expires].
func (m *Message) Properties() mqtt.Properties {
	props, _ := m.parts()
	return props
}

// parts returns the properties, and them with the payload.
func (m *Message) parts() (props mqtt.Properties, all []byte) {
	all = unsafe.Slice(m.body, m.size)
	if m.flags&flagExpires != 0 {
		all = all[8:]
	}
	if m.flags&flagProperties == 0 {
		return nil, all
	}
	n := binary.BigEndian.Uint32(all)
	all = all[4:]
	return mqtt.Properties(all[:n:n]), all
}

// QoS returns the quality of service with which the message was published.
func (m *Message) QoS() mqtt.QoS { return mqtt.QoS(m.flags & flagQoS) }

// Retain reports whether the message was published with the RETAIN flag.
func (m *Message) Retain() bool { return m.flags&flagRetain != 0 }

// Sequence returns the number that the broker gave the message when it accepted it. Later messages have greater ones.
func (m *Message) Sequence() uint64 { return m.seq }

// Expires returns when the message expires, the zero time for never.
func (m *Message) Expires() time.Time {
	if at := m.expiry(); at != 0 {
		return time.UnixMilli(at)
	}
	return time.Time{}
}

// expiry returns when the message expires in unix milliseconds, 0 for never.
func (m *Message) expiry() int64 {
	if m.flags&flagExpires == 0 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(unsafe.Slice(m.body, 8)))
}

// expired reports whether the message is not to be delivered any more at a time in unix milliseconds.
func (m *Message) expired(now int64) bool { return m.flags&flagExpires != 0 && now >= m.expiry() }

// remaining returns the message expiry interval that is left, in seconds. It is at least 1: a message that was sent
// once is sent again after a reconnect even if it has expired meanwhile [MQTT-4.3.3-7].
func (m *Message) remaining(now int64) uint32 {
	return uint32(max(m.expiry()-now+999, 1000) / 1000)
}

// all returns the body as it is kept.
func (m *Message) all() []byte { return unsafe.Slice(m.body, m.size) }

// copied returns a copy that shares topic and body, to be recorded in the journal.
func (m *Message) copied() *Message {
	c := *m
	return &c
}

// restoreMessage returns the message of a record, whose bytes it copies.
func restoreMessage(topic string, seq uint64, rec *record) (*Message, error) {
	m := &Message{
		topic: unsafe.StringData(topic), topicLen: uint16(len(topic)), seq: seq, size: uint32(len(rec.body)),
		flags: rec.flags&flagStored | flagJournaled,
	}
	n := 0
	if m.flags&flagExpires != 0 {
		n += 8
	}
	if m.flags&flagProperties != 0 {
		if n+4 > len(rec.body) {
			return nil, errRecord
		}
		n += 4 + int(binary.BigEndian.Uint32(rec.body[n:]))
	}
	if n > len(rec.body) {
		return nil, errRecord
	}
	m.body = unsafe.SliceData(append([]byte(nil), rec.body...))
	return m, nil
}

// cold returns the message without its body.
func (m *Message) cold() *Message { return coldMessage(m.Topic(), m.seq, m.flags, m.size, m.expiry()) }

// coldMessage returns a message of which only the journal has the body.
func coldMessage(topic string, seq uint64, flags messageFlags, size uint32, expires int64) *Message {
	m := &Message{
		topic: unsafe.StringData(topic), topicLen: uint16(len(topic)), seq: seq, size: size,
		flags: flags&flagStored | flagJournaled | flagCold,
	}
	if m.flags&flagExpires != 0 {
		m.body = unsafe.SliceData(binary.BigEndian.AppendUint64(nil, uint64(expires)))
	}
	return m
}

// bytes is what the message counts in queues: what is kept of it.
func (m *Message) bytes() int { return int(m.topicLen) + int(m.size) + messageOverhead }

// messageOverhead is the size of the Message itself.
const messageOverhead = 32

// expirySize is the size of a message expiry interval among the properties.
const expirySize = 5

// newMessage copies what is published, but for the topic. It expires at a time in unix milliseconds, 0 for never.
func newMessage(topic string, p *mqtt.Publish, seq uint64, expires int64) *Message {
	m := &Message{
		topic: unsafe.StringData(topic), topicLen: uint16(len(topic)), seq: seq, flags: messageFlags(p.QoS) & flagQoS,
	}
	if p.Retain {
		m.flags |= flagRetain
	}
	n := len(p.Payload)
	if expires != 0 {
		m.flags |= flagExpires
		n += 8
	}
	if len(p.Properties) > 0 {
		m.flags |= flagProperties
		n += 4 + len(p.Properties)
	}
	body := make([]byte, 0, n)
	if expires != 0 {
		body = binary.BigEndian.AppendUint64(body, uint64(expires))
	}
	if len(p.Properties) > 0 {
		body = binary.BigEndian.AppendUint32(body, uint32(len(p.Properties)))
		if expires != 0 {
			body = appendExpiryFirst(body, p.Properties)
		} else {
			body = append(body, p.Properties...)
		}
	}
	body = append(body, p.Payload...)
	m.body, m.size = unsafe.SliceData(body), uint32(len(body))
	return m
}

// appendExpiryFirst appends properties with the message expiry interval, which is there, in front, where
// appendProperties finds it.
func appendExpiryFirst(dst []byte, props mqtt.Properties) []byte {
	interval, _ := props.Uint32(mqtt.PropMessageExpiryInterval)
	out := mqtt.Properties(dst).AppendUint32(mqtt.PropMessageExpiryInterval, interval)
	return appendWithout(out, props, mqtt.PropMessageExpiryInterval)
}

// appendProperties appends the properties with which the message leaves: the remaining expiry interval
// [MQTT-3.3.2-6], and the subscription identifiers [MQTT-3.3.4-4].
func (m *Message) appendProperties(dst mqtt.Properties, now int64, ids []uint32) mqtt.Properties {
	props := m.Properties()
	if m.flags&flagExpires != 0 {
		dst = dst.AppendUint32(mqtt.PropMessageExpiryInterval, m.remaining(now))
		props = props[expirySize:]
	}
	return appendIDs(append(dst, props...), ids)
}

// appendIDs appends subscription identifiers.
func appendIDs(dst mqtt.Properties, ids []uint32) mqtt.Properties {
	for _, id := range ids {
		dst = dst.AppendUvarint(mqtt.PropSubscriptionIdentifier, id)
	}
	return dst
}

// outgoing is a message on its way to one session, where it differs from the message itself: in the QoS, the RETAIN
// flag, by subscription identifiers or because it came by a shared subscription. Those that don't differ travel as the
// *Message, see [refOf].
type outgoing struct {
	m          *Message
	ids        []uint32
	member     *subscription // the member of a shared subscription that got it, or nil
	qos        mqtt.QoS
	retain     bool
	recorded   bool      // of QoS 0, but the journal has that it waits
	ephemeral  bool      // it ends with its data stream, the journal has nothing of it
	stream     uint32    // the data stream on which it is to be sent, while that is there; 0 is stream 0
	prev, next *outgoing // in an outgoingList
}

// outgoingList is a list of shared deliveries that are in flight to a receiver, in the order of sending, so that they can
// go to another member when it leaves.
type outgoingList struct{ first, last *outgoing }

// add adds ref if it is a shared delivery.
func (l *outgoingList) add(ref any) {
	o, ok := ref.(*outgoing)
	if !ok || o.member == nil {
		return
	}
	o.prev, o.next = l.last, nil
	if l.last == nil {
		l.first = o
	} else {
		l.last.next = o
	}
	l.last = o
}

// remove takes ref out and reports whether it was in the list.
func (l *outgoingList) remove(ref any) bool {
	o, ok := ref.(*outgoing)
	if !ok || o.prev == nil && l.first != o {
		return false
	}
	if o.prev == nil {
		l.first = o.next
	} else {
		o.prev.next = o.next
	}
	if o.next == nil {
		l.last = o.prev
	} else {
		o.next.prev = o.prev
	}
	o.prev, o.next = nil, nil
	return true
}

// takeAll empties the list and returns what was in it.
func (l *outgoingList) takeAll() (refs []any) {
	for l.first != nil {
		o := l.first
		l.remove(o) // from now on it is in no list, so Delivery.Ack does nothing
		refs = append(refs, o)
	}
	return refs
}

// unpack returns what ref, a *Message or an *outgoing, stands for.
func unpack(ref any) (m *Message, qos mqtt.QoS, retain bool, ids []uint32) {
	switch r := ref.(type) {
	case *Message:
		return r, r.QoS(), false, nil
	case *outgoing:
		return r.m, r.qos, r.retain, r.ids
	}
	return nil, 0, false, nil
}
