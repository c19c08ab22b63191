package amqpclient091

// ring is a queue that grows on demand and gives large memory back when it is empty.
type ring[T any] struct {
	b    []T // length is a power of two
	head int
	n    int
}

const ringKeep = 1024 // elements that are not worth giving back

func (r *ring[T]) len() int { return r.n }

func (r *ring[T]) push(v T) {
	r.grow()
	r.b[(r.head+r.n)&(len(r.b)-1)] = v
	r.n++
}

func (r *ring[T]) pushFront(v T) {
	r.grow()
	r.head = (r.head - 1) & (len(r.b) - 1)
	r.b[r.head] = v
	r.n++
}

// pop removes and returns the first element; the ring must not be empty.
func (r *ring[T]) pop() T {
	var zero T
	v := r.b[r.head]
	r.b[r.head] = zero
	r.head = (r.head + 1) & (len(r.b) - 1)
	r.n--
	if r.n == 0 && len(r.b) > ringKeep {
		r.b, r.head = nil, 0
	}
	return v
}

// remove removes the first element for which match holds, and reports whether there was one.
func (r *ring[T]) remove(match func(T) bool) bool {
	for i := range r.n {
		if !match(r.b[(r.head+i)&(len(r.b)-1)]) {
			continue
		}
		for ; i > 0; i-- {
			r.b[(r.head+i)&(len(r.b)-1)] = r.b[(r.head+i-1)&(len(r.b)-1)]
		}
		r.pop()
		return true
	}
	return false
}

func (r *ring[T]) grow() {
	if r.n < len(r.b) {
		return
	}
	b := make([]T, max(8, 2*len(r.b)))
	k := copy(b, r.b[r.head:])
	copy(b[k:], r.b[:r.head])
	r.b, r.head = b, 0
}
