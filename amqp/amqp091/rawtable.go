package amqp091

import (
	"iter"

	"github.com/quartet-mq/quartet/codec"
)

// MaxDepth is how deeply tables and arrays may be nested in each other; a table whose values are simple has depth 1.
const MaxDepth = 64

// RawTable is the content of a field table as on the wire, without the length before it: fields one after the other.
// So the concatenation of two is a table too. Nil is the empty table. Methods that read it stop at what is malformed;
// [RawTable.Validate] tells whether something is.
type RawTable []byte

// All iterates over the fields in their order. Keys and values are parts of t. It allocates nothing.
func (t RawTable) All() iter.Seq2[[]byte, RawValue] {
	return func(yield func([]byte, RawValue) bool) {
		for len(t) > 0 {
			key, v, rest, ok := t.Next()
			if !ok || !yield(key, v) {
				return
			}
			t = rest
		}
	}
}

// Next returns the first field and the table of the others. It returns false when there is none or it is malformed.
func (t RawTable) Next() (key []byte, v RawValue, rest RawTable, ok bool) {
	if len(t) == 0 || len(t) < 1+int(t[0]) {
		return nil, RawValue{}, nil, false
	}
	n := 1 + int(t[0])
	v, tail, ok := nextValue(t[n:])
	if !ok {
		return nil, RawValue{}, nil, false
	}
	return t[1:n:n], v, tail, true
}

// Get returns the value of the first field with a key.
func (t RawTable) Get(key string) (RawValue, bool) {
	for len(t) > 0 {
		k, v, rest, ok := t.Next()
		if !ok {
			break
		}
		if string(k) == key {
			return v, true
		}
		t = rest
	}
	return RawValue{}, false
}

// Len returns the number of fields.
func (t RawTable) Len() (n int) {
	for range t.All() {
		n++
	}
	return n
}

// Validate returns an error, a FRAME_ERROR, when t is not a sequence of whole fields with known types, or nested more
// than [MaxDepth].
func (t RawTable) Validate() error {
	if err := validTable(t, 1); err != nil {
		return &Error{Code: FrameError, Text: "cannot decode a table", Hard: true, Err: err}
	}
	return nil
}

func validTable(t RawTable, depth int) error {
	if depth > MaxDepth {
		return errDepth
	}
	for len(t) > 0 {
		_, v, rest, ok := t.Next()
		if !ok {
			return malformedField(t)
		}
		if err := v.valid(depth); err != nil {
			return err
		}
		t = rest
	}
	return nil
}

// malformedField tells what is wrong with the first field of t.
func malformedField(t RawTable) error {
	if n := 1 + int(t[0]); len(t) > n {
		return malformedValue(t[n:])
	}
	return codec.ErrShort
}

// Decode returns the decoded table. Nothing of it is part of t. The error is that of Validate.
func (t RawTable) Decode() (Table, error) {
	out, err := decodeTable(t, 1)
	if err != nil {
		return nil, &Error{Code: FrameError, Text: "cannot decode a table", Hard: true, Err: err}
	}
	return out, nil
}

func decodeTable(t RawTable, depth int) (Table, error) {
	if depth > MaxDepth {
		return nil, errDepth
	}
	n := t.Len()
	if n == 0 {
		if len(t) > 0 {
			return nil, malformedField(t)
		}
		return nil, nil
	}
	out := make(Table, 0, n)
	for len(t) > 0 {
		key, v, rest, ok := t.Next()
		if !ok {
			return nil, malformedField(t)
		}
		value, err := v.decode(depth)
		if err != nil {
			return nil, err
		}
		out = append(out, Field{Key: string(key), Value: value})
		t = rest
	}
	return out, nil
}

// AppendWithout appends the fields of t whose key is not one of keys. t must be valid.
func (t RawTable) AppendWithout(dst []byte, keys ...string) []byte {
	for len(t) > 0 {
		key, _, rest, ok := t.Next()
		if !ok {
			break
		}
		if !contains(keys, key) {
			dst = append(dst, t[:len(t)-len(rest)]...)
		}
		t = rest
	}
	return dst
}

func contains(keys []string, key []byte) bool {
	for _, k := range keys {
		if string(key) == k {
			return true
		}
	}
	return false
}
