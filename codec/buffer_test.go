package codec

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func TestBufferLimit(t *testing.T) {
	b := Buffer{Max: 100}
	src := bytes.NewReader(make([]byte, 1000))
	total := 0
	for {
		n, err := b.Fill(src)
		total += n
		if err != nil {
			if err != ErrLimit {
				t.Fatal(err)
			}
			break
		}
	}
	if total != 100 || b.Len() != 100 {
		t.Errorf("filled %d, held %d", total, b.Len())
	}
	if err := b.Append([]byte{1}); err != ErrLimit || b.Len() != 100 {
		t.Errorf("Append on a full buffer: %v, %d", err, b.Len())
	}
	b.Discard(40)
	if err := b.Append(make([]byte, 60)); err != ErrLimit {
		t.Errorf("Append of more than the room: %v", err)
	}
	if err := b.Append(make([]byte, 40)); err != nil || b.Len() != 100 {
		t.Errorf("Append of the room: %v, %d", err, b.Len())
	}
	b.Discard(1000)
	if b.Len() != 0 {
		t.Errorf("Discard of too much leaves %d", b.Len())
	}
}

// The buffer never has more than a small multiple of what arrived.
func TestBufferGrowsWithArrival(t *testing.T) {
	b := Buffer{Max: 1 << 28}
	src := iotest.OneByteReader(bytes.NewReader(make([]byte, 100_000)))
	for {
		_, err := b.Fill(src)
		if limit := max(bufferStart, 4*b.Len()); b.Cap() > limit {
			t.Fatalf("%d bytes allocated for %d", b.Cap(), b.Len())
		}
		if err == io.EOF {
			break
		}
	}
	if b.Len() != 100_000 {
		t.Errorf("held %d", b.Len())
	}
}

func TestBufferShrinks(t *testing.T) {
	b := Buffer{Max: 1 << 28}
	if err := b.Append(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	b.Discard(1 << 20)
	if b.Cap() < 1<<20 {
		t.Fatal("shrinks at once")
	}
	for range quietPeriod {
		if err := b.Append(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		b.Discard(100)
	}
	if b.Cap() > bufferKeep {
		t.Errorf("still %d bytes", b.Cap())
	}
}

func TestBufferKeepsUsefulSize(t *testing.T) {
	var b Buffer
	frame := make([]byte, 64<<10)
	grow := func() {
		if err := b.Append(frame); err != nil {
			t.Fatal(err)
		}
		b.Discard(len(frame))
	}
	grow()
	if n := testing.AllocsPerRun(10*quietPeriod, grow); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

func TestBufferRelease(t *testing.T) {
	b := Buffer{Max: 5000}
	b.Append([]byte("ab"))
	b.Release()
	if b.Len() != 2 {
		t.Fatal("Release dropped bytes")
	}
	b.Discard(2)
	b.Release()
	if b.Cap() != 0 || b.Max != 5000 {
		t.Errorf("after Release: %d allocated, Max %d", b.Cap(), b.Max)
	}
}

func TestBufferErrors(t *testing.T) {
	var b Buffer
	why := errors.New("why")
	n, err := b.Fill(iotest.DataErrReader(io.MultiReader(bytes.NewReader([]byte("tail")))))
	if n != 4 || err != io.EOF || string(b.Bytes()) != "tail" {
		t.Errorf("data with an error: %d, %v, %q", n, err, b.Bytes())
	}
	if n, err := b.Fill(iotest.ErrReader(why)); n != 0 || err != why {
		t.Errorf("error: %d, %v", n, err)
	}
	if n, err := b.Fill(lyingReader{}); n != 0 || err != io.ErrNoProgress {
		t.Errorf("impossible count: %d, %v", n, err)
	}
}

type lyingReader struct{}

func (lyingReader) Read(p []byte) (int, error) { return len(p) + 1, nil }

func TestBufferSteadyStateAllocatesNothing(t *testing.T) {
	var b Buffer
	src := &endless{}
	run := func() {
		if _, err := b.Fill(src); err != nil {
			t.Fatal(err)
		}
		for b.Len() >= 300 {
			b.Discard(300)
		}
	}
	for range 100 {
		run()
	}
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%v allocations per Fill", n)
	}
	if b.Cap() != bufferBulk {
		t.Errorf("a full stream has a buffer of %d bytes, want %d", b.Cap(), bufferBulk)
	}
}

type endless struct{}

func (*endless) Read(p []byte) (int, error) { return len(p), nil }

// FuzzBuffer compares with a plain byte slice.
func FuzzBuffer(f *testing.F) {
	f.Add(uint64(1), uint16(100), []byte{0, 1, 2, 3})
	f.Add(uint64(2), uint16(5000), bytes.Repeat([]byte{5, 40, 9}, 50))
	f.Fuzz(func(t *testing.T, seed uint64, limit uint16, ops []byte) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		b := Buffer{Max: int(limit)}
		most := b.limit()
		var model []byte
		next := byte(0)
		data := func(n int) []byte {
			p := make([]byte, n)
			for i := range p {
				p[i], next = next, next+1
			}
			return p
		}
		for _, op := range ops[:min(len(ops), 500)] { // all is compared after each
			n := rnd.IntN(int(op)*16 + 1)
			switch op % 4 {
			case 0, 1:
				p := data(n)
				got, err := b.Fill(bytes.NewReader(p))
				if err == ErrLimit && len(model) < most {
					t.Fatalf("limit at %d of %d", len(model), most)
				}
				model = append(model, p[:got]...)
				next -= byte(len(p) - got)
			case 2:
				p := data(n)
				if err := b.Append(p); err == nil {
					model = append(model, p...)
				} else if len(model)+n <= most {
					t.Fatalf("Append of %d to %d of %d: %v", n, len(model), most, err)
				}
			case 3:
				b.Discard(n)
				model = model[min(n, len(model)):]
			}
			if !bytes.Equal(b.Bytes(), model) || b.Len() != len(model) || len(model) > most {
				t.Fatalf("held %d bytes, model %d", b.Len(), len(model))
			}
		}
	})
}

func BenchmarkBufferFill(b *testing.B) {
	var buf Buffer
	src := &endless{}
	for b.Loop() {
		n, _ := buf.Fill(src)
		buf.Discard(n)
	}
}
