package kafkabroker

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// A snapshot of the producers at an offset, which names the file: version 2, checksum 4 of all that follows, number of
// entries 4, and 46 bytes for each producer.
const (
	snapshotVersion   = 1
	snapshotHead      = 10
	snapshotEntry     = 46
	snapshotDataAt    = 6 // what the checksum covers
	maxSnapshotFile   = 1 << 30
	noTxnInSnapshot   = -1
	noBatchInSnapshot = -1
)

// encode makes a snapshot. Of the batches of a producer only the last one is in it.
func (t *producerTable) encode() []byte {
	list := make([]*producer, 0, len(t.m))
	for _, p := range t.m {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *producer) int { return cmp.Compare(a.id, b.id) })
	b := make([]byte, snapshotHead, snapshotHead+len(list)*snapshotEntry)
	binary.BigEndian.PutUint16(b, snapshotVersion)
	binary.BigEndian.PutUint32(b[snapshotDataAt:], uint32(len(list)))
	for _, p := range list {
		last := producedBatch{lastSequence: -1, last: noBatchInSnapshot}
		if l := p.lastBatch(); l != nil {
			last = *l
		}
		b = binary.BigEndian.AppendUint64(b, uint64(p.id))
		b = binary.BigEndian.AppendUint16(b, uint16(p.epoch))
		b = binary.BigEndian.AppendUint32(b, uint32(last.lastSequence))
		b = binary.BigEndian.AppendUint64(b, uint64(last.last))
		b = binary.BigEndian.AppendUint32(b, uint32(last.delta))
		b = binary.BigEndian.AppendUint64(b, uint64(p.lastTime))
		b = binary.BigEndian.AppendUint32(b, uint32(p.coordinatorEpoch))
		b = binary.BigEndian.AppendUint64(b, uint64(p.txnFirst))
	}
	binary.BigEndian.PutUint32(b[2:], codec.CRC32C(b[snapshotDataAt:]))
	return b
}

// decodeSnapshot reads a snapshot.
func decodeSnapshot(name string, b []byte) ([]producer, error) {
	if len(b) < snapshotHead || binary.BigEndian.Uint16(b) != snapshotVersion {
		return nil, &corruptError{name, 0, "unknown version"}
	}
	if codec.CRC32C(b[snapshotDataAt:]) != binary.BigEndian.Uint32(b[2:]) {
		return nil, &corruptError{name, 2, "wrong checksum"}
	}
	n := int64(binary.BigEndian.Uint32(b[snapshotDataAt:]))
	if b = b[snapshotHead:]; n*snapshotEntry != int64(len(b)) {
		return nil, &corruptError{name, snapshotDataAt, "the number of producers is another one"}
	}
	list := make([]producer, 0, n)
	for r := codec.NewReader(b); r.Len() > 0; {
		p := newProducer(r.Int64())
		p.epoch = r.Int16()
		last := producedBatch{lastSequence: r.Int32(), last: r.Int64(), delta: r.Int32(), time: r.Int64()}
		p.coordinatorEpoch = r.Int32()
		p.txnFirst = max(r.Int64(), noTxnInSnapshot)
		if last.last >= 0 {
			p.add(last)
		}
		p.lastTime = last.time
		list = append(list, p)
	}
	return list, nil
}

func snapshotName(dir string, offset int64) string {
	return filepath.Join(dir, segmentFile(offset, snapshotSuffix))
}

// save writes a snapshot of the table, if there is none at its end. It is durable after a sync.
func (t *producerTable) save(fsys vfs.FS, dir string) (name string, err error) {
	if t.latestSnapshot() >= t.end || t.end == 0 {
		return "", nil
	}
	name = snapshotName(dir, t.end)
	if err := createFile(fsys, name, t.encode()); err != nil {
		_ = fsys.Remove(name)
		return "", err
	}
	t.addSnapshot(t.end)
	return name, nil
}

// load fills an empty table from the last snapshot that can be read, of those from after start up to end. Others are
// removed. Without any, the table begins at start.
func (t *producerTable) load(fsys vfs.FS, dir string, start, end, now, expireAfter int64) error {
	for i := len(t.snapshots) - 1; i >= 0; i-- {
		if s := t.snapshots[i]; s <= start || s > end {
			if err := t.removeSnapshot(fsys, dir, s); err != nil {
				return err
			}
		}
	}
	bad, err := t.peek(fsys, dir, start, now, expireAfter)
	for _, offset := range bad {
		err = errors.Join(err, removeFile(fsys, snapshotName(dir, offset)))
	}
	return err
}

// peek is load of a table all whose snapshots are in range. It removes no files and returns the snapshots that are damaged.
func (t *producerTable) peek(fsys vfs.FS, dir string, start, now, expireAfter int64) (bad []int64, err error) {
	for {
		at := t.latestSnapshot()
		if at <= start {
			t.end = start
			return bad, nil
		}
		name := snapshotName(dir, at)
		b, err := readFile(fsys, name, maxSnapshotFile)
		var list []producer
		if err == nil {
			list, err = decodeSnapshot(name, b)
		}
		var damage *corruptError
		switch {
		case err == nil:
			for i := range list {
				t.restore(&list[i], now, expireAfter)
			}
			t.end = at
			return bad, nil
		case errors.As(err, &damage) || errors.Is(err, fs.ErrNotExist):
			t.dropSnapshot(at)
			bad = append(bad, at)
		default:
			return bad, err
		}
	}
}

func (t *producerTable) restore(p *producer, now, expireAfter int64) {
	if p.expired(now, expireAfter) {
		return
	}
	t.put(p)
	if p.txnFirst >= 0 {
		t.txns.start(openTxn{producerID: p.id, first: p.txnFirst, marker: -1, seg: -1, pos: -1})
	}
}

func (t *producerTable) removeSnapshot(fsys vfs.FS, dir string, offset int64) error {
	if !t.dropSnapshot(offset) {
		return nil
	}
	return removeFile(fsys, snapshotName(dir, offset))
}
