package kafkaclient

import (
	"encoding/binary"
	"net"
	"sort"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// lane tells the connections to one broker apart. Responses of a connection come in order, so what may wait long at the
// broker has a lane of its own.
type lane int32

const (
	laneGeneral lane = iota
	laneProduce
	laneAdmin // what the application asks for, which may take long: heartbeats and commits do not wait behind it
	laneOwn   // newLane gives larger ones
)

// pending gets the response of a request. complete is called exactly once, on a goroutine that must not wait: that which
// reads the connection, or for requests without a response the one that wrote. With an error there is no frame. From then
// on the chunks of the request belong to the caller of send again.
type pending interface {
	complete(f *frame, err error)
}

// frame is a response.
type frame struct {
	body    []byte // after the header
	version int16
	owned   bool // body is not a part of the buffer of the connection
	size    int
}

// keep returns a body that outlives complete.
func (f *frame) keep() []byte {
	if !f.owned {
		f.body, f.owned = append([]byte(nil), f.body...), true
	}
	return f.body
}

// flight is a request under way.
type flight struct {
	call        pending
	key         kafkawire.APIKey
	version     int16
	correlation int32
	sent        time.Time
	deadline    time.Time
	begin, end  uint64 // where it is in the bytes of the connection
}

// conn is one network connection. Requests are pipelined: they leave in the order of send, and one goroutine reads their
// responses, which come in the same order.
type conn struct {
	c        *Client
	lane     lane
	info     ConnInfo
	nc       net.Conn
	io       *netio.Conn
	versions versions
	expires  time.Time // of the authentication; zero: never

	streams   netio.Streams   // nil: there are none
	base      *conn           // for a further stream: the connection
	confirmed <-chan struct{} // closed when what is written is not early data any more; nil: it never was
	over      chan struct{}   // closed when the connection has failed

	mu       sync.Mutex
	out      [][]byte // chunks to be written
	spare    [][]byte
	writing  bool   // somebody writes
	queued   uint64 // bytes that were ever put into out
	written  uint64 // bytes that were written
	flights  []flight
	first    int      // of flights
	silent   []flight // without a response, until they are written
	next     int32
	err      error
	progress sync.Cond // that written grew, or writing ended
	timer    *time.Timer
	wake     time.Time // when timer fires
	lastUsed time.Time
	quiet    time.Time // nothing is sent before
	children int       // further streams
}

// begin starts what watches the connection.
func (k *conn) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.lastUsed = now
	if k.err != nil {
		return
	}
	if !k.expires.IsZero() {
		k.setTimer(now, k.expires)
	} else if k.c.o.IdleTimeout > 0 {
		k.setTimer(now, now.Add(k.c.o.IdleTimeout))
	}
}

// usable reports whether requests may be sent.
func (k *conn) usable(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err == nil && (k.expires.IsZero() || now.Before(k.expires))
}

// send sends a request, which is one or more chunks with the size and header in the first one, and sees to it that call
// gets its response. With an error nothing was sent and call is not called. timeout is for the response; without a
// response call completes when everything was written.
func (k *conn) send(call pending, key kafkawire.APIKey, version int16, timeout time.Duration, answered bool, chunks ...[]byte) error {
	now := time.Now()
	f := flight{call: call, key: key, version: version, sent: now, deadline: now.Add(timeout)}
	k.mu.Lock()
	if k.err != nil {
		err := k.err
		k.mu.Unlock()
		return &ConnError{Broker: k.info.Broker, Addr: k.info.Addr, Unsent: true, Err: err}
	}
	f.correlation = k.next
	k.next = (k.next + 1) & 0x7fffffff
	binary.BigEndian.PutUint32(chunks[0][8:], uint32(f.correlation))
	f.begin = k.queued
	for _, b := range chunks {
		k.queued += uint64(len(b))
	}
	f.end = k.queued
	if answered {
		k.push(f)
	} else {
		k.silent = append(k.silent, f)
	}
	k.out = append(k.out, chunks...)
	k.lastUsed = now
	if k.wake.IsZero() || f.deadline.Before(k.wake) {
		k.setTimer(now, f.deadline)
	}
	if k.writing {
		k.mu.Unlock()
		return nil
	}
	k.writing = true
	k.mu.Unlock()
	k.flush()
	return nil
}

// push adds a flight at the end.
func (k *conn) push(f flight) {
	if k.first > 0 && len(k.flights) == cap(k.flights) {
		n := copy(k.flights, k.flights[k.first:])
		clear(k.flights[n:])
		k.flights, k.first = k.flights[:n], 0
	}
	k.flights = append(k.flights, f)
}

// pop takes the oldest flight off, whose response is here. The call that writes the request may not have returned yet; it is
// waited for, since the memory of the request is used again when it is complete.
func (k *conn) pop() (f flight, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.first == len(k.flights) {
		return f, false
	}
	f = k.flights[k.first]
	for k.written < f.end {
		if !k.writing { // it failed
			return f, false
		}
		k.progress.Wait()
	}
	k.flights[k.first] = flight{}
	k.first++
	if k.first == len(k.flights) {
		k.flights, k.first = k.flights[:0], 0
	}
	return f, true
}

// flush writes what the network takes without waiting, and leaves the rest to a goroutine. writing is set and belongs to
// the caller.
func (k *conn) flush() {
	for {
		chunks, ok := k.take()
		if !ok {
			return
		}
		n, err := k.io.TryWrite(chunks)
		rest := chunks
		if err == nil {
			rest = skip(chunks, n)
		}
		k.wrote(n)
		if err != nil {
			k.fail(err)
		} else if len(rest) > 0 {
			go k.write(chunks, rest)
			return
		}
		k.reuse(chunks)
	}
}

