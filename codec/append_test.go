package codec

import (
	"bytes"
	"testing"
)

func TestAppendBytes16(t *testing.T) {
	want := []byte{9, 0, 2, 'h', 'i'}
	if got := AppendBytes16([]byte{9}, []byte("hi")); !bytes.Equal(got, want) {
		t.Errorf("AppendBytes16: % x", got)
	}
	if got := AppendString16([]byte{9}, "hi"); !bytes.Equal(got, want) {
		t.Errorf("AppendString16: % x", got)
	}
	long := bytes.Repeat([]byte{'x'}, 70_000)
	for _, b := range [][]byte{AppendBytes16(nil, long), AppendString16(nil, string(long))} {
		r := NewReader(b)
		if got := r.Bytes16(); len(got) != 65_535 || r.Len() != 0 {
			t.Errorf("of 70,000 bytes: %d, and %d after it", len(got), r.Len())
		}
	}
}

func TestCRC32C(t *testing.T) {
	// Check value of CRC-32C (RFC 3720, appendix B.4 uses the same polynomial).
	if got := CRC32C([]byte("123456789")); got != 0xe3069283 {
		t.Errorf("CRC32C = %#x", got)
	}
	if got := UpdateCRC32C(CRC32C([]byte("1234")), []byte("56789")); got != 0xe3069283 {
		t.Errorf("in two steps: %#x", got)
	}
	if got := CRC32C(make([]byte, 32)); got != 0x8a9136aa {
		t.Errorf("CRC32C of 32 zeros = %#x", got)
	}
	in := []byte("123456789")
	if n := testing.AllocsPerRun(100, func() { CRC32C(in) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCRC32C(b *testing.B) {
	in := make([]byte, 4096)
	b.SetBytes(4096)
	for b.Loop() {
		CRC32C(in)
	}
}

func TestCombineCRC32C(t *testing.T) {
	in := make([]byte, 5000)
	for i := range in {
		in[i] = byte(i * i)
	}
	want := CRC32C(in)
	for _, n := range []int{0, 1, 2, 3, 40, 1024, 4999, 5000} {
		if got := CombineCRC32C(CRC32C(in[:n]), CRC32C(in[n:]), len(in)-n); got != want {
			t.Errorf("%d: %#x, not %#x", n, got, want)
		}
	}
}
