package kafkawire

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/quartet-mq/quartet/codec"
)

// coder codes the fields of a message in one direction: its methods take pointers, from which they append or through
// which they set what they read. So there is one generated method per struct and not two. The first failure sticks.
type coder struct {
	message  string
	version  int16
	flexible bool
	decoding bool
	large    bool  // decoding: there is little text in much input
	depth    uint8 // decoding: of counts
	limit    int   // decoding: of elements, 0: none
	elements int   // decoding: of all arrays so far
	err      *Error

	out   []byte // encoding: what was appended so far
	start int    // its length in the beginning

	in   []byte // decoding
	r    codec.Reader
	text string // a copy of in, once there is a string, unless it is large
	part strings.Builder

	counts   [8]int // elements that are left of the arrays around
	strings  slab[string]
	topics   slab[TopicName]
	numbers  slab[int32]
	replicas slab[BrokerID]
}

// large is the size above which messages with bytes in them are not copied for the sake of their strings.
const large = 4 << 10

// encode prepares for encoding and reports whether there is such a version.
func (c *coder) encode(dst []byte, version int16, message string, low, high, flexible int16) bool {
	c.out, c.start = dst, len(dst)
	return c.begin(version, message, low, high, flexible)
}

// decode prepares for decoding and reports whether there is such a version.
func (c *coder) decode(b []byte, version int16, message string, low, high, flexible int16) bool {
	c.decoding, c.in, c.r = true, b, codec.NewReader(b)
	return c.begin(version, message, low, high, flexible)
}

func (c *coder) begin(version int16, message string, low, high, flexible int16) bool {
	c.message, c.version, c.flexible = message, version, version >= flexible
	if version < low || version > high {
		c.fail("", ErrVersion)
		return false
	}
	return true
}

// fail notes the first failure.
func (c *coder) fail(field string, why error) {
	if c.err == nil && c.r.Err() == nil {
		c.err = &Error{Message: c.message, Version: c.version, Field: field, Err: why}
		if c.decoding {
			c.r.Fail(why)
			c.err.Err = c.r.Err()
		}
	}
}

// appended is the result of Append.
func (c *coder) appended() ([]byte, error) {
	if c.err != nil {
		return c.out[:c.start], c.err
	}
	return c.out, nil
}

// decoded is the result of Decode.
func (c *coder) decoded() error {
	rest := 0
	if c.err == nil && c.r.Err() == nil && c.r.Len() > 0 {
		rest = c.r.Len()
		c.r.Fail(ErrTrailing)
	}
	if err := c.r.Err(); err != nil && c.err == nil {
		c.err = &Error{Message: c.message, Version: c.version, Rest: rest, Err: err}
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

// missing fails because a field is set that the version lacks.
func (c *coder) missing(field string) { c.fail(field, ErrField) }

// notNull fails when a field is null that cannot be.
func (c *coder) notNull(isNull bool, field string) {
	if isNull {
		c.fail(field, ErrNull)
	}
}

func (c *coder) bool(p *bool) {
	if c.decoding {
		*p = c.r.Uint8() != 0
		return
	}
	b := byte(0)
	if *p {
		b = 1
	}
	c.out = append(c.out, b)
}

func (c *coder) int8(p *int8) {
	if c.decoding {
		*p = c.r.Int8()
		return
	}
	c.out = append(c.out, byte(*p))
}

func (c *coder) int16(p *int16) {
	if c.decoding {
		*p = c.r.Int16()
		return
	}
	c.out = binary.BigEndian.AppendUint16(c.out, uint16(*p))
}

func (c *coder) uint16(p *uint16) {
	if c.decoding {
		*p = c.r.Uint16()
		return
	}
	c.out = binary.BigEndian.AppendUint16(c.out, *p)
}

func (c *coder) int32(p *int32) {
	if c.decoding {
		*p = c.r.Int32()
		return
	}
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(*p))
}

func (c *coder) int64(p *int64) {
	if c.decoding {
		*p = c.r.Int64()
		return
	}
	c.out = binary.BigEndian.AppendUint64(c.out, uint64(*p))
}

func (c *coder) float64(p *float64) {
	if c.decoding {
		*p = math.Float64frombits(c.r.Uint64())
		return
	}
	c.out = binary.BigEndian.AppendUint64(c.out, math.Float64bits(*p))
}

func (c *coder) uuid(p *UUID) {
	if c.decoding {
		copy(p[:], c.r.Bytes(len(p)))
		return
	}
	c.out = append(c.out, p[:]...)
}

// present codes the byte before a structure that can be null.
func (c *coder) present(is bool) bool {
	mark := int8(-1)
	if is {
		mark = 1
	}
	c.int8(&mark)
	return mark >= 0
}

// length codes the length of bytes or of an array, -1 for null; decoding, lengths below that fail.
func (c *coder) length(n int) int {
	switch {
	case !c.decoding && c.flexible && n < 0x7f:
		c.out = append(c.out, byte(n+1))
	case !c.decoding && n > math.MaxInt32-1:
		c.fail("", ErrLong)
	case !c.decoding && c.flexible:
		c.out = codec.AppendUvarint32(c.out, uint32(n+1))
	case !c.decoding:
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(int32(n)))
	case c.flexible:
		v := c.r.Uvarint32()
		if v > math.MaxInt32 {
			c.r.Fail(codec.ErrLimit)
			return 0
		}
		return int(v) - 1
	default:
		n = int(c.r.Int32())
		if n < -1 {
			c.r.Fail(codec.ErrSyntax)
			return 0
		}
	}
	return n
}

