package codec

import (
	"bytes"
	"errors"
	"testing"
)

func TestReaderFields(t *testing.T) {
	in := []byte{
		0xfe, 0x01, 0x02, 0xff, 0xff, 0xff, 0xfd,
		0, 0, 0, 0, 0, 0, 0, 9,
		0, 2, 'h', 'i',
		0, 0, 0, 1, 'x',
		'a', 'b', 'c', 'd',
	}
	r := NewReader(in)
	if got := r.Int8(); got != -2 {
		t.Errorf("Int8 = %d", got)
	}
	if got := r.Uint16(); got != 0x0102 {
		t.Errorf("Uint16 = %#x", got)
	}
	if got := r.Int32(); got != -3 {
		t.Errorf("Int32 = %d", got)
	}
	if got := r.Int64(); got != 9 {
		t.Errorf("Int64 = %d", got)
	}
	if got := r.Bytes16(); string(got) != "hi" || cap(got) != 2 {
		t.Errorf("Bytes16 = %q, cap %d", got, cap(got))
	}
	if got := r.Bytes32(); string(got) != "x" || cap(got) != 1 {
		t.Errorf("Bytes32 = %q, cap %d", got, cap(got))
	}
	if got := r.Bytes(1); string(got) != "a" || cap(got) != 1 {
		t.Errorf("Bytes = %q, cap %d", got, cap(got))
	}
	r.Skip(1)
	if got := r.Rest(); string(got) != "cd" {
		t.Errorf("Rest = %q", got)
	}
	if r.Err() != nil || r.Len() != 0 || r.Offset() != len(in) {
		t.Errorf("at the end: Err %v, Len %d, Offset %d", r.Err(), r.Len(), r.Offset())
	}
}

// reads has each method with an input that is one byte short for it.
var reads = map[string]struct {
	short []byte
	read  func(r *Reader) any
}{
	"Uint8":     {nil, func(r *Reader) any { return r.Uint8() }},
	"Uint16":    {[]byte{1}, func(r *Reader) any { return r.Uint16() }},
	"Uint32":    {[]byte{1, 2, 3}, func(r *Reader) any { return r.Uint32() }},
	"Uint64":    {[]byte{1, 2, 3, 4, 5, 6, 7}, func(r *Reader) any { return r.Uint64() }},
	"Int8":      {nil, func(r *Reader) any { return r.Int8() }},
	"Int16":     {[]byte{1}, func(r *Reader) any { return r.Int16() }},
	"Int32":     {[]byte{1, 2, 3}, func(r *Reader) any { return r.Int32() }},
	"Int64":     {[]byte{1, 2, 3, 4, 5, 6, 7}, func(r *Reader) any { return r.Int64() }},
	"Bytes":     {[]byte{1, 2}, func(r *Reader) any { return r.Bytes(3) }},
	"Bytes<0":   {[]byte{1, 2}, func(r *Reader) any { return r.Bytes(-1) }},
	"Bytes16":   {[]byte{0, 3, 1, 2}, func(r *Reader) any { return r.Bytes16() }},
	"Bytes16#":  {[]byte{0}, func(r *Reader) any { return r.Bytes16() }},
	"Bytes32":   {[]byte{0, 0, 0, 1}, func(r *Reader) any { return r.Bytes32() }},
	"Bytes32#":  {[]byte{0xff, 0xff, 0xff, 0xff, 1}, func(r *Reader) any { return r.Bytes32() }},
	"Skip":      {[]byte{1}, func(r *Reader) any { r.Skip(2); return 0 }},
	"Skip<0":    {[]byte{1}, func(r *Reader) any { r.Skip(-1); return 0 }},
	"Uvarint28": {[]byte{0x80, 0x80}, func(r *Reader) any { return r.Uvarint28() }},
	"Uvarint32": {[]byte{0x80, 0x80}, func(r *Reader) any { return r.Uvarint32() }},
	"Uvarint64": {[]byte{0x80, 0x80}, func(r *Reader) any { return r.Uvarint64() }},
	"Varint32":  {[]byte{0x80, 0x80}, func(r *Reader) any { return r.Varint32() }},
	"Varint64":  {[]byte{0x80, 0x80}, func(r *Reader) any { return r.Varint64() }},
}

func isZero(v any) bool {
	b, ok := v.([]byte)
	if ok {
		return b == nil
	}
	return v == uint8(0) || v == uint16(0) || v == uint32(0) || v == uint64(0) ||
		v == int8(0) || v == int16(0) || v == int32(0) || v == int64(0) || v == 0
}

func TestReaderShort(t *testing.T) {
	for name, c := range reads {
		t.Run(name, func(t *testing.T) {
			r := NewReader(c.short)
			if got := c.read(&r); !isZero(got) {
				t.Errorf("got %v", got)
			}
			if !errors.Is(r.Err(), ErrShort) {
				t.Fatalf("Err = %v, want ErrShort", r.Err())
			}
		})
	}
}

func TestReaderErrorSticks(t *testing.T) {
	why := errors.New("why")
	for name, c := range reads {
		t.Run(name, func(t *testing.T) {
			r := NewReader(bytes.Repeat([]byte{1}, 64))
			r.Skip(5)
			r.Fail(why)
			if got := c.read(&r); !isZero(got) {
				t.Errorf("after a failure got %v", got)
			}
			r.Fail(ErrLimit)
			var e *Error
			if !errors.As(r.Err(), &e) || e.Err != why || e.Offset != 5 {
				t.Errorf("Err = %v, want why at 5", r.Err())
			}
			if r.Len() != 0 || r.Offset() != 5 {
				t.Errorf("Len %d, Offset %d", r.Len(), r.Offset())
			}
			if r.Rest() != nil || r.Bytes(0) != nil || r.Count(0, 1) != 0 {
				t.Error("Rest, Bytes or Count gives something after a failure")
			}
			sub := r.Sub(0)
			if !errors.Is(sub.Err(), why) {
				t.Errorf("Sub after a failure: %v", sub.Err())
			}
		})
	}
}

