package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// half is one direction of a stream: a bounded buffer between a writer and a reader.
type half struct {
	link     *link
	capacity int
	writing  chan struct{} // holds one token; a writer takes it so that Writes do not mix

	mu      sync.Mutex
	buf     []byte // written and not yet read
	marks   []mark // when parts of buf arrive; empty means that all of it has
	eof     bool   // the writer has closed its side
	dropped bool   // the reader has gone
	reset   bool   // aborted from either end
	cut     bool   // reset once the buffer has been read
	reader  gate
	writer  gate
}

// mark says that n bytes of the buffer arrive at a time.
type mark struct {
	n  int
	at time.Time
}

func newHalf(l *link, capacity int) *half {
	h := &half{link: l, capacity: capacity, writing: make(chan struct{}, 1)}
	h.reader.cond.L = &h.mu
	h.writer.cond.L = &h.mu
	return h
}

// read fills p with what has arrived, waiting for the first byte.
func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.dropped:
			return 0, net.ErrClosed
		case h.reset:
			return 0, os.NewSyscallError("read", syscall.ECONNRESET)
		case h.reader.expired():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		ready, next := h.arrived()
		if ready > 0 {
			return h.take(p[:min(len(p), ready)]), nil
		}
		if h.cut && len(h.buf) == 0 {
			return 0, os.NewSyscallError("read", syscall.ECONNRESET)
		}
		if h.eof && len(h.buf) == 0 {
			return 0, io.EOF
		}
		h.reader.wait(next)
	}
}

// arrived says how many bytes can be read now, and if none when the next ones come.
func (h *half) arrived() (ready int, next time.Time) {
	if len(h.marks) == 0 {
		return len(h.buf), time.Time{}
	}
	now := time.Now()
	for _, m := range h.marks {
		if m.at.After(now) {
			return ready, m.at
		}
		ready += m.n
	}
	return ready, time.Time{}
}

// take moves len(p) bytes, which have arrived, out of the buffer.
func (h *half) take(p []byte) int {
	n := copy(p, h.buf)
	rest := copy(h.buf, h.buf[n:])
	h.buf = h.buf[:rest]
	left, whole := n, 0
	for i := range h.marks {
		used := min(left, h.marks[i].n)
		h.marks[i].n -= used
		left -= used
		if h.marks[i].n > 0 {
			break
		}
		whole++
	}
	h.marks = h.marks[:copy(h.marks, h.marks[whole:])]
	h.writer.cond.Broadcast()
	return n
}

// write passes p through the link's fault and puts the outcome in the buffer, waiting for room. It reports len(p) when
// the fault swallowed bytes: the writer on a real network does not learn of that either. cut is true when the fault
// wants the connection cut.
func (h *half) write(p []byte) (n int, cut bool, err error) {
	h.writing <- struct{}{}
	defer func() { <-h.writing }()
	if err := h.writable(); err != nil {
		return 0, false, err
	}
	out := h.link.pass(p)
	sent, err := h.put(out.Data, out.Delay)
	switch {
	case err != nil:
		return min(sent, len(p)), out.Cut, err
	case out.Cut:
		return min(sent, len(p)), true, os.NewSyscallError("write", syscall.ECONNRESET)
	}
	return len(p), false, nil
}

// writable is the state of the sending side.
func (h *half) writable() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writeErr()
}

func (h *half) writeErr() error {
	switch {
	case h.eof:
		return net.ErrClosed
	case h.reset, h.cut:
		return os.NewSyscallError("write", syscall.ECONNRESET)
	case h.dropped:
		return os.NewSyscallError("write", syscall.EPIPE)
	case h.writer.expired():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// put appends b to the buffer piece by piece, as there is room.
func (h *half) put(b []byte, delay time.Duration) (sent int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for sent < len(b) {
		if err := h.writeErr(); err != nil {
			return sent, err
		}
		room := h.capacity - len(h.buf)
		if room <= 0 {
			h.writer.wait(time.Time{})
			continue
		}
		piece := b[sent:min(len(b), sent+room)]
		if h.link.BytesPerSecond > 0 {
			piece = piece[:min(len(piece), segment)]
		}
		h.buf = append(h.buf, piece...)
		sent += len(piece)
		if at := h.link.arrival(len(piece), delay); !at.IsZero() || len(h.marks) > 0 {
			h.marks = append(h.marks, mark{len(piece), at})
		}
		h.reader.cond.Broadcast()
	}
	return sent, nil
}

// segment is how many bytes travel together on a link with a bandwidth.
const segment = 1024

// closeWrite ends the direction after what is buffered.
func (h *half) closeWrite() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eof = true
	h.wake()
}

// closeRead ends the direction from the reader's end: what is buffered is lost.
func (h *half) closeRead() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropped = true
	h.buf, h.marks = nil, nil
	h.wake()
}

// abort ends the direction at once, as a reset does.
func (h *half) abort() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reset = true
	h.buf, h.marks = nil, nil
	h.wake()
}

// cutAfterBuffered lets the reader have what is buffered, then a reset.
func (h *half) cutAfterBuffered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut = true
	h.wake()
}

func (h *half) wake() {
	h.reader.cond.Broadcast()
	h.writer.cond.Broadcast()
}

func (h *half) setDeadline(g *gate, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g.deadline = t
	g.cond.Broadcast()
}

// gate is a condition variable with a deadline.
type gate struct {
	cond     sync.Cond
	deadline time.Time
}

func (g *gate) expired() bool {
	return !g.deadline.IsZero() && !time.Now().Before(g.deadline)
}

// wait waits for a broadcast, the deadline, or a moment (zero: none). The lock is held on entry and return.
func (g *gate) wait(until time.Time) {
	if !g.deadline.IsZero() && (until.IsZero() || g.deadline.Before(until)) {
		until = g.deadline
	}
	if !until.IsZero() {
		t := time.AfterFunc(time.Until(until), func() {
			g.cond.L.Lock()
			defer g.cond.L.Unlock()
			g.cond.Broadcast()
		})
		defer t.Stop()
	}
	g.cond.Wait()
}
