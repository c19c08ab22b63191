package mqttbroker

import (
	"encoding/binary"
	"errors"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/mqtt"
)

// recordKind says what a record records. The numbers are on disk; docs/format/mqtt.md describes the records.
type recordKind uint8

const (
	recordMessage      recordKind = iota + 1 // a message was accepted
	recordAccepted                           // everything about the message seq was decided
	recordRetained                           // seq is the retained message of topic
	recordUnretained                         // topic has no retained message (tombstone)
	recordSession                            // who has the session, how long it lasts, its will: all of it
	recordEnded                              // the session ended (tombstone)
	recordCheckpoint                         // what the session has: everything but recordSession
	recordSubscribed                         // the session has a subscription to filter
	recordUnsubscribed                       // and has it no more
	recordQueued                             // entry waits for the session, at the end of its queue
	recordPage                               // all n that came to the queue since the last page are in this one
	recordSent                               // entry is in flight with id; queued: it was the first of the queue
	recordDropped                            // the first of the queue is not sent
	recordPubrec                             // the client has the QoS 2 message id
	recordSettled                            // id is done
	recordReceived                           // the client's QoS 2 message id was taken
	recordReleased                           // the client released id
	recordDecided                            // everything about messages below seq was decided
	recordReopened                           // seq left the session, in flight with id or (0) first in its queue, and is to go to another member of the group filter
)

// record is a record. What it has depends on its kind.
type record struct {
	kind    recordKind
	session uint64
	seq     uint64
	id      uint16
	queued  bool
	n       int
	entry   entry
	filter  string // or topic
	opts    subscriptionOptions
	size    uint32 // of a retained message; otherwise of the record as it was read
	expires int64
	data    []byte // of a checkpoint or page

	// recordMessage
	from  origin
	topic string
	body  []byte
	flags messageFlags

	// recordSession
	owner owner
}

// origin says to which session a message means something, beside that it is published: the QoS 2 message id of that
// session, or its will.
type origin struct {
	s    *session // nil for none
	num  uint64   // its number
	id   uint16
	will bool
}

// owner is what recordSession records of a session.
type owner struct {
	client, user string
	connected    bool
	expiry       uint32
	expires      int64 // unix milliseconds, while the client is away; 0 is never
	will         *will
}

const (
	fromNone = iota
	fromClient
	fromWill
)