func TestReaderFailNil(t *testing.T) {
	r := NewReader([]byte{7})
	r.Fail(nil)
	if r.Err() != nil || r.Uint8() != 7 {
		t.Error("Fail(nil) made the reader fail")
	}
}

func TestReaderSub(t *testing.T) {
	r := NewReader([]byte{1, 2, 3, 4})
	r.Skip(1)
	sub := r.Sub(2)
	if got := r.Uint8(); got != 4 {
		t.Errorf("after Sub: %d", got)
	}
	if got := sub.Uint16(); got != 0x0203 || sub.Len() != 0 {
		t.Errorf("in Sub: %#x, %d left", got, sub.Len())
	}
	sub.Uint8()
	if got := sub.Err().Error(); got != "input is too short at offset 3" {
		t.Errorf("error of Sub: %q", got)
	}
	if r.Err() != nil {
		t.Errorf("the whole failed with its part: %v", r.Err())
	}
	r.Fail(sub.Err())
	if r.Err() != sub.Err() {
		t.Errorf("Fail wraps an *Error again: %v", r.Err())
	}
	r = NewReader([]byte{1})
	sub = r.Sub(2)
	if !errors.Is(r.Err(), ErrShort) || !errors.Is(sub.Err(), ErrShort) {
		t.Errorf("Sub beyond the end: %v, %v", r.Err(), sub.Err())
	}
}

func TestReaderCount(t *testing.T) {
	for _, c := range []struct {
		n, size, want int
	}{
		{0, 4, 0}, {2, 4, 2}, {3, 4, -1}, {-1, 4, -1}, {1 << 30, 1 << 20, -1},
		{10, 0, 10}, {11, 0, -1}, {11, -5, -1}, {1, 11, -1},
	} {
		r := NewReader(make([]byte, 10))
		got := r.Count(c.n, c.size)
		if c.want < 0 {
			if got != 0 || !errors.Is(r.Err(), ErrLimit) {
				t.Errorf("Count(%d, %d) = %d, %v, want ErrLimit", c.n, c.size, got, r.Err())
			}
		} else if got != c.want || r.Err() != nil {
			t.Errorf("Count(%d, %d) = %d, %v", c.n, c.size, got, r.Err())
		}
	}
}

// publish is a PUBLISH-like record: header, length, topic, id, properties, payload.
func publish() []byte {
	b := []byte{0x32}
	b = AppendUvarint28(b, 2+10+2+1+256)
	b = AppendString16(b, "sport/golf")
	b = append(b, 0, 7, 0)
	return append(b, make([]byte, 256)...)
}

type publishFields struct {
	topic, props, payload []byte
	id                    uint16
	flags                 byte
}

func (p *publishFields) decode(b []byte) error {
	r := NewReader(b)
	p.flags = r.Uint8()
	if n := r.Uvarint28(); int(n) != r.Len() {
		r.Fail(ErrShort)
	}
	p.topic = r.Bytes16()
	p.id = r.Uint16()
	p.props = r.Bytes(int(r.Uvarint28()))
	p.payload = r.Rest()
	return r.Err()
}

func TestReaderAllocatesNothing(t *testing.T) {
	b := publish()
	var p publishFields
	n := testing.AllocsPerRun(100, func() {
		if err := p.decode(b); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	if string(p.topic) != "sport/golf" || p.id != 7 || len(p.payload) != 256 {
		t.Errorf("decoded %+v", p)
	}
}

func BenchmarkReaderPublish(b *testing.B) {
	in := publish()
	var p publishFields
	b.ReportAllocs()
	for b.Loop() {
		if p.decode(in) != nil {
			b.Fatal("failed")
		}
	}
}

// FuzzReader runs a program of reads, one per byte of ops, over b: no panic,
// nothing beyond the input, and the offset only grows.
func FuzzReader(f *testing.F) {
	f.Add(publish(), []byte{0, 7, 5, 1, 6})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff}, []byte{8, 9, 10, 11, 12})
	f.Fuzz(func(t *testing.T, b, ops []byte) {
		r := NewReader(b)
		for _, op := range ops {
			before, failed := r.Offset(), r.Err() != nil
			var got []byte
			switch op % 16 {
			case 0:
				r.Uint8()
			case 1:
				r.Uint16()
			case 2:
				r.Uint32()
			case 3:
				r.Uint64()
			case 4:
				got = r.Bytes(int(op))
			case 5:
				got = r.Bytes16()
			case 6:
				got = r.Bytes32()
			case 7:
				r.Uvarint28()
			case 8:
				r.Uvarint32()
			case 9:
				r.Uvarint64()
			case 10:
				r.Varint32()
			case 11:
				r.Varint64()
			case 12:
				if n := r.Count(int(r.Int32()), int(op>>4)); n > len(b) {
					t.Fatalf("Count = %d of %d bytes", n, len(b))
				}
			case 13:
				sub := r.Sub(int(op >> 4))
				got = sub.Rest()
			case 14:
				r.Skip(int(op >> 4))
			case 15:
				got = r.Rest()
			}
			if cap(got) != len(got) || len(got) > len(b) {
				t.Fatalf("got %d bytes, capacity %d", len(got), cap(got))
			}
			if failed && got != nil {
				t.Fatal("bytes after a failure")
			}
			if r.Offset() < before || r.Offset() > len(b) || r.Len() < 0 {
				t.Fatalf("offset %d after %d, %d left", r.Offset(), before, r.Len())
			}
		}
	})
}
