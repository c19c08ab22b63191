package compress

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/quartet-mq/quartet/codec"
)

// inputs are of kinds that compress well and badly, across the sizes of blocks.
func inputs() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300<<10)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	var text bytes.Buffer
	for i := range 20_000 {
		fmt.Fprintf(&text, `{"id":%d,"machine":"m-%d","value":%f}`, i, rnd.IntN(50), rnd.Float64())
	}
	return map[string][]byte{
		"nothing": {}, "a byte": {'x'}, "hello": []byte("hello, hello, hello"), "zeros": make([]byte, 1<<20), "noise": noise,
		"text": text.Bytes(), "64 KiB": text.Bytes()[:64<<10], "64 KiB and a byte": text.Bytes()[:64<<10+1],
	}
}

func TestRoundTrip(t *testing.T) {
	for name, in := range inputs() {
		for m := None; m <= Zstd; m++ {
			for _, level := range []int{0, -5, 1, 3, 9, 12, 22, 100} {
				if level > 9 && len(in) > 100<<10 {
					continue // slow
				}
				b, err := Append([]byte("head"), in, m, level)
				if err != nil || !bytes.HasPrefix(b, []byte("head")) {
					t.Fatalf("%v of %s: %v", m, name, err)
				}
				checkDecode(t, name, b[4:], in, m)
			}
		}
		checkDecode(t, name, AppendXerial(nil, in), in, Snappy)
	}
}

