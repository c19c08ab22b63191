package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// TestAllAtOnce calls everything at the same time, with segments so small that they are cleaned all the time, and closes the
// journal in the midst of it. What is live was readable all the time and is there afterwards.
func TestAllAtOnce(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		t.Run(fmt.Sprint("NoSync=", noSync), func(t *testing.T) { allAtOnce(t, noSync) })
	}
}

func allAtOnce(t *testing.T, noSync bool) {
	o := mem()
	o.SegmentSize, o.NoSync = 8<<10, noSync
	j := mustOpen(t, "d", o)
	var (
		mu    sync.Mutex
		live  = make(map[uint64]int) // sizes
		token int
		done  = make(map[int]Outcome)
		stop  atomic.Bool
		all   sync.WaitGroup
	)
	must := func(err error) {
		if err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	err := j.Start(Handler[int]{
		Complete: func(tokens []int, o Outcome) {
			mu.Lock()
			defer mu.Unlock()
			for _, n := range tokens {
				if done[n] != 0 {
					t.Errorf("token %d: %v, then %v", n, done[n], o)
				}
				done[n] = o
			}
		},
		Checkpoint: func(uint64) { j.Append([]byte("note"), make([]byte, 40), 0) },
		Keep: func(lsn uint64, record []byte) Verdict {
			mu.Lock()
			defer mu.Unlock()
			if live[lsn] > 0 {
				return Keep
			}
			return Drop
		},
		Pressure: func(Pressure) { j.Stats() },
	})
	if err != nil {
		t.Fatal(err)
	}
	write := func() {
		var mine []uint64
		for !stop.Load() {
			size := 1 + rand.IntN(600)
			if rand.IntN(50) == 0 {
				size += sharedBody
			}
			mu.Lock()
			token++
			if lsn := j.AppendAwait([]byte("head"), make([]byte, size), size, token); lsn != 0 {
				live[lsn] = size
				mine = append(mine, lsn)
			}
			mu.Unlock()
			for len(mine) > 30 || len(mine) > 0 && rand.IntN(3) == 0 {
				i := rand.IntN(len(mine))
				lsn := mine[i]
				mine[i], mine = mine[len(mine)-1], mine[:len(mine)-1]
				mu.Lock()
				size := live[lsn]
				delete(live, lsn)
				mu.Unlock()
				j.Release(lsn, size)
			}
			switch rand.IntN(40) {
			case 0:
				j.Reserve()
			case 1:
				must(j.Sync(context.Background()))
			case 2:
				mu.Lock()
				token++
				j.Await(token)
				mu.Unlock()
			}
		}
	}
	read := func() {
		r := j.NewReader()
		for !stop.Load() {
			mu.Lock()
			var lsn uint64
			for lsn = range maps.Keys(live) {
				break
			}
			size := live[lsn]
			mu.Unlock()
			if size == 0 {
				continue
			}
			b, err := r.Read(lsn)
			mu.Lock()
			switch {
			case err == ErrNotFound && live[lsn] == 0: // released meanwhile
			case err != nil:
				must(err)
			case len(b) != size+4 || string(b[:4]) != "head":
				t.Errorf("record %d has %d bytes, not %d", lsn, len(b), size+4)
			}
			mu.Unlock()
		}
	}
	backUp := func() {
		for i := 0; !stop.Load(); i++ {
			j.Stats()
			dir := fmt.Sprint("backup", i)
			if err := j.Backup(t.Context(), dir); err != nil {
				must(err)
				return
			}
			replayedAll(t, dir, o)
		}
	}
	for range 3 {
		all.Go(write)
	}
	all.Go(read)
	all.Go(read)
	all.Go(backUp)
	for n := 0; n < 1500; {
		must(j.Sync(t.Context()))
		mu.Lock()
		n = len(done)
		mu.Unlock()
	}
	must(j.Close())
	stop.Store(true)
	all.Wait()
	there := replayedAll(t, "d", o)
	mu.Lock()
	defer mu.Unlock()
	for lsn := range live {
		if !there[lsn] {
			t.Errorf("record %d is gone", lsn)
		}
	}
}

// replayedAll opens a journal and returns which records it has.
func replayedAll(t *testing.T, dir string, o *Options) map[uint64]bool {
	j := mustOpen(t, dir, &Options{FS: o.FS.(*vfs.Mem), MinFree: -1})
	there := make(map[uint64]bool)
	if err := j.Replay(func(lsn uint64, _ []byte) error { there[lsn] = true; return nil }); err != nil {
		t.Errorf("%s: %v", dir, err)
	}
	_ = j.Close()
	return there
}
