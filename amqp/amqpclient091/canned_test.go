package amqpclient091

import (
	"context"
	"io"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// canned is a connection that swallows what is written and answers each write with the next part of a script.
type canned struct {
	net.Conn
	done   chan struct{}
	in     chan []byte
	script [][]byte
}

func (d *canned) Write(b []byte) (int, error) {
	if len(d.script) > 0 {
		d.in <- d.script[0]
		d.script = d.script[1:]
	}
	return len(b), nil
}

func (d *canned) Read(b []byte) (int, error) {
	select {
	case s := <-d.in:
		return copy(b, s), nil
	case <-d.done:
		return 0, io.EOF
	}
}

func (d *canned) SetWriteDeadline(time.Time) error { return nil }
func (d *canned) SetReadDeadline(time.Time) error  { return nil }

func (d *canned) Close() error {
	select {
	case <-d.done:
	default:
		close(d.done)
	}
	return nil
}

// answer adds methods on a channel to the script.
func (d *canned) answer(channel uint16, methods ...amqp091.Method) {
	var b []byte
	for _, m := range methods {
		b, _ = amqp091.AppendMethod(b, channel, m)
	}
	d.script = append(d.script, b)
}

// connected returns a client with a channel, number 1, on a server that says nothing by itself.
func connected(t testing.TB, o *ChannelOptions) (*Client, *Channel, *canned) {
	d := &canned{done: make(chan struct{}), in: make(chan []byte, 1)}
	d.answer(0, &amqp091.ConnectionStart{VersionMinor: 9, Mechanisms: "PLAIN"})
	d.answer(0, &amqp091.ConnectionTune{})
	d.answer(0, &amqp091.ConnectionOpenOK{})
	d.answer(1, &amqp091.ChannelOpenOK{})
	d.answer(1, &amqp091.ConfirmSelectOK{})
	dial := func(context.Context, *url.URL) (net.Conn, error) { return d, nil }
	c, err := Dial(t.Context(), "x://x", &Options{Dialers: map[string]DialFunc{"x": dial}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ch, err := c.Channel(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c, ch, d
}

// feed lets the client handle b.
func (c *Client) feed(t testing.TB, b []byte) {
	if err := c.last.main.in.Append(b); err != nil {
		t.Fatal(err)
	}
	c.last.main.feed()
}

// channel.flow holds back what is published on that channel.
func TestFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ch, d := connected(t, nil)
		flow := func(active bool) {
			b, _ := amqp091.AppendMethod(nil, 1, &amqp091.ChannelFlow{Active: active})
			d.in <- b
			synctest.Wait()
		}
		flow(false)
		p, err := ch.PublishAsync(t.Context(), &Message{RoutingKey: "q"})
		check(t, err)
		if st := c.Stats(); st.Queued != 1 || p.Err() != nil {
			t.Fatalf("%+v", st)
		}
		flow(true)
		if st := c.Stats(); st.Inflight != 1 {
			t.Fatalf("%+v", st)
		}
		d.in <- amqp091.AppendAck(nil, 1, 1, false)
		check(t, p.Wait(t.Context()))
		c.Close()
		time.Sleep(2 * closeTimeout) // the server does not answer
	})
}
