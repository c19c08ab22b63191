package journal

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// BenchmarkRaw is what BenchmarkOne is to be compared with: pwrite and fdatasync on a file whose space is there.
func BenchmarkRaw(b *testing.B) {
	f, err := vfs.OS{}.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const size = 64 << 20
	if err := fill(f, 0, size, true, nil); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	rec := make([]byte, 334)
	off := int64(0)
	var c counters
	for b.Loop() {
		start := time.Now()
		if _, err := f.WriteAt(rec, off%(size-1024)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		c.synced(time.Since(start))
		off += int64(len(rec))
	}
	b.ReportMetric(float64(c.quantile(0.5))/1000, "p50-µs")
	b.ReportMetric(float64(c.quantile(0.99))/1000, "p99-µs")
}

// BenchmarkOne appends one record at a time and waits for it.
func BenchmarkOne(b *testing.B) {
	j := mustOpen(b, b.TempDir(), nil)
	done := make(chan struct{}, 1)
	err := j.Start(Handler[int]{Complete: func([]int, Outcome) { done <- struct{}{} }})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	rec := make([]byte, 300)
	for range 3000 { // until the segment has its size
		j.AppendAwait(nil, rec, 300, 1)
		<-done
	}
	var c counters
	for b.Loop() {
		start := time.Now()
		j.AppendAwait(nil, rec, 300, 1)
		<-done
		c.synced(time.Since(start))
	}
	b.ReportMetric(float64(c.quantile(0.5))/1000, "p50-µs")
	b.ReportMetric(float64(c.quantile(0.99))/1000, "p99-µs")
	b.ReportMetric(float64(j.Stats().SyncP50)/1000, "sync-p50-µs")
}

// BenchmarkGroup has ten appenders with a window of 100 records each. Records are released when they are durable, so that
// segments are used again, or kept, so that every segment is filled with zeros first.
func BenchmarkGroup(b *testing.B) {
	b.Run("released", func(b *testing.B) { benchmarkGroup(b, true) })
	b.Run("kept", func(b *testing.B) { benchmarkGroup(b, false) })
}

func benchmarkGroup(b *testing.B, release bool) {
	const appenders, window = 10, 100
	type token struct {
		who int
		at  int64
	}
	var mu [appenders]sync.Mutex
	var cond [appenders]*sync.Cond
	var flight [appenders]int
	for i := range cond {
		cond[i] = sync.NewCond(&mu[i])
	}
	var c counters
	origin := time.Now()
	j, err := Open[token](b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	lsn := uint64(0)
	err = j.Start(Handler[token]{
		Complete: func(tokens []token, _ Outcome) {
			var n [appenders]int
			for _, t := range tokens {
				n[t.who]++
				if lsn++; release {
					j.Release(lsn, 300)
				}
			}
			now := int64(time.Since(origin))
			c.synced(time.Duration(now - tokens[0].at))
			for i, k := range n {
				if k > 0 {
					mu[i].Lock()
					flight[i] -= k
					cond[i].Signal()
					mu[i].Unlock()
				}
			}
		},
		Checkpoint: func(uint64) {},
		Keep:       func(uint64, []byte) Verdict { return Drop },
	})
	if err != nil {
		b.Fatal(err)
	}
	rec := make([]byte, 300)
	run := func(each int) {
		var wg sync.WaitGroup
		for i := range appenders {
			wg.Go(func() {
				for range each {
					mu[i].Lock()
					for flight[i] >= window {
						cond[i].Wait()
					}
					flight[i]++
					mu[i].Unlock()
					j.AppendAwait(nil, rec, 300, token{i, int64(time.Since(origin))})
				}
			})
		}
		wg.Wait()
		_ = j.Sync(context.Background())
	}
	run(200_000 / appenders * 4) // until segments have their size
	c.reset()
	before := j.Stats()
	b.ResetTimer()
	run(b.N/appenders + 1)
	b.StopTimer()
	st := j.Stats()
	n := float64(st.Records - before.Records)
	b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(n/float64(st.Syncs-before.Syncs), "records/sync")
	b.ReportMetric(float64((st.SyncTime-before.SyncTime).Microseconds())/float64(st.Syncs-before.Syncs), "sync-µs")
	b.ReportMetric(float64(c.quantile(0.5))/1000, "p50-µs")
	b.ReportMetric(float64(c.quantile(0.99))/1000, "p99-µs")
	_ = j.Close()
}

// BenchmarkAppend is the cost for the caller alone.
func BenchmarkAppend(b *testing.B) {
	j := mustOpen(b, "d", &Options{FS: vfs.NewMem(), MinFree: -1, NoSync: true})
	if err := j.Start(newCollector().handler()); err != nil {
		b.Fatal(err)
	}
	rec := make([]byte, 300)
	head := make([]byte, 16)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		j.Append(head, rec[:284], 300)
		if n++; n%8192 == 0 {
			b.StopTimer()
			_ = j.Sync(context.Background())
			b.StartTimer()
		}
	}
	b.StopTimer()
	_ = j.Close()
}

// BenchmarkReplay replays records that are in the cache of the operating system.
func BenchmarkReplay(b *testing.B) {
	dir := b.TempDir()
	j := mustOpen(b, dir, &Options{NoSync: true})
	if err := j.Start(Handler[int]{Complete: func([]int, Outcome) {}}); err != nil {
		b.Fatal(err)
	}
	const records = 2_000_000
	rec := make([]byte, 300)
	for i := range records {
		j.Append(nil, rec, 300)
		if i%50000 == 0 {
			_ = j.Sync(context.Background())
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		j := mustOpen(b, dir, nil)
		if err := j.Replay(func(uint64, []byte) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
		_ = j.Close()
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	_ = os.RemoveAll(dir)
}

func (c *counters) reset() {
	for i := range c.histogram {
		c.histogram[i].Store(0)
	}
}

// BenchmarkCleaning has latencies of four appenders that wait for each record of 4 KiB, without cleaning and while a
// quarter of each segment is to be kept.
func BenchmarkCleaning(b *testing.B) {
	for _, cleaning := range []bool{false, true} {
		b.Run(map[bool]string{false: "quiet", true: "cleaning"}[cleaning], func(b *testing.B) {
			j, err := Open[chan struct{}](b.TempDir(), &Options{SegmentSize: 16 << 20})
			if err != nil {
				b.Fatal(err)
			}
			err = j.Start(Handler[chan struct{}]{
				Complete: func(tokens []chan struct{}, _ Outcome) {
					for _, t := range tokens {
						t <- struct{}{}
					}
				},
				Checkpoint: func(uint64) {},
				Keep: func(lsn uint64, _ []byte) Verdict {
					if lsn%4 == 0 {
						return Keep
					}
					return Drop
				},
			})
			if err != nil {
				b.Fatal(err)
			}
			var c counters
			var mu sync.Mutex
			body := make([]byte, 4000)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					done := make(chan struct{}, 1)
					for range b.N/4 + 1 {
						start := time.Now()
						lsn := j.AppendAwait(nil, body, len(body), done)
						<-done
						d := time.Since(start)
						mu.Lock()
						c.synced(d)
						mu.Unlock()
						if cleaning && lsn%4 != 0 {
							j.Release(lsn, len(body))
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(c.quantile(0.5))/1000, "p50-µs")
			b.ReportMetric(float64(c.quantile(0.99))/1000, "p99-µs")
			b.ReportMetric(float64(j.Stats().Rewritten)/1e6, "MB-rewritten")
			_ = j.Close()
		})
	}
}
