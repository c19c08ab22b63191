package amqptest

import (
	"context"
	"errors"
	"net"
	"net/url"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/wiretest"
)

// BrokerOptions configure [NewBroker].
type BrokerOptions struct {
	// Broker are the options of the broker. Nil lets everybody in, under any name and password, to do everything. The
	// virtual host is "/".
	Broker *amqpbroker.Options

	// Server are the options of the server, with the limits for clients.
	Server *amqpserver.Options

	// Loopback makes the broker listen on a port of 127.0.0.1, for programs outside of the test, instead of in memory.
	Loopback bool

	// Streams gives each channel a stream of its own, as the profile [amqp091.Streams] does over QUIC. It is for brokers in
	// memory without Faults and Trace, which know one stream only.
	Streams bool

	// Faults make its connections misbehave. They may be changed while it runs.
	Faults *Faults

	// Trace records its connections as they are on the wire, behind the faults.
	Trace *Trace
}

// Broker is a running broker. It is safe for concurrent use.
type Broker struct {
	// Broker is the broker itself: it declares, publishes, consumes and so on in process.
	Broker *amqpbroker.Broker

	// Server has the broker's connections.
	Server *amqpserver.Server

	url  string
	dial func(ctx context.Context) (net.Conn, error)
}

// NewBroker starts a broker that ends with the test. Nil options are the defaults. In memory it takes less than a
// millisecond and may be used inside a testing/synctest bubble.
func NewBroker(tb testing.TB, o *BrokerOptions) *Broker {
	tb.Helper()
	if o == nil {
		o = new(BrokerOptions)
	}
	options := o.Broker
	if options == nil {
		options = &amqpbroker.Options{Authenticate: amqpbroker.AllowAll, Unregistered: amqpbroker.Everything()}
	}
	broker, err := amqpbroker.New(options)
	if err != nil {
		tb.Fatal(err)
	}
	b := &Broker{Broker: broker, Server: amqpserver.New(broker, o.Server)}
	l, err := b.listen(o)
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.Server.Serve(l, nil) }()
	tb.Cleanup(func() {
		_ = b.Server.Close()
		if err := <-done; !errors.Is(err, amqpserver.ErrServerClosed) {
			tb.Errorf("broker: %v", err)
		}
		if err := b.Broker.Close(); err != nil {
			tb.Errorf("broker: %v", err)
		}
	})
	return b
}

// listen opens the listener that the options ask for.
func (b *Broker) listen(o *BrokerOptions) (l net.Listener, err error) {
	if o.Streams && (o.Loopback || o.Faults != nil || o.Trace != nil) {
		return nil, errors.New("amqptest: Streams is for brokers in memory without Faults and Trace")
	}
	if o.Loopback {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		b.url = "amqp://" + l.Addr().String()
		b.dial = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		}
	} else {
		mem := memnet.Listen("broker:5672")
		b.url, b.dial, l = "mem://broker:5672", mem.Dial, mem
		mem.OnDial(func(int) (*memnet.Options, error) {
			if o.Faults != nil {
				return nil, o.Faults.rules.Refused()
			}
			if o.Streams {
				return &memnet.Options{Protocol: amqp091.Streams}, nil
			}
			return nil, nil
		})
	}
	if o.Trace != nil {
		l = wiretest.Listener(l, nil, func(conn net.Conn) net.Conn { return o.Trace.Wrap(conn, amqp091.Server) })
	}
	if o.Faults != nil {
		l = o.Faults.Listener(l)
	}
	return l, nil
}

// URL returns where clients find the broker: amqp:// with the loopback port, or a mem:// URL, for which they need
// [Broker.Dialers].
func (b *Broker) URL() string { return b.url }

// Dial connects to the broker.
func (b *Broker) Dial(ctx context.Context) (net.Conn, error) { return b.dial(ctx) }

// Dialers returns what amqpclient091.Options need to reach the URL of a broker in memory.
func (b *Broker) Dialers() map[string]amqpclient091.DialFunc {
	return map[string]amqpclient091.DialFunc{
		"mem": func(ctx context.Context, _ *url.URL) (net.Conn, error) { return b.dial(ctx) },
	}
}

// Client returns a client that is connected to the broker and is closed with the test. Nil options are the defaults;
// their servers and dialers are not used.
func (b *Broker) Client(tb testing.TB, o *amqpclient091.Options) *amqpclient091.Client {
	tb.Helper()
	options := amqpclient091.Options{}
	if o != nil {
		options = *o
	}
	options.Servers, options.Dialers = []string{b.url}, b.Dialers()
	c, err := amqpclient091.New(&options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
	defer cancel()
	if err := c.Connected(ctx); err != nil {
		tb.Fatalf("the client cannot connect: %v", err)
	}
	return c
}

// Peer returns a peer on a new connection to the broker. It has sent nothing yet; see [Peer.Open].
func (b *Broker) Peer(tb testing.TB) *Peer {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
	defer cancel()
	conn, err := b.dial(ctx)
	if err != nil {
		tb.Fatalf("cannot connect to the broker: %v", err)
	}
	return NewPeer(tb, conn)
}
