package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/quic/quicnet"
)

// move publishes to one topic, and half-way the client takes another address. Over QUIC the connection moves; over TCP it
// is cut, which the client learns at once, and made again from the other address.
func move(ctx context.Context, o *options) (any, error) {
	e, err := newEnd(o)
	if err != nil {
		return nil, err
	}
	m := &mover{ip: o.local}
	if e.dialer != nil {
		e.dialer.ListenPacket = func(context.Context, net.Addr) (net.PacketConn, error) {
			return net.ListenPacket("udp4", net.JoinHostPort(m.address(), "0"))
		}
		dial := e.dialer.DialURL
		e.options.Dialers = map[string]mqttclient.DialFunc{"mqtt+quic": func(ctx context.Context, u *url.URL) (net.Conn, error) {
			return m.keep(dial(ctx, u))
		}}
	} else {
		e.options.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(m.address())}}
			return m.keep(d.DialContext(ctx, network, address))
		}
	}
	e.options.Backoff = mqttclient.Backoff{Min: -1} // the best case of TCP
	c, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	moved := make(chan error, 1)
	time.AfterFunc(o.d/2, func() { moved <- m.move(ctx, o.other) })
	n, failed := publishEvery(ctx, c, o, "timed/0", 0, time.Now())
	err = <-moved
	time.Sleep(500 * time.Millisecond) // for what is to be sent again
	return &sent{Sent: n, Failed: failed}, errors.Join(err, c.Disconnect(ctx, nil), e.close(ctx))
}

// A mover knows the connection and where it is to come from.
type mover struct {
	mu   sync.Mutex
	ip   string
	conn net.Conn
}

func (m *mover) address() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ip
}

func (m *mover) keep(c net.Conn, err error) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn = c
	return c, err
}

func (m *mover) move(ctx context.Context, ip string) error {
	m.mu.Lock()
	m.ip = ip
	c := m.conn
	m.mu.Unlock()
	q, ok := c.(*quicnet.Conn)
	if !ok {
		return c.Close()
	}
	pc, err := net.ListenPacket("udp4", net.JoinHostPort(ip, "0"))
	if err != nil {
		return err
	}
	return q.Migrate(ctx, pc)
}
