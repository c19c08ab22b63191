package mqttclient

import (
	"context"
	"errors"
	"maps"
	"net"
	"runtime"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
)

// stream is a data stream of a connection. The fields of the first group belong to the goroutine that reads it, the
// others are guarded by c.mu.
type stream struct {
	k   *conn
	st  netio.Stream
	id  uint64
	dec mqtt.Decoder
	in  codec.Buffer

	lane    *lane
	since   time.Time
	out     []byte // encoded, not written
	spare   []byte // the buffer of the last write
	size    int    // bytes of out and of what is being written
	writing bool
	fin     bool // close the sending side once out is written
	over    bool // the stream has ended
}

// ready reports whether messages of a lane may be sent, and sees to it that they may soon be. c.mu is held.
func (k *conn) ready(l *lane) bool {
	if !k.multi || l.n == 0 {
		return true
	}
	switch l.state {
	case laneOpen, laneControl:
		return true
	case laneClosed:
		if !k.closing && k.err == nil {
			k.openStream(l)
		}
	}
	return false
}

// openStream opens a stream for a lane. When there is none in time, the lane has stream 0. c.mu is held.
func (k *conn) openStream(l *lane) {
	l.state = laneOpening
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), streamPatience)
		defer cancel()
		st, err := k.mux.OpenStream(ctx)
		k.c.mu.Lock()
		defer k.c.mu.Unlock()
		if k.c.conn != k || k.closing || k.err != nil {
			if err == nil {
				go st.Close()
			}
			return
		}
		switch {
		case err == nil:
			go k.addStream(l, st).read()
		case errors.Is(err, net.ErrClosed): // who reads stream 0 will tell
			l.state = laneClosed
			return
		default:
			k.c.o.Logger.Debug("no stream, using stream 0", "err", err)
			l.state = laneControl
		}
		k.laneReady(l)
	}()
}

// addStream gives a lane its stream.
func (k *conn) addStream(l *lane, st netio.Stream) *stream {
	s := &stream{
		k: k, st: st, id: uint64(st.ID()), lane: l, since: time.Now(),
		dec: mqtt.Decoder{From: mqtt.Server, MaxSize: k.dec.MaxSize},
		in:  codec.Buffer{Max: k.in.Max},
	}
	if k.streams == nil {
		k.streams = make(map[uint64]*stream)
	}
	k.streams[s.id] = s
	k.live++
	k.c.stats.StreamsOpened++
	l.s, l.state, l.used = s, laneOpen, true
	k.sweepLater()
	return s
}

// laneReady sends what has waited for a lane to be ready.
func (k *conn) laneReady(l *lane) {
	requests := l.subscribe
	l.subscribe = nil
	for _, r := range requests {
		if r.s.leaving == nil {
			if err := k.sendSubscribe(r.s, r.filters); err != nil {
				k.c.refuse(r.s, err)
			}
		}
	}
	k.answerAsked()
	k.c.sendQueued()
	k.kick()
	k.arm()
}

// room reports whether PUBLISH packets of a lane may be added to its output buffer. c.mu is held.
func (k *conn) room(l *lane) bool {
	return k.mux == nil && k.open() || k.mux != nil && k.share(l)
}

// share is room on a connection with streams.
func (k *conn) share(l *lane) bool {
	if k.closing || !k.ready(l) {
		return false
	}
	size := len(k.out)
	if l.s != nil {
		size = l.s.size
	}
	free := k.c.o.Limits.OutputBuffer - len(k.out) - k.waiting
	return size < free || free > 0 && !k.multi
}

// turn reports whether a lane may have another message of QoS 1 or 2 in flight: data streams may have as many as are left
// for others, so that one which is not acknowledged does not stop them.
func (k *conn) turn(l *lane) bool {
	return l.n == 0 || !k.multi || l.inflight < k.sess.Quota()
}

// read reads until the stream is over.
func (s *stream) read() {
	for {
		n, err := s.in.Fill(s.st)
		if n > 0 {
			s.feed(n)
		}
		if err != nil {
			s.k.c.mu.Lock()
			s.k.streamOver(s)
			s.k.c.mu.Unlock()
			return
		}
	}
}

