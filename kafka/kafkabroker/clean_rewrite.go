package kafkabroker

import (
	"errors"
	"math"
	"slices"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
)

// rewriter writes new segments with what compaction keeps of old ones.
type rewriter struct {
	l               *partitionLog
	m               *offsetMap
	now             int64
	end             int64 // of the dirty offsets that may be looked at
	deleteRetention int64
	txns            *cleanedTxns
	stats           *cleanStats

	active map[int64]lastOfProducer
	out    *segment
	file   vfs.File
	pend   []byte // to be written
	entry  []byte
	buf    []byte
	keep   []bool
	w      kafka.BatchWriter
}

// lastOfProducer is the last batch of a producer that is still known. It is kept, at least its head: it has the sequence
// number, or the epoch.
type lastOfProducer struct {
	offset int64 // of its last record, -1 when a marker was last
	epoch  int16
}

const rewriteBuffer = 1 << 20

// rewrite puts one segment in the place of a group.
func (r *rewriter) rewrite(group []*segment) (err error) {
	l := r.l
	l.writing.Lock()
	r.active = make(map[int64]lastOfProducer, len(l.producers.m))
	for id, p := range l.producers.m {
		r.active[id] = lastOfProducer{p.lastOffset(), p.epoch}
	}
	l.writing.Unlock()
	if r.out, err = l.dir.createSegment(l.path, group[0].base, group[len(group)-1].created, cleanedSuffix); err != nil {
		return err
	}
	if r.file, err = r.out.log.acquire(); err != nil {
		return errors.Join(err, r.out.remove(l.dir.fs))
	}
	made := false
	defer func() {
		r.out.log.release()
		if err != nil && !made {
			_ = r.out.remove(l.dir.fs)
		}
	}()
	r.pend = r.pend[:0]
	for _, g := range group {
		r.stats.bytesBefore += g.size.Load()
		if err := r.segment(g); err != nil {
			return err
		}
	}
	if err := r.flush(); err != nil {
		return err
	}
	r.out.seal()
	if err := r.out.saveIndexes(); err != nil {
		return err
	}
	if err := r.out.syncFiles(l.dir.fs); err != nil {
		return err
	}
	r.out.forget()
	r.stats.segsBefore += len(group)
	r.stats.segsAfter++
	r.stats.bytesAfter += r.out.size.Load()
	if l.stop.Load() {
		return errAborted
	}
	made = true // from here on recovery goes on with it
	if err := l.swap(r.out, group); err != nil {
		return l.dir.fail("compaction of "+l.id.String(), err)
	}
	return nil
}

// segment takes an old segment.
func (r *rewriter) segment(g *segment) error {
	f, err := g.log.acquire()
	if err != nil {
		return err
	}
	defer g.log.release()
	sc := newScanner(g.label, f, 0, g.size.Load(), nil)
	for sc.next() {
		if r.l.stop.Load() {
			return errAborted
		}
		h := sc.head
		if h.magic() < 2 {
			return sc.corrupt("a message of an old format, which is not compacted")
		}
		if r.entry, err = sc.entry(r.entry[:0]); err != nil {
			return err
		}
		b := kafka.Batch(r.entry)
		if err := b.Check(); err != nil {
			return err
		}
		if err := r.batch(&h, b); err != nil {
			return err
		}
	}
	return sc.err
}

// batch decides what stays of a batch.
func (r *rewriter) batch(h *batchHead, b kafka.Batch) error {
	o := kafka.RewriteOptions{Limit: int(min(r.l.config().maxDecoded, math.MaxInt32))}
	a := b.Attributes()
	drop, whole := false, false // all records; or none
	if a.Control() {
		removable, kept, err := r.txns.marker(h, b)
		if err != nil {
			return err
		}
		if kept != nil {
			if err := r.out.addAborted(r.l.dir.fs, *kept); err != nil {
				return err
			}
		}
		drop = removable && a.DeleteHorizon() && b.BaseTimestamp() <= r.now
		if whole = !drop; removable && !drop {
			o.DeleteHorizon = r.now + r.deleteRetention
		}
	} else {
		drop = r.txns.data(h)
	}
	o.KeepEmpty = r.isLast(h, b, a) || h.last+1 == r.end
	r.stats.recordsFound += int64(b.Count())
	if drop || b.Count() == 0 {
		if !o.KeepEmpty {
			return nil
		}
		return r.write(b, &o, func(*kafka.Record) bool { return false })
	}
	if whole {
		return r.write(b, &o, func(*kafka.Record) bool { return true })
	}
	tombstones, err := r.choose(b, a)
	if err != nil {
		return err
	}
	if tombstones {
		o.DeleteHorizon = r.now + r.deleteRetention
	}
	i := -1
	return r.write(b, &o, func(*kafka.Record) bool {
		i++
		return r.keep[i]
	})
}

