// Package ring has the queue in which clients keep what waits.
package ring

// Ring is a queue that grows on demand and gives large memory back when it is empty. The zero value is empty. It is not safe for
// concurrent use.
type Ring[T any] struct {
	b    []T // length is a power of two
	head int
	n    int
}

// keep is how many elements are not worth giving back.
const keep = 1024

// Len returns how many elements there are.
func (r *Ring[T]) Len() int { return r.n }

// Push appends v.
func (r *Ring[T]) Push(v T) {
	r.grow()
	r.b[(r.head+r.n)&(len(r.b)-1)] = v
	r.n++
}

// PushFront puts v before the first element.
func (r *Ring[T]) PushFront(v T) {
	r.grow()
	r.head = (r.head - 1) & (len(r.b) - 1)
	r.b[r.head] = v
	r.n++
}

// Front returns the first element; the ring must not be empty.
func (r *Ring[T]) Front() T { return r.b[r.head] }

// At returns the i-th element.
func (r *Ring[T]) At(i int) T { return r.b[(r.head+i)&(len(r.b)-1)] }

// Pop removes and returns the first element; the ring must not be empty.
func (r *Ring[T]) Pop() T {
	var zero T
	v := r.b[r.head]
	r.b[r.head] = zero
	r.head = (r.head + 1) & (len(r.b) - 1)
	r.n--
	if r.n == 0 && len(r.b) > keep {
		r.b, r.head = nil, 0
	}
	return v
}

// Remove removes the first element for which match holds, and reports whether there was one.
func (r *Ring[T]) Remove(match func(T) bool) bool {
	for i := range r.n {
		if !match(r.b[(r.head+i)&(len(r.b)-1)]) {
			continue
		}
		for ; i > 0; i-- {
			r.b[(r.head+i)&(len(r.b)-1)] = r.b[(r.head+i-1)&(len(r.b)-1)]
		}
		r.Pop()
		return true
	}
	return false
}

func (r *Ring[T]) grow() {
	if r.n < len(r.b) {
		return
	}
	b := make([]T, max(8, 2*len(r.b)))
	k := copy(b, r.b[r.head:])
	copy(b[k:], r.b[:r.head])
	r.b, r.head = b, 0
}
