package kafkaload

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Consumer fetches from partitions of a topic, one request at a time, with the limits that the Java client has by default
// and without a fetch session.
type Consumer struct {
	*Client
	// Records is how many have come. It may be read while Run runs.
	Records atomic.Int64
	// Each is called with the batches, if it is not nil. It must not keep them.
	Each func(kafka.Batch) error

	req    kafkawire.FetchRequest
	offset map[int32]int64
}

// NewConsumer connects a consumer that begins at offset 0.
func NewConsumer(addr, topic string, partitions []int) (*Consumer, error) {
	c, err := Connect(addr)
	if err != nil {
		return nil, err
	}
	k := &Consumer{Client: c, offset: make(map[int32]int64)}
	k.req.Reset()
	k.req.MaxWaitMs, k.req.MinBytes, k.req.MaxBytes, k.req.SessionEpoch = 500, 1, 50<<20, -1
	t := kafkawire.FetchRequestTopic{Topic: kafkawire.TopicName(topic)}
	for _, p := range partitions {
		var q kafkawire.FetchRequestPartition
		q.Partition, q.CurrentLeaderEpoch, q.LastFetchedEpoch, q.LogStartOffset, q.PartitionMaxBytes = int32(p), -1, -1, -1, 1<<20
		t.Partitions = append(t.Partitions, q)
	}
	k.req.Topics = []kafkawire.FetchRequestTopic{t}
	return k, nil
}

// Fetch asks once and goes on behind what came. It returns how many records came.
func (k *Consumer) Fetch() (n int64, err error) {
	for i := range k.req.Topics[0].Partitions {
		p := &k.req.Topics[0].Partitions[i]
		p.FetchOffset = k.offset[p.Partition]
	}
	if err := k.send(&k.req, fetchVersion); err != nil {
		return 0, err
	}
	r := &passing{r: k.r}
	r.skip(4 + 4 + 4) // size, correlation id, throttle time
	if code := kafkawire.ErrorCode(r.int16()); code != 0 {
		return 0, fmt.Errorf("fetch: %w", code)
	}
	r.skip(4) // session id
	for range r.int32() {
		r.skip(int64(r.int16())) // topic
		for range r.int32() {
			partition := r.int32()
			if code := kafkawire.ErrorCode(r.int16()); code != 0 {
				return n, fmt.Errorf("fetch of %d: %w", partition, code)
			}
			r.skip(8 + 8 + 8)                           // high watermark, last stable offset, log start offset
			r.skip(16 * max(int64(r.int32()), 0))       // aborted transactions
			r.skip(4)                                   // preferred read replica
			got, err := k.take(r, partition, r.int32()) // records
			if err != nil {
				return n, err
			}
			n += got
		}
	}
	k.Records.Add(n)
	return n, r.err
}

// take looks at the batches of a partition.
func (k *Consumer) take(r *passing, partition, size int32) (n int64, err error) {
	for left := int64(size); left > 0 && r.err == nil; {
		var head [kafka.BatchHeaderSize]byte
		if left < int64(len(head)) {
			r.skip(left) // the beginning of one that did not fit
			break
		}
		r.read(head[:])
		batch := kafka.Batch(head[:])
		rest := int64(int32(binary.BigEndian.Uint32(head[8:]))) + 12 - int64(len(head)) // its length counts from behind it
		if left -= int64(len(head)); left < rest {
			r.skip(left)
			break
		}
		left -= rest
		if batch.LastOffset() < k.offset[partition] {
			return n, fmt.Errorf("partition %d: offset %d after %d", partition, batch.LastOffset(), k.offset[partition])
		}
		if k.Each == nil {
			r.skip(rest)
		} else {
			k.in = slices.Grow(k.in[:0], len(head)+int(rest))[:len(head)+int(rest)]
			r.read(k.in[copy(k.in, head[:]):])
			if r.err == nil {
				err = k.Each(kafka.Batch(k.in))
			}
			if err != nil {
				return n, err
			}
		}
		n += batch.LastOffset() + 1 - max(batch.BaseOffset(), k.offset[partition])
		k.offset[partition] = batch.LastOffset() + 1
	}
	return n, r.err
}

// passing reads a response as it comes: a response with megabytes that is kept costs more than what the broker does for it.
// After an error it returns zeros.
type passing struct {
	r   *bufio.Reader
	err error
}

func (p *passing) read(b []byte) {
	if p.err == nil {
		_, p.err = io.ReadFull(p.r, b)
	}
	if p.err != nil {
		clear(b)
	}
}

func (p *passing) skip(n int64) {
	if p.err == nil {
		_, p.err = p.r.Discard(int(n))
	}
}

func (p *passing) int16() int16 {
	var b [2]byte
	p.read(b[:])
	return int16(binary.BigEndian.Uint16(b[:]))
}

func (p *passing) int32() int32 {
	var b [4]byte
	p.read(b[:])
	return int32(binary.BigEndian.Uint32(b[:]))
}

// Rewind begins at offset 0 again.
func (k *Consumer) Rewind() { clear(k.offset) }

// Run fetches from offset 0 on until the given time, and begins again where it comes to the end of end records.
func (k *Consumer) Run(until time.Time, end int64) error {
	k.Rewind()
	at := int64(0)
	for time.Now().Before(until) {
		n, err := k.Fetch()
		if err != nil {
			return err
		}
		if at += n; at >= end {
			k.Rewind()
			at = 0
		}
	}
	return nil
}
