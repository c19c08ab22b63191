package kafkabroker

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"github.com/quartet-mq/quartet/kafka"
)

// cleanStats is what compaction of a log has done.
type cleanStats struct {
	from, to     int64 // the dirty offsets that were looked at
	keys         int
	bytesBefore  int64
	bytesAfter   int64
	segsBefore   int
	segsAfter    int
	recordsKept  int64
	recordsFound int64
}

// dirt says what of a log is to be compacted.
type dirt struct {
	first, end int64 // the dirty offsets that may be looked at
	ratio      float64
	must       bool // something is dirty for longer than max.compaction.lag.ms
	bytes      int64
}

// dirty returns what of the log is to be compacted: not the last segment, nothing behind the last stable offset, nothing
// that is younger than min.compaction.lag.ms, and nothing that is not durable, with the markers that decide it: it would
// take the place of records that are.
// The caller holds janitor.
func (l *partitionLog) dirty(now int64) (d dirt, err error) {
	c := l.config()
	l.mu.Lock()
	segs, start, end, stable := l.segs, l.start, l.end, min(l.lastStable(), l.recovery, l.recoveryStable)
	l.mu.Unlock()
	if d.first = l.cleaned; d.first < start || d.first > end {
		d.first = start
	}
	if d.end = min(stable, segs[len(segs)-1].base); l.crowded == d.first+1 {
		d.end = d.first // it is no use to read it again
	}
	clean := int64(0)
	for i, g := range segs[:len(segs)-1] {
		if g.base >= d.end {
			break
		}
		if segs[i+1].base <= d.first {
			clean += g.size.Load()
			continue
		}
		if c.minLagMs > 0 {
			latest, err := g.latestOrCreated()
			if err != nil {
				return d, err
			}
			if latest > now-c.minLagMs {
				d.end = min(d.end, g.base)
				break
			}
		}
		d.bytes += g.size.Load()
		if first, err := g.firstTime(); err != nil {
			return d, err
		} else if c.maxLagMs < math.MaxInt64 && first > 0 && first < now-c.maxLagMs {
			d.must = true
		}
	}
	d.end = max(d.end, d.first)
	if d.bytes > 0 {
		d.ratio = float64(d.bytes) / float64(clean+d.bytes)
	}
	return d, nil
}

// clean compacts the log: of each key only the last record stays, as far as that is known. See Kafka's documentation of
// cleanup.policy=compact for what becomes of tombstones and transactions. It does nothing when nothing is dirty, and
// returns errAborted when somebody else needs the segments.
func (l *partitionLog) clean(m *offsetMap, now int64) (s cleanStats, err error) {
	l.janitor.Lock()
	defer l.janitor.Unlock()
	if err := l.dir.failure(); err != nil || l.broken {
		return s, err
	}
	d, err := l.dirty(now)
	if err != nil || d.end <= d.first {
		return s, err
	}
	s, err = l.cleanRange(m, d, now)
	var damage *corruptError
	var bad *kafka.Error
	if errors.As(err, &damage) || errors.As(err, &bad) {
		l.broken = true
		l.dir.log.Warn("kafkabroker: a log is not compacted any more, because it cannot be read", "log", l.id, "error", err)
	}
	return s, err
}

func (l *partitionLog) cleanRange(m *offsetMap, d dirt, now int64) (s cleanStats, err error) {
	m.reset(d.end-d.first, l.dir.opt.cleanerBytes)
	segs := l.segments()
	if err := l.mapKeys(m, segs, d); err != nil {
		return s, err
	}
	s.from, s.to, s.keys = d.first, m.latest+1, m.n
	if m.latest < d.first { // there is no memory for the keys of the first batch
		l.crowded = d.first + 1
		l.dir.log.Warn("kafkabroker: a log is not compacted, because a batch has more keys than there is memory for", "log", l.id, "offset", d.first)
		return s, nil
	}
	// Compaction leaves holes. After a crash a hole behind the recovery point is damage, if the log is not compacted any more then.
	if err := l.dir.saveRecoveryPoints(); err != nil {
		return s, err
	}
	aborted, err := l.abortedOf(segs) // markers may be in later segments than the records
	if err != nil {
		return s, err
	}
	segs = segs[:floorSegment(segs[:len(segs)-1], m.latest)+1]
	r := &rewriter{l: l, m: m, now: now, end: d.end, stats: &s, deleteRetention: l.config().deleteRetentionMs}
	r.txns = newCleanedTxns(aborted)
	for _, group := range l.groups(segs, d.end) {
		if err := r.rewrite(group); err != nil {
			return s, err
		}
	}
	l.cleaned = s.to
	return s, nil
}

