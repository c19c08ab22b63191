package amqpclient091

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/netio"
)

// lane is one byte stream to the server: the whole connection or, where each channel has a stream of its own, stream 0 or
// that of a channel. The input belongs to the goroutine that reads (during the handshake the one that connects); c.mu guards
// the rest.
type lane struct {
	k  *conn
	l  *link              // of which it is the stream; nil: stream 0, or all there is
	nc io.ReadWriteCloser // nil before the stream is opened
	in codec.Buffer

	out     []byte  // encoded, not written
	spare   []byte  // the buffer of the last write
	answers int     // bytes of out that are answers to the server
	dirty   []*link // with acknowledgements that are not encoded
	writing bool
	broken  error  // of writing; the reader has the last word
	writer  func() // is write

	full    int           // consumers without acknowledgements whose buffer is full
	waiters int           // calls and messages that wait for an answer
	resume  chan struct{} // the reader that pauses waits for it

	// Of the stream of a channel.
	counted int  // bytes of out that are in mux.total
	queued  bool // in mux.queued
	ended   bool // nothing more comes
	over    bool // the channel has ended; the stream ends once out is written
	closed  bool
}

func (o *lane) init(k *conn, l *link, nc io.ReadWriteCloser, max int) {
	o.k, o.l, o.nc = k, l, nc
	o.in.Max = max
	o.resume = make(chan struct{}, 1)
	o.writer = o.write // bound once
}

// mux is what a connection has more in which each channel has a stream of its own (amqp091.Streams). c.mu guards it.
type mux struct {
	nc      netio.Streams
	ctx     context.Context // ends with the connection
	cancel  context.CancelFunc
	lanes   map[uint16]*lane // by channel, until its end
	queued  []*lane          // to be looked at by kick
	total   int              // bytes that wait on all lanes
	leaving bool             // the connection is closed when no channel is left
	patient *time.Timer      // or when this one says so
	held    bool             // connection.close has come, and waits for what was said before on channels
	free    bool             // it waits no more
}

