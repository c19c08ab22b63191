package mqttserver_test

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// limited runs f with a server with these limits.
func limited(t *testing.T, l mqttserver.Limits, f func(w *world)) {
	t.Helper()
	bubble(t, nil, &mqttserver.Options{Limits: l}, f)
}

// refused sends CONNECT and expects a refusal.
func (w *world) refused(v mqtt.Version, code mqtt.ReasonCode) {
	w.t.Helper()
	p := w.dial()
	p.v = v
	p.send(&mqtt.Connect{Version: v, ClientID: "c", CleanStart: true})
	if ack, ok := p.recv().(*mqtt.Connack); !ok || ack.Reason != code {
		w.t.Fatalf("got %v, want CONNACK with %v", ack, code)
	}
	p.expectEnd()
	p.nc.Close()
	synctest.Wait()
}

func TestMaxConnections(t *testing.T) {
	limited(t, mqttserver.Limits{MaxConnections: 2}, func(w *world) {
		first := w.client(&mqtt.Connect{ClientID: "1"})
		w.client(&mqtt.Connect{ClientID: "2"})
		w.refused(mqtt.Version5, mqtt.ReasonServerBusy)
		w.refused(mqtt.Version311, mqtt.ReasonServerUnavailable)
		first.nc.Close()
		synctest.Wait()
		w.client(&mqtt.Connect{ClientID: "3"})
		if st := w.srv.Stats(); st.Connections != 2 || st.Accepted != 5 || st.Refused != 2 {
			t.Errorf("%+v", st)
		}
	})
}

func TestConnectRate(t *testing.T) {
	limited(t, mqttserver.Limits{ConnectRate: 3}, func(w *world) {
		for range 3 {
			w.client(&mqtt.Connect{ClientID: "c"})
		}
		w.refused(mqtt.Version5, mqtt.ReasonConnectionRateExceeded)
		time.Sleep(time.Second)
		w.client(&mqtt.Connect{ClientID: "c"})
	})
}

func TestMaxPacketSize(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			limited(t, mqttserver.Limits{MaxPacketSize: 1000}, func(w *world) {
				p := w.dial()
				ack := p.connect(&mqtt.Connect{ClientID: "c", Version: v})
				if n, _ := ack.Properties.Uint32(mqtt.PropMaximumPacketSize); v == mqtt.Version5 && n != 1000 {
					t.Errorf("announced %d", n)
				}
				p.write([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}) // the header alone is enough
				p.expectDisconnect(mqtt.ReasonPacketTooLarge)
			})
		})
	}
}

func TestMaxInflight(t *testing.T) {
	t.Run("MQTT-3.3.4-7", func(t *testing.T) {
		r := &router{late: true}
		bubble(t, r, &mqttserver.Options{Limits: mqttserver.Limits{MaxInflight: 2}}, func(w *world) {
			p := w.dial()
			ack := p.connect(&mqtt.Connect{ClientID: "c"})
			if n, _ := ack.Properties.Uint16(mqtt.PropReceiveMaximum); n != 2 {
				t.Errorf("announced %d", n)
			}
			p.send(publishTo("t", "1", 1, 1), publishTo("t", "2", 2, 2))
			synctest.Wait()
			r.acks[1].Done(nil, 0, nil)
			r.acks[0].Done(nil, 0, nil)
			p.expect(&mqtt.Pubrec{ID: 2}, &mqtt.Puback{ID: 1})
			p.send(publishTo("t", "3", 1, 3), publishTo("t", "4", 1, 4))
			p.expectDisconnect(mqtt.ReasonReceiveMaximumExceeded)
		})
	})
}

func TestMaximumQoS(t *testing.T) {
	t.Run("MQTT-3.2.2-11", func(t *testing.T) {
		limited(t, mqttserver.Limits{MaximumQoS: 1}, func(w *world) {
			p := w.dial()
			ack := p.connect(&mqtt.Connect{ClientID: "c"})
			if q, ok := ack.Properties.Byte(mqtt.PropMaximumQoS); !ok || q != 1 {
				t.Errorf("announced %d", q)
			}
			p.send(publishTo("t", "x", 2, 1))
			p.expectDisconnect(mqtt.ReasonQoSNotSupported)
		})
	})
}