// stringLength codes the length of a string, -1 for null. Flexible versions could have longer ones; Apache Kafka does not take
// them, and other messages, such as records of coordinators, have no room for them.
func (c *coder) stringLength(n int) int {
	switch {
	case c.flexible && n <= math.MaxInt16:
		if n = c.length(n); n > math.MaxInt16 {
			c.r.Fail(codec.ErrLimit)
			return 0
		}
		return n
	case c.decoding:
		n = int(c.r.Int16())
		if n < -1 {
			c.r.Fail(codec.ErrSyntax)
			return 0
		}
		return n
	case n > math.MaxInt16:
		c.fail("", ErrLong)
	default:
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(int16(n)))
	}
	return n
}

func (c *coder) string(p *string) {
	if !c.decoding {
		c.stringLength(len(*p))
		c.out = append(c.out, *p...)
		return
	}
	n := c.stringLength(0)
	if n < 0 {
		c.r.Fail(ErrNull)
		return
	}
	*p = c.take(n)
}

// take reads the text of a string.
func (c *coder) take(n int) string {
	b := c.r.Bytes(n)
	if len(b) == 0 {
		return ""
	}
	if c.large {
		return c.gather(b)
	}
	if c.text == "" {
		c.text = string(c.in)
	}
	end := c.r.Offset()
	return c.text[end-n : end]
}

// gather copies text behind the text before it: strings share memory although there is no copy of the whole input.
// What is in a Builder does not change when more is written to it.
func (c *coder) gather(b []byte) string {
	if c.part.Cap()-c.part.Len() < len(b) {
		size := max(512, 2*c.part.Cap(), len(b)*c.siblings())
		c.part = strings.Builder{}
		c.part.Grow(max(len(b), min(size, len(b)+c.r.Len())))
	}
	at := c.part.Len()
	c.part.Write(b)
	return c.part.String()[at:]
}

func (c *coder) nullString(p **string)                   { nullString(c, p, &c.strings) }
func (c *coder) nullTopicName(p **TopicName)             { nullString(c, p, &c.topics) }
func (c *coder) nullGroupID(p **GroupID)                 { nullString(c, p, nil) }
func (c *coder) nullTransactionalID(p **TransactionalID) { nullString(c, p, nil) }

// nullString codes a string that can be null. The pointers that it makes are into memory that they share.
func nullString[T ~string](c *coder, p **T, s *slab[T]) {
	if !c.decoding {
		if *p == nil {
			c.stringLength(-1)
			return
		}
		c.stringLength(len(**p))
		c.out = append(c.out, **p...)
		return
	}
	n := c.stringLength(0)
	if n < 0 {
		*p = nil
		return
	}
	text := c.take(n)
	if c.r.Err() == nil {
		one := s.take(c, 1, 1)
		one[0] = T(text)
		*p = &one[0]
	}
}

func (c *coder) bytes(p *[]byte) {
	if !c.decoding {
		c.length(len(*p))
		c.out = append(c.out, *p...)
		return
	}
	c.nullBytes(p)
	if *p == nil {
		c.r.Fail(ErrNull)
	}
}

func (c *coder) nullBytes(p *[]byte) {
	if c.decoding {
		*p = nil
		if n := c.length(0); n >= 0 {
			*p = c.r.Bytes(n)
		}
		return
	}
	if *p == nil {
		c.length(-1)
		return
	}
	c.length(len(*p))
	c.out = append(c.out, *p...)
}
