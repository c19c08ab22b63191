package kafkaclient

import (
	"math"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// chunk is what one response had for a partition, whole batches that are not decoded yet.
type chunk struct {
	data    []byte
	aborted []kafkawire.FetchResponseAbortedTransaction
	first   int64 // the offset that was asked for
	next    int64 // the offset after the last batch
	epoch   int32 // of the leader, of the last batch
	err     error // after the last batch
	apart   bool  // data is not a part of anything larger
}

// newChunk finds the batches of a response. It returns nil when there is no whole one.
func newChunk(p *consumerPartition, o *kafkawire.FetchResponsePartition) *chunk {
	k := &chunk{first: p.fetch, next: p.fetch, epoch: p.fetchEp, aborted: o.AbortedTransactions}
	rest := o.Records
	for len(rest) > 0 {
		entry, after, err := kafka.Split(rest)
		if err != nil {
			k.err = err
			break
		}
		if entry == nil {
			break
		}
		last, epoch := lastOffset(entry)
		if last < k.next && last >= k.first || last == math.MaxInt64 {
			k.err = &kafka.Error{Code: kafkawire.ErrCorruptMessage, Text: "offsets go back"}
			break
		}
		k.next, k.epoch = max(k.next, last+1), epoch
		rest = after
	}
	k.data = o.Records[: len(o.Records)-len(rest) : len(o.Records)-len(rest)]
	if len(k.data) == 0 && k.err == nil {
		return nil
	}
	return k
}

func lastOffset(entry []byte) (offset int64, epoch int32) {
	if kafka.Magic(entry) == 2 {
		b := kafka.Batch(entry)
		return b.LastOffset(), b.LeaderEpoch()
	}
	return kafka.Message(entry).Offset(), -1
}

// decoder turns chunks of one partition into records.
type decoder struct {
	topic     string
	partition int32
	limit     int  // of a batch without compression
	check     bool // checksums
	committed bool // read_committed

	data    []byte
	aborted []kafkawire.FetchResponseAbortedTransaction
	open    map[kafkawire.ProducerID]bool // producers with an aborted transaction here
	from    int64                         // lower offsets are passed over
	next    int64                         // the offset after what was decoded
	epoch   int32
	ratio   int // how many times larger the last compressed batch was
	headers []kafka.Header
}

// load begins with a chunk.
func (d *decoder) load(k *chunk) {
	d.data, d.aborted, d.from, d.next = k.data, k.aborted, k.first, k.first
	clear(d.open)
	if !slices.IsSortedFunc(d.aborted, byFirstOffset) {
		slices.SortFunc(d.aborted, byFirstOffset)
	}
}

func byFirstOffset(a, b kafkawire.FetchResponseAbortedTransaction) int {
	switch {
	case a.FirstOffset < b.FirstOffset:
		return -1
	case a.FirstOffset > b.FirstOffset:
		return 1
	}
	return 0
}

// batch decodes the next batch. It returns no records for one that has none for the application, and ok is false after the
// last one. All records of a batch are in one piece of memory.
func (d *decoder) batch() (records []Record, ok bool, err error) {
	if len(d.data) == 0 {
		return nil, false, nil
	}
	entry, rest, err := kafka.Split(d.data)
	if err != nil || entry == nil {
		return nil, false, err
	}
	d.data = rest
	last, epoch := lastOffset(entry)
	if last < d.from {
		return nil, true, nil // before what was asked for
	}
	count := 1
	if kafka.Magic(entry) == 2 {
		b := kafka.Batch(entry)
		if d.check {
			if err := b.Check(); err != nil {
				return nil, false, err
			}
		}
		if d.skip(b) {
			d.next, d.epoch = last+1, epoch
			return nil, true, nil
		}
		count = int(b.Count())
	} else if d.check {
		if err := kafka.Message(entry).Check(); err != nil {
			return nil, false, err
		}
	}
	records, err = d.records(entry, count, epoch)
	if err != nil {
		return nil, false, err
	}
	d.next, d.epoch = last+1, epoch
	return records, true, nil
}

// skip reports whether a batch is not for the application: a control batch, or of a transaction that was aborted.
func (d *decoder) skip(b kafka.Batch) bool {
	a := b.Attributes()
	if d.committed && b.ProducerID() >= 0 {
		last := b.LastOffset()
		for len(d.aborted) > 0 && d.aborted[0].FirstOffset <= last {
			if d.open == nil {
				d.open = make(map[kafkawire.ProducerID]bool)
			}
			d.open[d.aborted[0].ProducerID] = true
			d.aborted = d.aborted[1:]
		}
		if a.Control() {
			if m, ok, err := kafka.ReadMarker(b); err == nil && ok && m.Type == kafka.ControlAbort {
				delete(d.open, b.ProducerID())
			}
		} else if a.Transactional() && d.open[b.ProducerID()] {
			return true
		}
	}
	return a.Control()
}

// records decodes an entry of some records.
func (d *decoder) records(entry []byte, count int, epoch int32) ([]Record, error) {
	var buf []byte
	if n := d.ratio * len(entry); d.ratio > 1 && n <= d.limit {
		buf = make([]byte, 0, n+n/8)
	}
	in, err := kafka.Open(entry, buf, d.limit)
	if err != nil {
		return nil, err
	}
	if n := len(in.Buffer()); n > 0 {
		d.ratio = (n + len(entry) - 1) / len(entry)
	}
	// Open has seen that the count fits the size.
	out := make([]Record, 0, max(count, 0))
	d.headers = nil
	var r kafka.Record
	for in.Next(&r) {
		if r.Offset < d.from {
			continue
		}
		out = append(out, Record{Topic: d.topic, Partition: d.partition, Offset: r.Offset, LeaderEpoch: epoch, Key: r.Key, Value: r.Value})
		o := &out[len(out)-1]
		if r.Timestamp >= 0 {
			o.Timestamp = time.UnixMilli(r.Timestamp)
		}
		if n := r.Headers.Len(); n > 0 {
			o.Headers = d.takeHeaders(r.Headers, n, count-len(out))
		}
	}
	return out, in.Err()
}

// takeHeaders puts headers into memory that the records of a batch share. left records may have some, too.
func (d *decoder) takeHeaders(h kafka.Headers, n, left int) []kafka.Header {
	if cap(d.headers)-len(d.headers) < n {
		d.headers = make([]kafka.Header, 0, n*min(max(left, 0)+1, 1024))
	}
	from := len(d.headers)
	for x := range h.All() {
		d.headers = append(d.headers, x)
	}
	return d.headers[from:len(d.headers):len(d.headers)]
}