func TestMaxKeepAlive(t *testing.T) {
	t.Run("MQTT-3.1.2-21", func(t *testing.T) {
		limited(t, mqttserver.Limits{MaxKeepAlive: 30 * time.Second}, func(w *world) {
			p := w.dial()
			ack := p.connect(&mqtt.Connect{ClientID: "c"})
			if n, _ := ack.Properties.Uint16(mqtt.PropServerKeepAlive); n != 30 {
				t.Errorf("announced %d", n)
			}
			begin := time.Now()
			p.expectDisconnect(mqtt.ReasonKeepAliveTimeout)
			if d := time.Since(begin); d != 45*time.Second {
				t.Errorf("closed after %v", d)
			}
		})
	})
}

func TestMaxSubscriptions(t *testing.T) {
	limited(t, mqttserver.Limits{MaxSubscriptions: 2}, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "c"})
		filters := func(names ...string) (s []mqtt.Subscription) {
			for _, n := range names {
				s = append(s, mqtt.Subscription{Filter: n, QoS: 1})
			}
			return s
		}
		const full = mqtt.ReasonQuotaExceeded
		p.send(&mqtt.Subscribe{ID: 1, Filters: filters("a", "b", "c")})
		p.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{1, 1, full}})
		p.send(&mqtt.Subscribe{ID: 2, Filters: filters("c", "a")})
		p.expect(&mqtt.Suback{ID: 2, Reasons: []mqtt.ReasonCode{full, 1}})
		p.send(&mqtt.Subscribe{ID: 3, Filters: filters("d", "e")})
		p.expect(&mqtt.Suback{ID: 3, Reasons: []mqtt.ReasonCode{full, full}})
		if n := len(w.router.last().filters); n != 3 { // a twice: the router does not look
			t.Errorf("the backend got %d filters", n)
		}
		p.send(&mqtt.Unsubscribe{ID: 4, Filters: []string{"a"}})
		p.recv()
		p.send(&mqtt.Subscribe{ID: 5, Filters: filters("c")})
		p.expect(&mqtt.Suback{ID: 5, Reasons: []mqtt.ReasonCode{1}})
	})
}

func TestTopicLimits(t *testing.T) {
	l := mqttserver.Limits{MaxTopicLevels: 3, MaxTopicLength: 20}
	long, deep := strings.Repeat("x", 21), "a/b/c/d"
	t.Run("subscribe", func(t *testing.T) {
		limited(t, l, func(w *world) {
			p := w.client(&mqtt.Connect{ClientID: "c"})
			p.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: long}, {Filter: "a/b/c"}, {Filter: deep}, {Filter: "$share/g/a/b/c"}}})
			const bad = mqtt.ReasonTopicFilterInvalid
			p.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{bad, 0, bad, 0}})
		})
	})
	for _, name := range []string{long, deep} {
		for _, v := range versions {
			t.Run("publish "+name+" "+v.String(), func(t *testing.T) {
				limited(t, l, func(w *world) {
					p := w.client(&mqtt.Connect{ClientID: "c", Version: v})
					p.send(publishTo(name, "x", 1, 1))
					if v == mqtt.Version5 {
						p.expect(&mqtt.Puback{ID: 1, Reason: mqtt.ReasonTopicNameInvalid})
						p.send(publishTo(name, "x", 0, 0))
					}
					p.expectDisconnect(mqtt.ReasonTopicNameInvalid)
				})
			})
		}
	}
	t.Run("will", func(t *testing.T) {
		limited(t, l, func(w *world) {
			p := w.dial()
			p.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", Will: &mqtt.Will{Topic: deep}})
			if ack := p.recv().(*mqtt.Connack); ack.Reason != mqtt.ReasonTopicNameInvalid {
				t.Error(ack)
			}
			p.expectEnd()
		})
	})
}