func checkDecode(t *testing.T, name string, b, want []byte, m Method) {
	t.Helper()
	for _, dst := range [][]byte{[]byte("head"), append(make([]byte, 0, 2<<20), "head"...)} {
		got, err := Decode(dst, b, m, len(want))
		if err != nil || !bytes.Equal(got[4:], want) || string(got[:4]) != "head" {
			t.Fatalf("%v of %s: %v, %d bytes, want %d", m, name, err, len(got)-4, len(want))
		}
		if len(want) == 0 {
			continue
		}
		if _, err := Decode(nil, b, m, 0); !errors.Is(err, codec.ErrLimit) {
			t.Fatalf("%v of %s, no byte allowed: %v", m, name, err)
		}
		if got, err := Decode(dst, b, m, len(want)-1); !errors.Is(err, codec.ErrLimit) || string(got) != "head" {
			t.Fatalf("%v of %s, one byte too many: %v", m, name, err)
		}
	}
	if m == None {
		return
	}
	for _, n := range []int{0, 1, len(b) / 2, len(b) - 1} {
		if n < 0 || n > len(b) {
			continue
		}
		got, err := Decode(nil, b[:n], m, len(want))
		if err == nil && bytes.Equal(got, want) && len(want) > 0 {
			t.Fatalf("%v of %s: %d of %d bytes will do", m, name, n, len(b))
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for m := Gzip; m <= Zstd; m++ {
		_, err := Decode(nil, []byte("this is not compressed, whatever the method"), m, 1<<20)
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: %v", m, err)
		}
		var e *Error
		if !errors.As(err, &e) || e.Method != m || !strings.Contains(err.Error(), m.String()) {
			t.Errorf("%v: %v", m, err)
		}
	}
	if _, err := Decode(nil, nil, 9, 10); !errors.Is(err, ErrMethod) {
		t.Error(err)
	}
	if b, err := Append([]byte("x"), nil, 9, 0); !errors.Is(err, ErrMethod) || string(b) != "x" {
		t.Error(b, err)
	}
}

func TestParse(t *testing.T) {
	for m := None; m <= Zstd; m++ {
		if got, err := Parse(m.String()); got != m || err != nil {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	if _, err := Parse("brotli"); !errors.Is(err, ErrMethod) {
		t.Error(err)
	}
}

// TestBombs: little input that claims, or makes, much output is stopped at the bound.
func TestBombs(t *testing.T) {
	const limit = 1 << 20
	huge := make([]byte, 64<<20)
	for m := Gzip; m <= Zstd; m++ {
		b, err := Append(nil, huge, m, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(nil, b, m, limit)
		if !errors.Is(err, codec.ErrLimit) || cap(got) > 2*limit {
			t.Errorf("%v: %v", m, err)
		}
	}
	for _, claim := range []string{
		"ffffffff0f00",                           // snappy: 4 GiB
		"82534e4150505900000000010000000100ffff", // xerial: a block that is not there
	} {
		b, _ := hex.DecodeString(claim)
		if n := testing.AllocsPerRun(10, func() { Decode(nil, b, Snappy, 1<<30) }); n > 1 {
			t.Errorf("%s: %v allocations", claim, n)
		}
	}
}

// TestVectors decodes frames that were put together by hand.
func TestVectors(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		m              Method
	}{
		{"an empty LZ4 frame", "04224d186440a7" + "00000000" + "055dcc02", "", LZ4},
		{"Kafka's LZ4 header", "04224d18604082" + "05000080" + "68656c6c6f" + "00000000", "hello", LZ4},
		{"two LZ4 frames", "04224d18604082" + "02000080" + "6865" + "00000000" + "04224d18604082" + "03000080" + "6c6c6f" + "00000000", "hello", LZ4},
		{"zstd, a raw block without a size", "28b52ffd0058" + "290000" + "68656c6c6f", "hello", Zstd},
		{"zstd, a repeated byte", "28b52ffd0058" + "2b0000" + "78", "xxxxx", Zstd},
		{"zstd, a frame to skip", "502a4d1801000000" + "ff" + "28b52ffd0058" + "290000" + "68656c6c6f", "hello", Zstd},
		{"snappy, a literal", "05" + "10" + "68656c6c6f", "hello", Snappy},
		{"xerial", "82534e4150505900000000010000000100000007051068656c6c6f", "hello", Snappy},
		{"gzip, stored", "1f8b0800000000000003" + "010500faff" + "68656c6c6f" + "86a61036" + "05000000", "hello", Gzip},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(tt.in, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(nil, b, tt.m, 100)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	old, _ := hex.DecodeString("04224d186040ff" + "05000080" + "68656c6c6f" + "00000000")
	if _, err := Decode(nil, old, LZ4, 100); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a wrong checksum of the header: %v", err)
	}
	if got, err := DecodeOldLZ4(nil, old, 100); err != nil || string(got) != "hello" {
		t.Errorf("an old frame: %q, %v", got, err)
	}
}

func TestXXH32(t *testing.T) {
	for text, want := range map[string]uint32{
		"": 0x02cc5d05, "a": 0x550d7456, "abc": 0x32d153ff, "Nobody inspects the spammish repetition": 0xe2293b2f,
	} {
		if got := xxh32([]byte(text)); got != want {
			t.Errorf("%q: %#x, want %#x", text, got, want)
		}
	}
}

// TestStreamedZstd: what a streaming encoder makes has no size in its header, as that of Java.
func TestStreamedZstd(t *testing.T) {
	for name, in := range inputs() {
		var out bytes.Buffer
		w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		for part := in; len(part) > 0; {
			n := min(len(part), 1000)
			w.Write(part[:n])
			part = part[n:]
		}
		w.Close()
		checkDecode(t, name, out.Bytes(), in, Zstd)
	}
}

func FuzzDecode(f *testing.F) {
	for name, in := range inputs() {
		in = in[:min(len(in), 2000)] // small, so that the fuzzer does not spend its time on making them smaller
		for m := Gzip; m <= Zstd; m++ {
			b, err := Append(nil, in, m, 0)
			if err != nil {
				f.Fatal(name, err)
			}
			f.Add(uint8(m), b)
		}
		f.Add(uint8(Snappy), AppendXerial(nil, in))
	}
	f.Fuzz(func(t *testing.T, m uint8, b []byte) {
		const limit = 1 << 16
		out, err := Decode([]byte("x"), b, Method(m%5), limit)
		if len(out) > limit+1 || out[0] != 'x' || err != nil && len(out) != 1 {
			t.Fatalf("%v: %d bytes, %v", Method(m%5), len(out), err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	in := inputs()["text"][:16<<10]
	for m := Gzip; m <= Zstd; m++ {
		z, err := Append(nil, in, m, 0)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(m.String(), func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			buf := make([]byte, 0, 256<<10)
			for b.Loop() {
				if _, err := Decode(buf, z, m, 1<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	in := inputs()["text"][:16<<10]
	for m := Gzip; m <= Zstd; m++ {
		b.Run(m.String(), func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			buf := make([]byte, 0, 256<<10)
			for b.Loop() {
				Append(buf, in, m, 0)
			}
		})
	}
}

// TestLinkedLZ4: the second block refers to the first, as the blocks of the LZ4 tools do.
func TestLinkedLZ4(t *testing.T) {
	head := []byte{lz4Version | flagBlock | flagContent, lz4Blocks64K}
	var b []byte
	b = append(b, 0x04, 0x22, 0x4d, 0x18)
	b = append(append(b, head...), byte(xxh32(head)>>8))
	block := func(size uint32, data string) {
		b = binary.LittleEndian.AppendUint32(b, size)
		b = append(b, data...)
		b = binary.LittleEndian.AppendUint32(b, xxh32([]byte(data)))
	}
	block(7|lz4Stored, "hello, ")
	block(9, "\x03\x07\x00\x50hello") // 7 bytes from 7 before, then 5 literals
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, xxh32([]byte("hello, hello, hello")))
	checkDecode(t, "linked blocks", b, []byte("hello, hello, hello"), LZ4)
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if got, err := Decode(nil, bad, LZ4, 100); err == nil {
			t.Errorf("byte %d changed: %q", i, got)
		}
	}
}
