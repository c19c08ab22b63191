package quicnet

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
)

// observerKey is the key of a *observer in the context of a connection.
type observerKey struct{}

// observer takes the events of quic-go's trace of one connection. There is one only where the Trace of the Config or
// qlog asks for it, since each packet costs some allocations.
type observer struct {
	trace *Trace
	conn  atomic.Pointer[Conn] // nil until there is one
	inner qlogwriter.Trace     // nil: no qlog
}

// tracer returns what quic-go records connections with, or nil.
func (c *Config) tracer() func(context.Context, bool, quic.ConnectionID) qlogwriter.Trace {
	if c.Qlog == nil && !c.Trace.packets() {
		return nil
	}
	return func(ctx context.Context, client bool, id quic.ConnectionID) qlogwriter.Trace {
		o, ok := ctx.Value(observerKey{}).(*observer)
		if !ok {
			o = &observer{}
		}
		o.trace = c.Trace
		if c.Qlog != nil {
			if w := c.Qlog(QlogInfo{Client: client, ConnectionID: fmt.Sprintf("%x", id.Bytes())}); w != nil {
				seq := qlogwriter.NewConnectionFileSeq(w, client, id)
				go seq.Run()
				o.inner = seq
			}
		}
		if o.inner == nil && !c.Trace.packets() {
			return nil
		}
		return o
	}
}

// AddProducer returns a recorder of events.
func (o *observer) AddProducer() qlogwriter.Recorder {
	r := &recorder{observer: o}
	if o.inner != nil {
		r.inner = o.inner.AddProducer()
	}
	return r
}

type recorder struct {
	*observer
	inner qlogwriter.Recorder
}

// RecordEvent is called for each event.
func (r *recorder) RecordEvent(e qlogwriter.Event) {
	if r.inner != nil {
		r.inner.RecordEvent(e)
	}
	if c := r.conn.Load(); c != nil && r.trace != nil {
		c.event(r.trace, e)
	}
}

// Close is called after the last event.
func (r *recorder) Close() error {
	if r.inner == nil {
		return nil
	}
	return r.inner.Close()
}

// event tells the trace and the counters what an event of quic-go says.
func (c *Conn) event(t *Trace, e qlogwriter.Event) {
	switch e := e.(type) {
	case qlog.KeyUpdated:
		own := qlog.KeyTypeServer1RTT
		if c.client {
			own = qlog.KeyTypeClient1RTT
		}
		if e.Trigger == qlog.KeyUpdateTLS || e.KeyType != own { // both directions change together
			return
		}
		c.counters.keyUpdates.Add(1)
		if t.KeyUpdated != nil {
			t.KeyUpdated(c, e.Trigger == qlog.KeyUpdateRemote)
		}
	case qlog.PacketLost:
		if t.PacketLost != nil {
			t.PacketLost(c)
		}
	case qlog.DatagramDropped:
		if e.Direction == qlog.DirectionReceiving {
			c.dropDatagram(e.Raw.Length, true)
		}
	}
}

// dropDatagram counts a datagram that was dropped.
func (c *Conn) dropDatagram(size int, received bool) {
	c.counters.gramsDropped.Add(1)
	if t := c.cfg.Trace; t != nil && t.DatagramDropped != nil {
		t.DatagramDropped(c, size, received)
	}
}
