package amqpbroker

import "encoding/binary"

// cold is the end of a level of a queue of which the messages are not in memory: an entry is the number of a record and
// what must be known without reading it, five or six bytes. Entries of messages without a record are among them as they
// are.
type cold struct {
	pages ring[coldPage]
	n     int
	solid uint64 // from this number on it has everything that came; checkpoints list what is before, which was recovered
}

// coldPage is up to [pageEntries] entries one after the other.
type coldPage struct {
	b     []byte
	n     int     // of the entries in b
	pos   uint64  // of the first; the others follow
	prev  uint64  // the number before the first
	last  uint64  // the number of the last
	plain []entry // those without a record
}

// pageEntries is how many entries a page has.
const pageEntries = 1024

// coldEntry is an entry of a coldPage.
type coldEntry struct {
	seq     uint64
	pos     uint64
	size    int // see message.size
	length  int64
	expires int64
	count   uint32
	flags   entryFlags
	plain   *entry // an entry without a record
}

// The first number of an entry is the difference of seq above these bits.
const (
	coldPlain   = 1 << iota // the next of plain
	coldExpires             // with expires
	coldMarked              // with flags and count
	coldBits    = 3
)

// push appends an entry. Its number must be above that of the last.
func (c *cold) push(e *entry) {
	if e.m.seq == 0 {
		p := c.room(0, e.pos)
		p.b = append(p.b, coldPlain)
		p.plain = append(p.plain, *e)
		return
	}
	c.pushCold(&coldEntry{
		seq: e.m.seq, pos: e.pos, size: e.m.size(), length: e.m.length(), expires: e.expires, count: e.count, flags: e.flags,
	})
}

// pushCold is push for an entry of a message that is in the journal only.
func (c *cold) pushCold(e *coldEntry) { c.room(e.seq-1, e.pos).append(e) }

// room returns the page for the next entry, which counts already. A new page begins after seq, with pos.
func (c *cold) room(seq, pos uint64) *coldPage {
	c.n++
	if k := c.pages.n; k > 0 {
		p := c.pages.at(k - 1)
		if p.n < pageEntries {
			p.n++
			return p
		}
		p.b = append(make([]byte, 0, len(p.b)), p.b...)
	}
	c.pages.push(coldPage{n: 1, pos: pos, prev: seq, last: seq})
	return c.pages.at(c.pages.n - 1)
}

// append encodes an entry.
func (p *coldPage) append(e *coldEntry) {
	v := (e.seq - p.last) << coldBits
	p.last = e.seq
	if e.expires != 0 {
		v |= coldExpires
	}
	if e.flags != 0 || e.count != 0 {
		v |= coldMarked
	}
	p.b = binary.AppendUvarint(p.b, v)
	p.b = binary.AppendUvarint(p.b, uint64(e.length))
	p.b = binary.AppendUvarint(p.b, uint64(int64(e.size)-e.length))
	if e.expires != 0 {
		p.b = binary.AppendUvarint(p.b, uint64(e.expires))
	}
	if v&coldMarked != 0 {
		p.b = binary.AppendUvarint(append(p.b, byte(e.flags)), uint64(e.count))
	}
}

// coldCursor walks over the entries of a cold without taking them out. It is valid until entries are taken out.
type coldCursor struct {
	c    *cold
	page int
	i    int // of the entry in the page
	off  int
	fat  int
	seq  uint64
}

func (c *cold) cursor() coldCursor { return coldCursor{c: c} }

// next returns the next entry.
func (cu *coldCursor) next() (e coldEntry, ok bool) {
	for {
		if cu.page == cu.c.pages.n {
			return e, false
		}
		p := cu.c.pages.at(cu.page)
		if cu.i < p.n {
			if cu.i == 0 {
				cu.seq = p.prev
			}
			var n int
			e, n = p.parse(cu.off, cu.seq, cu.fat)
			e.pos = p.pos + uint64(cu.i)
			if e.plain != nil {
				cu.fat++
			} else {
				cu.seq = e.seq
			}
			cu.off += n
			cu.i++
			return e, true
		}
		cu.page, cu.i, cu.off, cu.fat = cu.page+1, 0, 0, 0
	}
}

// parse decodes the entry at an offset, before which the number was seq and plain entries were used.
func (p *coldPage) parse(off int, seq uint64, plain int) (e coldEntry, n int) {
	b := p.b[off:]
	v, n := binary.Uvarint(b)
	if v&coldPlain != 0 {
		e.plain = &p.plain[plain]
		e.size, e.length, e.expires = e.plain.m.size(), e.plain.m.length(), e.plain.expires
		return e, n
	}
	e.seq = seq + v>>coldBits
	length, k := binary.Uvarint(b[n:])
	n += k
	rest, k := binary.Uvarint(b[n:])
	n += k
	e.length, e.size = int64(length), int(length+rest)
	if v&coldExpires != 0 {
		at, k := binary.Uvarint(b[n:])
		e.expires, n = int64(at), n+k
	}
	if v&coldMarked != 0 {
		e.flags = entryFlags(b[n])
		n++
		count, k := binary.Uvarint(b[n:])
		e.count, n = uint32(count), n+k
	}
	return e, n
}

// first returns the first entry.
func (c *cold) first() (coldEntry, bool) {
	cu := c.cursor()
	return cu.next()
}

// shift takes the first entry out.
func (c *cold) shift() coldEntry {
	p := c.pages.at(0)
	e, n := p.parse(0, p.prev, 0)
	e.pos = p.pos
	if e.plain != nil {
		plain := *e.plain
		e.plain = &plain
		p.plain[0] = entry{}
		p.plain = p.plain[1:]
	} else {
		p.prev = e.seq
	}
	p.b = p.b[n:]
	p.pos++
	c.n--
	if p.n--; p.n == 0 {
		c.pages.shift()
	}
	return e
}
