package kafkabroker

import "sync"

// flusher makes segments durable that were rolled, one after the other. Its goroutine lives while there are some.
type flusher struct {
	mu             sync.Mutex
	queue          []rolled
	running        bool
	added, through uint64 // how many there were, and how many of them are done
	progress       sync.Cond
}

func newFlusher() *flusher {
	f := new(flusher)
	f.progress.L = &f.mu
	return f
}

func (f *flusher) add(r rolled) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, r)
	f.added++
	if !f.running {
		f.running = true
		go f.run()
	}
}

func (f *flusher) run() {
	for {
		f.mu.Lock()
		if len(f.queue) == 0 {
			f.running = false
			f.mu.Unlock()
			return
		}
		r := f.queue[0]
		f.queue = f.queue[1:]
		f.mu.Unlock()
		_ = r.flush() // the directory has failed then, and says so
		f.mu.Lock()
		f.through++
		f.progress.Broadcast()
		f.mu.Unlock()
	}
}

// wait waits for what was added so far.
func (f *flusher) wait() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for until := f.added; f.through < until; {
		f.progress.Wait()
	}
}
