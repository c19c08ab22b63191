package journal

import (
	"fmt"
	"sort"
	"sync/atomic"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// segment is a file of the log. What the writer changes in the last one, and all lists, are guarded by store.mu.
type segment struct {
	header
	name string // in the directory
	file vfs.File

	size    int64 // of the file
	used    int64 // up to here there are batches
	payload int64 // bytes of its records
	records int64
	sealed  bool
	index   []entry
	tombs   int64
	maxTomb uint64 // no tombstone has a higher LSN

	live       atomic.Int64 // live bytes
	liveBefore int64        // live bytes when it was rewritten: there is no use in doing that again before less is live
	refs       atomic.Int32 // readers
	broken     bool         // it could not be read when it was to be cleaned
	synced     bool         // since it was sealed; of interest without syncs only
}

// entry says at which offset the batch is that begins with an LSN.
type entry struct {
	lsn uint64
	off int64
}

func segName(id uint64) string { return fmt.Sprintf("%016x.seg", id) }

// note adds a batch that is in the file to what is known of it.
func (g *segment) note(b *batch, end uint64, size int64) {
	if g.first == 0 {
		g.first = b.base
	}
	if n := len(g.index); n == 0 || b.off-g.index[n-1].off >= batchTarget {
		g.index = append(g.index, entry{b.base, b.off})
	}
	if g.rewritten == 0 {
		g.end = end
	}
	g.used = b.off + batchHeader + size
	g.size = max(g.size, g.used)
	g.records += int64(b.count)
	if b.tombs > 0 {
		g.tombs += int64(b.tombs)
		g.maxTomb = end - 1
	}
}

// seal writes the mark of the end behind the last batch. It is not durable yet.
func (g *segment) seal(end, durable uint64) error {
	var h [batchHeader]byte
	putBatch(h[:], &batch{base: end, durable: durable}, 0, g.seed)
	_, err := g.file.WriteAt(h[:], g.used)
	return err
}

// region returns the part of the file in which an LSN must be.
func (g *segment) region(lsn uint64) (from, to int64) {
	i := sort.Search(len(g.index), func(i int) bool { return g.index[i].lsn > lsn })
	if i == 0 {
		return 0, 0
	}
	from, to = g.index[i-1].off, g.used
	if i < len(g.index) {
		to = g.index[i].off
	}
	return from, to
}

// find returns the segment whose range has an LSN, or nil. The caller holds mu.
func (s *store) find(lsn uint64) *segment {
	n := len(s.segs)
	if n > 0 && lsn >= s.segs[n-1].first { // mostly it is a young one
		if g := s.segs[n-1]; g.first != 0 && lsn < g.end {
			return g
		}
	}
	i := sort.Search(n, func(i int) bool { return s.segs[i].first == 0 || s.segs[i].first > lsn })
	if i == 0 || lsn >= s.segs[i-1].end {
		return nil
	}
	return s.segs[i-1]
}
