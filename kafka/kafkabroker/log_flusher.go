package kafkabroker

import "sync"

// flusher makes segments durable that were rolled, one after the other. Its goroutine lives while there are some.
type flusher struct {
	mu      sync.Mutex
	queue   []rolled
	running bool
	idle    sync.Cond
}

func newFlusher() *flusher {
	f := new(flusher)
	f.idle.L = &f.mu
	return f
}

func (f *flusher) add(r rolled) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, r)
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
			f.idle.Broadcast()
			f.mu.Unlock()
			return
		}
		r := f.queue[0]
		f.queue = f.queue[1:]
		f.mu.Unlock()
		_ = r.flush() // the directory has failed then, and says so
	}
}

// wait waits until there is nothing to do.
func (f *flusher) wait() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.running {
		f.idle.Wait()
	}
}
