package amqpbroker

import (
	"encoding/binary"
	"errors"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/codec"
)

// recordKind says what a record records. The numbers are on disk; docs/format/amqp.md describes the records.
type recordKind uint8

const (
	recordMessage    recordKind = iota + 1 // a message came to queues, or to a delayed exchange
	recordSpent                            // messages are not in a queue any more
	recordReturned                         // a message was given back so often
	recordAside                            // a message was set aside: deferred, or scheduled
	recordReach                            // messages of a queue below a number may have been delivered
	recordCheckpoint                       // what a queue has
	recordDefined                          // there is something
	recordUndefined                        // and it is gone (tombstone)
	recordCommitted                        // the end of a transaction, with what was acknowledged in it
	recordAborted                          // a transaction was cut off (tombstone)
	recordClean                            // the broker was closed
	recordFired                            // messages are not in a delayed exchange any more (tombstone)
)

// definition is what recordDefined is about. The numbers are on disk.
type definition uint8

const (
	defVhost definition = iota + 1
	defExchange
	defQueue
	defBinding
	defSetting // what an operator has set
)

// names returns how many names tell a definition apart.
func (d definition) names() int {
	switch d {
	case defVhost:
		return 1
	case defExchange, defQueue:
		return 2
	case defBinding:
		return 6
	case defSetting:
		return 4
	}
	return -1
}

// stored is where a definition is recorded. The zero value is nowhere.
type stored struct {
	seq  uint64
	size int
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func readBytes(r *codec.Reader) []byte { return r.Bytes(int(r.Uvarint32())) }

func readText(r *codec.Reader) string { return string(readBytes(r)) }

// errRecord is the error of a record that cannot be understood.
var errRecord = errors.New("amqpbroker: unknown kind of record")

// appendMessage appends the record of a message but for its body: it comes to queues, or to a delayed exchange until it is
// due. tx is 0 for a message that is not in a transaction with others, 1 for the first of those, otherwise the number of the
// first and 1.
func appendMessage(dst []byte, m *message, queues []*queue, d *delayed, from *origin, due int64, tx uint64) []byte {
	dst = append(dst, byte(recordMessage), byte(m.flags&messageStored))
	dst = binary.AppendUvarint(dst, uint64(m.at))
	dst = binary.AppendUvarint(dst, uint64(due))
	dst = binary.AppendUvarint(dst, tx)
	if from == nil {
		dst = append(dst, 0)
	} else {
		dst = binary.AppendUvarint(dst, from.num())
		dst = binary.AppendUvarint(dst, from.seq)
	}
	if d != nil {
		dst = binary.AppendUvarint(append(dst, 1), d.num)
		return appendContent(dst, m)
	}
	dst = binary.AppendUvarint(dst, uint64(len(queues)))
	for _, q := range queues {
		dst = binary.AppendUvarint(dst, q.num)
	}
	return appendContent(dst, m)
}

// appendContent appends what a message is but for its body.
func appendContent(dst []byte, m *message) []byte {
	dst = appendText(dst, m.exchange)
	dst = appendText(dst, m.key)
	dst = binary.AppendUvarint(dst, uint64(len(m.props)))
	return append(dst, m.props...)
}

// messageRecord is a recordMessage that was read. Its slices are those of the record.
type messageRecord struct {
	flags    messageFlags
	at       int64
	due      int64
	tx       uint64
	from     uint64 // the number of a queue, 0 for none
	fromSeq  uint64
	queues   []byte // n numbers
	n        int
	exchange []byte
	key      []byte
	props    []byte
	body     []byte
}

// parse parses a record after its kind.
func (m *messageRecord) parse(b []byte) error {
	r := codec.NewReader(b)
	m.flags, m.at, m.due, m.tx = messageFlags(r.Uint8()), int64(r.Uvarint64()), int64(r.Uvarint64()), r.Uvarint64()
	m.fromSeq = 0
	if m.from = r.Uvarint64(); m.from != 0 {
		m.fromSeq = r.Uvarint64()
	}
	m.n = r.Count(int(r.Uvarint32()), 1)
	start := r.Offset()
	for range m.n {
		r.Uvarint64()
	}
	if r.Err() == nil {
		m.queues = b[start:r.Offset()]
	}
	m.exchange, m.key, m.props = readBytes(&r), readBytes(&r), readBytes(&r)
	m.body = r.Rest()
	return r.Err()
}

// size is message.size of the message.
func (m *messageRecord) size() int { return len(m.exchange) + len(m.key) + len(m.props) + len(m.body) }

// message returns the message, whose bytes it copies.
func (m *messageRecord) message(seq uint64) *message {
	blob := make([]byte, 0, m.size())
	blob = append(blob, m.exchange...)
	blob = append(blob, m.key...)
	blob = append(blob, m.props...)
	blob = append(blob, m.body...)
	x, k, p := len(m.exchange), len(m.exchange)+len(m.key), len(m.exchange)+len(m.key)+len(m.props)
	out := &message{
		exchange: text(blob[:x:x]), key: text(blob[x:k:k]), props: amqp091.RawProperties(blob[k:p:p]), body: blob[p:],
		seq: seq, at: m.at, flags: m.flags & messageStored,
	}
	out.readProperties()
	return out
}

// readMessage reads a message.
func readMessage(r JournalReader, seq uint64) (*message, error) {
	b, err := r.Read(seq)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || recordKind(b[0]) != recordMessage {
		return nil, errRecord
	}
	var m messageRecord
	if err := m.parse(b[1:]); err != nil {
		return nil, err
	}
	return m.message(seq), nil
}

// appendSeqs appends numbers of records.
func appendSeqs(dst []byte, list []spent) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	prev := uint64(0)
	for _, s := range list {
		dst = binary.AppendVarint(dst, int64(s.seq-prev))
		prev = s.seq
	}
	return dst
}

// readSeqs calls f with numbers of records.
func readSeqs(r *codec.Reader, f func(seq uint64)) {
	prev := uint64(0)
	for range r.Count(int(r.Uvarint32()), 1) {
		prev += uint64(r.Varint64())
		if r.Err() == nil {
			f(prev)
		}
	}
}

// appendNames appends the kind and the names of a recordDefined or recordUndefined.
func appendNames(dst []byte, kind recordKind, what definition, names []string) []byte {
	dst = append(dst, byte(kind), byte(what), byte(len(names)))
	for _, name := range names {
		dst = appendText(dst, name)
	}
	return dst
}
