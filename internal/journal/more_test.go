package journal

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/alloctest"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// gate holds back operations of a kind on a file system until it is opened.
type gate struct {
	mu     sync.Mutex
	cond   sync.Cond
	closed bool
}

func (g *gate) set(closed bool) {
	g.mu.Lock()
	g.closed = closed
	g.cond.Broadcast()
	g.mu.Unlock()
}

func (g *gate) wait() {
	g.mu.Lock()
	for g.closed {
		g.cond.Wait()
	}
	g.mu.Unlock()
}

// gated returns a started journal whose operations of a kind on segments wait for the gate.
func gated(t *testing.T, op vfs.Op, h Handler[int]) (*Journal[int], *gate) {
	g := new(gate)
	g.cond.L = &g.mu
	fs := vfs.NewMem()
	j := mustOpen(t, "d", &Options{FS: fs, MinFree: -1, MaxPending: 1000})
	if err := j.Start(h); err != nil {
		t.Fatal(err)
	}
	fs.SetFail(func(o vfs.Op, _ string) error {
		if o == op {
			g.wait()
		}
		return nil
	})
	return j, g
}

func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector()
		j, g := gated(t, vfs.OpSync, c.handler())
		g.set(true)
		for i := range 1000 {
			appendAll(j, i, 50)
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if len(c.done) != 0 {
			t.Errorf("%d tokens before the sync", len(c.done))
		}
		if p := j.Pressure(); p != Full {
			t.Errorf("pressure %v", p)
		}
		if st := j.Stats(); st.Pending != 50000 {
			t.Errorf("%+v", st)
		}
		g.set(false)
		synctest.Wait()
		if len(c.done) != 1000 || !slices.IsSorted(c.done) {
			t.Errorf("%d tokens", len(c.done))
		}
		if n := j.Stats().Syncs; n != 2 {
			t.Errorf("%d syncs", n)
		}
		if p := j.Pressure(); p != None || !slices.Equal(c.levels[len(c.levels)-2:], []Pressure{Full, None}) {
			t.Errorf("pressure %v, was %v", p, c.levels)
		}
		_ = j.Close()
	})
}

// TestSlowCallback: the next sync does not wait for the callbacks of the last, and memory is bounded.
func TestSlowCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate)
		g.cond.L = &g.mu
		var got []int
		j := mustOpen(t, "d", mem())
		err := j.Start(Handler[int]{Complete: func(tokens []int, _ Outcome) {
			got = append(got, tokens...)
			g.wait()
		}})
		if err != nil {
			t.Fatal(err)
		}
		g.set(true)
		next := 0
		for range 20 {
			j.mu.Lock() // so many at once that the writer does not call by itself
			for range 2 * inlineCall {
				j.add(record(1, 10), nil, 10, false)
				j.addToken(next)
				next++
			}
			j.mu.Unlock()
			synctest.Wait()
		}
		if n := j.Stats().Syncs; n < 3 || n > maxCalls+3 {
			t.Errorf("%d syncs", n)
		}
		g.set(false)
		synctest.Wait()
		if len(got) != next || !slices.IsSorted(got) {
			t.Errorf("%d tokens of %d", len(got), next)
		}
		_ = j.Close()
	})
}

func TestReaderWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, g := gated(t, vfs.OpWrite, newCollector().handler())
		g.set(true)
		appendAll(j, 0, 100, 200)
		var got []byte
		var err error
		go func() { got, err = j.NewReader().Read(2) }()
		synctest.Wait()
		if got != nil || err != nil {
			t.Errorf("before it is written: %d bytes, %v", len(got), err)
		}
		g.set(false)
		synctest.Wait()
		if err != nil || string(got) != string(record(2, 200)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		_ = j.Close()
		if _, err := j.NewReader().Read(1); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestOutcomes: what was not written has failed, what was written and not synced is unknown, what comes later has failed.
func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		op   vfs.Op
		want Outcome
	}{{vfs.OpWrite, Failed}, {vfs.OpSync, Unknown}} {
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewMem()
			j := mustOpen(t, "d", &Options{FS: fs, MinFree: -1})
			c := newCollector()
			if err := j.Start(c.handler()); err != nil {
				t.Fatal(err)
			}
			appendAll(j, 0, 10)
			synctest.Wait()
			fs.SetFail(func(op vfs.Op, _ string) error {
				if op == tt.op {
					return syscall.EIO
				}
				return nil
			})
			j.mu.Lock() // so that it is one write
			for i := range 3 {
				if i < 2 {
					j.add(record(1, 10), nil, 10, false)
				}
				j.addToken(1 + i)
			}
			j.mu.Unlock()
			synctest.Wait()
			fs.SetFail(nil)
			appendAll(j, 4, 10)
			j.Await(5)
			synctest.Wait()
			last := Failed // the last token has no record, unless it is handled together with the one before it
			if n := len(c.outcomes); n == 6 && c.outcomes[5] == Unknown {
				last = Unknown
			}
			if want := []Outcome{Done, tt.want, tt.want, tt.want, Failed, last}; !slices.Equal(c.outcomes, want) {
				t.Errorf("%v: outcomes %v, want %v", tt.op, c.outcomes, want)
			}
			var failed *FailedError
			if err := j.Sync(context.Background()); !errors.As(err, &failed) || !errors.Is(err, syscall.EIO) {
				t.Errorf("sync: %v", err)
			}
			if tt.op == vfs.OpWrite {
				if _, err := j.NewReader().Read(3); !errors.As(err, &failed) {
					t.Errorf("read: %v", err)
				}
			}
			if err := j.Close(); !errors.Is(err, syscall.EIO) {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func TestTooLargeRecord(t *testing.T) {
	j := mustOpen(t, "d", mem())
	c := newCollector()
	if err := j.Start(c.handler()); err != nil {
		t.Fatal(err)
	}
	j.AppendAwait(nil, make([]byte, maxRecord+1), 1, 1)
	c.await(1)
	if err := j.Close(); !errors.Is(err, errTooLarge) || c.outcomes[0] != Failed {
		t.Errorf("%v, %v", err, c.outcomes)
	}
}

func TestCallsInAWrongOrder(t *testing.T) {
	j := mustOpen(t, "d", mem())
	if lsn := j.Append([]byte("x"), nil, 1); lsn != 0 {
		t.Errorf("append before start: %d", lsn)
	}
	if err := j.Replay(nil); err != nil {
		t.Error(err)
	}
	if err := j.Replay(nil); err == nil {
		t.Error("a second replay")
	}
	if err := j.Start(newCollector().handler()); err != nil {
		t.Error(err)
	}
	if err := j.Start(newCollector().handler()); err == nil {
		t.Error("a second start")
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if lsn := j.AppendAwait([]byte("x"), nil, 1, 1); lsn != 0 || j.Reserve() != 0 {
		t.Errorf("append after close: %d", lsn)
	}
	j.Await(2)
	j.Release(1, 1)
}

func TestReplayError(t *testing.T) {
	fs := vfs.NewMem()
	batches(t, fs, 8<<10, []int{1, 2, 3})
	j := mustOpen(t, "d", &Options{FS: fs})
	defer j.Close()
	stop := errors.New("stop")
	n := 0
	err := j.Replay(func(uint64, []byte) error {
		if n++; n == 2 {
			return stop
		}
		return nil
	})
	if err != stop || n != 2 {
		t.Errorf("%v after %d", err, n)
	}
	if err := j.Start(newCollector().handler()); err == nil {
		t.Error("start after a replay that failed")
	}
}

// TestMaxBytes: the pressure follows the size of the directory.
func TestMaxBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		j := mustOpen(t, "d", &Options{FS: fs, MinFree: -1, SegmentSize: 16 << 10, MaxBytes: 160 << 10})
		h := newCollector().handler()
		h.Keep = func(uint64, []byte) Verdict { return Drop }
		if err := j.Start(h); err != nil {
			t.Fatal(err)
		}
		var levels []Pressure
		for range 600 {
			j.Append(record(1, 300), nil, 300)
			time.Sleep(20 * time.Millisecond)
			if p := j.Pressure(); len(levels) == 0 || levels[len(levels)-1] != p {
				levels = append(levels, p)
			}
		}
		if !slices.Equal(levels, []Pressure{None, Slow, Full}) {
			t.Errorf("pressure %v", levels)
		}
		for lsn := range uint64(600) {
			j.Release(lsn+1, 300)
		}
		time.Sleep(10 * time.Second)
		if p := j.Pressure(); p != None {
			t.Errorf("then %v: %+v", p, j.Stats())
		}
		_ = j.Close()
	})
}

func TestMinFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		fs.SetCapacity(10 << 20)
		j := mustOpen(t, "d", &Options{FS: fs, MinFree: 2 << 20, SegmentSize: 64 << 10})
		if err := j.Start(newCollector().handler()); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			capacity int64
			want     Pressure
		}{{10 << 20, None}, {3 << 20, Slow}, {1 << 20, Full}, {3 << 20, Slow}, {10 << 20, None}} {
			fs.SetCapacity(tt.capacity)
			j.Append([]byte("x"), nil, 1)
			time.Sleep(3 * time.Second)
			j.Append([]byte("x"), nil, 1)
			synctest.Wait()
			if p := j.Pressure(); p != tt.want {
				t.Errorf("%d bytes: pressure %v, want %v", tt.capacity, p, tt.want)
			}
		}
		_ = j.Close()
	})
}

func TestNoAllocations(t *testing.T) {
	j := mustOpen(t, t.TempDir(), &Options{NoSync: true, MinFree: -1})
	done := make(chan struct{}, 1)
	n := 0
	err := j.Start(Handler[int]{Complete: func(tokens []int, _ Outcome) {
		if tokens[len(tokens)-1] == -1 {
			done <- struct{}{}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	head, body := make([]byte, 20), make([]byte, 280)
	round := func() {
		for range 100 {
			lsn := j.AppendAwait(head, body, 300, n)
			j.Release(lsn, 300)
			n++
		}
		j.Await(-1)
		<-done
	}
	for range 100 {
		round()
	}
	if a := alloctest.PerRun(200, 1, round); a > 1 { // for 100 records: the index and what goes on beside it
		t.Errorf("%v allocations for 100 records", a)
	}
}

func TestStats(t *testing.T) {
	var c counters
	for i := range 1000 {
		c.synced(time.Duration(i) * time.Microsecond)
	}
	if p := c.quantile(0.5); p < 490*time.Microsecond || p > 580*time.Microsecond {
		t.Errorf("median %v", p)
	}
	if p := c.quantile(0.99); p < 980*time.Microsecond || p > 1120*time.Microsecond {
		t.Errorf("p99 %v", p)
	}
	for _, n := range []uint64{0, 1, 7, 8, 15, 16, 1 << 30, 1 << 62} {
		if b := bucket(n); b < 0 || b >= len(c.histogram) {
			t.Errorf("%d in bucket %d", n, b)
		}
	}
}
