package mqttserver

import (
	"net"
	"time"
)

// Batch collects the connections that were written to, so that many messages leave with one write. It is for one
// goroutine at a time.
//
// The server gives one to each call of a [Session] and flushes it when it has handled what it has read. A backend that
// sends from elsewhere makes its own with [NewBatch] and flushes it soon: what is in it does not leave before. Methods
// that take a *Batch take nil too, and send at once then.
type Batch struct {
	// Scratch is the backend's own, for memory that it uses again and again. The server's batches are pooled: a backend
	// finds there what it left, or nil.
	Scratch any

	now     time.Time
	written []*stream
	late    []late // found beyond their soft limit
	bytes   int    // written since the last flush
	slow    time.Duration
	vector  net.Buffers
}

// flushBytes is how much may be written into a batch before the server flushes it between two packets.
const flushBytes = 4 << 20

// NewBatch returns an empty batch.
func NewBatch() *Batch { return new(Batch) }

// Now returns the time of the batch: it is read once between two flushes.
func (b *Batch) Now() time.Time {
	if b == nil {
		return time.Now()
	}
	if b.now.IsZero() {
		b.now = time.Now()
	}
	return b.now
}

// Slow asks that whoever publishes through the batch pauses for d after the next flush, in [Batch.Wait]: storage is
// running out of room, for example. It may be called for each message; the longest pause counts.
func (b *Batch) Slow(d time.Duration) {
	if b != nil {
		b.slow = max(b.slow, d)
	}
}

// Flush sends what was written. It does not wait: what a socket does not take at once is left to another goroutine.
// The caller must hold no lock that a [Session] takes in Persist.
func (b *Batch) Flush() {
	for i, st := range b.written {
		b.written[i] = nil
		st.c.mu.Lock()
		st.queued = false
		st.flush(&b.vector)
	}
	b.written, b.bytes, b.now = b.written[:0], 0, time.Time{}
}

// Wait waits, after Flush, until the connections that were found beyond their soft limit have recovered, for
// [Limits].PublisherPause at most. The server does that for its readers; a backend does it for whoever publishes in
// process, with no lock held.
func (b *Batch) Wait() {
	if b.slow > 0 {
		time.Sleep(b.slow)
		b.slow = 0
	}
	if len(b.late) == 0 {
		return
	}
	var timer *time.Timer
	n := 0
	for _, l := range b.late {
		if l.begin() {
			b.late[n] = l
			n++
		}
	}
	clear(b.late[n:])
	expired := false
	for i := range n {
		l := &b.late[i]
		if timer == nil {
			timer = time.NewTimer(l.st.c.srv.limits.PublisherPause)
			defer timer.Stop()
		}
		if !expired {
			select {
			case <-l.recovered:
			case <-timer.C:
				expired = true
			}
		}
		if expired {
			l.end()
		}
	}
	clear(b.late[:n])
	b.late = b.late[:0]
}

// patience is for how many pauses a connection may stay beyond its soft limit while it takes some of its output.
const patience = 10

// late is a connection, or a data stream, that was found beyond its soft limit.
type late struct {
	st        *stream
	recovered <-chan struct{}
	sent      int64 // bytes, when the wait began
}

// begin reports whether there is something to wait for.
func (l *late) begin() bool {
	st := l.st
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	st.lateIn = nil
	if c.ended || st.dead || st.slow || !st.behind(c.srv.limits.SoftLimit) {
		return false
	}
	if st.recovered == nil {
		st.recovered, st.pauses = make(chan struct{}), 0
	}
	l.recovered, l.sent = st.recovered, st.sent
	return true
}

// end ends a wait in vain. The connection is slow, so that nobody waits for it any more, if it has taken nothing of its
// output, or has not recovered for a long time.
func (l *late) end() {
	st := l.st
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.recovered != l.recovered || c.ended {
		return
	}
	st.pauses++
	if st.sent > l.sent && st.pauses < patience {
		return
	}
	close(st.recovered)
	st.recovered, st.slow = nil, true
	if f := c.srv.trace.Slow; f != nil {
		f(c, true)
	}
}
