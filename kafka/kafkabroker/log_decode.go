package kafkabroker

import (
	"errors"
	"math"
	"runtime"
	"sync"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// minRecord is the size of the smallest record.
const minRecord = 7

// smallDecoded is how many bytes a batch may become by decompressing for several of them to be looked at side by side. Larger
// ones take their turns: a small batch may become very large.
const smallDecoded = 8 << 20

// keptDecoded is how large memory for decompressed records may be that is kept.
const keptDecoded = 2 << 20

// decoders bounds the memory in which batches of clients are decompressed.
type decoders struct {
	small chan struct{} // a place for each that is decompressed
	large sync.Mutex    // held by the one that is larger than smallDecoded
	bufs  sync.Pool     // of *[]byte
}

func newDecoders() *decoders {
	return &decoders{small: make(chan struct{}, max(runtime.GOMAXPROCS(0), 2))}
}

// open decompresses a batch of at most limit bytes and calls f with its records.
func (d *decoders) open(b kafka.Batch, limit int64, f func(*kafka.Records) error) error {
	limit = min(limit, math.MaxInt32)
	d.small <- struct{}{}
	buf, _ := d.bufs.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	recs, err := kafka.Open(b, *buf, int(min(limit, smallDecoded)))
	again := errors.Is(err, kafkawire.ErrMessageTooLarge) && limit > smallDecoded
	if err == nil {
		err = f(&recs)
	}
	if grown := recs.Buffer(); cap(grown) > cap(*buf) && cap(grown) <= keptDecoded {
		*buf = grown
	}
	d.bufs.Put(buf)
	<-d.small
	if !again {
		return err
	}
	d.large.Lock()
	defer d.large.Unlock()
	if recs, err = kafka.Open(b, nil, int(limit)); err != nil {
		return err
	}
	return f(&recs)
}
