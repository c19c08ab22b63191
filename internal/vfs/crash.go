package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashClone returns the file system that is found after a loss of power at this moment; m itself goes on. What was
// synced is there. Of what was written since, each sector of 512 bytes has its old or its new content; each directory
// operation that was not synced has happened or not. The seed decides. Hooks, locks and the capacity are not copied.
//
// Content is shared until it is written, so that a clone costs a pointer for each page.
func (m *Mem) CrashClone(seed uint64) *Mem {
	return m.crash(rand.New(rand.NewPCG(seed, 0x6a6f75726e616c)))
}

// DropClone is [Mem.CrashClone] with the loss of everything that was not synced.
func (m *Mem) DropClone() *Mem { return m.crash(nil) }

func (m *Mem) crash(rnd *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := maps.Clone(m.durable)
	for _, c := range m.changes {
		if rnd != nil && rnd.IntN(2) == 0 {
			c.apply(names)
		}
	}
	clone := NewMem()
	done := make(map[*inode]*inode) // a rename that was half kept leaves two names
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := names[name]
		if done[n] == nil {
			done[n] = n.crash(rnd)
		}
		clone.names[name] = done[n]
		clone.durable[name] = done[n]
	}
	return clone
}
