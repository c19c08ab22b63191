package kafkawire

import (
	"math"

	"github.com/quartet-mq/quartet/codec"
)

// walk reads the parts of a message in place, for the views of requests. It is as strict as Decode.
type walk struct {
	codec.Reader
	version  int16
	flexible bool
}

func (w *walk) length() int {
	if w.flexible {
		v := w.Uvarint32()
		if v > math.MaxInt32 {
			w.Fail(codec.ErrLimit)
			return 0
		}
		return int(v) - 1
	}
	return w.legal(int(w.Int32()))
}

// legal refuses lengths below that of null.
func (w *walk) legal(n int) int {
	if n < -1 {
		w.Fail(codec.ErrSyntax)
		return 0
	}
	return n
}

// text reads a string, nil for null.
func (w *walk) text() []byte {
	n := 0
	if w.flexible {
		n = w.length()
	} else {
		n = w.legal(int(w.Int16()))
	}
	if n < 0 {
		return nil
	}
	return w.Bytes(n)
}

// notNull refuses null.
func (w *walk) notNull(b []byte) []byte {
	if b == nil {
		w.Fail(ErrNull)
	}
	return b
}

// bytes reads bytes, nil for null.
func (w *walk) bytes() []byte {
	n := w.length()
	if n < 0 {
		return nil
	}
	return w.Bytes(n)
}

// array reads the number of elements of an array that cannot be null.
func (w *walk) array(size int) int {
	n := w.length()
	if n < 0 {
		w.Fail(ErrNull)
		return 0
	}
	return w.Count(n, size)
}

// tagged is where a walk is among the tagged fields of a structure.
type tagged struct {
	id    uint32
	left  uint32
	begun bool
	outer codec.Reader
}

// tags begins to read the tagged fields at the end of a structure.
func (w *walk) tags() (t tagged) {
	if w.flexible {
		t.left = w.Uvarint32()
	}
	return t
}

// next goes to the next tagged field, which w then reads, and nothing beyond it.
func (t *tagged) next(w *walk) bool {
	if t.begun {
		if w.Err() == nil && w.Len() > 0 {
			w.Fail(ErrTrailing)
		}
		t.outer.Fail(w.Err())
		w.Reader = t.outer
	}
	if t.left == 0 || w.Err() != nil {
		return false
	}
	t.left--
	id := w.Uvarint32()
	if t.begun && id <= t.id && w.Err() == nil {
		w.Fail(ErrTags)
	}
	t.id, t.begun = id, true
	size := min(w.Uvarint32(), uint32(w.Len())+1)
	field := w.Sub(int(size))
	t.outer, w.Reader = w.Reader, field
	return true
}

// skipTags passes over tagged fields.
func (w *walk) skipTags() {
	t := w.tags()
	for t.next(w) {
		w.Skip(w.Len())
	}
}

// end returns the error of the walk, or of bytes that are left.
func (w *walk) end(message string) error {
	rest := 0
	if w.Err() == nil && w.Len() > 0 {
		rest = w.Len()
		w.Fail(ErrTrailing)
	}
	if err := w.Err(); err != nil {
		return &Error{Message: message, Version: w.version, Rest: rest, Err: err}
	}
	return nil
}

// Topic is the topic at which a view of a request is.
type Topic struct {
	// Name is part of the input, nil in versions with ids.
	Name []byte

	// ID is zero in versions without ids.
	ID UUID

	// Index is the place of the topic in the request, from 0.
	Index int
}

// topics is a place in an array of topics that have arrays of partitions in them. Both requests with views have ids of
// topics from version 13 on.
type topics struct {
	walk
	left    int // topics
	inTopic int // partitions left in the topic
	begun   bool
	topic   Topic
}

func newTopics(w walk, n int) topics { return topics{walk: w, left: n, topic: Topic{Index: -1}} }

// next goes to the next partition, of which each takes at least size bytes.
func (t *topics) next(size int) bool {
	for t.inTopic == 0 {
		if t.begun {
			t.begun = false
			t.skipTags()
		}
		if t.left == 0 || t.Err() != nil {
			return false
		}
		t.left--
		t.begun = true
		t.topic.Index++
		if t.version <= 12 {
			t.topic.Name = t.notNull(t.text())
		} else {
			copy(t.topic.ID[:], t.Bytes(len(t.topic.ID)))
		}
		t.inTopic = t.array(size)
	}
	t.inTopic--
	return t.Err() == nil
}
