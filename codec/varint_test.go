package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"
)

func TestUvarint28(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		want uint32
	}{
		{[]byte{0}, 0},
		{[]byte{127}, 127},
		{[]byte{0x80, 1}, 128},
		{[]byte{0xff, 0x7f}, 16383},
		{[]byte{0x80, 0x80, 1}, 16384},
		{[]byte{0xff, 0xff, 0x7f}, 2097151},
		{[]byte{0x80, 0x80, 0x80, 1}, 2097152},
		{[]byte{0xff, 0xff, 0xff, 0x7f}, MaxUvarint28},
	} {
		r := NewReader(c.in)
		if got := r.Uvarint28(); got != c.want || r.Err() != nil || r.Len() != 0 {
			t.Errorf("% x: %d, %v, want %d", c.in, got, r.Err(), c.want)
		}
		if got := AppendUvarint28(nil, c.want); !bytes.Equal(got, c.in) {
			t.Errorf("append %d: % x, want % x", c.want, got, c.in)
		}
		if got := SizeUvarint28(c.want); got != len(c.in) {
			t.Errorf("size of %d: %d, want %d", c.want, got, len(c.in))
		}
		for i := range c.in {
			if _, n, err := PeekUvarint28(c.in[:i]); n != 0 || err != nil {
				t.Errorf("peek % x: %d, %v, want more input", c.in[:i], n, err)
			}
		}
		v, n, err := PeekUvarint28(append(bytes.Clone(c.in), 0xff))
		if v != c.want || n != len(c.in) || err != nil {
			t.Errorf("peek % x: %d, %d, %v", c.in, v, n, err)
		}
	}
}

func TestUvarint28Illegal(t *testing.T) {
	for name, in := range map[string][]byte{
		"MQTT-1.5.5-1 0":   {0x80, 0},
		"MQTT-1.5.5-1 1":   {0x81, 0},
		"MQTT-1.5.5-1 127": {0xff, 0x80, 0},
		"five bytes":       {0x80, 0x80, 0x80, 0x80, 1},
		"four and more":    {0xff, 0xff, 0xff, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(in)
			if got := r.Uvarint28(); got != 0 || !errors.Is(r.Err(), ErrSyntax) {
				t.Errorf("read %d, %v", got, r.Err())
			}
			if v, n, err := PeekUvarint28(in); v != 0 || n != 0 || err != ErrSyntax {
				t.Errorf("peek %d, %d, %v", v, n, err)
			}
		})
	}
}

func TestAppendUvarint28DropsHighBits(t *testing.T) {
	if got := AppendUvarint28(nil, MaxUvarint28+2); !bytes.Equal(got, []byte{1}) {
		t.Errorf("% x", got)
	}
}

var edges = []int64{
	0, 1, -1, 63, -64, 64, -65, 127, 128, 8191, -8192, 8192, 1 << 20, -(1 << 20),
	math.MaxInt32, math.MinInt32, 1 << 40, math.MaxInt64, math.MinInt64,
}

func TestVarintEdges(t *testing.T) {
	for _, v := range edges {
		b := AppendVarint64(nil, v)
		r := NewReader(b)
		if got := r.Varint64(); got != v || r.Err() != nil || SizeVarint64(v) != len(b) {
			t.Errorf("varint64 %d: %d, %v, size %d of %d", v, got, r.Err(), SizeVarint64(v), len(b))
		}
		b = AppendVarint32(nil, int32(v))
		r = NewReader(b)
		if got := r.Varint32(); got != int32(v) || r.Err() != nil || SizeVarint32(int32(v)) != len(b) {
			t.Errorf("varint32 %d: %d, %v, size %d of %d", int32(v), got, r.Err(), SizeVarint32(int32(v)), len(b))
		}
		b = AppendUvarint64(nil, uint64(v))
		r = NewReader(b)
		if got := r.Uvarint64(); got != uint64(v) || r.Err() != nil || SizeUvarint64(uint64(v)) != len(b) {
			t.Errorf("uvarint64 %d: %d, %v", uint64(v), got, r.Err())
		}
		b = AppendUvarint32(nil, uint32(v))
		r = NewReader(b)
		if got := r.Uvarint32(); got != uint32(v) || r.Err() != nil || SizeUvarint32(uint32(v)) != len(b) {
			t.Errorf("uvarint32 %d: %d, %v", uint32(v), got, r.Err())
		}
	}
}