func TestPublishRate(t *testing.T) {
	limited(t, mqttserver.Limits{PublishRate: 10, PublishBurst: 5}, func(w *world) {
		sub := w.client(&mqtt.Connect{ClientID: "s"})
		sub.subscribe("t", 0)
		p := w.client(&mqtt.Connect{ClientID: "p", KeepAlive: 1})
		var all []mqtt.Packet
		for range 105 {
			all = append(all, publishTo("t", "x", 0, 0))
		}
		begin := time.Now()
		p.send(all...)
		for range 105 {
			sub.recv()
		}
		if d := time.Since(begin); d < 9900*time.Millisecond || d > 10*time.Second {
			t.Errorf("105 messages took %v", d)
		}
		p.send(&mqtt.Pingreq{})
		p.expect(&mqtt.Pingresp{}) // keep alive stood still meanwhile
	})
}

func TestPublishRateDisconnects(t *testing.T) {
	limited(t, mqttserver.Limits{PublishRate: 10, PublishBurst: 2, RateDisconnects: true}, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "p"})
		p.send(publishTo("t", "x", 0, 0), publishTo("t", "x", 0, 0), publishTo("t", "x", 0, 0))
		p.expectDisconnect(mqtt.ReasonMessageRateTooHigh)
	})
}

func TestMemoryLimit(t *testing.T) {
	var used atomic.Int64
	l := mqttserver.Limits{MemoryLimit: 1000, MemoryUsed: used.Load}
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			used.Store(0)
			limited(t, l, func(w *world) {
				p := w.client(&mqtt.Connect{ClientID: "p", Version: v})
				p.subscribe("t", 0)
				p.send(publishTo("t", "in", 0, 0))
				p.expect(publishTo("t", "in", 0, 0))
				used.Store(1001)
				time.Sleep(time.Second)
				p.send(publishTo("t", "lost", 0, 0), publishTo("t", "refused", 1, 1))
				if v < mqtt.Version5 {
					p.expectEnd()
				} else {
					p.expect(&mqtt.Puback{ID: 1, Reason: mqtt.ReasonQuotaExceeded})
					p.send(publishTo("t", "refused", 2, 2))
					p.expect(&mqtt.Pubrec{ID: 2, Reason: mqtt.ReasonQuotaExceeded})
					w.refused(v, mqtt.ReasonServerBusy)
				}
				if st := w.srv.Stats(); st.MessagesDropped != 1 {
					t.Errorf("%d dropped", st.MessagesDropped)
				}
				used.Store(0)
				time.Sleep(time.Second)
				w.client(&mqtt.Connect{ClientID: "q", Version: v})
			})
		})
	}
}

// fill publishes to a client that reads nothing until the result is not Sent, and returns how many were.
func fill(c *mqttserver.Conn, p *mqtt.Publish) (n int, r mqttserver.Result) {
	for {
		if r = c.Publish(nil, p, p); r != mqttserver.Sent {
			return n, r
		}
		n++
	}
}

func TestHardLimit(t *testing.T) {
	limited(t, mqttserver.Limits{SoftLimit: 10_000, HardLimit: 100_000, SlowTimeout: -1}, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "s", Version: mqtt.Version311})
		c := w.router.last().c
		var dropped int64
		for n := 1; n > 0; dropped++ { // until the writer, too, is stuck
			var r mqttserver.Result
			if n, r = fill(c, publishTo("t", strings.Repeat("x", 1000), 0, 0)); r != mqttserver.Dropped {
				t.Errorf("QoS 0 beyond the limit: %v", r)
			}
			synctest.Wait()
		}
		if r := c.Publish(nil, publishTo("t", "x", 1, 0), nil); r != mqttserver.Refused {
			t.Errorf("QoS 1 beyond the limit: %v", r)
		}
		if r := c.Offer(nil, publishTo("t", "x", 0, 0)); r != mqttserver.Refused {
			t.Errorf("Offer beyond the limit: %v", r)
		}
		st := c.Stats()
		if st.MessagesDropped != dropped || st.Buffered < 100_000 || st.Buffered > 110_000 {
			t.Errorf("%+v", st)
		}
		for range st.MessagesSent {
			p.recv()
		}
		synctest.Wait()
		if s := w.router.last(); s.readies != 1 || c.Stats().Buffered != 0 {
			t.Errorf("Ready was called %d times, %d bytes wait", s.readies, c.Stats().Buffered)
		}
	})
}

