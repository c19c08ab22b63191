package kafkawire

// array codes the number of elements of an array of structures. Each element is followed by [coder.next].
// size is the least number of bytes of an element.
func (c *coder) array(n, size int) int {
	if !c.decoding {
		return c.length(n)
	}
	n = c.count(size)
	if n < 0 {
		c.r.Fail(ErrNull)
		return 0
	}
	c.enter(n)
	return n
}

// nullArray is array for one that can be null, which is -1.
func (c *coder) nullArray(n int, isNull bool, size int) int {
	if !c.decoding {
		if isNull {
			n = -1
		}
		return c.length(n)
	}
	n = c.count(size)
	c.enter(n)
	return n
}

// count reads the number of elements, no more than the rest of the input can hold, nor than the limit allows.
func (c *coder) count(size int) int {
	n := c.length(0)
	if n > 0 {
		n = c.more(c.r.Count(n, size))
	}
	return n
}

// more counts n elements, and fails and returns 0 when these are too many.
func (c *coder) more(n int) int {
	c.elements += n
	if c.limit > 0 && c.elements > c.limit {
		c.r.Fail(ErrElements)
		return 0
	}
	return n
}

// enter notes that n elements come.
func (c *coder) enter(n int) {
	if n > 0 {
		c.counts[c.depth&7] = n
		c.depth++
	}
}

// next notes that an element has passed.
func (c *coder) next() {
	if c.decoding {
		n := &c.counts[(c.depth-1)&7]
		if *n--; *n == 0 {
			c.depth--
		}
	}
}

// siblings guesses how often what is being decoded comes again: as often as there are elements left of the arrays around.
func (c *coder) siblings() int {
	n, most := 1, c.r.Len()+1
	for _, left := range c.counts[:min(c.depth, uint8(len(c.counts)))] {
		if n *= left; n > most {
			return most
		}
	}
	return n
}

// newArray returns n elements, nil when n is -1.
func newArray[T any](n int) []T {
	if n < 0 {
		return nil
	}
	return make([]T, n)
}

// slab is memory from which the arrays within arrays are cut, so that there are few allocations.
type slab[T any] struct {
	free []T
	size int // of the last allocation
}

// take cuts n elements off; for n of -1 it returns nil. When there are not enough left it allocates for as many as are
// likely to come, and never for more than the rest of the input can hold, when each takes size bytes, nor than the limit
// allows. As a slab that was too small has been used up, more or less, all slabs together are about twice as large as that
// at most. Without a slab each array has memory of its own.
func (s *slab[T]) take(c *coder, n, size int) []T {
	switch {
	case n < 0:
		return nil
	case n == 0:
		return []T{}
	case s == nil:
		return make([]T, n)
	case n > len(s.free):
		guess := max(c.siblings(), 2*s.size)
		if c.limit > 0 {
			guess = min(guess, c.limit)
		}
		s.size = max(n, min(guess, c.r.Len()/size))
		s.free = make([]T, s.size)
	}
	part := s.free[:n:n]
	s.free = s.free[n:]
	return part
}
