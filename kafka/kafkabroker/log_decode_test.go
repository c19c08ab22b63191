package kafkabroker

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"sync"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// sum gives a batch the checksum that fits it.
func sum(b kafka.Batch) {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
}

// TestPackedBatches: compressed batches have the records that their heads say, or are refused.
func TestPackedBatches(t *testing.T) {
	for _, method := range []compress.Method{compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd} {
		for _, tt := range []struct {
			name  string
			spoil func(b kafka.Batch) kafka.Batch
			want  error
		}{
			{"right", func(b kafka.Batch) kafka.Batch { return b }, nil},
			{"one too many", func(b kafka.Batch) kafka.Batch {
				binary.BigEndian.PutUint32(b[23:], 3)
				binary.BigEndian.PutUint32(b[57:], 4)
				return b
			}, kafkawire.ErrInvalidRecord},
			{"one too few", func(b kafka.Batch) kafka.Batch {
				binary.BigEndian.PutUint32(b[23:], 1)
				binary.BigEndian.PutUint32(b[57:], 2)
				return b
			}, kafkawire.ErrInvalidRecord},
			{"not decodable", func(b kafka.Batch) kafka.Batch {
				copy(b[kafka.BatchHeaderSize:], "nonsense")
				return b
			}, kafkawire.ErrCorruptMessage},
			{"another method", func(b kafka.Batch) kafka.Batch {
				b[22] = b[22]&^7 | byte(compress.Gzip+compress.Zstd-method)
				return b
			}, kafkawire.ErrCorruptMessage},
			{"cut off", func(b kafka.Batch) kafka.Batch {
				b = b[:len(b)-6]
				binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
				return b
			}, kafkawire.ErrCorruptMessage},
		} {
			t.Run(method.String()+" "+tt.name, func(t *testing.T) {
				for _, trust := range []bool{false, true} {
					c := smallConfig()
					c.trustPacked = trust
					l, _ := testLog(t, c)
					v := values("a", "b", "c")
					v.method = method
					b := tt.spoil(kafka.Batch(v.bytes(t)))
					sum(b)
					_, err := l.append(&appendRequest{records: b})
					if want := tt.want; trust && err != nil || !trust && !errors.Is(err, want) {
						t.Errorf("trust %v: %v, want %v", trust, err, want)
					}
				}
			})
		}
	}
}

// TestLargePackedBatches: small batches that become large are taken, one at a time, and what is too large is refused.
func TestLargePackedBatches(t *testing.T) {
	c := smallConfig()
	c.maxMessage, c.maxDecoded, c.segmentBytes = 1<<20, 40<<20, 1<<20
	l, _ := testLog(t, c)
	big := func(n int) []byte {
		v := values(strings.Repeat("x", n))
		v.method = compress.Zstd
		return v.bytes(t)
	}
	fits, not := big(30<<20), big(41<<20)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := l.append(&appendRequest{records: append([]byte(nil), fits...)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := l.append(&appendRequest{records: not}); !errors.Is(err, kafkawire.ErrMessageTooLarge) {
		t.Error(err)
	}
	if l.state().end != 4 {
		t.Errorf("%+v", l.state())
	}
}
