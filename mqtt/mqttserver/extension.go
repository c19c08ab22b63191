package mqttserver

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
)

// extension is what a connection has more whose net.Conn can do more than a single sequence of bytes: data streams,
// datagrams, early data.
type extension struct {
	c         *Conn
	nc        netio.Streams   // nil when there is early data only
	confirmed <-chan struct{} // nil when there is no early data
	lost      chan struct{}   // closed when the transport gives no streams any more
	readers   sync.WaitGroup  // goroutines that read

	// Under c.mu:
	keep      bool // the state of data streams outlives them
	datagrams bool // the client takes messages of QoS 0 as datagrams
	open      map[uint64]*dataStream
	dirty     []*stream     // with output that nobody sees to
	room      chan struct{} // closed when there may be another stream
	size      int           // bytes that wait in data streams
	marks     int           // messages that wait there

	accepted                                                              int64
	datagramsReceived, datagramsSent, datagramsDropped, datagramsTooLarge int64
}

// extend returns the extension of a connection, nil on TCP.
func extend(c *Conn, nc net.Conn) *extension {
	streams, _ := nc.(netio.Streams)
	early, _ := nc.(netio.EarlyData)
	if streams == nil && early == nil {
		return nil
	}
	x := &extension{c: c, nc: streams, lost: make(chan struct{})}
	if early != nil {
		x.confirmed = early.Confirmed()
	}
	return x
}

// User properties of CONNECT and CONNACK by which the sides agree on what the standard does not have.
const (
	propStreams   = "quartet-streams"
	valueKeep     = "keep"
	propDatagrams = "quartet-datagrams"
	valueOne      = "1"
)

// asks reports whether there is a user property with a name and value.
func asks(p mqtt.Properties, name, value string) bool {
	for q := range p.All() {
		if q.ID != mqtt.PropUserProperty {
			continue
		}
		if k, v := q.User(); string(k) == name && string(v) == value {
			return true
		}
	}
	return false
}

// offer adds to the properties of CONNACK what the client has asked for and gets, with c.mu held.
func (x *extension) offer(p *mqtt.Connect, props mqtt.Properties) mqtt.Properties {
	if x.nc == nil || p.Version < mqtt.Version5 {
		return props
	}
	if asks(p.Properties, propStreams, valueKeep) {
		props = props.AppendUser(propStreams, valueKeep)
	}
	if x.c.listener.Datagrams && asks(p.Properties, propDatagrams, valueOne) {
		props = props.AppendUser(propDatagrams, valueOne)
	}
	return props
}

// agree takes note of what the CONNACK says that is sent: user properties that the client has no room for are not in it.
// c.mu is held.
func (x *extension) agree(ack *mqtt.Connack) {
	if x.nc == nil || ack.Reason.IsError() {
		return
	}
	x.keep = asks(ack.Properties, propStreams, valueKeep)
	x.datagrams = asks(ack.Properties, propDatagrams, valueOne)
	if !x.keep {
		x.c.machine.IsolateStreams()
	}
}

// start begins to accept data streams, which have waited in the transport until now, and datagrams. The session has
// started.
func (x *extension) start() {
	if x.nc == nil {
		return
	}
	ctx := x.c.Context()
	x.c.mu.Lock()
	datagrams := x.datagrams
	x.c.mu.Unlock()
	x.readers.Go(func() { x.accept(ctx) })
	if datagrams {
		x.readers.Go(func() { x.receive(ctx) })
	}
}

// accept accepts data streams until the connection ends.
func (x *extension) accept(ctx context.Context) {
	defer close(x.lost)
	for n := 0; n < maxStreams && x.waitForRoom(ctx); n++ {
		s, err := x.nc.AcceptStream(ctx)
		if err != nil {
			return // stream 0 tells why
		}
		x.add(s)
	}
}

// waitForRoom waits until there may be another data stream. It reports false when the connection has ended.
func (x *extension) waitForRoom(ctx context.Context) bool {
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(x.open) >= c.srv.limits.MaxStreams && !c.ended {
		room := make(chan struct{})
		x.room = room
		c.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		c.mu.Lock()
	}
	return !c.ended
}

