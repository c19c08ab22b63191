package vfs

import (
	"io"
	"math/rand/v2"
	"slices"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// page is a part of a file's content. A shared one is never written again: several inodes or states have it, perhaps of file
// systems with locks of their own.
type page struct {
	b      [pageSize]byte
	shared bool
}

// share makes a page, which may be nil, a shared one.
func (pg *page) share() {
	if pg != nil && !pg.shared {
		pg.shared = true
	}
}

// inode is a file's content as programs see it and as it is durable. A nil page is zeros.
type inode struct {
	size        int64
	pages       []*page
	durableSize int64
	durable     []*page
	dirty       map[int]struct{} // pages that differ in the two
}

func (n *inode) readAt(p []byte, off int64) (int, error) {
	if off >= n.size {
		return 0, io.EOF
	}
	want := len(p)
	p = p[:min(int64(len(p)), n.size-off)]
	for done := 0; done < len(p); {
		i, at := int((off+int64(done))/pageSize), int((off+int64(done))%pageSize)
		part := p[done:min(len(p), done+pageSize-at)]
		if pg := n.page(i); pg != nil {
			copy(part, pg.b[at:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	if len(p) < want {
		return len(p), io.EOF
	}
	return len(p), nil
}

func (n *inode) page(i int) *page {
	if i < len(n.pages) {
		return n.pages[i]
	}
	return nil
}

func (n *inode) writeAt(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	for done := 0; done < len(p); {
		i, at := int((off+int64(done))/pageSize), int((off+int64(done))%pageSize)
		part := p[done:min(len(p), done+pageSize-at)]
		n.writePage(i, at, part)
		done += len(part)
	}
	n.size = max(n.size, off+int64(len(p)))
}

func (n *inode) writePage(i, at int, part []byte) {
	pg := n.page(i)
	if pg == nil && allZero(part) {
		return
	}
	for len(n.pages) <= i {
		n.pages = append(n.pages, nil)
	}
	switch {
	case pg == nil:
		pg = new(page)
	case pg.shared:
		pg = &page{b: pg.b}
	}
	n.pages[i] = pg
	copy(pg.b[at:], part)
	n.touch(i)
}

func (n *inode) touch(i int) {
	if n.dirty == nil {
		n.dirty = make(map[int]struct{})
	}
	n.dirty[i] = struct{}{}
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

func (n *inode) truncate(size int64) {
	if size < n.size {
		keep := int((size + pageSize - 1) / pageSize)
		for i := keep; i < len(n.pages); i++ {
			if n.pages[i] != nil {
				n.touch(i)
			}
		}
		n.pages = n.pages[:min(keep, len(n.pages))]
		if at := int(size % pageSize); at != 0 && n.page(keep-1) != nil {
			n.writePage(keep-1, at, make([]byte, pageSize-at))
		}
	}
	n.size = size
}

func (n *inode) sync() {
	for i := range n.dirty {
		pg := n.page(i)
		pg.share()
		for len(n.durable) <= i {
			n.durable = append(n.durable, nil)
		}
		n.durable[i] = pg
	}
	clear(n.dirty)
	n.durableSize = n.size
}

// crash returns the file as it is after a loss of power. Without rnd all that is not durable is lost.
func (n *inode) crash(rnd *rand.Rand) *inode {
	c := &inode{size: n.durableSize, pages: slices.Clone(n.durable)}
	if rnd != nil && len(n.dirty) > 0 {
		dirty := make([]int, 0, len(n.dirty))
		for i := range n.dirty {
			dirty = append(dirty, i)
		}
		slices.Sort(dirty)
		for _, i := range dirty {
			c.tear(i, n.page(i), rnd)
		}
	}
	if rnd != nil && n.size != n.durableSize {
		size := n.size
		if rnd.IntN(2) == 0 {
			size = n.durableSize
		}
		c.size = max(n.size, c.size) // so that nothing is left behind the end
		c.truncate(size)
	}
	c.durable, c.durableSize, c.dirty = slices.Clone(c.pages), c.size, nil
	for _, pg := range c.pages {
		pg.share()
	}
	return c
}

// tear replaces some sectors of a page by those of what was not durable.
func (n *inode) tear(i int, now *page, rnd *rand.Rand) {
	for len(n.pages) <= i {
		n.pages = append(n.pages, nil)
	}
	pg := new(page)
	if old := n.pages[i]; old != nil {
		pg.b = old.b
	}
	mask := rnd.Uint32()
	switch mask >> 30 { // often all or nothing of a page
	case 0:
		mask = 0
	case 1:
		mask = 1<<30 - 1
	}
	for s := range pageSize / sectorSize {
		if mask&(1<<s) == 0 {
			continue
		}
		sector := pg.b[s*sectorSize : (s+1)*sectorSize]
		if now == nil {
			clear(sector)
		} else {
			copy(sector, now.b[s*sectorSize:])
		}
	}
	n.pages[i] = pg
}