// isLast reports whether a batch has what must be known of a producer.
func (r *rewriter) isLast(h *batchHead, b kafka.Batch, a kafka.Attributes) bool {
	if b.ProducerID() < 0 {
		return false
	}
	p, ok := r.active[int64(b.ProducerID())]
	switch {
	case !ok:
		return false
	case p.offset >= 0:
		return h.last == p.offset
	}
	return a.Control() && b.ProducerEpoch() == p.epoch
}

// choose decides which records stay and leaves that in keep. tombstones reports that there are records without a value
// among them.
func (r *rewriter) choose(b kafka.Batch, a kafka.Attributes) (tombstones bool, err error) {
	recs, err := kafka.Open(b, r.buf, int(min(r.l.config().maxDecoded, math.MaxInt32)))
	if err != nil {
		return false, err
	}
	expired := a.DeleteHorizon() && b.BaseTimestamp() <= r.now
	r.keep = r.keep[:0]
	var rec kafka.Record
	for recs.Next(&rec) {
		keep := true
		switch {
		case rec.Offset > r.m.latest:
		case rec.Key == nil:
			keep = false
		default:
			keep = rec.Offset >= r.m.get(rec.Key) && (rec.Value != nil || !expired)
		}
		r.keep = append(r.keep, keep)
		tombstones = tombstones || keep && rec.Value == nil
	}
	r.buf = recs.Buffer()
	return tombstones, recs.Err()
}

// write writes what stays of a batch.
func (r *rewriter) write(b kafka.Batch, o *kafka.RewriteOptions, keep func(*kafka.Record) bool) error {
	at := len(r.pend)
	var n int
	var err error
	if r.pend, n, err = r.w.Rewrite(r.pend, b, o, keep); err != nil {
		return err
	}
	size := int64(len(r.pend) - at)
	if size == 0 {
		return nil
	}
	r.stats.recordsKept += int64(n)
	raw := kafka.Batch(r.pend[at:])
	h := batchHead{pos: r.out.size.Load() + int64(at), size: size, base: raw.BaseOffset(), last: raw.LastOffset(), time: raw.MaxTimestamp(), raw: raw}
	r.out.note(&h, r.l.config().indexInterval)
	if len(r.pend) < rewriteBuffer {
		return nil
	}
	return r.flush()
}

func (r *rewriter) flush() error {
	if _, err := r.file.WriteAt(r.pend, r.out.size.Load()); err != nil {
		return err
	}
	r.out.size.Add(int64(len(r.pend)))
	r.pend = r.pend[:0]
	return nil
}

// swap puts a segment in the place of others. A crash in between leaves either, and no mixture: the new one gets .swap when
// it is durable; from then on opening the log finishes what is begun here.
func (l *partitionLog) swap(g *segment, old []*segment) error {
	fsys := l.dir.fs
	all := func(f func(*segment) error) func() error {
		return func() error {
			for _, o := range old {
				if err := f(o); err != nil {
					return err
				}
			}
			return nil
		}
	}
	syncDir := func() error { return fsys.SyncDir(l.path) }
	for _, step := range []func() error{
		syncDir,
		func() error { return g.rename(fsys, swapSuffix) },
		syncDir,
		all(func(o *segment) error { return o.renameLog(deletedSuffix) }),
		syncDir,
		all(func(o *segment) error { return o.renameIndexes(fsys, deletedSuffix) }),
		syncDir,
		func() error { return g.rename(fsys, "") },
		syncDir,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	l.replace(g, old)
	var left error
	for i, o := range old {
		left = errors.Join(left, o.remove(fsys))
		if i > 0 {
			l.writing.Lock()
			left = errors.Join(left, l.producers.removeSnapshot(fsys, l.path, o.base))
			l.writing.Unlock()
		}
	}
	if left != nil {
		l.dir.log.Warn("kafkabroker: a segment that was compacted is still there", "log", l.id, "error", left)
	}
	return nil
}

// replace shows readers a segment instead of others.
func (l *partitionLog) replace(g *segment, old []*segment) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.segs, old[0])
	l.segs = slices.Concat(l.segs[:i], []*segment{g}, l.segs[i+len(old):])
	l.stableHint = posOffset{}
	for i := range l.producers.txns {
		if t := &l.producers.txns[i]; t.seg >= g.base && t.seg <= old[len(old)-1].base {
			t.seg, t.pos = -1, -1 // it is elsewhere now
		}
	}
	l.settle()
}
