package kafkabroker

import (
	"encoding/binary"
	"io"
	"sync"
)

// The sizes of entries of the indexes of a segment. Offsets in them are relative to the segment's base offset.
const (
	indexEntrySize     = 8  // relative offset 4, position 4
	timeIndexEntrySize = 12 // timestamp 8, relative offset 4
)

// indexEntry says where in a segment's .log a batch begins: the one with this last offset. Entries are sparse: one for each
// index.interval.bytes of the log.
type indexEntry struct {
	relative int32
	position int32
}

// timeEntry says that no batch up to the one with this last offset has a later timestamp.
type timeEntry struct {
	time     int64
	relative int32
}

func appendIndexEntry(b []byte, e indexEntry) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(e.relative))
	return binary.BigEndian.AppendUint32(b, uint32(e.position))
}

func readIndexEntry(b []byte) indexEntry {
	return indexEntry{int32(binary.BigEndian.Uint32(b)), int32(binary.BigEndian.Uint32(b[4:]))}
}

func appendTimeEntry(b []byte, e timeEntry) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.time))
	return binary.BigEndian.AppendUint32(b, uint32(e.relative))
}

func readTimeEntry(b []byte) timeEntry {
	return timeEntry{int64(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[8:]))}
}

// searchBlock is how many bytes of an index are read at once when few are left to be searched.
const searchBlock = 4080 // whole entries of either size

var searchBlocks = sync.Pool{New: func() any { return new([searchBlock]byte) }}

// floorEntry reads the last of n entries of an index in a file for which below is true, where below is true for some of the
// first entries and false for the others. ok is false when there is none.
func floorEntry(f io.ReaderAt, n, size int64, below func(entry []byte) bool, entry []byte) (ok bool, err error) {
	low, high := int64(0), n // below is true before low and false from high on
	buf := searchBlocks.Get().(*[searchBlock]byte)
	defer searchBlocks.Put(buf)
	for (high-low)*size > searchBlock {
		mid := low + (high-low)/2
		if err := readFull(f, buf[:size], mid*size); err != nil {
			return false, err
		}
		if below(buf[:size]) {
			low = mid + 1
			copy(entry, buf[:size])
			ok = true
		} else {
			high = mid
		}
	}
	rest := buf[:(high-low)*size]
	if err := readFull(f, rest, low*size); err != nil {
		return false, err
	}
	for ; len(rest) > 0 && below(rest[:size]); rest = rest[size:] {
		copy(entry, rest[:size])
		ok = true
	}
	return ok, nil
}

// readFull reads all of p or fails.
func readFull(f io.ReaderAt, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == io.EOF || err == nil:
		return io.ErrUnexpectedEOF
	}
	return err
}