// appendTo appends the record but for the body of a message.
func (r *record) appendTo(b []byte) []byte {
	b = append(b, byte(r.kind))
	switch r.kind {
	case recordMessage:
		switch {
		case r.from.s == nil:
			b = append(b, fromNone)
		case r.from.will:
			b = binary.AppendUvarint(append(b, fromWill), r.from.s.num)
		default:
			b = binary.BigEndian.AppendUint16(binary.AppendUvarint(append(b, fromClient), r.from.s.num), r.from.id)
		}
		return appendText(append(b, byte(r.flags)), r.topic)
	case recordDecided:
		return binary.AppendUvarint(b, r.seq)
	case recordAccepted:
		return appendText(binary.AppendUvarint(b, r.seq), r.filter)
	case recordRetained:
		b = binary.AppendUvarint(b, r.seq)
		b = append(b, byte(r.flags))
		b = binary.AppendUvarint(b, uint64(r.size))
		b = binary.AppendUvarint(b, uint64(r.expires))
		return appendText(b, r.filter)
	case recordUnretained:
		return appendText(b, r.filter)
	}
	b = binary.AppendUvarint(b, r.session)
	switch r.kind {
	case recordSession:
		b = appendText(appendText(b, r.owner.client), r.owner.user)
		b = binary.AppendUvarint(b, uint64(r.owner.expiry))
		b = append(b, boolByte(r.owner.connected))
		b = binary.AppendUvarint(b, uint64(r.owner.expires))
		b = appendWill(b, r.owner.will)
	case recordCheckpoint:
		b = append(appendText(b, r.owner.client), r.data...)
	case recordSubscribed:
		b = append(b, byte(r.opts&optStored))
		b = binary.AppendUvarint(b, uint64(r.opts.id()))
		b = appendText(b, r.filter)
	case recordUnsubscribed:
		b = appendText(b, r.filter)
	case recordQueued:
		b = appendEntry(b, &r.entry, 0)
	case recordPage:
		b = appendText(b, r.owner.client)
		b = append(binary.AppendUvarint(b, uint64(r.n)), r.data...)
	case recordSent:
		b = binary.BigEndian.AppendUint16(append(b, boolByte(r.queued)), r.id)
		b = appendEntry(b, &r.entry, 0)
	case recordPubrec, recordSettled, recordReceived, recordReleased:
		b = binary.BigEndian.AppendUint16(b, r.id)
	case recordReopened:
		b = binary.AppendUvarint(binary.BigEndian.AppendUint16(b, r.id), r.seq)
		b = appendText(b, r.filter)
	}
	return b
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

var errRecord = errors.New("mqttbroker: unknown kind of record")

// parse parses a record. Its slices are those of b.
func (rec *record) parse(b []byte) error {
	*rec = record{}
	r := codec.NewReader(b)
	rec.kind = recordKind(r.Uint8())
	switch rec.kind {
	case recordMessage:
		switch from := r.Uint8(); from {
		case fromClient:
			rec.from.num, rec.from.id = r.Uvarint64(), r.Uint16()
		case fromWill:
			rec.from.num, rec.from.will = r.Uvarint64(), true
		}
		rec.flags = messageFlags(r.Uint8())
		rec.data = readBytes(&r) // the topic
		rec.body = r.Rest()
		return r.Err()
	case recordDecided:
		rec.seq, rec.size = r.Uvarint64(), uint32(len(b))
		return r.Err()
	case recordAccepted:
		rec.seq, rec.filter = r.Uvarint64(), readText(&r)
		return r.Err()
	case recordRetained:
		rec.seq = r.Uvarint64()
		rec.flags, rec.size, rec.expires = messageFlags(r.Uint8()), r.Uvarint32(), int64(r.Uvarint64())
		rec.filter = readText(&r)
		return r.Err()
	case recordUnretained:
		rec.filter = readText(&r)
		return r.Err()
	}
	rec.session, rec.size = r.Uvarint64(), uint32(len(b))
	switch rec.kind {
	case recordEnded, recordDropped:
	case recordSession:
		rec.owner.client, rec.owner.user = readText(&r), readText(&r)
		rec.owner.expiry = r.Uvarint32()
		rec.owner.connected, rec.owner.expires = r.Uint8() == 1, int64(r.Uvarint64())
		rec.owner.will = readWill(&r)
	case recordCheckpoint:
		rec.owner.client = readText(&r)
		rec.data = r.Rest()
	case recordSubscribed:
		rec.opts = subscriptionOptions(r.Uint8()) & optStored
		rec.opts |= subscriptionOptions(r.Uvarint32()) << idShift
		rec.filter = readText(&r)
	case recordUnsubscribed:
		rec.filter = readText(&r)
	case recordQueued:
		rec.entry = readEntry(&r, 0)
	case recordPage:
		rec.owner.client = readText(&r)
		rec.n = int(r.Uvarint32())
		rec.data = r.Rest()
	case recordSent:
		rec.queued, rec.id = r.Uint8() == 1, r.Uint16()
		rec.entry = readEntry(&r, 0)
	case recordPubrec, recordSettled, recordReceived, recordReleased:
		rec.id = r.Uint16()
	case recordReopened:
		rec.id, rec.seq = r.Uint16(), r.Uvarint64()
		rec.filter = readText(&r)
	default:
		return errRecord
	}
	if rec.kind >= recordSent && rec.kind <= recordReleased && rec.kind != recordDropped && rec.id == 0 {
		return errRecord
	}
	return r.Err()
}

// appendWill appends a will, which may be nil.
func appendWill(b []byte, w *will) []byte {
	if w == nil {
		return append(b, 0)
	}
	flags := byte(1) | byte(w.p.QoS)<<1
	if w.p.Retain {
		flags |= 1 << 3
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(w.delay))
	b = binary.AppendUvarint(b, uint64(w.due))
	b = appendText(b, string(w.p.Topic))
	b = append(binary.AppendUvarint(b, uint64(len(w.p.Properties))), w.p.Properties...)
	return append(binary.AppendUvarint(b, uint64(len(w.p.Payload))), w.p.Payload...)
}

// readWill reads a will, nil for none. It is copied.
func readWill(r *codec.Reader) *will {
	flags := r.Uint8()
	if flags == 0 {
		return nil
	}
	w := &will{delay: r.Uvarint32(), due: int64(r.Uvarint64())}
	w.p = mqtt.Publish{QoS: mqtt.QoS(flags>>1) & 3, Retain: flags&(1<<3) != 0, Topic: []byte(readText(r))}
	w.p.Properties = mqtt.Properties(readText(r))
	w.p.Payload = []byte(readText(r))
	return w
}
