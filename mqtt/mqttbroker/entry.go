package mqttbroker

import (
	"encoding/binary"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/mqtt"
)

// entry is a message on its way to one session in the form in which it is stored: by number, without the body.
type entry struct {
	seq     uint64
	size    uint32 // what the message counts, see Message.bytes
	qos     mqtt.QoS
	retain  bool
	expires int64    // unix milliseconds, 0 is never
	ids     []uint32 // subscription identifiers
	group   string   // the filter of the shared subscription by which it came
}

// The flags of an entry. QoS is below.
const (
	entryRetain  = 1 << 2
	entryIDs     = 1 << 3
	entryGroup   = 1 << 4
	entryExpires = 1 << 5
)

// appendEntry appends e. Its number is written as the distance to prev.
func appendEntry(dst []byte, e *entry, prev uint64) []byte {
	dst = binary.AppendVarint(dst, int64(e.seq-prev))
	flags := byte(e.qos)
	if e.retain {
		flags |= entryRetain
	}
	if len(e.ids) > 0 {
		flags |= entryIDs
	}
	if e.group != "" {
		flags |= entryGroup
	}
	if e.expires != 0 {
		flags |= entryExpires
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(e.size))
	if len(e.ids) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(e.ids)))
		for _, id := range e.ids {
			dst = binary.AppendUvarint(dst, uint64(id))
		}
	}
	if e.group != "" {
		dst = appendText(dst, e.group)
	}
	if e.expires != 0 {
		dst = binary.AppendUvarint(dst, uint64(e.expires))
	}
	return dst
}

// readEntry reads an entry.
func readEntry(r *codec.Reader, prev uint64) (e entry) {
	e.seq = prev + uint64(r.Varint64())
	flags := r.Uint8()
	e.qos, e.retain = mqtt.QoS(flags&3), flags&entryRetain != 0
	e.size = r.Uvarint32()
	if flags&entryIDs != 0 {
		e.ids = make([]uint32, r.Count(int(r.Uvarint32()), 1))
		for i := range e.ids {
			e.ids[i] = r.Uvarint32()
		}
	}
	if flags&entryGroup != 0 {
		e.group = readText(r)
	}
	if flags&entryExpires != 0 {
		e.expires = int64(r.Uvarint64())
	}
	return e
}

// entryOf returns ref, a *Message or an *outgoing, as an entry.
func entryOf(ref any) entry {
	if e, ok := ref.(*entry); ok {
		return *e
	}
	m, qos, retain, ids := unpack(ref)
	e := entry{seq: m.seq, size: uint32(m.bytes()), qos: qos, retain: retain, expires: m.expiry(), ids: ids}
	if o, ok := ref.(*outgoing); ok && o.member != nil {
		e.group = o.member.filter
	}
	return e
}

// ref returns how the entry travels, with its message. member is the member of the shared subscription by which it came.
func (e *entry) ref(m *Message, member *subscription) any {
	if e.qos == 0 {
		return &outgoing{m: m, retain: e.retain, ids: e.ids, member: member, recorded: true}
	}
	return refOf(m, e.qos, e.retain, e.ids, member)
}

// appendText and readText write and read a string with its length.
func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func readText(r *codec.Reader) string { return string(readBytes(r)) }

func readBytes(r *codec.Reader) []byte {
	n := r.Uvarint64()
	if n > uint64(r.Len()) {
		r.Fail(codec.ErrShort)
		return nil
	}
	return r.Bytes(int(n))
}

// entries is a list of entries in their stored form. The zero value is empty.
type entries struct {
	b     []byte
	off   int
	n     int
	bytes int    // what their messages count
	first uint64 // what the number of the first one is relative to
	last  uint64 // the number of the last one
}

func (l *entries) push(e *entry) {
	if l.n == 0 {
		l.first, l.last = 0, 0
	}
	if l.off > 0 && l.off >= len(l.b)/2 {
		l.b, l.off = l.b[:copy(l.b, l.b[l.off:])], 0
	}
	l.b = appendEntry(l.b, e, l.last)
	l.last = e.seq
	l.n++
	l.bytes += int(e.size)
}

// pop takes the first entry out, which there must be.
func (l *entries) pop() entry {
	r := codec.NewReader(l.b[l.off:])
	e := readEntry(&r, l.first)
	l.off += r.Offset()
	l.first = e.seq
	l.n--
	l.bytes -= int(e.size)
	if l.n == 0 {
		*l = entries{}
	}
	return e
}

// front returns the first entry, which there must be.
func (l *entries) front() entry {
	r := codec.NewReader(l.b[l.off:])
	return readEntry(&r, l.first)
}

// prepend puts the entries of other in front.
func (l *entries) prepend(other *entries) {
	for rest := *l; rest.n > 0; {
		e := rest.pop()
		other.push(&e)
	}
	*l = *other
}

// appendTo appends the list.
func (l *entries) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(l.n))
	if l.n == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(l.bytes))
	dst = binary.AppendUvarint(dst, l.first)
	dst = binary.AppendUvarint(dst, l.last)
	dst = binary.AppendUvarint(dst, uint64(len(l.b)-l.off))
	return append(dst, l.b[l.off:]...)
}

// readEntries reads a list, whose bytes are those of the reader.
func readEntries(r *codec.Reader) (l entries) {
	if l.n = int(r.Uvarint32()); l.n == 0 {
		return entries{}
	}
	l.bytes = int(r.Uvarint64())
	l.first, l.last = r.Uvarint64(), r.Uvarint64()
	l.b = readBytes(r)
	if l.n > len(l.b) { // each takes three bytes at least
		r.Fail(codec.ErrShort)
	}
	return l
}

// parseEntries parses a list. Its bytes are those of b.
func parseEntries(b []byte) (entries, error) {
	r := codec.NewReader(b)
	l := readEntries(&r)
	return l, r.Err()
}

// expired reports whether the entry's message is not to be delivered any more.
func (e *entry) expired(now int64) bool { return e.expires != 0 && now >= e.expires }
