package amqpbroker

import (
	"container/heap"
	"sync"
	"time"
)

// deadlines are the points in time at which queues and delayed exchanges have something to do. One timer serves all of
// them.
type deadlines struct {
	mu     sync.Mutex
	heap   timerHeap
	timer  *time.Timer
	armed  int64 // what the timer is set to, 0 is nothing
	begun  bool
	closed bool
}

// timer is one point in time, 0 for none.
type timer struct {
	owner interface{ tick() }
	at    int64 // unix milliseconds
	place int   // in the heap, counted from 1
}

// start begins to fire.
func (d *deadlines) start() {
	d.mu.Lock()
	d.begun = true
	d.arm()
	d.mu.Unlock()
}

// set moves a timer; 0 takes it out.
func (d *deadlines) set(t *timer, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case t.place != 0 && at == 0:
		heap.Remove(&d.heap, t.place-1)
	case t.place != 0:
		t.at = at
		heap.Fix(&d.heap, t.place-1)
	case at != 0:
		t.at = at
		heap.Push(&d.heap, t)
	}
	d.arm()
}

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

// run lets those tick whose time has come.
func (d *deadlines) run() {
	for {
		now := time.Now().UnixMilli()
		d.mu.Lock()
		d.armed = 0
		if d.closed || len(d.heap) == 0 || d.heap[0].at > now {
			d.arm()
			d.mu.Unlock()
			return
		}
		t := heap.Pop(&d.heap).(*timer)
		d.mu.Unlock()
		t.owner.tick()
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

// timerHeap is a heap in which timers know their place.
type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.place = len(*h)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.place = 0
	return t
}