// add begins to serve a data stream.
func (x *extension) add(s netio.Stream) {
	c, id := x.c, uint64(s.ID())
	d := new(dataStream)
	nc := dataConn{s, c.nc}
	d.stream = stream{c: c, nc: nc, io: netio.NewConn(nc), id: id}
	c.mu.Lock()
	if c.ended || id == 0 || id&(1<<streamShift-1) != 0 || id>>streamShift >= maxStreams {
		c.mu.Unlock()
		s.Close()
		return
	}
	if x.open == nil {
		x.open = make(map[uint64]*dataStream)
	}
	x.open[id] = d
	x.accepted++
	x.readers.Add(1)
	c.mu.Unlock()
	go d.serve()
}

// see lets a batch, or at once if it is nil, see to output of data streams, with c.mu held.
func (x *extension) see(b *Batch) {
	dirty := x.dirty
	x.dirty = nil
	for i, st := range dirty {
		dirty[i] = nil
		switch {
		case st.queued || st.writing:
		case b != nil:
			st.queued = true
			b.written = append(b.written, st)
		default:
			var v net.Buffers
			st.flush(&v) // unlocks
			x.c.mu.Lock()
		}
	}
	if x.dirty == nil {
		x.dirty = dirty[:0]
	}
}

// relax tells those who wait for room in another stream than st, after something was written, with c.mu held.
func (x *extension) relax(st *stream) {
	if len(x.open) == 0 && st == &x.c.stream {
		return
	}
	for _, d := range x.open {
		if &d.stream != st && (d.refused || d.slow || d.recovered != nil) {
			d.relax()
		}
	}
	if s := &x.c.stream; s != st && (s.refused || s.slow || s.recovered != nil) {
		s.relax()
	}
}

// starves reports whether a data stream is to have no more messages in flight for now: it may have no more than what it
// leaves of the quota to the others. c.mu is held.
func (x *extension) starves(st *stream, p *mqtt.Publish) bool {
	d := x.open[st.id]
	if p.QoS == mqtt.QoS0 || d.flight == 0 || d.flight < x.c.machine.Quota() {
		return false
	}
	d.starved = true
	return true
}

// landed notes that a message of a data stream is in flight no more, with c.mu held.
func (x *extension) landed(stream uint64) {
	if d := x.open[stream]; d != nil && d.flight > 0 {
		d.flight--
		if d.starved && !x.c.ended {
			d.starved = false
			x.c.tellReady()
		}
	}
}

// end ends the data streams with the connection, with c.mu held.
func (x *extension) end() {
	for id, d := range x.open {
		if !x.keep {
			x.c.machine.CloseStream(time.Time{}, id, false)
		}
		if d.recovered != nil {
			close(d.recovered)
			d.recovered = nil
		}
		if d.drained != nil && !d.writing {
			close(d.drained)
			d.drained = nil
		}
	}
	for {
		ev, ok := x.c.machine.Next()
		if !ok {
			return
		}
		if ev.Kind == mqtt.EventPersist || ev.Kind == mqtt.EventLost {
			x.c.todo = append(x.c.todo, ev)
		}
	}
}

// idle returns the data streams that nobody writes, with c.mu held.
func (x *extension) idle() (list []*dataStream) {
	for _, d := range x.open {
		if !d.writing && d.out.Empty() {
			list = append(list, d)
		}
	}
	return list
}

// drop drops the output of data streams, with c.mu held.
func (x *extension) drop() {
	for _, d := range x.open {
		if !d.writing {
			size, marks := d.out.Size(), d.out.Marks()
			d.out.Drop()
			d.grown(-size, -marks)
		}
	}
}

// wait waits until nobody reads any more. The connection is closed.
func (x *extension) wait() { x.readers.Wait() }

// premature reports whether a packet is not to be handled before the handshake is complete.
func (x *extension) premature(p mqtt.Packet) bool {
	if x.confirmed == nil {
		return false
	}
	select {
	case <-x.confirmed:
		return false
	default:
	}
	switch mqtt.EarlyData(p) {
	case mqtt.EarlySafe, mqtt.EarlyGuarded:
		return false
	case mqtt.EarlyOptIn:
		return !x.c.listener.EarlyPublish
	}
	return true
}

// confirm waits until the handshake is complete.
func (x *extension) confirm() error {
	select {
	case <-x.confirmed:
		return nil
	case <-x.lost:
	case <-x.c.Context().Done():
	}
	return net.ErrClosed
}

// confirmIn is confirm with a limit of time, before the connection is accepted.
func (x *extension) confirmIn(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-x.confirmed:
		return nil
	case <-t.C:
	case <-x.c.Context().Done():
	}
	return net.ErrClosed
}
