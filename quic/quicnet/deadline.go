package quicnet

import (
	"sync"
	"time"
)

// deadline is a channel that is closed at a time which may change. The zero value is never.
type deadline struct {
	mu    sync.Mutex
	ch    chan struct{} // nil until somebody asks
	shut  bool          // ch is closed
	timer *time.Timer
}

// passed returns a channel that is closed once the deadline passes. Setting a later one makes another channel only if
// the deadline had passed.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ch == nil {
		d.ch = make(chan struct{})
		if d.shut {
			close(d.ch)
		}
	}
	return d.ch
}

// set sets the deadline. The zero time is never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	left := time.Until(t)
	if !t.IsZero() && left <= 0 {
		d.close()
		return
	}
	if d.shut {
		d.shut, d.ch = false, nil
	}
	if t.IsZero() {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == timer {
			d.close()
		}
	})
	d.timer = timer
}

// close closes the channel. Called with mu held.
func (d *deadline) close() {
	if !d.shut {
		d.shut = true
		if d.ch != nil {
			close(d.ch)
		}
	}
}
