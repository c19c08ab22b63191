package journal

import "time"

// worthCleaning reports whether so little of a sealed segment is live that it is to be rewritten.
func worthCleaning(live, size int64) bool { return live < size/3 }

// cleaner is the goroutine that cleans segments and looks at the disk.
func (j *Journal[T]) cleaner() {
	t := time.NewTimer(freeInterval)
	defer t.Stop()
	for {
		var again <-chan time.Time
		if j.pressure.disk.Load() != uint32(None) { // perhaps nobody appends until there is room
			t.Reset(freeInterval)
			again = t.C
		}
		select {
		case <-j.clean:
		case <-again:
		case <-j.closing:
			return
		}
		if j.staleFree() {
			j.checkFree()
		}
	}
}
