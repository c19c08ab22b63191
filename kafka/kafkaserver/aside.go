package kafkaserver

// asideSize is how large a request is that the session handles while the reader goes on with the next one: to check and to
// store its records takes about as long as to read them.
const asideSize = 64 << 10

// aside has the requests that a goroutine beside the reader hands to the session, in their order. The goroutine ends when
// there are none. Limits bound them as they bound all requests in process.
type aside struct {
	queue
	busy bool          // the goroutine runs; only the reader starts it
	idle chan struct{} // closed when it has ended, for who waits for that
	run  func()        // handleAside; a go statement with arguments allocates
}

// handle hands a request to the session, or leaves that to the goroutine beside the reader.
func (st *stream) handle(r *Request, beside bool) {
	if !beside {
		st.give(r)
		return
	}
	st.c.mu.Lock()
	a := &st.aside
	a.push(r)
	start := !a.busy
	a.busy = true
	if a.run == nil {
		a.run = st.handleAside
	}
	st.c.mu.Unlock()
	if start {
		go a.run()
	}
}

// handleAside is the goroutine beside the reader.
func (st *stream) handleAside() {
	a := &st.aside
	st.c.mu.Lock()
	for r := a.front(); r != nil; r = a.front() {
		a.pop()
		st.c.mu.Unlock()
		st.give(r)
		st.c.mu.Lock()
	}
	a.busy = false
	if a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
	st.c.mu.Unlock()
}

// awaitAside waits until the session has every request that is for it. It is for the reader.
func (st *stream) awaitAside() {
	st.c.mu.Lock()
	if !st.aside.busy {
		st.c.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	st.aside.idle = idle
	st.c.mu.Unlock()
	<-idle
}

// give hands a request to the session.
func (st *stream) give(r *Request) {
	if m := st.c.serial; m != nil {
		m.Lock()
		defer m.Unlock()
	}
	st.session.Handle(r)
}
