package kafkaserver

import (
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// defaultMemory is the default of Limits.MemoryLimit.
func defaultMemory() int64 {
	def := int64(1 << 30)
	if process := debug.SetMemoryLimit(-1); process < math.MaxInt64 {
		def = min(def, process/4)
	}
	return def
}

// freeRequest is the size of the requests that are read even when memory is short, one of a connection.
const freeRequest = 16 << 10

// memory counts what requests take and holds back those who would read more of them.
type memory struct {
	limit int64
	used  atomic.Int64

	mu    sync.Mutex
	waits map[*stream]struct{}
	any   atomic.Bool // waits is not empty
}

// full reports whether no more is to be read.
func (m *memory) full() bool { return m.used.Load() >= m.limit }

// add notes n more bytes, fewer if it is negative.
func (m *memory) add(n int) {
	if used := m.used.Add(int64(n)); n < 0 && used < m.limit && m.any.Load() {
		m.wake()
	}
}

// wait makes st one of those that are woken when there is memory.
func (m *memory) wait(st *stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waits == nil {
		m.waits = make(map[*stream]struct{})
	}
	m.waits[st] = struct{}{}
	m.any.Store(true)
}

// forget ends wait.
func (m *memory) forget(st *stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waits, st)
	m.any.Store(len(m.waits) > 0)
}

// wake wakes those who wait. Whoever finds that others were faster waits again.
func (m *memory) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for st := range m.waits {
		st.nudge()
	}
}
