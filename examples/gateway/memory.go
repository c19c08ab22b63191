package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The garbage collector may leave as much garbage as GOGC says before it runs: as many percent of what lives. A broker
// that holds little then collects all the time, and one that holds a lot needs twice the memory. So the gateway sets the
// percentage as it goes.
const (
	headroom     = 32 << 20 // bytes of garbage, while that is between these percentages of what lives
	leastGarbage = 50
	mostGarbage  = 400
)

// tuneGC sets the percentage for what lives now, again and again until ctx ends. The variable GOGC switches it off.
func tuneGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	set := 0
	for {
		if p := garbagePercent(liveHeap()); p != set {
			set = p
			debug.SetGCPercent(p)
		}
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

// liveHeap returns the bytes that lived at the last collection.
func liveHeap() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}