// write writes the rest of what take returned, then everything else, and waits for the network.
func (k *conn) write(chunks, rest [][]byte) {
	for {
		for len(rest) > 0 {
			count := k.oldest(rest)
			bufs := net.Buffers(rest[:count])
			rest = rest[count:]
			n, err := bufs.WriteTo(k.nc)
			k.wrote(int(n))
			if err != nil {
				k.fail(err)
				break
			}
		}
		k.reuse(chunks)
		var ok bool
		if chunks, ok = k.take(); !ok {
			return
		}
		rest = chunks
	}
}

// oldest returns how many of the chunks are of the request that is to be written next. One is written at a time: pop waits
// for the call that writes, which must not wait in turn for a broker that reads the next request when the response was read.
func (k *conn) oldest(chunks [][]byte) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	end := k.queued
	for _, list := range [2][]flight{k.flights[k.first:], k.silent} {
		i := sort.Search(len(list), func(i int) bool { return list[i].end > k.written })
		if i < len(list) {
			end = min(end, list[i].end)
		}
	}
	size := end - k.written
	for i, b := range chunks {
		if size -= uint64(len(b)); size == 0 {
			return i + 1
		}
	}
	return len(chunks)
}

// take returns what is to be written next. When there is nothing, writing ends.
func (k *conn) take() (chunks [][]byte, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.out) == 0 || k.err != nil {
		k.writing = false
		k.progress.Broadcast()
		return nil, false
	}
	chunks, k.out, k.spare = k.out, k.spare[:0], nil
	return chunks, true
}

// reuse gives chunks of take back.
func (k *conn) reuse(chunks [][]byte) {
	chunks = chunks[:cap(chunks)]
	clear(chunks)
	k.mu.Lock()
	k.spare = chunks[:0]
	k.mu.Unlock()
}

// wrote notes that n bytes were written, and completes requests without a response.
func (k *conn) wrote(n int) {
	k.c.sentBytes.Add(uint64(n))
	k.mu.Lock()
	k.written += uint64(n)
	var done []flight
	for i, f := range k.silent {
		if f.end > k.written {
			break
		}
		done = k.silent[:i+1]
	}
	k.silent = k.silent[len(done):]
	k.progress.Broadcast()
	k.mu.Unlock()
	for _, f := range done {
		f.call.complete(&frame{version: f.version}, nil)
	}
}

// skip returns what is left of the chunks after n bytes.
func skip(chunks [][]byte, n int) [][]byte {
	for len(chunks) > 0 && n >= len(chunks[0]) {
		n -= len(chunks[0])
		chunks = chunks[1:]
	}
	if n > 0 {
		chunks[0] = chunks[0][n:]
	}
	return chunks
}

// setTimer makes the timer fire at a time. k.mu is held.
func (k *conn) setTimer(now, at time.Time) {
	k.wake = at
	if k.timer == nil {
		k.timer = time.AfterFunc(at.Sub(now), k.tick)
		return
	}
	k.timer.Reset(at.Sub(now))
}

// tick looks for what took too long.
func (k *conn) tick() {
	now := time.Now()
	k.mu.Lock()
	var err error
	var at time.Time
	switch {
	case k.err != nil:
	case k.first < len(k.flights):
		if at = k.flights[k.first].deadline; !now.Before(at) {
			err = ErrTimeout
		}
	case len(k.silent) > 0:
		if at = k.silent[0].deadline; !now.Before(at) {
			err = ErrTimeout
		}
	case k.children > 0:
		at = now.Add(time.Second)
		if k.expires.IsZero() || now.Before(k.expires) {
			at = now.Add(10 * time.Second)
		}
	case !k.expires.IsZero() && !now.Before(k.expires): // another connection has taken over
		err = errIdle
	default:
		if k.c.o.IdleTimeout > 0 {
			at = k.lastUsed.Add(k.c.o.IdleTimeout)
		}
		if !at.IsZero() && !now.Before(at) {
			err = errIdle
		} else if !k.expires.IsZero() && (at.IsZero() || k.expires.Before(at)) {
			at = k.expires
		}
	}
	switch {
	case k.err != nil:
	case err == nil && !at.IsZero():
		k.setTimer(now, at)
	case err == nil:
		k.wake = time.Time{}
	}
	k.mu.Unlock()
	if err != nil {
		k.fail(err)
	}
}

// fail ends the connection. The goroutine that reads completes what is under way.
func (k *conn) fail(err error) {
	k.mu.Lock()
	if k.err != nil {
		k.mu.Unlock()
		return
	}
	k.err = ended(err)
	if k.timer != nil {
		k.timer.Stop()
	}
	k.mu.Unlock()
	close(k.over)
	k.nc.Close()
}

// finish completes everything under way with an error, once nobody writes any more.
func (k *conn) finish() {
	k.mu.Lock()
	for k.writing {
		k.progress.Wait()
	}
	flights := append(k.flights[k.first:], k.silent...)
	k.flights, k.silent, k.first, k.out, k.spare = nil, nil, 0, nil, nil
	err, written := k.err, k.written
	k.mu.Unlock()
	for _, f := range flights {
		k.done(&f, nil, &ConnError{Broker: k.info.Broker, Addr: k.info.Addr, Unsent: f.begin >= written, Err: err})
	}
}

// done completes a request.
func (k *conn) done(f *flight, r *frame, err error) {
	if trace := k.c.o.Trace.Response; trace != nil {
		info := RequestInfo{Conn: k.info, Key: f.key, Version: f.version, Sent: f.sent}
		if r != nil {
			info.Size = r.size
		}
		trace(info, err)
	}
	f.call.complete(r, err)
}
