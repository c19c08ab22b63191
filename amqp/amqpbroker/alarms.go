package amqpbroker

import (
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// alarms watch memory and disk while messages are published. While there is too little of one of them, connections that
// publish are blocked.
type alarms struct {
	b      *Broker
	tight  atomic.Bool // half of the memory is used: less is kept in memory
	memory atomic.Bool
	disk   atomic.Bool
	reason atomic.Pointer[string] // nil when there is no alarm
	used   atomic.Bool            // something was published since the last look

	looking sync.Mutex // only tried

	mu      sync.Mutex
	timer   *time.Timer // nil while nobody publishes
	closed  bool
	blocked map[*session]struct{}
}

// alarmInterval is how often memory and disk are looked at.
const alarmInterval = 100 * time.Millisecond

// heapUsed returns the bytes of heap that objects take, dead ones that were not swept yet too.
func heapUsed() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// watch is called with each message that is published.
func (a *alarms) watch() {
	if !a.used.Load() {
		a.begin()
	}
}

// begin begins to look.
func (a *alarms) begin() {
	a.mu.Lock()
	idle := a.timer == nil && !a.closed
	a.mu.Unlock()
	if idle {
		a.look() // the first message counts already
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used.Store(true)
	if a.timer == nil && !a.closed {
		a.timer = time.AfterFunc(alarmInterval, a.run)
	}
}

func (a *alarms) run() {
	a.look()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
	case a.used.Swap(false) || a.reason.Load() != nil:
		a.timer.Reset(alarmInterval)
	default:
		a.timer = nil
	}
}

func (a *alarms) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// look looks at memory and disk, unless somebody else does.
func (a *alarms) look() {
	if !a.looking.TryLock() {
		return
	}
	defer a.looking.Unlock()
	limit := a.b.opts.MemoryLimit
	memory := false
	if limit > 0 {
		used := a.b.opts.MemoryUsed()
		a.tight.Store(used > limit/2)
		memory = used > limit
	}
	a.set("memory", &a.memory, memory)
	a.set("disk", &a.disk, a.b.rec.pressure() == PressureFull)
	switch {
	case a.memory.Load():
		a.block("low on memory")
	case a.disk.Load():
		a.block("low on disk")
	case a.reason.Load() != nil:
		a.unblock()
	}
}

func (a *alarms) set(what string, is *atomic.Bool, on bool) {
	if is.Swap(on) == on {
		return
	}
	if on {
		a.b.opts.Logger.Warn("publishers are blocked", "low on", what)
	} else {
		a.b.opts.Logger.Info("publishers are not blocked any more", "low on", what)
	}
	if f := a.b.opts.Events.Alarm; f != nil {
		f(what, on)
	}
}

// block blocks all connections that publish.
func (a *alarms) block(reason string) {
	if old := a.reason.Load(); old != nil && *old == reason {
		return
	}
	a.reason.Store(&reason)
	bt := amqpserver.NewBatch()
	for _, s := range a.b.publishers() {
		a.blockOne(bt, s, reason)
	}
	bt.Flush()
}

func (a *alarms) blockOne(bt *amqpserver.Batch, s *session, reason string) {
	a.mu.Lock()
	if a.blocked == nil {
		a.blocked = make(map[*session]struct{})
	}
	a.blocked[s] = struct{}{}
	a.mu.Unlock()
	s.conn.Block(bt, reason)
}

// unblock lets everybody publish again.
func (a *alarms) unblock() {
	a.reason.Store(nil)
	a.mu.Lock()
	list := a.blocked
	a.blocked = nil
	a.mu.Unlock()
	bt := amqpserver.NewBatch()
	for s := range list {
		s.conn.Unblock(bt)
	}
	bt.Flush()
}

// published is called for the first message of a connection.
func (a *alarms) published(bt *amqpserver.Batch, s *session) {
	s.publishes.Store(true)
	if reason := a.reason.Load(); reason != nil {
		a.blockOne(bt, s, *reason)
		if a.reason.Load() == nil { // it ended just now
			s.conn.Unblock(bt)
		}
	}
}

// forget forgets a connection that has ended.
func (a *alarms) forget(s *session) {
	a.mu.Lock()
	delete(a.blocked, s)
	a.mu.Unlock()
}
