package kafka

import (
	"bytes"
	"errors"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestRecompress(t *testing.T) {
	var w BatchWriter
	for i := range 50 {
		w.Add(int64(1000+i), []byte("key"), bytes.Repeat([]byte{byte(i)}, 100), Header{Key: []byte("h"), Value: []byte("v")})
	}
	plain, err := w.Append(nil, &BatchOptions{Producer: &Producer{ID: 5, Epoch: 1, Sequence: 7}, Transactional: true, BaseOffset: 9})
	if err != nil {
		t.Fatal(err)
	}
	var buf []byte
	for from := compress.None; from <= compress.Zstd; from++ {
		b := Batch(plain)
		if from != compress.None {
			if b, buf, err = Batch(plain).Recompress(nil, buf, from, 0, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if b.Check() != nil || b.Attributes().Compression() != from || from != compress.None && len(b) >= len(plain) {
			t.Errorf("%v: %d bytes, %v", from, len(b), b.Check())
		}
		back, _, err := b.Recompress([]byte("x"), nil, compress.None, 0, 1<<20)
		if err != nil || !bytes.Equal(back[1:], plain) {
			t.Errorf("%v: it is not as it was: %v", from, err)
		}
		if from == compress.None {
			continue
		}
		if _, _, err := b.Recompress(nil, nil, compress.LZ4, 0, 100); err == nil {
			t.Errorf("%v: more than the limit", from)
		}
		b[len(b)-1] ^= 0xff
		b = b[:len(b)-1]
		var e kafkawire.ErrorCode
		if _, _, err := b.Recompress(nil, nil, compress.None, 0, 1<<20); err != nil && !errors.As(err, &e) {
			t.Errorf("%v: %v", from, err)
		}
	}
}
