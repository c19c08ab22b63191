package kafkabroker

import (
	"crypto/sha256"
	"encoding/binary"
)

// offsetMap remembers the last offset of each key that compaction has met. It has a hash of 16 bytes for a key, and as many
// entries as were agreed on: when it is full, compaction goes on with what it knows.
type offsetMap struct {
	slots  []mapSlot
	n, max int
	latest int64 // the keys of all records up to here are in it, -1 for none
}

type mapSlot struct {
	hash   [2]uint64 // zero for an empty slot
	offset int64
}

const mapSlotBytes = 24

// reset empties the map and makes room for keys, if bytes suffice for so many.
func (m *offsetMap) reset(keys, bytes int64) {
	slots := int(min(max(keys+keys/8, 16)+1, max(bytes/mapSlotBytes, 16)))
	if cap(m.slots) < slots || cap(m.slots) > 4*slots {
		m.slots = make([]mapSlot, slots)
	} else {
		m.slots = m.slots[:slots]
		clear(m.slots)
	}
	m.n, m.max, m.latest = 0, slots-slots/10, -1
}

// find returns the slot of a key, or the one where it belongs.
func (m *offsetMap) find(key []byte) (*mapSlot, [2]uint64) {
	sum := sha256.Sum256(key)
	h := [2]uint64{binary.LittleEndian.Uint64(sum[:]) | 1, binary.LittleEndian.Uint64(sum[8:])}
	for i := h[1] % uint64(len(m.slots)); ; {
		s := &m.slots[i]
		if s.hash == h || s.hash == [2]uint64{} {
			return s, h
		}
		if i++; i == uint64(len(m.slots)) {
			i = 0
		}
	}
}

// put notes the offset of a key and returns false when there is no room.
func (m *offsetMap) put(key []byte, offset int64) bool {
	s, h := m.find(key)
	if s.hash == [2]uint64{} {
		if m.n >= m.max {
			return false
		}
		s.hash = h
		m.n++
	}
	s.offset = offset
	return true
}

// get returns the last offset of a key, or -1.
func (m *offsetMap) get(key []byte) int64 {
	s, _ := m.find(key)
	if s.hash == [2]uint64{} {
		return -1
	}
	return s.offset
}
