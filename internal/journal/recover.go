package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// replayChunk is how much of a segment is read at once.
const replayChunk = 1 << 20

// recovered is what a replay found out.
type recovered struct {
	next uint64 // the LSN after the last record
	tail *segment
	dirt bool // behind the tail's end there is something that must be wiped out

	unsealed []*segment // their records are complete, but the mark of the end is missing
}

// replay calls f for all records. It finds the end of the log, and cuts off what was being written when the journal
// ended. It leaves the store's list of segments with those that have records.
func (s *store) replay(f func(g *segment, lsn uint64, record []byte) error) (rec recovered, err error) {
	rec.next = 1
	for i, g := range s.segs {
		if g.first == 0 {
			g.first, g.end = rec.next, rec.next
		}
		end, err := s.replaySegment(g, rec.next, f)
		if err != nil {
			return rec, err
		}
		rec.next = max(rec.next, end, g.end)
		if g.sealed {
			continue
		}
		if g.rewritten != 0 {
			return rec, s.corrupt(g, "end of a rewritten segment is missing")
		}
		later := s.segs[i+1:]
		for _, l := range later {
			if l.rewritten != 0 || s.firstDurable(l) > rec.next {
				return rec, s.corrupt(g, "invalid batch that was durable: younger segments follow")
			}
		}
		if len(later) > 0 && later[0].first == rec.next { // only the mark of the end is missing
			g.sealed = true
			rec.unsealed = append(rec.unsealed, g)
			continue
		}
		rec.tail = g
		if len(later) > 0 {
			s.log.Info("journal: segments after an incomplete one are dropped; they were not durable",
				"file", g.name, "segments", len(later))
		}
		if err := s.dropAll(later); err != nil {
			return rec, err
		}
		s.segs = s.segs[:i+1]
		break
	}
	if rec.tail == nil && len(s.trailing) > 0 {
		rec.tail, s.trailing = s.trailing[0], s.trailing[1:]
		s.segs = append(s.segs, rec.tail)
	}
	if rec.tail != nil {
		if rec.dirt, err = s.checkTail(rec.tail, rec.next); err != nil {
			return rec, err
		}
	}
	return rec, s.checkTrailing(rec.next)
}

// checkTrailing removes segments without records that have valid batches all the same: they were not durable, and must
// not come back when the segment is used.
func (s *store) checkTrailing(next uint64) error {
	var keep, drop []*segment
	for _, g := range s.trailing {
		later, durable, err := s.laterBatch(g, next)
		switch {
		case err != nil:
			return err
		case later > 0 && durable > next:
			return s.corrupt(g, fmt.Sprintf("invalid batch that was durable: a valid one follows at offset %d", later))
		case later > 0:
			drop = append(drop, g)
		default:
			keep = append(keep, g)
		}
	}
	s.trailing = keep
	return s.dropAll(drop)
}

func (s *store) corrupt(g *segment, reason string) error {
	return &CorruptError{File: s.path(g.name), Offset: g.used, Reason: reason}
}

// firstDurable returns what the first batch of a segment says was durable when it was written.
func (s *store) firstDurable(g *segment) uint64 {
	r := g.reader(batchHeader)
	b, err := r.next()
	if err != nil {
		return 0
	}
	return b.durable
}

func (s *store) dropAll(segs []*segment) error {
	if len(segs) == 0 {
		return nil
	}
	var err error
	for _, g := range segs {
		err = errors.Join(err, s.removeSegment(g))
	}
	return errors.Join(err, s.fs.SyncDir(s.dir))
}

// replaySegment calls f for the records of a segment up to its mark of the end or the first invalid batch.
func (s *store) replaySegment(g *segment, next uint64, f func(*segment, uint64, []byte) error) (end uint64, err error) {
	if g.first < next {
		return 0, s.corrupt(g, fmt.Sprintf("it begins with record %d, expected %d or a later one", g.first, next))
	}
	r := g.reader(replayChunk)
	next = g.first
	for {
		b, err := r.next()
		if err == errInvalid {
			return next, nil
		}
		if err != nil {
			return 0, err
		}
		if b.base != next && (g.rewritten == 0 || b.base < next) {
			if g.rewritten == 0 {
				return next, nil
			}
			return 0, s.corrupt(g, "batches out of order")
		}
		if b.seal() {
			g.sealed = true
			g.used = b.end()
			return next, nil
		}
		rs := records{body: b.body, lsn: b.base}
		count := uint32(0)
		for {
			lsn, record, ok := rs.next()
			if !ok {
				break
			}
			count++
			g.payload += int64(len(record))
			if g.rewritten == 0 {
				g.end = lsn + 1 // for Restore
			}
			if f != nil {
				if err := f(g, lsn, record); err != nil {
					return 0, err
				}
			}
		}
		if len(rs.body) > 0 || count != b.count || g.rewritten != 0 && rs.lsn > g.end {
			g.used = b.off
			return 0, s.corrupt(g, "records do not fit their batch")
		}
		next = rs.lsn
		g.note(&b, next, int64(len(b.body)))
	}
}

