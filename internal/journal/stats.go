package journal

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Stats are figures of a journal. Those that count begin with Open.
type Stats struct {
	Records   uint64 // appended and written
	Bytes     uint64 // of those records
	Rewritten uint64 // bytes written by cleaning
	Syncs     uint64
	LiveBytes int64
	DeadBytes int64 // bytes of records that are not live
	DiskBytes int64 // sizes of the segments
	Segments  int
	Pending   int64 // bytes appended and not durable
	Free      int64 // bytes free in the file system when last looked at

	// Latency of syncs. The quantiles are within an eighth.
	SyncTime, SyncMax, SyncP50, SyncP99 time.Duration
}

// counters are what the writer counts.
type counters struct {
	records, bytes        atomic.Uint64
	syncs, syncSum, worst atomic.Uint64
	histogram             [8 * 40]atomic.Uint64 // eight buckets for each power of two nanoseconds
}

func (c *counters) synced(d time.Duration) {
	n := uint64(max(d, 1))
	c.syncs.Add(1)
	c.syncSum.Add(n)
	if n > c.worst.Load() {
		c.worst.Store(n) // there is one writer
	}
	c.histogram[bucket(n)].Add(1)
}

func bucket(n uint64) int {
	if n < 8 {
		return int(n)
	}
	shift := bits.Len64(n) - 4
	return min(8*shift+int(n>>shift), 8*40-1)
}

// quantile returns the upper end of the bucket that has it.
func (c *counters) quantile(q float64) time.Duration {
	total := uint64(0)
	for i := range c.histogram {
		total += c.histogram[i].Load()
	}
	rank := uint64(q * float64(total))
	for i := range c.histogram {
		n := c.histogram[i].Load()
		if n > rank {
			if i < 16 {
				return time.Duration(i)
			}
			return time.Duration(uint64(i%8+9) << (i/8 - 1))
		}
		rank -= n
	}
	return 0
}

// Stats returns figures. It walks through the list of segments.
func (j *Journal[T]) Stats() Stats {
	c := &j.stats
	st := Stats{
		Records: c.records.Load(), Bytes: c.bytes.Load(), Rewritten: j.cleaned.Load(),
		Syncs: c.syncs.Load(), SyncTime: time.Duration(c.syncSum.Load()), SyncMax: time.Duration(c.worst.Load()),
		SyncP50: c.quantile(0.5), SyncP99: c.quantile(0.99),
		DiskBytes: j.s.diskBytes(), Free: j.lastFree.Load(),
	}
	j.s.mu.RLock()
	for _, g := range j.s.segs {
		st.LiveBytes += g.live.Load()
		st.DeadBytes += g.payload
		st.Segments++
	}
	j.s.mu.RUnlock()
	st.DeadBytes = max(0, st.DeadBytes-st.LiveBytes)
	j.mu.Lock()
	st.Pending = j.pending
	j.mu.Unlock()
	return st
}