// newMux returns the mux of a connection, nil if its channels are all on one stream.
func newMux(nc net.Conn) *mux {
	n, ok := nc.(netio.Negotiated)
	if !ok || n.Protocol() != amqp091.Streams {
		return nil
	}
	s, ok := nc.(netio.Streams)
	if !ok {
		return nil
	}
	m := &mux{nc: s, lanes: make(map[uint16]*lane)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// lane returns the lane of a channel that is about to be opened. c.mu is held.
func (k *conn) lane(l *link, channel uint16) *lane {
	if k.mux == nil {
		return &k.main
	}
	o := new(lane)
	o.init(k, l, nil, k.main.in.Max)
	k.mux.lanes[channel] = o
	return o
}

// route returns the lane for frames of a channel, nil when it has ended. c.mu is held.
func (k *conn) route(channel uint16) *lane {
	if k.mux == nil || channel == 0 {
		return &k.main
	}
	return k.mux.lanes[channel]
}

// touch takes note that the output has changed, or is about to. c.mu is held.
func (o *lane) touch() {
	m := o.k.mux
	if m == nil {
		return
	}
	m.total += len(o.out) - o.counted
	o.counted = len(o.out)
	if o.l != nil && !o.queued {
		o.queued = true
		m.queued = append(m.queued, o)
	}
}

// open reports whether messages may be added to the output. c.mu is held.
//
// The lanes of a connection share its buffer: one may have half of what the others have left. So those that stand still leave
// something for the others, and each may have one message as long as all of them do not have eight times the buffer.
func (o *lane) open() bool {
	k := o.k
	if k.main.broken != nil || k.closing || k.down {
		return false
	}
	limit := k.c.o.Limits.OutputBuffer
	if k.mux == nil {
		return len(o.out) < limit
	}
	if len(o.out) == 0 {
		return k.mux.total < 8*limit && o.broken == nil
	}
	return len(o.out) < (limit-k.mux.total)/2 && o.broken == nil
}

// serve reads the stream of a channel until its end.
func (o *lane) serve() {
	for {
		o.pause()
		if o.read() != nil {
			return
		}
		o.release()
	}
}

// read reads once and handles what came.
func (o *lane) read() error {
	k := o.k
	n, err := o.in.Fill(o.nc)
	if n > 0 {
		k.c.mu.Lock()
		k.c.stats.BytesReceived += uint64(n)
		k.c.mu.Unlock()
		o.feed()
	}
	switch {
	case err == nil:
	case o.l != nil:
		o.lost()
	default:
		k.c.mu.Lock()
		if o.broken != nil {
			err = o.broken
		}
		k.fail(err)
		k.c.mu.Unlock()
	}
	return err
}

// feed handles the whole frames in the input buffer.
func (o *lane) feed() {
	for o.feedBatch() {
	}
}

// feedBatch handles some frames and reports whether there may be more.
func (o *lane) feedBatch() (more bool) {
	k := o.k
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	now := time.Now()
	for range batch {
		b := o.in.Bytes()
		if k.closing || k.err != nil || o.over {
			o.in.Discard(len(b))
			b = nil
		}
		if more = len(b) > 0 && !o.holds(b); !more {
			break
		}
		n, err := o.receive(now, b)
		k.events()
		o.in.Discard(n)
		if more = n > 0 && err == nil; !more {
			break
		}
	}
	if k.answers > maxAnswers && k.err == nil {
		k.fail(errFlood)
	}
	if k.c.conn == k {
		k.c.sendQueued()
	}
	k.kick()
	k.arm()
	return more
}

// receive gives the machine input.
func (o *lane) receive(now time.Time, b []byte) (n int, err error) {
	switch {
	case o.k.mux == nil:
		return o.k.m.Receive(now, b)
	case o.l == nil:
		return o.k.m.ReceiveOn(now, 0, b)
	}
	return o.k.m.ReceiveOn(now, o.l.m.ID(), b)
}

// holds reports whether what b begins with has to wait: the server's connection.close, for what it has said before on the streams
// of channels, the confirms of messages for example. Before connection.close it has ended them. c.mu is held.
func (o *lane) holds(b []byte) bool {
	k := o.k
	m := k.mux
	if m == nil || o.l != nil || m.free || !k.m.Open() {
		return false
	}
	if !m.held {
		f, n, err := amqp091.NextFrame(b, k.m.ReceiveMax())
		if err != nil || n == 0 || f.Type != amqp091.FrameMethod {
			return false
		}
		if id, _ := amqp091.PeekMethod(f.Payload); id != amqp091.IDConnectionClose {
			return false
		}
		m.held = true
		time.AfterFunc(closeTimeout, func() {
			k.c.mu.Lock()
			defer k.c.mu.Unlock()
			m.free = true
			o.unpause()
		})
	}
	return !m.drained()
}

// drained reports whether nothing more comes on the streams of channels.
func (m *mux) drained() bool {
	if m.free {
		return true
	}
	for _, o := range m.lanes {
		if !o.ended && o.nc != nil {
			return false
		}
	}
	m.free = true
	return true
}

// release waits for the streams of channels, if connection.close waits for them, and goes on with it.
func (o *lane) release() {
	k := o.k
	c := k.c
	c.mu.Lock()
	if k.mux == nil || o.l != nil || !k.mux.held {
		c.mu.Unlock()
		return
	}
	for !k.mux.drained() && !k.down && !k.closing && k.err == nil {
		c.mu.Unlock()
		<-o.resume
		c.mu.Lock()
	}
	c.mu.Unlock()
	o.feed()
}

// pause holds the reader back while a consumer without acknowledgements has no room and nobody waits for the server.
func (o *lane) pause() {
	c := o.k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !o.stalled() {
		return
	}
	k := o.k
	if k.pauses++; k.pauses == 1 {
		k.m.Pause(time.Now(), true)
	}
	for o.stalled() {
		c.mu.Unlock()
		<-o.resume
		c.mu.Lock()
	}
	if k.pauses--; k.pauses == 0 {
		k.m.Pause(time.Now(), false)
	}
}

func (o *lane) stalled() bool {
	k := o.k
	return o.full > 0 && o.waiters == 0 && !k.down && !k.closing && k.err == nil && o.broken == nil && !o.over
}

// unpause lets the reader look again whether it has to pause. c.mu is held.
func (o *lane) unpause() {
	select {
	case o.resume <- struct{}{}:
	default:
	}
}

// unpause lets all readers look again. c.mu is held.
func (k *conn) unpause() {
	k.main.unpause()
	if k.mux != nil {
		for _, o := range k.mux.lanes {
			o.unpause()
		}
	}
}

// wait counts n more of those who wait for the server. c.mu is held.
func (o *lane) wait(n int) {
	o.waiters += n
	if o.full > 0 && n > 0 {
		o.unpause()
	}
}

// errStreamEnded is why a channel has ended whose stream the server has ended without closing the channel.
var errStreamEnded = &amqp091.Error{Code: amqp091.ChannelError, Text: "the server has ended the stream of the channel"}

// lost takes note that the stream of a channel has ended. When the connection ends at the same time, as it does when the server
// goes down, that counts.
func (o *lane) lost() {
	k := o.k
	c := k.c
	c.mu.Lock()
	over := o.over
	o.ended = true
	k.main.unpause()
	c.mu.Unlock()
	if !over {
		t := time.NewTimer(closeTimeout)
		defer t.Stop()
		select {
		case <-k.gone:
		case <-t.C:
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !o.over && !k.down && k.err == nil && !k.mux.held {
		o.l.m.Lost(errStreamEnded)
		k.events()
	}
	o.end()
	k.kick()
	k.arm()
}

// end ends the stream once the output is written. c.mu is held.
func (o *lane) end() {
	m := o.k.mux
	if o.l == nil || m == nil || o.over {
		return
	}
	if id := o.l.m.ID(); m.lanes[id] == o {
		delete(m.lanes, id)
	}
	o.over = true
	o.unpause()
	o.touch()
	if m.leaving && len(m.lanes) == 0 {
		o.k.leave()
	}
}

// openStream opens the stream, for which it waits as long as the server has too many. c.mu is held, but not meanwhile.
func (o *lane) openStream() bool {
	k := o.k
	c := k.c
	c.mu.Unlock()
	st, err := k.mux.nc.OpenStream(k.mux.ctx)
	c.mu.Lock()
	if err != nil {
		if k.err == nil && !k.closing {
			k.fail(err)
		}
		return false
	}
	if k.err != nil {
		c.mu.Unlock()
		st.Close()
		c.mu.Lock()
		return false
	}
	o.nc = st
	go o.serve()
	return true
}

// leave closes the connection, as soon as the server has closed the channels: on streams of their own, what was said on them
// could come after connection.close. c.mu is held.
func (k *conn) leave() {
	m := k.mux
	if len(m.lanes) > 0 && !m.leaving {
		m.leaving = true
		m.patient = time.AfterFunc(closeTimeout, func() {
			k.c.mu.Lock()
			defer k.c.mu.Unlock()
			if m.leaving {
				k.closeNow()
			}
		})
		k.kick()
		return
	}
	k.closeNow()
}

// closeNow sends connection.close. c.mu is held.
func (k *conn) closeNow() {
	if k.mux != nil && k.mux.leaving {
		k.mux.leaving = false
		k.mux.patient.Stop()
	}
	k.m.Close(time.Now(), nil)
	k.events()
	k.kick()
	k.arm()
}

// confirmed waits until what is written can not be replayed by somebody who recorded it (amqp091.EarlyNever).
func confirmed(ctx context.Context, nc net.Conn) error {
	early, ok := nc.(netio.EarlyData)
	if !ok {
		return nil
	}
	select {
	case <-early.Confirmed():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// setReadDeadline sets the deadline of reading.
func (o *lane) setReadDeadline(t time.Time) {
	if d, ok := o.nc.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = d.SetReadDeadline(t)
	}
}
