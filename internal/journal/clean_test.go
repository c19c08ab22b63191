package journal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// churn appends messages of which each is killed, by a tombstone, when so many are live. The oldest keep are never.
func churn(t *testing.T, w *owner, messages, pinned, live int) {
	t.Helper()
	var queue []uint64
	for i := range messages {
		w.mu.Lock()
		w.seq++
		w.append(action{kind: kindMessage, value: w.seq, size: 283})
		if i >= pinned {
			queue = append(queue, w.history[len(w.history)-1].lsn)
		}
		if len(queue) > live {
			w.seq++
			w.append(action{kind: kindTombstone, key: queue[0], value: w.seq})
			queue = queue[1:]
		}
		w.mu.Unlock()
		if i%20 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// TestDiskBound: the directory is at most three times the live bytes and two segments, with some slack for what is not
// sealed yet, however long messages come and go, while a few old ones stay.
func TestDiskBound(t *testing.T) {
	for _, tt := range []struct{ pinned, live int }{{1, 10}, {1, 1000}, {300, 100}, {3000, 10}} {
		t.Run(fmt.Sprintf("pinned=%d,live=%d", tt.pinned, tt.live), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := vfs.NewMem()
				o := Options{SegmentSize: 64 << 10, MinFree: -1}
				w, err := openOwner(fs, o, rand.New(rand.NewPCG(1, 1)))
				if err != nil {
					t.Fatal(err)
				}
				if err := w.start(); err != nil {
					t.Fatal(err)
				}
				most, segs := int64(0), 0
				for range 20 {
					churn(t, w, 1000, min(tt.pinned, len(w.m.messages)+tt.pinned), tt.live)
					time.Sleep(20 * time.Second)
					st := w.j.Stats()
					most = max(most, st.DiskBytes-3*st.LiveBytes)
					segs = max(segs, st.Segments)
					tt.pinned = 0
					for lsn := range w.m.messages { // what the last round left
						if lsn > 3000 && len(w.m.messages) > 3100 {
							w.mu.Lock()
							w.append(action{kind: kindTombstone, key: lsn, value: 1})
							w.mu.Unlock()
						}
					}
				}
				st := w.j.Stats()
				t.Logf("disk %d, live %d, segments %d (most %d), rewritten %d of %d appended, excess %d",
					st.DiskBytes, st.LiveBytes, st.Segments, segs, st.Rewritten, st.Bytes, most)
				if most > 2*o.SegmentSize+o.SegmentSize/8 {
					t.Errorf("the directory had %d bytes more than three times the live ones", most)
				}
				if st.Rewritten > 2*st.Bytes {
					t.Errorf("%d bytes were rewritten, of %d that were appended", st.Rewritten, st.Bytes)
				}
				if err := w.j.Close(); err != nil {
					t.Error(err)
				}
				c := crash{fs: fs, completed: w.completed.Load()}
				if _, err := c.verify(newModel(), w.history, o); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestMerge: many segments of which little is left become few.
func TestMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := mem()
		o.SegmentSize = 32 << 10
		j := mustOpen(t, "d", o)
		var mu sync.Mutex
		kept := make(map[uint64]bool)
		h := newCollector().handler()
		h.Keep = func(lsn uint64, _ []byte) Verdict {
			mu.Lock()
			defer mu.Unlock()
			if kept[lsn] {
				return Keep
			}
			return Drop
		}
		if err := j.Start(h); err != nil {
			t.Fatal(err)
		}
		for i := range 20000 {
			lsn := j.Append(record(uint64(i+1), 300), nil, 300)
			if i%100 == 0 {
				mu.Lock()
				kept[lsn] = true
				mu.Unlock()
			} else {
				j.Release(lsn, 300)
			}
			if i%20 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		time.Sleep(time.Minute)
		st := j.Stats()
		if st.LiveBytes != 200*300 || st.Segments > 12 || st.DiskBytes > 3*st.LiveBytes+2*o.SegmentSize {
			t.Errorf("%+v", st)
		}
		r := j.NewReader()
		for lsn := range kept {
			if b, err := r.Read(lsn); err != nil || string(b) != string(record(lsn, 300)) {
				t.Errorf("record %d: %v", lsn, err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if got := replayed(t, "d", o); len(got) < 200 || len(got) > 1000 {
			t.Errorf("%d records are left", len(got))
		}
	})
}

// TestCheckpointsEnd: checkpoints that are larger than a segment do not go on by themselves for ever.
func TestCheckpointsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := mem()
		o.SegmentSize = 16 << 10
		j := mustOpen(t, "d", o)
		h := newCollector().handler()
		calls := 0
		h.Checkpoint = func(uint64) {
			calls++
			for range 400 {
				j.Append(make([]byte, 100), nil, 0)
			}
		}
		h.Keep = func(uint64, []byte) Verdict { return Drop }
		if err := j.Start(h); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			j.Append(make([]byte, 100), nil, 0)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Hour)
		if calls == 0 || calls > 20 {
			t.Errorf("%d checkpoints", calls)
		}
		if st := j.Stats(); st.DiskBytes > 300<<10 {
			t.Errorf("%+v", st)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestCleaningWithReaders reads at random while segments are rewritten, merged and removed.
func TestCleaningWithReaders(t *testing.T) {
	o := mem()
	o.SegmentSize = 16 << 10
	j := mustOpen(t, "d", o)
	var mu sync.Mutex
	live := make(map[uint64]int)
	h := newCollector().handler()
	h.Keep = func(lsn uint64, _ []byte) Verdict {
		mu.Lock()
		defer mu.Unlock()
		if live[lsn] > 0 {
			return Keep
		}
		return Drop
	}
	if err := j.Start(h); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			r := j.NewReader()
			for {
				select {
				case <-done:
					return
				default:
				}
				mu.Lock()
				var lsn uint64
				for lsn = range live {
					break
				}
				n := live[lsn]
				mu.Unlock()
				if lsn == 0 {
					continue
				}
				b, err := r.Read(lsn)
				mu.Lock()
				gone := live[lsn] == 0
				mu.Unlock()
				if !gone && (err != nil || string(b) != string(record(lsn, n))) {
					t.Errorf("record %d: %v", lsn, err)
					return
				}
			}
		})
	}
	rnd := rand.New(rand.NewPCG(9, 9))
	for range 20000 {
		n := 8 + rnd.IntN(300)
		mu.Lock()
		lsn := j.Next()
		if got := j.Append(record(lsn, n), nil, n); got != lsn {
			t.Fatalf("record %d is %d", lsn, got)
		}
		live[lsn] = n
		if len(live) > 100 {
			for lsn, n := range live {
				delete(live, lsn)
				j.Release(lsn, n)
				break
			}
		}
		mu.Unlock()
	}
	close(done)
	wg.Wait()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func TestBackup(t *testing.T) {
	for name, o := range map[string]*Options{"memory": mem(), "system": {MinFree: -1}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o.SegmentSize = 32 << 10
			j := mustOpen(t, dir, o)
			c := newCollector()
			if err := j.Start(c.handler()); err != nil {
				t.Fatal(err)
			}
			var want []string
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for i := range 300 {
				want = append(want, appendAll(j, i, 300)...)
			}
			c.await(300)
			first := slices.Clone(want)
			wg.Go(func() {
				for i := 300; ; i++ {
					select {
					case <-stop:
						return
					default:
						appendAll(j, i, 300)
						c.await(i)
					}
				}
			})
			for i := range 5 {
				to := fmt.Sprintf("%s/backup%d", dir, i)
				if err := j.Backup(context.Background(), to); err != nil {
					t.Fatal(err)
				}
				got := replayed(t, to, o)
				if len(got) < 300 || !slices.Equal(got[:300], first) {
					t.Fatalf("%d records", len(got))
				}
				if err := j.Backup(context.Background(), to); err == nil {
					t.Fatal("over an older one")
				}
			}
			close(stop)
			wg.Wait()
			canceled, cancel := context.WithCancel(context.Background())
			cancel()
			if err := j.Backup(canceled, dir+"/canceled"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if err := j.Close(); err != nil {
				t.Error(err)
			}
			if err := j.Backup(context.Background(), dir+"/late"); err != ErrClosed {
				t.Error(err)
			}
		})
	}
}

// TestDirtySlowsProducers: when much is to be cleaned, producers are slowed until it is.
func TestDirtySlowsProducers(t *testing.T) {
	s := &store{opt: Options{SegmentSize: 8 << 20}}
	j := &Journal[int]{s: s}
	j.calls.init()
	add := func(size, live int64) *segment {
		g := &segment{size: size}
		g.live.Store(live)
		s.segs = append(s.segs, g)
		return g
	}
	add(4<<20, 3<<19)
	add(4<<20, 0)
	g := add(2<<20, 0)
	for _, step := range []struct {
		do   func()
		want Pressure
	}{
		{func() {}, None},                           // 8 MiB are sealed, 4.5 MiB of them may be
		{func() { add(1<<20, 0) }, Slow},            // 10 MiB are sealed
		{func() { g.broken = true }, None},          // what cannot be cleaned does not count
		{func() { g.broken = false }, Slow},         //
		{func() { g.live.Store(1 << 20) }, None},    // what is live may have three times as much
		{func() { s.opt.SegmentSize = 1000 }, None}, // with small segments it would always be so
	} {
		step.do()
		j.noteBound()
		if got := j.Pressure(); got != step.want {
			t.Fatalf("%d bytes to be cleaned: %v, want %v", s.dirty(), got, step.want)
		}
	}
}

// TestCloseInCheckpoint: a checkpoint during which the journal is closed makes nothing unnecessary, for what it appends
// is refused.
func TestCloseInCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		o := &Options{FS: fs, SegmentSize: 64 << 10, MinFree: -1}
		j := mustOpen(t, "d", o)
		begun := make(chan struct{})
		refused := false
		h := newCollector().handler()
		h.Keep = func(uint64, []byte) Verdict { return Drop }
		h.Checkpoint = func(uint64) {
			close(begun)
			<-j.closing
			refused = j.Append(record(1, 100), nil, 0) == 0
		}
		if err := j.Start(h); err != nil {
			t.Fatal(err)
		}
		note := j.Append(record(1, 100), nil, 0) // the checkpoint is to append it again
		for {
			lsn := j.Append(record(note+1, 9000), nil, 9000)
			if err := j.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			j.Release(lsn, 9000)
			note = lsn
			select {
			case <-begun:
			case <-time.After(time.Second):
				continue
			}
			break
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if !refused {
			t.Error("the journal took a record after Close")
		}
		if got := replayed(t, "d", o); len(got) == 0 || got[0] != "1:100" {
			t.Errorf("the note is gone; there is %v", got)
		}
	})
}