func TestVarintIllegal(t *testing.T) {
	long := bytes.Repeat([]byte{0x80}, 11)
	for name, c := range map[string]struct {
		in   []byte
		read func(*Reader) bool
	}{
		"33 bits":            {[]byte{0xff, 0xff, 0xff, 0xff, 0x10}, func(r *Reader) bool { return r.Uvarint32() == 0 }},
		"six bytes":          {long[:6], func(r *Reader) bool { return r.Uvarint32() == 0 }},
		"zigzag of 33 bits":  {[]byte{0xff, 0xff, 0xff, 0xff, 0x10}, func(r *Reader) bool { return r.Varint32() == 0 }},
		"65 bits":            {append(bytes.Repeat([]byte{0xff}, 9), 2), func(r *Reader) bool { return r.Uvarint64() == 0 }},
		"eleven bytes":       {long, func(r *Reader) bool { return r.Uvarint64() == 0 }},
		"zigzag of 65 bits":  {append(bytes.Repeat([]byte{0xff}, 9), 2), func(r *Reader) bool { return r.Varint64() == 0 }},
		"exactly five, more": {long[:5], func(r *Reader) bool { return r.Uvarint32() == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(c.in)
			if !c.read(&r) || !errors.Is(r.Err(), ErrSyntax) {
				t.Errorf("Err = %v, want ErrSyntax", r.Err())
			}
		})
	}
}

func TestUvarint32NotShortest(t *testing.T) {
	r := NewReader([]byte{0x81, 0x80, 0x00})
	if got := r.Uvarint32(); got != 1 || r.Err() != nil {
		t.Errorf("got %d, %v", got, r.Err())
	}
}

// FuzzVarint compares with encoding/binary and checks that what was read is
// written back the same where the encoding is the shortest.
func FuzzVarint(f *testing.F) {
	f.Add([]byte{0x80, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{0x80, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		want, n := binary.Uvarint(b)
		r := NewReader(b)
		got := r.Uvarint64()
		if ok := r.Err() == nil; ok != (n > 0) || ok && (got != want || r.Offset() != n) {
			t.Fatalf("uvarint64 %d at %d, %v; binary has %d, %d", got, r.Offset(), r.Err(), want, n)
		}
		r = NewReader(b)
		got32 := r.Uvarint32()
		if ok := r.Err() == nil; ok != (n > 0 && n <= 5 && want <= math.MaxUint32) || ok && uint64(got32) != want {
			t.Fatalf("uvarint32 %d, %v; binary has %d, %d", got32, r.Err(), want, n)
		}
		r = NewReader(b)
		got28 := r.Uvarint28()
		minimal := n > 0 && n == SizeUvarint64(want)
		if ok := r.Err() == nil; ok != (minimal && n <= 4) || ok && uint64(got28) != want {
			t.Fatalf("uvarint28 %d, %v; binary has %d, %d", got28, r.Err(), want, n)
		}
		v, pn, err := PeekUvarint28(b)
		if (err == nil && pn > 0) != (r.Err() == nil) || v != got28 {
			t.Fatalf("peek %d, %d, %v against %d, %v", v, pn, err, got28, r.Err())
		}
		if r.Err() == nil && !bytes.Equal(AppendUvarint28(nil, got28), b[:pn]) {
			t.Fatalf("% x is not written back", b[:pn])
		}
	})
}
