package amqpbroker

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// world is a broker with a server on a network in memory, within a bubble of synctest.
type world struct {
	t testing.TB
	*Broker
	server *amqpserver.Server
	l      *memnet.Listener
	done   chan error

	capabilities amqp091.Table // of clients
}

func newWorld(t testing.TB, o *Options, so *amqpserver.Options) *world {
	t.Helper()
	if o.Definitions == nil && o.Authenticate == nil {
		o.Definitions = Guest()
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, Broker: b, server: amqpserver.New(b, so), l: memnet.Listen("mem"), done: make(chan error, 1)}
	go func() { w.done <- w.server.Serve(w.l, nil) }()
	return w
}

func (w *world) close() {
	w.server.Close()
	if err := <-w.done; !errors.Is(err, amqpserver.ErrServerClosed) {
		w.t.Errorf("Serve: %v", err)
	}
	w.Broker.Close()
}

// wait lets everything happen that can.
func (w *world) wait() { synctest.Wait() }

// content is a method with a message.
type content struct {
	method amqp091.Method
	props  amqp091.RawProperties
	body   []byte
}

// peer is a client that speaks frames. What comes is given to react, if there is one, and kept otherwise.
type peer struct {
	t     testing.TB
	name  string
	nc    net.Conn
	react func(channel uint16, m amqp091.Method, c *content)

	mu     sync.Mutex
	got    []content
	closed bool
}

// dial connects a client with channel 1.
func (w *world) dial(name string) *peer {
	w.t.Helper()
	nc, err := w.l.Dial(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	p := &peer{t: w.t, name: name, nc: nc}
	p.write([]byte(amqp091.ProtocolHeader))
	p.send(0, &amqp091.ConnectionStartOK{
		Mechanism: "PLAIN", Response: []byte("\x00guest\x00guest"), Locale: "en_US",
		ClientProperties: amqp091.Table{
			{Key: "capabilities", Value: append(amqp091.Table{{Key: "consumer_cancel_notify", Value: true}}, w.capabilities...)},
			{Key: "name", Value: name},
		},
	})
	p.send(0, &amqp091.ConnectionTuneOK{ChannelMax: 100, FrameMax: amqp091.FrameMinSize, Heartbeat: 0})
	p.send(0, &amqp091.ConnectionOpen{VirtualHost: "/"})
	p.send(1, &amqp091.ChannelOpen{})
	return p
}

// start reads what comes.
func (p *peer) start() *peer {
	go p.read()
	return p
}

func (p *peer) write(b []byte) {
	_, _ = p.nc.Write(b) // the connection may be gone
}

func (p *peer) send(channel uint16, list ...amqp091.Method) {
	var b []byte
	for _, m := range list {
		var err error
		if b, err = amqp091.AppendMethod(b, channel, m); err != nil {
			p.t.Error(err)
		}
	}
	p.write(b)
}

// publish sends a message.
func (p *peer) publish(channel uint16, exchange, key string, props *amqp091.Properties, body string) {
	raw, err := props.Append(nil)
	if err != nil {
		p.t.Error(err)
	}
	b, err := amqp091.AppendPublish(nil, channel, exchange, key, false)
	if err != nil {
		p.t.Error(err)
	}
	b = amqp091.AppendContentHeader(b, channel, uint64(len(body)), raw)
	p.write(amqp091.AppendBody(b, channel, []byte(body), amqp091.FrameMinSize))
}

func (p *peer) read() {
	var in []byte
	buf := make([]byte, 64<<10)
	var c *content
	var size uint64
	for {
		f, n, err := amqp091.NextFrame(in, 0)
		if err != nil {
			p.t.Error(err)
			return
		}
		if n == 0 {
			k, err := p.nc.Read(buf)
			if err != nil {
				p.mu.Lock()
				p.closed = true
				p.mu.Unlock()
				return
			}
			in = append(in, buf[:k]...)
			continue
		}
		switch f.Type {
		case amqp091.FrameMethod:
			m, err := amqp091.DecodeMethod(f.Payload)
			if err != nil {
				p.t.Error(err)
				return
			}
			switch m.(type) {
			case *amqp091.BasicDeliver, *amqp091.BasicGetOK, *amqp091.BasicReturn:
				c = &content{method: m}
			default:
				p.take(f.Channel, &content{method: m})
			}
		case amqp091.FrameHeader:
			var props amqp091.RawProperties
			_, size, props, err = amqp091.DecodeContentHeader(f.Payload)
			if err != nil {
				p.t.Error(err)
				return
			}
			c.props = append(c.props, props...)
			if size == 0 {
				p.take(f.Channel, c)
			}
		case amqp091.FrameBody:
			c.body = append(c.body, f.Payload...)
			if uint64(len(c.body)) == size {
				p.take(f.Channel, c)
			}
		}
		in = append([]byte(nil), in[n:]...)
	}
}

func (p *peer) take(channel uint16, c *content) {
	if p.react != nil {
		p.react(channel, c.method, c)
		return
	}
	p.mu.Lock()
	p.got = append(p.got, *c)
	p.mu.Unlock()
}

// taken returns what has come since the last call.
func (p *peer) taken() []content {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.got
	p.got = nil
	return list
}

// drop ends the connection without a word.
func (p *peer) drop() { p.nc.Close() }