// feed handles the whole packets in the input buffer, of which n bytes are new.
func (s *stream) feed(n int) {
	for more := true; more; n = 0 {
		var crowd *Subscription
		if more, crowd = s.feedBatch(n); crowd != nil && crowd.crowded() {
			runtime.Gosched()
		}
	}
}

// feedBatch handles some packets and reports whether there may be more. It is conn.feedBatch for a data stream.
func (s *stream) feedBatch(n int) (more bool, crowd *Subscription) {
	k := s.k
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	k.c.stats.BytesReceived += uint64(n)
	s.lane.used = true
	now := time.Now()
	for range batch {
		if more = s.receive(now); !more {
			break
		}
	}
	k.c.sendQueued()
	k.kick()
	k.arm()
	crowd, k.crowd = k.crowd, nil
	return more, crowd
}

// receive handles the packet at the front of the input buffer and reports whether there was one.
func (s *stream) receive(now time.Time) bool {
	k, b := s.k, s.in.Bytes()
	if k.closing || s.over || len(b) == 0 {
		s.in.Discard(len(b))
		return false
	}
	p, n, err := s.dec.Decode(b, k.version)
	if err != nil {
		k.sess.Fail(now, p, err)
		k.events()
		return false
	}
	if n == 0 {
		return false
	}
	s.in.Discard(n)
	if f := k.c.o.Trace.PacketReceived; f != nil {
		f(p)
	}
	if err := k.sess.Receive(now, s.id, p); err != nil && errors.Is(err, mqtt.ErrState) {
		k.fail(err)
	}
	k.events()
	return true
}

// appendStream is conn.append for a data stream. One that is over gets no more.
func (k *conn) appendStream(e *mqtt.Event) {
	s := k.streams[e.Stream]
	if s == nil || s.over {
		return
	}
	b, err := e.AppendTo(s.out, k.version)
	if err != nil {
		k.fail(err)
		return
	}
	n := len(s.out)
	s.out = b
	s.grew(len(b) - n)
	if f := k.c.o.Trace.PacketSent; f != nil {
		f(tracePacket(e))
	}
}

// grew takes note of what was added to out.
func (s *stream) grew(n int) {
	s.size += n
	s.k.waiting += n
	s.lane.used = true
	s.kick()
}

// kick makes sure that somebody writes the output buffer. c.mu is held.
func (s *stream) kick() {
	if s.writing || s.over || len(s.out) == 0 && !s.fin || s.k.early {
		return
	}
	s.writing = true
	go s.write()
}

// write writes the output buffer until it is empty, as conn.write does.
func (s *stream) write() {
	k, c := s.k, s.k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(s.out) > 0 && !s.over {
		b := s.out
		s.out, s.spare = s.spare, nil
		c.mu.Unlock()
		n, err := s.st.Write(b)
		c.mu.Lock()
		c.stats.BytesSent += uint64(n)
		if s.over {
			break
		}
		s.size -= len(b)
		k.waiting -= len(b)
		if err != nil {
			k.streamOver(s)
			break
		}
		s.spare = b[:0]
		if c.conn == k {
			c.sendQueued()
			k.kick()
		}
	}
	s.writing = false
	if s.fin && !s.over {
		c.mu.Unlock()
		s.st.CloseWrite()
		c.mu.Lock()
	}
}

// end closes the sending side of a stream behind what is written. The stream is over when the server has closed its own:
// then it has read everything.
func (s *stream) end() {
	if !s.fin {
		s.fin = true
		s.lane.state = laneEnding
		s.kick()
	}
}

