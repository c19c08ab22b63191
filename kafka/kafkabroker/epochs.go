package kafkabroker

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// epochEntry says from which offset on a leader epoch appended.
type epochEntry struct {
	epoch int32
	start int64
}

// leaderEpochs are the leader epochs of a log in ascending order, epoch and offset both. A list is never changed, only
// replaced, so that it can be read while somebody makes another one.
type leaderEpochs []epochEntry

// latest returns the last epoch, or -1.
func (l leaderEpochs) latest() int32 {
	if len(l) == 0 {
		return -1
	}
	return l[len(l)-1].epoch
}

// assign returns the list with an epoch that begins at an offset. Entries that contradict it are dropped.
func (l leaderEpochs) assign(epoch int32, start int64) leaderEpochs {
	if epoch < 0 {
		return l
	}
	n := len(l)
	if n > 0 && l[n-1].epoch == epoch && l[n-1].start <= start {
		return l
	}
	for n > 0 && (l[n-1].epoch >= epoch || l[n-1].start >= start) {
		n--
	}
	return append(l[:n:n], epochEntry{epoch, start})
}

// truncateEnd returns the list for a log that ends at an offset.
func (l leaderEpochs) truncateEnd(end int64) leaderEpochs {
	n := len(l)
	for n > 0 && l[n-1].start >= end {
		n--
	}
	return l[:n:n]
}

// truncateStart returns the list for a log that begins at an offset.
func (l leaderEpochs) truncateStart(start int64) leaderEpochs {
	i := sort.Search(len(l), func(i int) bool { return l[i].start > start })
	if i == 0 || l[i-1].start == start && i == 1 {
		return l
	}
	list := append(leaderEpochs(nil), l[i-1:]...)
	list[0].start = start
	return list
}

// at returns the epoch of an offset, or -1.
func (l leaderEpochs) at(offset int64) int32 {
	i := sort.Search(len(l), func(i int) bool { return l[i].start > offset })
	if i == 0 {
		return -1
	}
	return l[i-1].epoch
}

// endOf returns the largest epoch that is not above the asked one, and the offset at which it ended in a log that ends at
// end. Both are -1 when the log does not know. An epoch before the first has ended where the first began.
func (l leaderEpochs) endOf(epoch int32, end int64) (int32, int64) {
	if epoch < 0 || epoch > l.latest() {
		return -1, -1
	}
	if epoch == l.latest() {
		return epoch, end
	}
	i := sort.Search(len(l), func(i int) bool { return l[i].epoch > epoch })
	if i == 0 {
		return epoch, l[0].start
	}
	return l[i-1].epoch, l[i].start
}

// same reports whether a checkpoint of l needs no change to be one of m. The offset of the first epoch does not count: when
// a log is opened it is the start of the log.
func (l leaderEpochs) same(m leaderEpochs) bool {
	if len(l) != len(m) || len(l) > 0 && l[0].epoch != m[0].epoch {
		return false
	}
	return len(l) == 0 || slices.Equal(l[1:], m[1:])
}

// encode makes the checkpoint.
func (l leaderEpochs) encode() []byte {
	b := appendCheckpoint(len(l))
	for _, e := range l {
		b = fmt.Appendf(b, "%d %d\n", e.epoch, e.start)
	}
	return b
}

// decodeEpochs reads a checkpoint.
func decodeEpochs(name string, b []byte) (leaderEpochs, error) {
	lines, err := readCheckpoint(name, b)
	if err != nil {
		return nil, err
	}
	var l leaderEpochs
	for _, line := range lines {
		epoch, start, _ := strings.Cut(line, " ")
		n, err := strconv.ParseInt(epoch, 10, 32)
		offset, err2 := strconv.ParseInt(strings.TrimSpace(start), 10, 64)
		if err != nil || err2 != nil || n < 0 || offset < 0 {
			return nil, &corruptError{name, 0, "line " + strconv.Quote(line)}
		}
		l = l.assign(int32(n), offset)
	}
	return l, nil
}

// loadEpochs reads a checkpoint. Without a file there are no epochs.
func loadEpochs(fsys vfs.FS, name string) (leaderEpochs, error) {
	b, err := readFile(fsys, name, maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeEpochs(name, b)
}