// abortedOf returns the transactions whose markers are in some segments, in the order of their first offsets.
func (l *partitionLog) abortedOf(segs []*segment) (list []abortedTxn, err error) {
	for _, g := range segs {
		index, err := g.aborted(l.dir.fs)
		if err != nil {
			return nil, err
		}
		list = append(list, index...)
	}
	slices.SortStableFunc(list, func(a, b abortedTxn) int { return cmp.Compare(a.first, b.first) })
	return list, nil
}

// mapKeys fills the map with the keys of the dirty part, until that ends or the map is full.
func (l *partitionLog) mapKeys(m *offsetMap, segs []*segment, d dirt) error {
	at := max(floorSegment(segs, d.first), 0)
	to := at
	for to < len(segs)-1 && segs[to].base < d.end {
		to++
	}
	aborted, err := l.abortedOf(segs[at:])
	if err != nil {
		return err
	}
	// Those that were decided before are over: their markers may not be read.
	aborted = slices.DeleteFunc(aborted, func(t abortedTxn) bool { return t.last < d.first })
	k := keyMapper{l: l, m: m, d: d, txns: newCleanedTxns(aborted)}
	for i := at; i < to; i++ {
		full, err := k.segment(segs[i])
		if err != nil || full {
			return err
		}
		// What compaction has removed before leaves gaps.
		m.latest = max(m.latest, min(segs[i+1].base, d.end)-1)
	}
	return nil
}

// keyMapper puts the keys of segments into a map.
type keyMapper struct {
	l     *partitionLog
	m     *offsetMap
	d     dirt
	txns  *cleanedTxns
	buf   []byte
	entry []byte
}

// segment takes a segment. full reports that the map is full.
func (k *keyMapper) segment(g *segment) (full bool, err error) {
	pos, _, err := g.floor(k.d.first)
	if err != nil {
		return false, err
	}
	f, err := g.log.acquire()
	if err != nil {
		return false, err
	}
	defer g.log.release()
	sc := newScanner(g.label, f, pos, g.size.Load(), nil)
	for sc.next() {
		if k.l.stop.Load() {
			return false, errAborted
		}
		h := sc.head
		if h.base >= k.d.end {
			return false, nil
		}
		if h.magic() < 2 {
			return false, sc.corrupt("a message of an old format, which is not compacted")
		}
		if k.entry, err = sc.entry(k.entry[:0]); err != nil {
			return false, err
		}
		b := kafka.Batch(k.entry)
		if b.Attributes().Control() {
			if _, _, err := k.txns.marker(&h, b); err != nil {
				return false, err
			}
		} else if !k.txns.data(&h) {
			full, err := k.records(b)
			if err != nil || full {
				return full, err
			}
		}
		if h.last >= k.d.first {
			k.m.latest = h.last
		}
	}
	return false, sc.err
}

func (k *keyMapper) records(b kafka.Batch) (full bool, err error) {
	recs, err := kafka.Open(b, k.buf, int(min(k.l.config().maxDecoded, math.MaxInt32)))
	if err != nil {
		return false, err
	}
	var rec kafka.Record
	for recs.Next(&rec) {
		if rec.Key != nil && rec.Offset >= k.d.first && !k.m.put(rec.Key, rec.Offset) {
			return true, nil
		}
	}
	k.buf = recs.Buffer()
	return false, recs.Err()
}

// groups puts segments together that have room in one.
func (l *partitionLog) groups(segs []*segment, end int64) (groups [][]*segment) {
	c := l.config()
	for i := 0; i < len(segs); {
		g := segs[i]
		size, index, times := g.size.Load(), g.indexLen*indexEntrySize, g.timesLen*timeIndexEntrySize
		j := i + 1
		for ; j < len(segs); j++ {
			n := segs[j]
			last := end
			if j+1 < len(segs) {
				last = segs[j+1].base
			}
			size, index, times = size+n.size.Load(), index+n.indexLen*indexEntrySize, times+n.timesLen*timeIndexEntrySize
			if size > min(c.segmentBytes, maxSegmentBytes) || index > c.indexBytes || times > c.indexBytes || last-1-g.base > maxRelative {
				break
			}
		}
		groups = append(groups, segs[i:j])
		i = j
	}
	return groups
}
