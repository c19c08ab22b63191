package mqttbroker

import (
	"container/heap"
	"slices"
	"sync"
	"time"
)

// deadlines are the points in time at which sessions expire, wills are due and retained messages expire. One timer
// serves all of them.
type deadlines struct {
	fire func(d deadline, now time.Time)
	live func(m *Message) bool // whether the message is still retained

	mu     sync.Mutex
	stale  int // entries of messages that are not retained any more
	heap   deadlineHeap
	timer  *time.Timer
	armed  int64 // what the timer is set to, 0 is nothing
	begun  bool
	closed bool
}

// deadline is one point in time: of a session or of a retained message.
type deadline struct {
	at int64 // unix milliseconds
	s  *session
	m  *Message
}

// start begins to fire: what is due already before it returns.
func (d *deadlines) start() {
	d.mu.Lock()
	d.begun = true
	d.mu.Unlock()
	d.run()
}

// set moves the deadline of a session; at 0 takes it out.
func (d *deadlines) set(s *session, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case s.place != 0 && at == 0:
		heap.Remove(&d.heap, int(s.place-1))
	case s.place != 0:
		d.heap[s.place-1].at = at
		heap.Fix(&d.heap, int(s.place-1))
	case at != 0:
		heap.Push(&d.heap, deadline{at: at, s: s})
	}
	d.arm()
}

// add adds the expiry of a retained message.
func (d *deadlines) add(m *Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	heap.Push(&d.heap, deadline{at: m.expiry(), m: m})
	d.arm()
}

// forget tells that a message is not retained any more. Its entry goes with many others.
func (d *deadlines) forget(m *Message) {
	if m.flags&flagExpires == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stale++; d.stale < minStale || d.stale < len(d.heap)/2 {
		return
	}
	d.stale = 0
	d.heap = slices.DeleteFunc(d.heap, func(e deadline) bool { return e.m != nil && !d.live(e.m) })
	heap.Init(&d.heap)
	for i := range d.heap {
		d.heap.placed(i)
	}
	d.arm()
}

// minStale is how many entries are worth looking for.
const minStale = 1024

// arm sets the timer to the first deadline. d.mu is held.
func (d *deadlines) arm() {
	if !d.begun || d.closed || len(d.heap) == 0 || d.heap[0].at == d.armed {
		return
	}
	d.armed = d.heap[0].at
	wait := time.Until(time.UnixMilli(d.armed))
	if d.timer == nil {
		d.timer = time.AfterFunc(wait, d.run)
		return
	}
	d.timer.Reset(wait)
}

// run fires what is due.
func (d *deadlines) run() {
	for {
		now := time.Now()
		d.mu.Lock()
		d.armed = 0
		if d.closed || len(d.heap) == 0 || d.heap[0].at > now.UnixMilli() {
			d.arm()
			d.mu.Unlock()
			return
		}
		due := heap.Pop(&d.heap).(deadline)
		d.mu.Unlock()
		d.fire(due, now)
	}
}

func (d *deadlines) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
}

// deadlineHeap is a heap in which sessions know their place, counted from 1.
type deadlineHeap []deadline

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].at < h[j].at }

func (h deadlineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h.placed(i)
	h.placed(j)
}

func (h deadlineHeap) placed(i int) {
	if s := h[i].s; s != nil {
		s.place = int32(i + 1)
	}
}

// Push implements heap.Interface.
func (h *deadlineHeap) Push(x any) {
	*h = append(*h, x.(deadline))
	h.placed(len(*h) - 1)
}

// Pop implements heap.Interface.
func (h *deadlineHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = deadline{}
	*h = (*h)[:last]
	if d.s != nil {
		d.s.place = 0
	}
	return d
}
