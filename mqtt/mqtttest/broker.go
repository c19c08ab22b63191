package mqtttest

import (
	"context"
	"errors"
	"net"
	"net/url"
	"testing"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/wiretest"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// BrokerOptions configure [NewBroker].
type BrokerOptions struct {
	// Broker are the options of the broker. Nil lets everybody in and publishes nothing below $SYS.
	Broker *mqttbroker.Options

	// Server are the options of the server, with the limits for clients.
	Server *mqttserver.Options

	// Listener are the options of the listener, such as Datagrams and EarlyPublish. Connections in memory have streams
	// and datagrams, as those over QUIC do.
	Listener *mqttserver.ListenerOptions

	// Loopback makes the broker listen on a port of 127.0.0.1, for programs outside of the test, instead of in memory.
	Loopback bool

	// Faults make its connections misbehave, or single streams of them. They may be changed while it runs.
	Faults *Faults

	// Trace records its connections as they are on the wire, behind the faults.
	Trace *Trace
}

// Broker is a running broker. It is safe for concurrent use.
type Broker struct {
	// Broker is the broker itself: it publishes, subscribes, kicks clients and so on in process.
	Broker *mqttbroker.Broker

	// Server has the broker's connections.
	Server *mqttserver.Server

	url  string
	dial func(ctx context.Context) (net.Conn, error)
}

// NewBroker starts a broker that ends with the test. Nil options are the defaults. In memory it takes about a
// millisecond and may be used inside a testing/synctest bubble.
func NewBroker(tb testing.TB, o *BrokerOptions) *Broker {
	tb.Helper()
	if o == nil {
		o = new(BrokerOptions)
	}
	options := o.Broker
	if options == nil {
		options = &mqttbroker.Options{Authenticate: mqttbroker.AllowAll, SysInterval: -1}
	}
	broker, err := mqttbroker.New(options)
	if err != nil {
		tb.Fatal(err)
	}
	b := &Broker{Broker: broker, Server: mqttserver.New(broker, o.Server)}
	l, err := b.listen(o)
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.Server.Serve(l, o.Listener) }()
	tb.Cleanup(func() {
		_ = b.Server.Close()
		if err := <-done; !errors.Is(err, mqttserver.ErrServerClosed) {
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
	if o.Loopback {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		b.url = "mqtt://" + l.Addr().String()
		b.dial = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		}
	} else {
		mem := memnet.Listen("broker:1883")
		b.url, b.dial, l = "mem://broker:1883", mem.Dial, mem
		if o.Faults != nil {
			mem.OnDial(func(int) (*memnet.Options, error) { return nil, o.Faults.rules.Refused() })
		}
	}
	if o.Trace != nil {
		l = wiretest.Listener(l, nil, func(conn net.Conn) net.Conn { return o.Trace.Wrap(conn, mqtt.Server) })
	}
	if o.Faults != nil {
		l = o.Faults.Listener(l)
	}
	return l, nil
}

// URL returns where clients find the broker: mqtt:// with the loopback port, or a mem:// URL, for which they need
// [Broker.Dialers].
func (b *Broker) URL() string { return b.url }

// Dial connects to the broker.
func (b *Broker) Dial(ctx context.Context) (net.Conn, error) { return b.dial(ctx) }

// Dialers returns what mqttclient.Options need to reach the URL of a broker in memory.
func (b *Broker) Dialers() map[string]mqttclient.DialFunc {
	return map[string]mqttclient.DialFunc{
		"mem": func(ctx context.Context, _ *url.URL) (net.Conn, error) { return b.dial(ctx) },
	}
}

// Client returns a client that is connected to the broker and is closed with the test. Nil options are the defaults;
// their servers and dialers are not used.
func (b *Broker) Client(tb testing.TB, o *mqttclient.Options) *mqttclient.Client {
	tb.Helper()
	options := mqttclient.Options{}
	if o != nil {
		options = *o
	}
	options.Servers, options.Dialers = []string{b.url}, b.Dialers()
	c, err := mqttclient.New(&options)
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

// Peer returns a peer on a new connection to the broker. It has sent nothing yet.
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
