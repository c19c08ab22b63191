package kafkabroker

import (
	"cmp"
	"errors"
	"math"
	"path/filepath"
)

// checkEnds makes sure that the indexes of a segment that was closed in order are right, as far as their first and last entries
// tell; the transaction index is small and read as a whole. next is where the next segment begins. What cannot be right is a
// *corruptError.
func (l *partitionLog) checkEnds(g *segment, next int64) error {
	b, err := l.indexEnds(g, indexSuffix, g.indexLen, indexEntrySize)
	if err != nil {
		return err
	}
	bad := func(suffix, text string) error { return &corruptError{l.indexName(g, suffix), 0, text} }
	reach := min(next-1-g.base, maxRelative) // of relative offsets
	if len(b) > 0 {
		first, last := readIndexEntry(b), readIndexEntry(b[indexEntrySize:])
		switch {
		case first.relative < 0 || first.position < 0 || int64(last.relative) > reach || int64(last.position) >= g.size.Load():
			return bad(indexSuffix, "an entry that is not about the segment")
		case g.indexLen > 1 && (first.relative >= last.relative || first.position >= last.position):
			return bad(indexSuffix, "entries out of order")
		}
	}
	if b, err = l.indexEnds(g, timeIndexSuffix, g.timesLen, timeIndexEntrySize); err != nil {
		return err
	}
	if len(b) > 0 {
		first, last := readTimeEntry(b), readTimeEntry(b[timeIndexEntrySize:])
		switch {
		case first.relative < 0 || last.relative < 0 || int64(first.relative) > reach || int64(last.relative) > reach:
			return bad(timeIndexSuffix, "an entry that is not about the segment")
		case first.time > last.time:
			return bad(timeIndexSuffix, "entries out of order")
		}
	}
	txns, err := g.aborted(l.dir.fs)
	if n := len(txns); n > 0 && (txns[0].last < g.base || txns[n-1].last >= next) {
		return bad(txnIndexSuffix, "an entry that is not about the segment")
	}
	return err
}

func (l *partitionLog) indexName(g *segment, suffix string) string {
	return filepath.Join(l.path, segmentFile(g.base, suffix))
}

// indexEnds reads the first and the last of n entries of an index, nothing when there is none. The file does not stay open.
func (l *partitionLog) indexEnds(g *segment, suffix string, n, size int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	f, err := l.dir.fs.Open(l.indexName(g, suffix))
	if err != nil {
		return nil, err
	}
	b := make([]byte, 2*size)
	err = cmp.Or(readFull(f, b[:size], 0), readFull(f, b[size:], (n-1)*size))
	return b, errors.Join(err, f.Close())
}

// sound reports whether the indexes of segment i can be used. It says no, too, when they were found to be damaged before.
func (l *partitionLog) sound(i int) (bool, error) {
	g, next := l.segs[i], int64(math.MaxInt64)
	if g.indexLen < 0 {
		return false, nil
	}
	if i+1 < len(l.segs) {
		next = l.segs[i+1].base
	}
	err := l.checkEnds(g, next)
	if damage, ok := errors.AsType[*corruptError](err); ok {
		l.dir.log.Warn("kafkabroker: an index is damaged and is made anew", "log", l.id, "error", damage)
		g.indexLen, g.timesLen = -1, 0
		return false, nil
	}
	return err == nil, err
}
