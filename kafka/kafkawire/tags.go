package kafkawire

import (
	"slices"

	"github.com/quartet-mq/quartet/codec"
)

// tags walks over the tagged fields at the end of a structure, in the order of their numbers. Encoding, it stops at each
// number that there may be and [tags.has] tells whether the field is there; decoding, at each field that there is.
type tags struct {
	id    uint32
	known uint32 // the schema knows ids below this
	count uint32 // encoding: fields written; decoding: fields left
	done  int    // encoding: how many unknown ones were written
	begun bool   // there is a field before

	finished bool // there is no field

	head, body int          // encoding: where the fields and the field that is being written start
	outer      codec.Reader // decoding: what comes after the field
}

// tags starts at the end of a structure of which the schema knows the tags below known. Encoding, unset says that no
// field is set.
func (c *coder) tags(known uint32, unset bool) (t tags) {
	switch {
	case !c.flexible:
		t.finished = unset
	case c.decoding:
		t.count = c.r.Uvarint32()
		t.finished = t.count == 0
	case unset:
		c.out = append(c.out, 0)
		t.finished = true
	default:
		t.known, t.head = known, len(c.out)
	}
	return t
}

// unknownTags codes the tagged fields of a structure for which the schema knows none.
func (c *coder) unknownTags(list *[]Tag) {
	t := c.tags(0, len(*list) == 0)
	for t.next(c, *list) {
		t.unknown(c, list)
	}
}

// next goes to the next field; list are the fields that the schema does not know.
func (t *tags) next(c *coder, list []Tag) bool {
	if t.finished {
		return false
	}
	return t.step(c, list)
}

func (t *tags) step(c *coder, list []Tag) bool {
	switch {
	case !c.flexible:
		if !c.decoding && len(list) > 0 {
			c.missing("UnknownTags")
		}
		return false
	case c.decoding:
		return t.nextDecoding(c)
	}
	return t.nextEncoding(c, list)
}

func (t *tags) nextDecoding(c *coder) bool {
	if t.begun {
		if c.r.Err() == nil && c.r.Len() > 0 {
			c.r.Fail(ErrTrailing)
		}
		t.outer.Fail(c.r.Err())
		c.r = t.outer
	}
	if t.count == 0 || c.r.Err() != nil {
		return false
	}
	t.count--
	id := c.r.Uvarint32()
	if t.begun && id <= t.id && c.r.Err() == nil {
		c.r.Fail(ErrTags)
	}
	t.id, t.begun = id, true
	size := min(c.r.Uvarint32(), uint32(c.r.Len())+1) // one too many fails for want of input
	part := c.r.Sub(int(size))
	t.outer, c.r = c.r, part
	return true
}

func (t *tags) nextEncoding(c *coder, list []Tag) bool {
	t.endField(c)
	if t.begun {
		t.id++
	}
	t.begun = true
	switch {
	case t.id < t.known:
		return true
	case t.done < len(list):
		if id := list[t.done].ID; id >= t.id {
			t.id = id
			return true
		}
		c.fail("UnknownTags", ErrTags)
	}
	c.out = insertUvarint(c.out, t.head, t.count)
	return false
}

// endField puts the size before the field that was written.
func (t *tags) endField(c *coder) {
	if t.body > 0 {
		c.out = insertUvarint(c.out, t.body, uint32(len(c.out)-t.body))
		t.body = 0
	}
}

// has reports whether the field is to be coded, now. Encoding, that is when it is set.
func (t *tags) has(c *coder, set bool) bool {
	if c.decoding || !set {
		return c.decoding
	}
	c.out = codec.AppendUvarint32(c.out, t.id)
	t.body = len(c.out)
	t.count++
	return true
}

// unknown codes a field that the schema does not know.
func (t *tags) unknown(c *coder, list *[]Tag) {
	if c.decoding {
		if tag := (Tag{ID: t.id, Data: c.r.Bytes(c.r.Len())}); c.more(1) > 0 && c.r.Err() == nil {
			*list = append(*list, tag)
		}
		return
	}
	if t.done == len(*list) || (*list)[t.done].ID != t.id {
		return
	}
	tag := &(*list)[t.done]
	c.out = codec.AppendUvarint32(c.out, t.id)
	c.out = codec.AppendUvarint32(c.out, uint32(len(tag.Data)))
	c.out = append(c.out, tag.Data...)
	t.count++
	t.done++
}

// insertUvarint moves what starts at an offset for a number before it.
func insertUvarint(b []byte, at int, v uint32) []byte {
	n := codec.SizeUvarint32(v)
	b = slices.Grow(b, n)
	b = b[:len(b)+n]
	copy(b[at+n:], b[at:])
	codec.AppendUvarint32(b[:at], v)
	return b
}
