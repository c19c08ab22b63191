package amqpbroker

// ring is a queue of values in a ring that grows and shrinks: O(1) at both ends, with an index. The zero value is empty.
type ring[T any] struct {
	buf  []T // the length is a power of two
	head int
	n    int
}

// minRing is the smallest size of a ring that is not empty.
const minRing = 8

// at returns a place, counted from the first. It is valid until the ring changes.
func (r *ring[T]) at(i int) *T { return &r.buf[(r.head+i)&(len(r.buf)-1)] }

// push appends v.
func (r *ring[T]) push(v T) {
	if r.n == len(r.buf) {
		r.resize(max(minRing, 2*r.n))
	}
	r.buf[(r.head+r.n)&(len(r.buf)-1)] = v
	r.n++
}

// unshift puts v before the first.
func (r *ring[T]) unshift(v T) {
	if r.n == len(r.buf) {
		r.resize(max(minRing, 2*r.n))
	}
	r.head = (r.head - 1) & (len(r.buf) - 1)
	r.buf[r.head] = v
	r.n++
}

// shift takes the first out.
func (r *ring[T]) shift() T {
	var zero T
	p := &r.buf[r.head]
	v := *p
	*p = zero
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	r.shrink()
	return v
}

// remove takes a place out; what is on the shorter side of it moves.
func (r *ring[T]) remove(i int) T {
	v := *r.at(i)
	if i < r.n/2 {
		for ; i > 0; i-- {
			*r.at(i) = *r.at(i - 1)
		}
		r.shift()
		return v
	}
	for ; i < r.n-1; i++ {
		*r.at(i) = *r.at(i + 1)
	}
	var zero T
	*r.at(r.n - 1) = zero
	r.n--
	r.shrink()
	return v
}

// shrink gives memory back when little of it is used.
func (r *ring[T]) shrink() {
	if size := len(r.buf); size > 1024 && r.n < size/8 {
		r.resize(size / 4)
	}
}

func (r *ring[T]) resize(size int) {
	buf := make([]T, size)
	if r.n > 0 {
		k := copy(buf, r.buf[r.head:min(r.head+r.n, len(r.buf))])
		copy(buf[k:], r.buf[:r.n-k])
	}
	r.buf, r.head = buf, 0
}
