package mqttclient

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
)

// TestMain fails when goroutines are left behind a minute later.
func TestMain(m *testing.M) {
	code := m.Run()
	for range 6000 {
		if code != 0 || runtime.NumGoroutine() <= 2 {
			os.Exit(code)
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", buf[:runtime.Stack(buf, true)])
	os.Exit(1)
}

// network is some hosts in memory.
type network struct {
	t     testing.TB
	hosts map[string]*memnet.Listener
}

// newNetwork returns a network with hosts of those names, closed with the test.
func newNetwork(t testing.TB, hosts ...string) *network {
	n := &network{t: t, hosts: make(map[string]*memnet.Listener)}
	for _, h := range hosts {
		l := memnet.Listen(h)
		n.hosts[h] = l
		t.Cleanup(func() { l.Close() })
	}
	return n
}

// dial is a DialFunc.
func (n *network) dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	l := n.hosts[u.Hostname()]
	if l == nil {
		return nil, &net.OpError{Op: "dial", Err: fmt.Errorf("no such host %q", u.Host)}
	}
	return l.Dial(ctx)
}

// options returns o, or options, with the network's dialer and servers "mem://" for all hosts named.
func (n *network) options(o *Options, hosts ...string) *Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.Dialers = map[string]DialFunc{"mem": n.dial}
	for _, h := range hosts {
		opts.Servers = append(opts.Servers, "mem://"+h)
	}
	if opts.ClientID == "" {
		opts.ClientID = "c"
	}
	return &opts
}

// client returns a client of those hosts, closed with the test, which is in a bubble.
func (n *network) client(o *Options, hosts ...string) *Client {
	n.t.Helper()
	c, err := New(n.options(o, hosts...))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		c.Close()
		time.Sleep(2 * closeTimeout) // in the time of the bubble
	})
	return c
}

// peer is a server that a test plays packet by packet.
type peer struct {
	t   testing.TB
	nc  net.Conn
	v   mqtt.Version
	dec mqtt.Decoder
	in  codec.Buffer
}

// accept waits for the next connection to a host.
func (n *network) accept(host string) *peer {
	n.t.Helper()
	nc, err := n.hosts[host].Accept()
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { nc.Close() })
	return &peer{t: n.t, nc: nc}
}

// connect is accept, CONNECT and a CONNACK.
func (n *network) connect(host string, ack mqtt.Connack) *peer {
	n.t.Helper()
	p := n.accept(host)
	p.connect()
	p.send(&ack)
	return p
}

// connect reads CONNECT.
func (p *peer) connect() *mqtt.Connect {
	p.t.Helper()
	c, ok := p.receive().(*mqtt.Connect)
	if !ok {
		p.t.Fatal("first packet is not CONNECT")
	}
	p.v = c.Version
	return c
}

// receive returns the next packet, nil at the end of the connection.
func (p *peer) receive() mqtt.Packet {
	p.t.Helper()
	for {
		q, n, err := p.dec.Decode(p.in.Bytes(), p.v)
		if err != nil {
			p.t.Fatalf("decode: %v", err)
		}
		if n > 0 {
			p.in.Discard(n)
			return q
		}
		if _, err := p.in.Fill(p.nc); err != nil {
			return nil
		}
	}
}

// expect reads packets and compares their text with each of want; "end" is the end of the connection.
func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		got := "end"
		if q := p.receive(); q != nil {
			got = q.String()
		}
		if !strings.HasPrefix(got, w) {
			p.t.Fatalf("server got\n\t%s\nwant\n\t%s", got, w)
		}
	}
}

// quiet checks that nothing comes until everything is idle.
func (p *peer) quiet() {
	p.t.Helper()
	synctest.Wait()
	p.nc.SetReadDeadline(time.Now().Add(time.Nanosecond))
	if q := p.receive(); q != nil {
		p.t.Fatalf("server got %v, want nothing", q)
	}
	p.nc.SetReadDeadline(time.Time{})
}

// send sends packets, illegal ones too.
func (p *peer) send(packets ...mqtt.Packet) {
	p.t.Helper()
	var b []byte
	for _, q := range packets {
		var err error
		if b, err = mqtt.AppendIllegal(b, q, p.v); err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// message returns a PUBLISH; its packet identifier is id.
func message(topic, payload string, qos mqtt.QoS, id uint16) *mqtt.Publish {
	return &mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, ID: id}
}

// bubble runs f in a synctest bubble.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// both runs f in a bubble in version 5.0, named after its statements, and in 3.1.1, named after those.
func both(t *testing.T, statements5, statements311 string, f func(t *testing.T, v mqtt.Version)) {
	t.Helper()
	t.Run(statements5, func(t *testing.T) { bubble(t, func(t *testing.T) { f(t, mqtt.Version5) }) })
	t.Run(statements311, func(t *testing.T) { bubble(t, func(t *testing.T) { f(t, mqtt.Version311) }) })
}

// async runs f on a goroutine of its own; the function it returns waits for its result.
func async[T any](f func() T) func() T {
	ch := make(chan T, 1)
	go func() { ch <- f() }()
	return func() T { return <-ch }
}

// subscribe subscribes while the peer grants everything.
func subscribe(p *peer, c *Client, o *SubscribeOptions, filters ...mqtt.Subscription) *Subscription {
	p.t.Helper()
	wait := async(func() *Subscription {
		s, err := c.Subscribe(p.t.Context(), o, filters...)
		if err != nil {
			p.t.Error(err)
		}
		return s
	})
	p.grant()
	return wait()
}

// grant answers a SUBSCRIBE.
func (p *peer) grant() *mqtt.Subscribe {
	p.t.Helper()
	q, ok := p.receive().(*mqtt.Subscribe)
	if !ok {
		p.t.Fatal("want SUBSCRIBE")
	}
	ack := &mqtt.Suback{ID: q.ID}
	for _, f := range q.Filters {
		ack.Reasons = append(ack.Reasons, mqtt.ReasonCode(f.QoS))
	}
	p.send(ack)
	return q
}

// next returns the next message of a subscription.
func next(t testing.TB, s *Subscription) *Message {
	t.Helper()
	for m, err := range s.Messages(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatal("subscription has ended")
	return nil
}
