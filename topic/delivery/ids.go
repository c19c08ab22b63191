package delivery

import (
	"iter"
	"math/bits"
	"slices"
)

const (
	idsSmall = 64 // most identifiers in a sorted slice
	idsKeep  = 16 // capacity that an empty set keeps
)

// IDs is a set of 16-bit identifiers, such as those of the MQTT QoS 2 packets
// that have been received and not released. A set takes two bytes per
// identifier while it has at most 64 of them, and 8 KiB above. An empty set
// keeps at most 32 bytes, none after [IDs.Reset].
//
// The zero value is the empty set. It is not safe for concurrent use.
type IDs struct {
	small []uint16 // sorted; unused while there is a table
	table *[1024]uint64
	n     int
}

// Len returns the number of identifiers.
func (s *IDs) Len() int { return s.n }

// Has reports whether id is in the set.
func (s *IDs) Has(id uint16) bool {
	if s.table != nil {
		return s.table[id/64]&(1<<(id%64)) != 0
	}
	_, found := slices.BinarySearch(s.small, id)
	return found
}

// Add puts id into the set and reports whether it is new there.
func (s *IDs) Add(id uint16) bool {
	if s.table == nil && s.n == idsSmall {
		s.spread()
	}
	if s.table != nil {
		if s.Has(id) {
			return false
		}
		s.table[id/64] |= 1 << (id % 64)
		s.n++
		return true
	}
	i, found := slices.BinarySearch(s.small, id)
	if !found {
		s.small = slices.Insert(s.small, i, id)
		s.n++
	}
	return !found
}

// Remove takes id out of the set and reports whether it was there.
func (s *IDs) Remove(id uint16) bool {
	if s.table != nil {
		if !s.Has(id) {
			return false
		}
		s.table[id/64] &^= 1 << (id % 64)
		s.n--
		if s.n == idsSmall/2 {
			s.gather()
		}
		return true
	}
	i, found := slices.BinarySearch(s.small, id)
	if !found {
		return false
	}
	s.small = slices.Delete(s.small, i, i+1)
	s.n--
	if s.n == 0 && cap(s.small) > idsKeep {
		s.small = nil
	}
	return true
}

// All yields the identifiers in increasing order. The loop may remove the
// current one; other changes during it may be seen or not.
func (s *IDs) All() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		id, ok := s.from(0)
		for ok && yield(id) && id < 0xffff {
			id, ok = s.from(id + 1)
		}
	}
}

// Reset empties the set and gives all its memory back.
func (s *IDs) Reset() { *s = IDs{} }

// from returns the lowest identifier that is at least id.
func (s *IDs) from(id uint16) (uint16, bool) {
	if s.table == nil {
		i, _ := slices.BinarySearch(s.small, id)
		if i == len(s.small) {
			return 0, false
		}
		return s.small[i], true
	}
	word := s.table[id/64] >> (id % 64) << (id % 64)
	for i := int(id / 64); ; word = s.table[i] {
		if word != 0 {
			return uint16(i*64 + bits.TrailingZeros64(word)), true
		}
		if i++; i == len(s.table) {
			return 0, false
		}
	}
}

// spread goes from the slice to the table.
func (s *IDs) spread() {
	s.table = new([1024]uint64)
	for _, id := range s.small {
		s.table[id/64] |= 1 << (id % 64)
	}
	s.small = nil
}

// gather goes from the table to the slice.
func (s *IDs) gather() {
	small := slices.AppendSeq(make([]uint16, 0, s.n), s.All())
	s.small, s.table = small, nil
}
