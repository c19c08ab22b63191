package amqpserver

import (
	"net"
	"time"
)

// Batch collects the connections that were written to, so that many frames leave with one write. It is for one
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
	written []*Conn
	bytes   int // written since the last flush
	slow    time.Duration
	vector  net.Buffers
}

// flushBytes is how much may be written into a batch before the server flushes it between two frames.
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
func (b *Batch) Flush() {
	var now time.Time
	if len(b.written) > 0 {
		now = b.Now()
	}
	for i, c := range b.written {
		b.written[i] = nil
		c.mu.Lock()
		c.queued = false
		c.flush(now, &b.vector)
	}
	b.written, b.bytes, b.now = b.written[:0], 0, time.Time{}
}

// Wait pauses, after Flush, for as long as [Batch.Slow] asked. The server does that for its readers; a backend does it for
// whoever publishes in process, with no lock held.
func (b *Batch) Wait() {
	if b.slow > 0 {
		time.Sleep(b.slow)
		b.slow = 0
	}
}
