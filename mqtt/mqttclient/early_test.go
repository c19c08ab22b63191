package mqttclient

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
)

// early returns a network whose connections are not confirmed until a test does it.
func early(t *testing.T) *network {
	n := newNetwork(t, "a")
	n.hosts["a"].OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Early: true}, nil })
	return n
}

// confirm ends the handshake.
func (p *peer) confirm() { p.nc.(*memnet.Conn).Confirm() }

// TestEarlyData: before the handshake is complete only that is written which may be sent a second time by somebody who
// recorded it. What must wait makes wait what is behind it.
func TestEarlyData(t *testing.T) {
	t.Run("password", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := early(t)
			n.client(&Options{Username: "u", Password: []byte("secret")}, "a")
			p := n.accept("a")
			p.quiet()
			time.Sleep(time.Second)
			p.quiet()
			p.confirm()
			p.expect("CONNECT")
		})
	})
	t.Run("authentication", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := early(t)
			method := mqtt.Properties(nil).AppendString(mqtt.PropAuthenticationMethod, "m")
			n.client(&Options{Username: "u", ConnectProperties: method}, "a")
			p := n.accept("a")
			p.quiet()
			p.confirm()
			p.expect("CONNECT")
		})
	})
	t.Run("never confirmed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := early(t)
			c := n.client(&Options{Password: []byte("secret"), Retry: func(error) bool { return false }}, "a")
			p := n.accept("a")
			<-c.Done()
			p.expect("end")
		})
	})
	t.Run("packets", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := early(t)
			c := n.client(&Options{Username: "u"}, "a")
			p := n.accept("a")
			p.connect()
			p.send(&mqtt.Connack{})
			sub := subscribe(p, c, &SubscribeOptions{ManualAck: true}, mqtt.Subscription{Filter: "#", QoS: 1})
			p.send(message("a", "m", 1, 1))
			next(t, sub).Ack()
			p.quiet()
			time.Sleep(31 * time.Second)
			p.quiet() // PINGREQ, too
			publishAsync(t, c, &Message{Topic: "b"})
			p.quiet()
			p.confirm()
			p.expect("PUBACK id=1", "PINGREQ", "PUBLISH")
			publishAsync(t, c, &Message{Topic: "b"})
			p.expect("PUBLISH")
		})
	})
	t.Run("publish", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := early(t)
			c := n.client(&Options{EarlyPublish: true}, "a")
			p := n.accept("a")
			p.connect()
			p.send(&mqtt.Connack{})
			if err := c.Connected(t.Context()); err != nil {
				t.Fatal(err)
			}
			publishAsync(t, c, &Message{Topic: "a"})
			publishAsync(t, c, &Message{Topic: "b", QoS: 1})
			publishAsync(t, c, &Message{Topic: "c", QoS: 2})
			publishAsync(t, c, &Message{Topic: "d"})
			p.expect(`PUBLISH qos=0 topic="a"`, `PUBLISH id=1 qos=1 topic="b"`)
			p.quiet()
			p.confirm()
			p.expect(`PUBLISH id=2 qos=2 topic="c"`, `PUBLISH qos=0 topic="d"`)
		})
	})
	t.Run("no publish", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := early(t)
			c := n.client(&Options{Streams: &Streams{Datagrams: true}}, "a")
			p := n.accept("a")
			p.connect()
			p.send(&datagrams)
			if err := c.Connected(t.Context()); err != nil {
				t.Fatal(err)
			}
			publishAsync(t, c, &Message{Topic: "a"}) // neither in a datagram nor on a data stream
			p.quiet()
			s := p.stream()
			s.quiet()
			p.confirm()
			s.expect(`PUBLISH qos=0 topic="a"`)
		})
	})
	t.Run("Close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := early(t)
			c := n.client(nil, "a")
			p := n.accept("a")
			p.connect()
			p.send(&mqtt.Connack{})
			if err := c.Connected(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.Close()
			p.quiet() // DISCONNECT must not be sent a second time
			time.Sleep(time.Second)
			p.confirm()
			p.expect("DISCONNECT", "end")
		})
	})
	t.Run("Close, never confirmed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := early(t)
			c := n.client(nil, "a")
			p := n.accept("a")
			p.connect()
			p.send(&mqtt.Connack{})
			if err := c.Connected(t.Context()); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			c.Close()
			p.expect("end")
			if d := time.Since(start); d != drainTimeout {
				t.Errorf("closed after %v", d)
			}
		})
	})
}

// TestEarlyPublish: what waits at QoS 0 follows CONNECT in early data, and is sent again only when the server does not
// accept.
func TestEarlyPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := early(t)
		n.hosts["a"].OnDial(func(int) (*memnet.Options, error) {
			return &memnet.Options{Early: true, ToServer: memnet.Link{Latency: time.Second}}, nil
		})
		c := n.client(&Options{EarlyPublish: true, Username: "u"}, "a")
		one := publishAsync(t, c, &Message{Topic: "1"})
		withdrawn, cancel := context.WithCancel(t.Context())
		two := async(func() error { return c.Publish(withdrawn, &Message{Topic: "2"}) })
		synctest.Wait()
		publishAsync(t, c, &Message{Topic: "3", QoS: 1})
		publishAsync(t, c, &Message{Topic: "4"})
		p := n.accept("a")
		p.connect()
		p.expect(`PUBLISH qos=0 topic="1"`, `PUBLISH qos=0 topic="2"`)
		p.quiet()
		p.send(&mqtt.Connack{Reason: mqtt.ReasonServerBusy})
		p.nc.Close()

		p = n.accept("a")
		p.connect()
		p.expect(`PUBLISH qos=0 topic="1"`, `PUBLISH qos=0 topic="2"`)
		cancel()
		if err := two(); !errors.Is(err, context.Canceled) {
			t.Errorf("withdrawn: %v", err)
		}
		p.send(&mqtt.Connack{})
		if err := one.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		p.confirm()
		p.expect(`PUBLISH id=1 qos=1 topic="3"`, `PUBLISH qos=0 topic="4"`)
		p.quiet()
		if s := c.Stats(); s.Queued != 0 || s.Inflight != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestEarlyPublishNot: without the wish, with a password, with Retain and beyond the budget nothing follows CONNECT.
func TestEarlyPublishNot(t *testing.T) {
	for name, tt := range map[string]struct {
		o Options
		m Message
	}{
		"not wanted": {Options{}, Message{Topic: "t"}},
		"password":   {Options{EarlyPublish: true, Password: []byte("p")}, Message{Topic: "t"}},
		"retained":   {Options{EarlyPublish: true}, Message{Topic: "t", Retain: true}},
		"large":      {Options{EarlyPublish: true}, Message{Topic: "t", Payload: make([]byte, earlyBytes)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := early(t)
				c := n.client(&tt.o, "a")
				publishAsync(t, c, &tt.m)
				p := n.accept("a")
				synctest.Wait()
				if name == "password" {
					p.quiet()
					p.confirm()
				}
				p.connect()
				p.quiet()
				p.confirm()
				p.send(&mqtt.Connack{})
				p.expect("PUBLISH")
				p.quiet()
			})
		})
	}
}
