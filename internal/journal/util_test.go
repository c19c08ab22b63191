package journal

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// collector is a handler that notes what it is told.
type collector struct {
	mu       sync.Mutex
	cond     *sync.Cond
	done     []int
	outcomes []Outcome
	levels   []Pressure
}

func newCollector() *collector {
	c := new(collector)
	c.cond = sync.NewCond(&c.mu)
	return c
}

func (c *collector) handler() Handler[int] {
	return Handler[int]{
		Complete: func(tokens []int, o Outcome) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, t := range tokens {
				c.done = append(c.done, t)
				c.outcomes = append(c.outcomes, o)
			}
			c.cond.Broadcast()
		},
		Checkpoint: func(uint64) {},
		Keep:       func(uint64, []byte) Verdict { return Keep },
		Pressure: func(p Pressure) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.levels = append(c.levels, p)
			c.cond.Broadcast()
		},
	}
}

// await waits until n tokens are completed.
func (c *collector) await(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.done) < n {
		c.cond.Wait()
	}
}

// record is the content of a test's record: n bytes that tell the number.
func record(lsn uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(lsn + uint64(i)*7)
	}
	if n >= 8 {
		binary.LittleEndian.PutUint64(b, lsn)
	}
	return b
}

func mustOpen(t testing.TB, dir string, o *Options) *Journal[int] {
	t.Helper()
	j, err := Open[int](dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// replayed opens a journal and returns its records, "lsn:length" each. It fails if one is not what record makes.
func replayed(t testing.TB, dir string, o *Options) []string {
	t.Helper()
	j := mustOpen(t, dir, o)
	defer j.Close()
	return replay(t, j)
}

func replay(t testing.TB, j *Journal[int]) (got []string) {
	t.Helper()
	err := j.Replay(func(lsn uint64, b []byte) error {
		if want := record(lsn, len(b)); string(want) != string(b) {
			t.Errorf("record %d is not what was appended", lsn)
		}
		j.Restore(lsn, len(b))
		got = append(got, fmt.Sprintf("%d:%d", lsn, len(b)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func mem() *Options { return &Options{FS: vfs.NewMem(), MinFree: -1} }
