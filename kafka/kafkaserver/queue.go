package kafkaserver

// queue has requests in their order.
type queue struct {
	list []*Request
	head int
}

func (q *queue) len() int { return len(q.list) - q.head }

// front returns the oldest request, nil when there is none.
func (q *queue) front() *Request {
	if q.head == len(q.list) {
		return nil
	}
	return q.list[q.head]
}

func (q *queue) push(r *Request) {
	if len(q.list) == cap(q.list) && q.head > 0 {
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	q.list = append(q.list, r)
}

func (q *queue) pop() {
	q.list[q.head] = nil
	q.head++
	if q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
}