func TestMaxQueued(t *testing.T) {
	limited(t, mqttserver.Limits{MaxQueued: 50}, func(w *world) {
		w.client(&mqtt.Connect{ClientID: "s"})
		c := w.router.last().c
		c.Publish(nil, publishTo("t", strings.Repeat("x", 300_000), 0, 0), nil) // more than the network holds
		synctest.Wait()
		if n, r := fill(c, publishTo("t", "x", 0, 0)); n != 49 || r != mqttserver.Dropped {
			t.Errorf("%d messages, then %v", n, r)
		}
	})
}

func TestSlowTimeout(t *testing.T) {
	limited(t, mqttserver.Limits{SlowTimeout: 30 * time.Second}, func(w *world) {
		w.client(&mqtt.Connect{ClientID: "s"})
		s := w.router.last()
		begin := time.Now()
		fill(s.c, publishTo("t", strings.Repeat("x", 1000), 0, 0))
		<-s.done
		if d := time.Since(begin); d < 30*time.Second || d > time.Minute {
			t.Errorf("closed after %v", d)
		}
		if e, ok := errors.AsType[*mqtt.Error](s.cause); !ok || e.Code != mqtt.ReasonQuotaExceeded || !errors.Is(s.cause, net.ErrClosed) {
			t.Errorf("cause is %v", s.cause)
		}
	})
}

// TestStalledSubscriber: one subscriber of a hundred that stops reading costs the others a pause or two, once.
func TestStalledSubscriber(t *testing.T) {
	var slow atomic.Int32
	o := &mqttserver.Options{
		Limits: mqttserver.Limits{SoftLimit: 32 << 10, HardLimit: 128 << 10, SlowTimeout: -1},
		Trace: &mqttserver.Trace{Slow: func(_ *mqttserver.Conn, on bool) {
			if on {
				slow.Add(1)
			}
		}},
	}
	bubble(t, nil, o, func(w *world) {
		const subs, messages = 100, 1500
		done := make(chan int, subs)
		for i := range subs {
			p := w.client(&mqtt.Connect{ClientID: "s"})
			p.subscribe("t", 0)
			if i == 0 {
				continue // reads no more
			}
			go func() {
				for n := range messages {
					if _, err := p.next(); err != nil {
						done <- n
						return
					}
				}
				done <- messages
			}()
		}
		pub := w.client(&mqtt.Connect{ClientID: "p"})
		begin := time.Now()
		batch := slices.Repeat([]mqtt.Packet{publishTo("t", strings.Repeat("x", 200), 0, 0)}, 100)
		for range messages / len(batch) {
			pub.send(batch...)
		}
		for range subs - 1 {
			if n := <-done; n != messages {
				t.Fatalf("a healthy subscriber got %d of %d messages", n, messages)
			}
		}
		if d := time.Since(begin); d > 300*time.Millisecond || slow.Load() != 1 {
			t.Errorf("took %v, %d connections were slow", d, slow.Load())
		}
		if w.srv.Stats().MessagesDropped == 0 {
			t.Error("nothing was dropped")
		}
	})
}

// TestMutualStall: two clients that publish to each other and read nothing do not stop the server reading them.
func TestMutualStall(t *testing.T) {
	limited(t, mqttserver.Limits{SoftLimit: 16 << 10, HardLimit: 64 << 10, SlowTimeout: -1}, func(w *world) {
		a, b := w.client(&mqtt.Connect{ClientID: "a"}), w.client(&mqtt.Connect{ClientID: "b"})
		a.subscribe("to/a", 0)
		b.subscribe("to/b", 0)
		done := make(chan struct{}, 2)
		for p, name := range map[*peer]string{a: "to/b", b: "to/a"} {
			go func() {
				batch := slices.Repeat([]mqtt.Packet{publishTo(name, strings.Repeat("x", 200), 0, 0)}, 100)
				for range 50 {
					p.send(batch...)
				}
				done <- struct{}{}
			}()
		}
		begin := time.Now()
		<-done
		<-done
		synctest.Wait()
		if d := time.Since(begin); d > time.Second {
			t.Errorf("took %v", d)
		}
		if n := w.srv.Stats().MessagesReceived; n != 10_000 {
			t.Errorf("%d messages were read", n)
		}
	})
}