// streamOver takes note of a stream that has ended. c.mu is held.
func (k *conn) streamOver(s *stream) {
	if s.over {
		return
	}
	s.over = true
	go s.st.Close()
	k.waiting -= s.size
	k.live--
	s.size, s.out, s.spare = 0, nil, nil
	if k.parting && k.live == 0 {
		k.parted()
	}
	c, l := k.c, s.lane
	if c.conn != k || k.closing || k.err != nil {
		return // the end of the connection ends all streams
	}
	delete(k.streams, s.id)
	l.s, l.state = nil, laneClosed
	if !s.fin {
		c.stats.StreamsLost++
		c.o.Logger.Debug("stream lost", "stream", s.id)
		if time.Since(s.since) < streamPatience {
			l.state = laneControl
		}
	}
	k.leaveStream(s.id, l)
	k.events()
	k.resubscribeLane(l)
	k.endLane(l)
	k.answerAsked()
	c.sendQueued()
	k.kick()
	k.arm()
}

// leaveStream takes out of the session, or prepares for another stream, what was in flight on one that is over.
func (k *conn) leaveStream(id uint64, l *lane) {
	c := k.c
	k.sess.CloseStream(time.Now(), id, k.keep)
	for d := c.unacked.first; l.unacked > 0 && d != nil; {
		next := d.next
		if d.lane == l.n {
			d.lane = 0
			l.unacked--
			c.orphan(d, k.keep)
		}
		d = next
	}
}

// orphan takes note that the stream on which d came is over.
func (c *Client) orphan(d *delivery, keep bool) {
	switch {
	case !keep:
		c.forget(d)
	case d.qos == mqtt.QoS1:
		d.conn = nil
		if c.redelivered == nil {
			c.redelivered = make(map[uint16]*delivery)
		}
		c.redelivered[d.id] = d
	}
}

// resubscribeLane subscribes again after the stream of a subscription is lost.
func (k *conn) resubscribeLane(l *lane) {
	if s := l.sub; s != nil && s.leaving == nil {
		if err := k.sendSubscribe(s, s.again()); err != nil {
			k.c.refuse(s, err)
		}
	}
	for _, u := range slices.Clone(k.c.leaving) {
		if u.s.lane == l.n {
			k.sendUnsubscribe(u)
		}
	}
}

// endLane ends the stream of a lane that nothing needs, and gives the lane back once it has none.
func (k *conn) endLane(l *lane) {
	switch {
	case !l.idle():
	case l.state == laneOpen:
		l.s.end()
	case l.state == laneClosed, l.state == laneControl:
		k.c.out.others.release(l)
	}
}

// sweepLater sees to it that idle streams are closed.
func (k *conn) sweepLater() {
	if idle := k.c.o.Streams.Idle; k.sweeper == nil && idle > 0 {
		k.sweeper = time.AfterFunc(idle, k.sweep)
	}
}

// sweep ends the streams that were not used since the last time.
func (k *conn) sweep() {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != k || k.closing || k.err != nil {
		return
	}
	for _, l := range slices.Clone(c.out.others.order) {
		switch {
		case l.used:
			l.used = false
		case l.state == laneEnding:
			k.streamOver(l.s) // the server does not close its side
		default:
			if s := l.s; s != nil && !s.writing && len(s.out) == 0 {
				s.out, s.spare = nil, nil
			}
			k.endLane(l)
		}
	}
	k.sweeper = nil
	if len(c.out.others.order) > 0 {
		k.sweepLater()
	}
}

// leaveStreams takes note that all streams have ended with the connection. c.mu is held.
func (k *conn) leaveStreams() {
	c := k.c
	if k.sweeper != nil {
		k.sweeper.Stop()
	}
	if k.mux == nil || !k.up {
		return
	}
	if !k.keep {
		for _, id := range slices.Sorted(maps.Keys(k.streams)) {
			k.sess.CloseStream(time.Now(), id, false)
		}
	}
	k.events()
	for d := c.unacked.first; d != nil; {
		next := d.next
		if d.lane != 0 && !k.keep {
			c.forget(d)
		}
		d.lane = 0
		d = next
	}
	for _, l := range slices.Clone(c.out.others.order) {
		l.state, l.s, l.subscribe, l.unacked = laneClosed, nil, nil, 0
		if l.idle() {
			c.out.others.release(l)
		}
	}
}
