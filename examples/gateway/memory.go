package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The garbage collector may leave as much garbage as GOGC says before it runs: as many percent of what lives. A broker
// that holds little then collects all the time, and one that holds a lot needs twice the memory. So the gateway sets the
// percentage as it goes.
const (
	headroom     = 16 << 20 // bytes of garbage, while that is between these percentages of what lives
	leastGarbage = 50
	mostGarbage  = 400
)

// tuneGC sets the percentage for what lives now, again and again until ctx ends, and collects what a burst has left when
// it is over: stacks shrink only then. The variable GOGC switches it off.
func tuneGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	percent, quiet := 0, 0
	last := readHeap()
	for {
		now := readHeap()
		if p := garbagePercent(now.live); p != percent {
			percent = p
			debug.SetGCPercent(p)
		}
		switch {
		case now.cycles != last.cycles || now.objects <= now.live+now.live/4:
			quiet = 0
		default:
			if quiet++; quiet == 5 {
				runtime.GC()
			}
		}
		last = now
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// garbagePercent returns the percentage for a number of live bytes, in steps of ten.
func garbagePercent(live int64) int {
	p := headroom * 100 / max(live, 1) / 10 * 10
	return int(min(max(p, leastGarbage), mostGarbage))
}

// heap is what the heap holds.
type heap struct {
	live    int64 // bytes that lived at the last collection
	objects int64 // bytes of objects, dead ones too
	cycles  uint64
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(s)
	return heap{int64(s[0].Value.Uint64()), int64(s[1].Value.Uint64()), s[2].Value.Uint64()}
}