// TestPause: a publisher waits for a subscriber that is behind but reads, and nothing is lost.
func TestPause(t *testing.T) {
	o := &mqttserver.Options{Limits: mqttserver.Limits{SoftLimit: 16 << 10, HardLimit: 128 << 10}}
	bubble(t, nil, o, func(w *world) {
		w.l.OnDial(func(n int) (*memnet.Options, error) {
			return &memnet.Options{ToClient: memnet.Link{BytesPerSecond: 10 << 20}}, nil
		})
		sub := w.client(&mqtt.Connect{ClientID: "s"})
		sub.subscribe("t", 0)
		pub := w.client(&mqtt.Connect{ClientID: "p"})
		const messages = 10_000
		go func() {
			for range messages {
				pub.send(publishTo("t", strings.Repeat("x", 200), 0, 0))
			}
		}()
		for range messages {
			sub.recv()
		}
		if n := w.srv.Stats().MessagesDropped; n != 0 {
			t.Errorf("%d messages were dropped", n)
		}
	})
}

// TestUnreadAnswers: a client that reads nothing is not read from any more when the answers to it fill its output.
func TestUnreadAnswers(t *testing.T) {
	limited(t, mqttserver.Limits{HardLimit: 100_000, SlowTimeout: 10 * time.Second}, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "s", KeepAlive: 1})
		s := w.router.last()
		begin := time.Now()
		go func() {
			for {
				if _, err := p.nc.Write(bytes.Repeat([]byte{0xc0, 0}, 10_000)); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if n := s.c.Stats().Buffered; n < 200_000 || n > 300_000 {
			t.Errorf("%d bytes of output wait", n)
		}
		<-s.done
		if d := time.Since(begin); d < 10*time.Second || d > 20*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}

// TestQuota: QoS 1 messages beyond the client's receive maximum are refused, and Ready comes when there is room.
func TestQuota(t *testing.T) {
	t.Run("MQTT-3.3.4-9", func(t *testing.T) {
		bubble(t, nil, nil, func(w *world) {
			props := mqtt.Properties(nil).AppendUint16(mqtt.PropReceiveMaximum, 3)
			p := w.client(&mqtt.Connect{ClientID: "s", Properties: props})
			s := w.router.last()
			const messages = 200
			for i := range messages {
				s.send(nil, publishTo("t", string(rune('a'+i%26)), 1, 0))
			}
			for i := range messages {
				m := p.recv().(*mqtt.Publish)
				if string(m.Payload) != string(rune('a'+i%26)) {
					t.Fatalf("message %d is %q", i, m.Payload)
				}
				p.send(&mqtt.Puback{ID: m.ID})
			}
			synctest.Wait()
			if len(s.settled) != messages {
				t.Errorf("%d messages are settled", len(s.settled))
			}
		})
	})
}

// TestTooLarge: what exceeds the client's maximum packet size is not sent.
func TestTooLarge(t *testing.T) {
	t.Run("MQTT-3.1.2-24", func(t *testing.T) {
		bubble(t, nil, nil, func(w *world) {
			props := mqtt.Properties(nil).AppendUint32(mqtt.PropMaximumPacketSize, 100)
			p := w.client(&mqtt.Connect{ClientID: "s", Properties: props})
			c := w.router.last().c
			for _, qos := range []mqtt.QoS{0, 1, 2} {
				if r := c.Publish(nil, publishTo("t", strings.Repeat("x", 100), qos, 0), nil); r != mqttserver.TooLarge {
					t.Errorf("QoS %d: %v", qos, r)
				}
			}
			c.Publish(nil, publishTo("t", "fits", 0, 0), nil)
			p.expect(publishTo("t", "fits", 0, 0))
		})
	})
}
