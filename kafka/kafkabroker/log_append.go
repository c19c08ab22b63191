package kafkabroker

import (
	"slices"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// appendRequest is what is to be appended.
type appendRequest struct {
	// records are batches. The log writes offsets, epochs and times into them and does not keep them.
	records     []byte
	origin      appendOrigin
	leaderEpoch int32
	now         int64  // milliseconds
	txnVersion  int16  // of the transaction that a marker ends
	guard       uint64 // of guardTransaction
	quiet       bool   // logDirOptions.advanced is not called: the caller sees to it when the result says so
}

// appendResult is where records were appended.
type appendResult struct {
	base, last int64
	start      int64 // log start offset
	appendTime int64 // when they were appended, -1 when their times are those that the producer gave
	end        int64 // what to await, so that they are durable
	duplicate  bool  // they were there already
	advanced   bool  // the high watermark has moved
}

// append adds batches at the end. An error has a code of the protocol; nothing was appended then. What was appended is read
// by others at once and durable according to the flush policy, or when await says so.
func (l *partitionLog) append(r *appendRequest) (appendResult, error) {
	c := l.conf.Load()
	if err := checkAppend(r, c, l.dir.decoders); err != nil {
		return appendResult{}, err
	}
	l.writing.Lock()
	res, advanced, err := l.appendLocked(r, c)
	clear(l.heads) // they hold the memory of the request
	l.writing.Unlock()
	res.advanced = advanced
	if advanced && !r.quiet {
		l.dir.advanced(l)
	}
	return res, err
}

// appendLocked does the work. The caller holds writing.
func (l *partitionLog) appendLocked(r *appendRequest, c *logConfig) (res appendResult, advanced bool, err error) {
	if err := l.check(); err != nil {
		return res, false, err
	}
	if err := l.assign(r, c); err != nil {
		return res, false, err
	}
	heads, t := l.heads, l.producers
	l.update.reset()
	check := producerCheck{origin: r.origin, txnVersion: r.txnVersion, guard: r.guard, now: r.now, verify: c.strictTxn, seg: -1, pos: -1}
	for i := range heads {
		check.pos = heads[i].pos
		if heads[i].magic() == 2 {
			err = t.addBatch(&l.update, heads[i].raw, &check)
		}
		if err != nil {
			return res, false, err
		}
		if d := l.update.duplicate; d != nil {
			return l.duplicate(d, c), false, nil
		}
	}
	defer func() {
		if err != nil && r.origin == fromClient {
			l.miss(heads, r.now)
		}
	}()
	if err := l.assignEpochs(heads); err != nil {
		return res, false, err
	}
	first, last := heads[0].base, heads[len(heads)-1].last
	size := int64(len(r.records))
	if l.mustRoll(c, size, last, r.now) {
		if err := l.roll(first, r.now, c); err != nil {
			return res, false, err
		}
	}
	g := l.active()
	if err := l.write(g, r.records); err != nil {
		return res, false, err
	}
	at := g.size.Load()
	for i := range l.update.started {
		s := &l.update.started[i]
		s.seg, s.pos = g.base, s.pos+at
	}
	if err := l.writeAborted(g, t.abortedBy(&l.update)); err != nil {
		return res, false, err
	}
	for i := range heads {
		heads[i].pos += at
		g.note(&heads[i], c.indexInterval)
	}
	t.apply(&l.update, last+1)
	res = appendResult{base: first, last: last, appendTime: -1, end: last + 1}
	if c.appendTime && r.origin != fromLeader {
		res.appendTime = r.now
	}
	advanced = l.publish(g, size, last+1, &res)
	l.askFlush(c)
	return res, advanced, nil
}

// miss notes batches that storage did not take. The caller holds writing.
func (l *partitionLog) miss(heads []batchHead, now int64) {
	for i := range heads {
		if heads[i].magic() == 2 {
			l.producers.miss(heads[i].raw, now)
		}
	}
}

// missed notes the first of some batches that are not appended because there is no room.
func (l *partitionLog) missed(records []byte, now int64) {
	entry, _, err := kafka.Split(records)
	if err != nil || entry == nil || kafka.Magic(entry) != 2 {
		return
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.producers.miss(kafka.Batch(entry), now)
}

// publish shows readers what was appended.
func (l *partitionLog) publish(g *segment, size, end int64, res *appendResult) (advanced bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.size.Add(size)
	g.dirty = true
	l.unsyncedRecords += end - l.end
	l.end, l.endPos = end, g.size.Load()
	l.appended += size
	if !l.hold {
		l.high = end
		advanced = true
	}
	l.settle()
	res.start = l.start
	return advanced
}

// askFlush asks the syncer for what the policy says.
func (l *partitionLog) askFlush(c *logConfig) {
	if c.flush != flushNever && c.flushEvery > 0 {
		l.dir.sync.later(l, c.flushEvery)
	}
	if c.flushMessages > 0 {
		l.mu.Lock()
		n := l.unsyncedRecords
		l.mu.Unlock()
		if n >= c.flushMessages {
			l.dir.sync.request(l)
		}
	}
}

// duplicate is the result of an append of what is there.
func (l *partitionLog) duplicate(d *producedBatch, c *logConfig) appendResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	res := appendResult{base: d.last - int64(d.delta), last: d.last, start: l.start, appendTime: -1, end: d.last + 1, duplicate: true}
	if c.appendTime {
		res.appendTime = d.time
	}
	return res
}

// assign gives the batches their offsets and leaves their heads in l.heads, with positions relative to the first.
func (l *partitionLog) assign(r *appendRequest, c *logConfig) error {
	next := l.end // only who holds writing changes it
	l.heads = l.heads[:0]
	pos := int64(0)
	for rest := r.records; len(rest) > 0; {
		var entry []byte
		entry, rest, _ = kafka.Split(rest) // checkAppend has seen them all
		h := batchHead{pos: pos, size: int64(len(entry)), raw: kafka.Batch(entry)}
		pos += h.size
		if r.origin != fromLeader {
			h.raw.SetBaseOffset(next)
			h.raw.SetLeaderEpoch(r.leaderEpoch)
		}
		switch h.magic() {
		case 2:
			h.base, h.last, h.time = h.raw.BaseOffset(), h.raw.LastOffset(), h.raw.MaxTimestamp()
		default:
			m := kafka.Message(entry)
			h.base, h.last, h.time = m.Offset(), m.Offset(), m.Timestamp()
		}
		if h.base < next || h.last < h.base {
			return logError(kafkawire.ErrInvalidRecord, "offset %d where %d comes next in %s", h.base, next, l.id)
		}
		next = h.last + 1
		l.heads = append(l.heads, h)
	}
	if pos > c.segmentBytes && r.origin == fromClient {
		return logError(kafkawire.ErrRecordListTooLarge, "%d bytes are more than a segment of %s may have", pos, l.id)
	}
	return nil
}

// assignEpochs notes the leader epochs that begin with some batches. A new one is durable before its batches are written.
func (l *partitionLog) assignEpochs(heads []batchHead) error {
	epochs := l.epochs // only who holds writing changes them
	for i := range heads {
		if h := &heads[i]; h.magic() == 2 && h.raw.LeaderEpoch() > epochs.latest() {
			epochs = epochs.assign(h.raw.LeaderEpoch(), h.base)
		}
	}
	if slices.Equal(epochs, l.epochs) {
		return nil
	}
	return l.saveEpochs(epochs)
}

// write writes batches behind what is in a segment. When that fails the segment is as it was, or the directory has failed.
func (l *partitionLog) write(g *segment, records []byte) error {
	at := g.size.Load()
	f, err := g.log.acquire()
	if err == nil {
		defer g.log.release()
		_, err = f.WriteAt(records, at)
	}
	if err == nil {
		return nil
	}
	if f != nil && vfs.IsNoSpace(err) {
		if f.Truncate(at) == nil {
			return &storageError{"append to " + l.id.String(), err}
		}
	}
	return l.dir.fail("append to "+l.id.String(), err)
}

// writeAborted adds to the transaction index of a segment whose last batches are markers. When that fails the segment is as
// it was before them, or the directory has failed.
func (l *partitionLog) writeAborted(g *segment, list []abortedTxn) error {
	for i, t := range list {
		err := g.addAborted(l.dir.fs, t)
		if err == nil {
			continue
		}
		if i == 0 && vfs.IsNoSpace(err) && truncateHandle(g.log, g.size.Load()) == nil {
			return l.storageFailure("transaction index", err)
		}
		return l.dir.fail("writing the transaction index of "+l.id.String(), err)
	}
	return nil
}

// mustRoll reports whether the last segment has no room, or is too old, for another append.
func (l *partitionLog) mustRoll(c *logConfig, size, last, now int64) bool {
	g := l.active()
	used := g.size.Load()
	if used+size > min(c.segmentBytes, maxSegmentBytes) || last-g.base > maxRelative || used > 0 && g.full(c.indexBytes) {
		return true
	}
	if used == 0 {
		return false
	}
	waited := now - g.created
	if first, err := g.firstTime(); err == nil && first >= 0 {
		latest := int64(noTime)
		for i := range l.heads {
			latest = max(latest, l.heads[i].time)
		}
		waited = latest - first
	}
	return waited > c.rollMs()
}