// checkTail looks at what is behind the end of the last segment: nothing, the rest of the file's earlier life, or what
// was being written. If there is a batch which says that the invalid one was durable, the log is corrupt.
func (s *store) checkTail(g *segment, next uint64) (dirt bool, err error) {
	rest := g.size - g.used
	if rest <= 0 {
		return false, nil
	}
	var head [batchHeader]byte
	n, err := g.file.ReadAt(head[:min(rest, batchHeader)], g.used)
	if n < int(min(rest, batchHeader)) {
		return false, err
	}
	torn := le.Uint64(head[8:]) == next || rest < batchHeader && !bytes.Equal(head[:n], make([]byte, n))
	later, durable, err := s.laterBatch(g, next)
	if err != nil {
		return false, err
	}
	if later > 0 && durable > next {
		return false, s.corrupt(g, fmt.Sprintf("invalid batch that was durable: a valid one follows at offset %d", later))
	}
	if torn || later > 0 {
		size := min(rest, batchHeader+int64(le.Uint32(head[4:])))
		s.log.Info("journal: an incomplete write at the end of the log is cut off",
			"file", g.name, "offset", g.used, "bytes", size, "record", next)
		return true, nil
	}
	return false, nil
}

// laterBatch looks for a valid batch with records from next on behind the end of a segment, at any offset. It returns
// the offset of the last one and the highest LSN that one of them says was durable.
func (s *store) laterBatch(g *segment, next uint64) (off int64, durable uint64, err error) {
	const step = 1 << 20
	buf, zeros := make([]byte, step+batchHeader), make([]byte, 4<<10)
	for at := g.used; at < g.size; at += step {
		n, err := g.file.ReadAt(buf[:min(int64(len(buf)), g.size-at)], at)
		if n == 0 && err != nil {
			return 0, 0, err
		}
		b := buf[:n]
		for i := 0; i < step && i+batchHeader <= len(b); i++ {
			if b[i+15] != 0 || b[i+14] != 0 { // no journal has 2^48 records: most offsets end here
				continue
			}
			base := le.Uint64(b[i+8:])
			if base == 0 {
				if i+len(zeros) <= len(b) && bytes.Equal(b[i:i+len(zeros)], zeros) {
					i += len(zeros) - batchHeader
				}
				continue
			}
			if base < next || base-next > math.MaxUint32 {
				continue
			}
			if d, ok := s.validAt(g, at+int64(i), b[i:]); ok {
				off, durable = at+int64(i), max(durable, d)
			}
		}
	}
	return off, durable, nil
}

func (s *store) validAt(g *segment, at int64, head []byte) (durable uint64, ok bool) {
	if int64(le.Uint32(head[4:])) > g.size-at-batchHeader {
		return 0, false
	}
	r := batchReader{f: g.file, seed: g.seed, off: at, limit: g.size, chunk: batchHeader}
	b, err := r.next()
	return b.durable, err == nil
}

// settle makes durable what a replay has accepted, before anything new is: and what it has not accepted can never be
// taken for records later.
func (s *store) settle(rec *recovered) error {
	if rec.dirt {
		if err := fill(rec.tail.file, rec.tail.used, rec.tail.size, true, nil); err != nil {
			return err
		}
	}
	for _, g := range rec.unsealed {
		if err := g.seal(g.end, g.end); err != nil {
			return err
		}
	}
	for _, g := range s.segs { // also older ones: they may have been written without syncs
		if err := g.file.Sync(); err != nil {
			return err
		}
	}
	return s.fs.SyncDir(s.dir)
}
