package kafkabroker

import (
	"errors"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// opening is how a log is opened.
type opening struct {
	clean    bool  // the directory was closed in order: what is in it need not be looked at
	recovery int64 // everything below was durable
	start    int64 // log start offset
	cleaned  int64 // compaction has read everything below, -1 for nothing
	now      int64
}

// openLog opens the log in a directory, or makes one.
func (d *logDir) openLog(id partitionID, c *logConfig, o opening) (*partitionLog, error) {
	l := &partitionLog{dir: d, id: id, path: filepath.Join(d.path, id.String()), producers: newProducerTable()}
	l.conf.Store(c)
	err := l.load(o)
	if err != nil {
		l.shut()
		return nil, &storageError{"opening " + id.String(), err}
	}
	return l, nil
}

// load does the work of openLog. Nobody else has the log.
func (l *partitionLog) load(o opening) error {
	fsys := l.dir.fs
	if err := l.finishSwap(); err != nil {
		return err
	}
	if err := l.listSegments(o.now); err != nil {
		return err
	}
	err := l.readTopicID()
	if err != nil {
		return err
	}
	if l.epochs, err = loadEpochs(fsys, filepath.Join(l.path, epochFile)); err != nil {
		var damage *corruptError
		if !errors.As(err, &damage) {
			return err
		}
		l.dir.log.Warn("kafkabroker: the leader epochs cannot be read", "log", l.id, "error", err)
	}
	known := l.epochs
	if err := l.recoverSegments(o); err != nil {
		return err
	}
	if err := l.dropBefore(o.start); err != nil {
		return err
	}
	if len(l.segs) == 0 {
		g, err := l.dir.createSegment(l.path, o.start, o.now, "")
		if err != nil {
			return err
		}
		l.segs, l.end, l.dirDirty = []*segment{g}, o.start, true
	}
	if err := l.active().remember(); err != nil {
		return err
	}
	l.start = max(o.start, l.segs[0].base)
	l.endPos = l.active().size.Load()
	// What was not durable is so since it was recovered.
	l.recovery, l.durable, l.high = l.end, l.end, l.end
	l.cleaned = min(o.cleaned, l.end)
	l.epochs = l.epochs.truncateStart(l.start).truncateEnd(l.end)
	if !l.epochs.same(known) {
		if err := l.saveEpochs(l.epochs); err != nil {
			return err
		}
	}
	return l.rebuild(o.now)
}

// listSegments finds the files of the segments and the snapshots. Indexes without a log are removed.
func (l *partitionLog) listSegments(now int64) error {
	fsys := l.dir.fs
	names, err := fsys.List(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range names {
		if base, suffix, ok := parseSegmentFile(name); ok && suffix == logSuffix {
			g := l.dir.newSegment(l.path, base, now, "")
			n, err := fsys.Size(filepath.Join(l.path, name))
			if err != nil {
				return err
			}
			g.size.Store(n)
			l.segs = append(l.segs, g)
		}
	}
	for _, name := range names {
		base, suffix, ok := parseSegmentFile(name)
		if !ok {
			continue
		}
		switch suffix {
		case snapshotSuffix:
			l.producers.addSnapshot(base)
			continue
		case indexSuffix, timeIndexSuffix, txnIndexSuffix:
		default:
			continue
		}
		i, ok := slices.BinarySearchFunc(l.segs, base, func(g *segment, base int64) int { return int(max(-1, min(1, g.base-base))) })
		path := filepath.Join(l.path, name)
		if !ok {
			if err := fsys.Remove(path); err != nil {
				return err
			}
			continue
		}
		n, err := fsys.Size(path)
		if err != nil {
			return err
		}
		switch g := l.segs[i]; suffix {
		case indexSuffix:
			g.indexLen = n
		case timeIndexSuffix:
			g.timesLen = n
		case txnIndexSuffix:
			g.txnsLen = n
		}
	}
	for _, g := range l.segs {
		g.indexLen, g.timesLen = l.checkIndexes(g, names)
	}
	return nil
}

// checkIndexes returns the numbers of entries of a segment's indexes, or -1 for the first when they must be made anew.
func (l *partitionLog) checkIndexes(g *segment, names []string) (entries, times int64) {
	has := func(suffix string) bool {
		_, ok := slices.BinarySearch(names, segmentFile(g.base, suffix))
		return ok
	}
	if g.indexLen%indexEntrySize != 0 || g.timesLen%timeIndexEntrySize != 0 || !has(indexSuffix) || !has(timeIndexSuffix) {
		return -1, 0
	}
	return g.indexLen / indexEntrySize, g.timesLen / timeIndexEntrySize
}

// recoverSegments looks at the segments that may not be what they were, and finds the end of the log.
func (l *partitionLog) recoverSegments(o opening) error {
	if len(l.segs) == 0 {
		return nil
	}
	first := len(l.segs)
	if !o.clean {
		first = max(floorSegment(l.segs, o.recovery), 0)
	}
	var t *producerTable // behind segment done
	done := -1
	for i := 0; i < len(l.segs); i++ {
		g := l.segs[i]
		last := i == len(l.segs)-1
		usable := false
		if i < first {
			var err error
			if usable, err = l.sound(i); err != nil {
				return err
			}
		}
		if usable {
			if !last {
				continue
			}
			end, err := g.nextOffset()
			if err == nil {
				l.end = end
				continue
			}
			var damage *corruptError
			if !errors.As(err, &damage) {
				return err
			}
			l.dir.log.Warn("kafkabroker: a segment is not what it was when it was closed", "log", l.id, "error", err)
		}
		if done >= 0 && done == i-1 && g.base < l.end {
			if g.size.Load() > 0 {
				return l.dropAfter(i - 1)
			}
			// A segment that was begun and not used, because something failed then.
			if err := g.discard(l.dir.fs, l.path); err != nil {
				return err
			}
			l.segs = slices.Delete(l.segs, i, i+1)
			i--
			continue
		}
		if t == nil || done != i-1 {
			var err error
			if t, err = l.producersAt(g.base, o); err != nil {
				return err
			}
		}
		end, cut, err := l.recoverSegment(g, t)
		if err != nil {
			return err
		}
		l.end, done = end, i
		// What follows a part that is lost is removed: it would leave a hole. In a log that is compacted, or was, there are
		// such holes, and only damage tells.
		if !last && i >= first && (cut || end < l.segs[i+1].base && !l.config().compact && g.base >= o.cleaned) {
			l.dir.log.Warn("kafkabroker: a log was cut off at what is damaged", "log", l.id, "offset", end)
			return l.dropAfter(i)
		}
	}
	return nil
}

// dropAfter removes the segments behind one, the last first.
func (l *partitionLog) dropAfter(i int) error {
	for j := len(l.segs) - 1; j > i; j-- {
		if err := l.segs[j].discard(l.dir.fs, l.path); err != nil {
			return err
		}
	}
	l.segs = l.segs[:i+1]
	return nil
}

// dropBefore removes the segments that are before the start of the log as a whole; all, when the log ends before it.
func (l *partitionLog) dropBefore(start int64) error {
	n := 0
	for n+1 < len(l.segs) && l.segs[n+1].base <= start {
		n++
	}
	if len(l.segs) > 0 && l.end < start {
		l.dir.log.Warn("kafkabroker: a log ends before its start and is emptied", "log", l.id, "end", l.end, "start", start)
		n = len(l.segs)
	}
	for _, g := range l.segs[:n] {
		if err := g.discard(l.dir.fs, l.path); err != nil {
			return err
		}
	}
	l.segs = l.segs[n:]
	return nil
}

// recoverSegment reads all batches of a segment, removes what is behind the last good one, and makes the indexes anew. cut
// reports that there was something to remove.
func (l *partitionLog) recoverSegment(g *segment, t *producerTable) (end int64, cut bool, err error) {
	fsys, c := l.dir.fs, l.config()
	f, err := g.log.acquire()
	if err != nil {
		return 0, false, err
	}
	defer g.log.release()
	// The index is the last that is made: without it the segment is recovered again.
	if err := removeFile(fsys, filepath.Join(l.path, segmentFile(g.base, indexSuffix))); err != nil {
		return 0, false, err
	}
	if err := fsys.SyncDir(l.path); err != nil {
		return 0, false, err
	}
	if err := removeFile(fsys, g.txnName()); err != nil {
		return 0, false, err
	}
	g.mu.Lock()
	g.txnsLen, g.inMemory, g.entries, g.moments, g.since = 0, true, nil, nil, 0
	g.saved, g.savedTime, g.first, g.last, g.lastKnown = 0, 0, noTime, timeEntry{noTime, 0}, true
	g.mu.Unlock()
	size := g.size.Load()
	sc := newScanner(g.label, f, 0, size, nil)
	pos := int64(0)
	end = g.base
	for sc.next() {
		h := &sc.head
		if h.base < end || h.last-g.base > maxRelative {
			sc.err = sc.corrupt("an offset out of order")
			break
		}
		if err := sc.check(); err != nil {
			sc.err = err
			break
		}
		g.note(h, c.indexInterval)
		if h.magic() == 2 {
			if h.raw.LeaderEpoch() > l.epochs.latest() {
				l.epochs = l.epochs.assign(h.raw.LeaderEpoch(), h.base)
			}
			aborted, err := t.replay(sc, math.MaxInt64)
			for _, a := range aborted {
				if err == nil {
					err = g.addAborted(fsys, a)
				}
			}
			if err != nil {
				return 0, false, err
			}
		}
		pos, end = h.end(), h.last+1
	}
	var damage *corruptError
	if sc.err != nil && !errors.As(sc.err, &damage) {
		return 0, false, sc.err
	}
	if pos < size {
		l.dir.log.Warn("kafkabroker: the end of a segment is damaged and is cut off", "log", l.id, "segment", g.base,
			"bytes", size-pos, "error", sc.err)
		if err := f.Truncate(pos); err != nil {
			return 0, false, err
		}
		g.size.Store(pos)
	}
	return end, pos < size, l.finishRecovery(g)
}

// finishRecovery writes the indexes and makes the segment durable.
func (l *partitionLog) finishRecovery(g *segment) error {
	fsys := l.dir.fs
	err := syncHandle(g.log)
	if err == nil && g.anyAborted() {
		err = syncFile(fsys, g.txnName())
	}
	if err == nil {
		_, err = g.times.create()
	}
	if err != nil {
		return err
	}
	g.times.release()
	g.seal()
	if err = g.saveTimes(); err == nil {
		err = syncHandle(g.times)
	}
	if err == nil {
		err = fsys.SyncDir(l.path)
	}
	if err != nil {
		return err
	}
	if _, err := g.index.create(); err != nil {
		return err
	}
	g.index.release()
	if err := g.saveEntries(); err != nil {
		return err
	}
	g.forget()
	if err := syncHandle(g.index); err != nil {
		return err
	}
	return fsys.SyncDir(l.path)
}

// replay takes the batch that a scanner has found into the table and returns the transactions that it aborts. Those that are
// decided below high are forgotten.
func (t *producerTable) replay(sc *scanner, high int64) (aborted []abortedTxn, err error) {
	b := sc.head.raw
	if b.ProducerID() < 0 {
		t.end = sc.head.last + 1
		return nil, nil
	}
	if b.Attributes().Control() {
		entry, err := sc.entry(nil)
		if err != nil {
			return nil, err
		}
		b = entry
	}
	var u producerUpdate
	if err := t.addBatch(&u, b, &producerCheck{origin: fromLeader, seg: -1, pos: -1}); err != nil {
		return nil, &corruptError{sc.name, sc.head.pos, err.Error()}
	}
	aborted = t.abortedBy(&u)
	t.apply(&u, sc.head.last+1)
	if len(u.completed) > 0 {
		t.txns.forget(min(high, t.end))
	}
	return aborted, nil
}

// producersAt returns the producers as they were at an offset where a segment begins, from a snapshot and what follows it.
func (l *partitionLog) producersAt(offset int64, o opening) (*producerTable, error) {
	t := newProducerTable()
	t.snapshots = slices.Clone(l.producers.snapshots)
	t.snapshots = slices.DeleteFunc(t.snapshots, func(s int64) bool { return s > offset })
	start := o.start
	if len(l.segs) > 0 {
		start = max(start, l.segs[0].base)
	}
	if _, err := t.peek(l.dir.fs, l.path, start, o.now, l.dir.opt.expireProducers); err != nil {
		return nil, err
	}
	return t, l.replayTo(t, offset, math.MaxInt64)
}

// replayTo takes the batches from the table's end up to an offset into it. Transactions that are decided below high are
// forgotten.
func (l *partitionLog) replayTo(t *producerTable, offset, high int64) error {
	for i := max(floorSegment(l.segs, t.end), 0); i < len(l.segs) && l.segs[i].base < offset; i++ {
		if err := l.replaySegment(t, l.segs[i], offset, high); err != nil {
			return err
		}
	}
	t.end = max(t.end, offset)
	return nil
}

func (l *partitionLog) replaySegment(t *producerTable, g *segment, to, high int64) error {
	pos := int64(0)
	var err error
	if g.indexLen >= 0 {
		if pos, _, err = g.floor(t.end); err != nil {
			return err
		}
	}
	f, err := g.log.acquire()
	if err != nil {
		return err
	}
	defer g.log.release()
	limit := g.size.Load()
	if pos >= limit {
		pos = 0
	}
	sc := newScanner(g.label, f, pos, limit, nil)
	for sc.next() && sc.head.base < to {
		if sc.head.last < t.end || sc.head.magic() < 2 {
			continue
		}
		if _, err := t.replay(sc, high); err != nil {
			return err
		}
	}
	return sc.err
}

// rebuild makes the table of producers for the end of the log, and a snapshot of it. The caller holds writing.
func (l *partitionLog) rebuild(now int64) error {
	t, fsys := l.producers, l.dir.fs
	t.clear()
	before := len(t.snapshots)
	// A snapshot that belongs to no segment is of use only at the end.
	for _, s := range slices.Clone(t.snapshots) {
		i := floorSegment(l.segs, s)
		if s != l.end && (i < 0 || l.segs[i].base != s) {
			if err := t.removeSnapshot(fsys, l.path, s); err != nil {
				return err
			}
		}
	}
	if err := t.load(fsys, l.path, l.start, l.end, now, l.dir.opt.expireProducers); err != nil {
		return err
	}
	if err := l.refill(t, now); err != nil {
		return err
	}
	if err := l.replayTo(t, l.end, l.high); err != nil {
		return err
	}
	snapshot, err := t.save(fsys, l.path)
	if err == nil && snapshot != "" {
		err = syncFile(fsys, snapshot)
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.settle()
	l.recoveryStable = l.undecided()
	l.mu.Unlock()
	if snapshot == "" && len(t.snapshots) == before {
		return nil
	}
	return fsys.SyncDir(l.path)
}

// readTopicID reads the topic's id. A log without records may have been made just before a crash: it may have none.
func (l *partitionLog) readTopicID() (err error) {
	l.topicID, err = readPartitionMeta(l.dir.fs, filepath.Join(l.path, partitionFile))
	var damage *corruptError
	if !errors.As(err, &damage) {
		return err
	}
	for _, g := range l.segs {
		if g.size.Load() > 0 {
			return err
		}
	}
	l.topicID = kafkawire.UUID{}
	return nil
}

// setTopicID writes the topic's id into the directory of a log.
func (l *partitionLog) setTopicID(id kafkawire.UUID) error {
	if !l.topicID.IsZero() && l.topicID != id {
		return logError(kafkawire.ErrInconsistentTopicID, "%s is of topic %s, not %s", l.id, l.topicID, id)
	}
	if l.topicID == id {
		return nil
	}
	if err := writeFile(l.dir.fs, filepath.Join(l.path, partitionFile), encodePartitionMeta(id)); err != nil {
		return l.storageFailure("topic id", err)
	}
	l.topicID = id
	return nil
}

// finishSwap removes what was being removed or made, and finishes putting in place what compaction had made.
func (l *partitionLog) finishSwap() error {
	fsys := l.dir.fs
	names, err := fsys.List(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	unfinished := int64(-1) // the lowest base offset of what was being made
	var swaps []string
	remove := func(name string) error { return fsys.Remove(filepath.Join(l.path, name)) }
	for _, name := range names {
		base, _, _ := parseSegmentFile(name)
		switch {
		case strings.HasSuffix(name, deletedSuffix), strings.HasSuffix(name, tmpSuffix):
			err = remove(name)
		case strings.HasSuffix(name, cleanedSuffix):
			if unfinished < 0 || base < unfinished {
				unfinished = base
			}
		case strings.HasSuffix(name, swapSuffix):
			swaps = append(swaps, name)
		}
		if err != nil {
			return err
		}
	}
	// Files get .swap from the highest offset down: with one that has not, all from there up are of no use.
	swaps = slices.DeleteFunc(swaps, func(name string) bool {
		base, _, _ := parseSegmentFile(name)
		if unfinished < 0 || base < unfinished {
			return false
		}
		err = errors.Join(err, remove(name))
		return true
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, cleanedSuffix) {
			if err := remove(name); err != nil {
				return err
			}
		}
	}
	if len(swaps) == 0 {
		return nil
	}
	return l.completeSwap(swaps, names)
}

// completeSwap removes the segments that those with .swap replace, and gives these their names.
func (l *partitionLog) completeSwap(swaps, names []string) error {
	fsys := l.dir.fs
	for _, name := range swaps {
		base, suffix, ok := parseSegmentFile(strings.TrimSuffix(name, swapSuffix))
		if !ok || suffix != logSuffix {
			continue
		}
		end, err := l.swapEnd(name, base)
		if err != nil {
			return err
		}
		for _, old := range names {
			b, suffix, ok := parseSegmentFile(old)
			kind := suffix == logSuffix || suffix == indexSuffix || suffix == timeIndexSuffix || suffix == txnIndexSuffix
			if ok && kind && b >= base && b < end {
				if err := removeFile(fsys, filepath.Join(l.path, old)); err != nil {
					return err
				}
			}
		}
	}
	if err := fsys.SyncDir(l.path); err != nil {
		return err
	}
	for _, name := range swaps {
		path := filepath.Join(l.path, name)
		if err := fsys.Rename(path, strings.TrimSuffix(path, swapSuffix)); err != nil {
			return err
		}
	}
	return fsys.SyncDir(l.path)
}

// swapEnd returns the offset behind the last batch of a .log with .swap, its base offset plus one at least.
func (l *partitionLog) swapEnd(name string, base int64) (int64, error) {
	g := l.dir.newSegment(l.path, base, 0, swapSuffix)
	defer g.log.shut()
	f, err := g.log.acquire()
	if err != nil {
		return 0, err
	}
	defer g.log.release()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	end := base + 1
	sc := newScanner(name, f, 0, size, nil)
	for sc.next() {
		end = sc.head.last + 1
	}
	return end, sc.err
}
