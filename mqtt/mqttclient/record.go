package mqttclient

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/mqtt"
)

// recordKind says what a record of Options.Dir records; it is the first byte. The numbers are on disk. Integers are
// unsigned varints, packet identifiers two bytes.
type recordKind uint8

const (
	recordOwner      recordKind = iota + 1 // the client identifier; it is the first record
	recordMessage                          // a message was accepted: it waits, or is in flight, until a record says otherwise
	recordDropped                          // the message seq is not sent any more
	recordAssigned                         // the message seq is in flight with id
	recordPubrec                           // the server has the QoS 2 message id
	recordSettled                          // id is done
	recordReceived                         // the QoS 2 message id of the server was taken
	recordReleased                         // the server released id
	recordBegun                            // the server began a new session
	recordCheckpoint                       // everything but the identifier and the messages' bodies
)

// record is a record. What it has depends on its kind.
type record struct {
	kind recordKind
	id   uint16
	qos  mqtt.QoS
	seq  uint64
	data []byte // owner: the identifier; checkpoint
}

var errRecord = errors.New("mqttclient: invalid record")

// maxMessage is how long the record of a message may be.
const maxMessage = 256 << 20

func (r *record) appendTo(b []byte) []byte {
	b = append(b, byte(r.kind))
	switch r.kind {
	case recordOwner, recordCheckpoint:
		return append(b, r.data...)
	case recordDropped:
		return binary.AppendUvarint(b, r.seq)
	case recordAssigned:
		b = append(binary.BigEndian.AppendUint16(b, r.id), byte(r.qos))
		return binary.AppendUvarint(b, r.seq)
	case recordPubrec, recordSettled, recordReceived, recordReleased:
		return binary.BigEndian.AppendUint16(b, r.id)
	}
	return b
}

// parseRecord parses a record that is no message. Its data are those of b.
func parseRecord(b []byte) (r record, err error) {
	rd := codec.NewReader(b)
	r.kind = recordKind(rd.Uint8())
	switch r.kind {
	case recordOwner, recordCheckpoint:
		r.data = rd.Rest()
	case recordDropped:
		r.seq = rd.Uvarint64()
	case recordAssigned:
		r.id, r.qos, r.seq = rd.Uint16(), mqtt.QoS(rd.Uint8()), rd.Uvarint64()
	case recordPubrec, recordSettled, recordReceived, recordReleased:
		r.id = rd.Uint16()
	case recordMessage, recordBegun:
	default:
		return r, errRecord
	}
	return r, rd.Err()
}

const (
	flagRetain    = 1 << 2 // beside the QoS
	priorityShift = 3      // where the priority of the stream is, of three bits
)

// appendMessage appends the record of a message but for its payload.
func appendMessage(b []byte, p *Publication) []byte {
	flags := byte(p.pub.QoS)
	if p.pub.Retain {
		flags |= flagRetain
	}
	flags |= p.c.out.of(p.lane).priority << priorityShift
	expires := uint64(0)
	if !p.expires.IsZero() {
		expires = uint64(max(p.expires.UnixMilli(), 1))
	}
	b = binary.AppendUvarint(append(b, byte(recordMessage), flags), expires)
	b = append(binary.AppendUvarint(b, uint64(len(p.pub.Topic))), p.pub.Topic...)
	return append(binary.AppendUvarint(b, uint64(len(p.pub.Properties))), p.pub.Properties...)
}

// parseMessage parses the record of a message. The slices are those of b.
func parseMessage(b []byte) (m mqtt.Publish, expires time.Time, err error) {
	rd := codec.NewReader(b)
	if recordKind(rd.Uint8()) != recordMessage {
		return m, expires, errRecord
	}
	flags := rd.Uint8()
	m.QoS, m.Retain = mqtt.QoS(flags&3), flags&flagRetain != 0
	if ms := rd.Uvarint64(); ms != 0 {
		expires = time.UnixMilli(int64(ms))
	}
	m.Topic = rd.Bytes(int(rd.Uvarint32()))
	m.Properties = mqtt.Properties(rd.Bytes(int(rd.Uvarint32())))
	m.Payload = rd.Rest()
	if rd.Err() == nil && (len(m.Topic) == 0 || m.QoS != mqtt.QoS1 && m.QoS != mqtt.QoS2) {
		return m, expires, errRecord
	}
	return m, expires, rd.Err()
}

// flight is a message in flight, as the journal knows it.
type flight struct {
	seq      uint64 // 0 when the body is not needed any more
	id       uint16
	qos      mqtt.QoS
	released bool // the server has it
}

// snapshot is what a checkpoint records.
type snapshot struct {
	session bool
	flights []flight // in the order in which they were sent
	waiting []uint64 // numbers of the messages that wait
	inbound []uint16 // identifiers of the server's QoS 2 messages that were taken and not released
}

// appendTo appends a snapshot. Numbers that follow each other cost next to nothing.
func (s *snapshot) appendTo(b []byte) []byte {
	session := byte(0)
	if s.session {
		session = 1
	}
	b = binary.AppendUvarint(append(b, session), uint64(len(s.flights)))
	for _, f := range s.flights {
		flags := byte(f.qos)
		if f.released {
			flags |= flagRetain
		}
		b = append(binary.BigEndian.AppendUint16(b, f.id), flags)
		b = binary.AppendUvarint(b, f.seq)
	}
	slices.Sort(s.waiting)
	var runs []byte
	n, next := 0, uint64(0)
	for i := 0; i < len(s.waiting); n++ {
		first, k := s.waiting[i], 1
		for i+k < len(s.waiting) && s.waiting[i+k] == first+uint64(k) {
			k++
		}
		runs = binary.AppendUvarint(binary.AppendUvarint(runs, first-next), uint64(k))
		next = first + uint64(k)
		i += k
	}
	b = append(binary.AppendUvarint(b, uint64(n)), runs...)
	b = binary.AppendUvarint(b, uint64(len(s.inbound)))
	for _, id := range s.inbound {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	return b
}

// parseSnapshot parses a checkpoint. max is the number of the record, which all numbers in it are below.
func parseSnapshot(b []byte, max uint64) (s snapshot, err error) {
	rd := codec.NewReader(b)
	s.session = rd.Uint8() == 1
	for range rd.Count(int(rd.Uvarint32()), 4) {
		f := flight{id: rd.Uint16()}
		flags := rd.Uint8()
		f.qos, f.released, f.seq = mqtt.QoS(flags&3), flags&flagRetain != 0, rd.Uvarint64()
		s.flights = append(s.flights, f)
	}
	next := uint64(0)
	for range rd.Count(int(rd.Uvarint32()), 2) {
		next += rd.Uvarint64()
		k := rd.Uvarint64()
		if rd.Err() != nil || next > max || k > max-next {
			return s, errRecord
		}
		for range k {
			s.waiting = append(s.waiting, next)
			next++
		}
	}
	for range rd.Count(int(rd.Uvarint32()), 2) {
		s.inbound = append(s.inbound, rd.Uint16())
	}
	return s, rd.Err()
}
