package mqttclient

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// TestStreamKept: with Keep what was in flight on a stream comes again on another one, in order, and QoS 2 goes on where
// it was.
func TestStreamKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c, p := streaming(t, Options{Streams: &Streams{Keep: true}}, keeps)
		if i, _ := c.Info(); !i.Streams || !i.StreamsKept {
			t.Errorf("info %+v", i)
		}
		var pubs []*Publication
		for i := range 4 {
			pubs = append(pubs, publishAsync(t, c, &Message{Topic: "t", Payload: fmt.Append(nil, i), QoS: mqtt.QoS(1 + i%2)}))
		}
		s := p.stream()
		for range 4 {
			s.receive()
		}
		s.send(&mqtt.Pubrec{ID: 2})
		s.expect("PUBREL id=2")
		time.Sleep(time.Minute)
		s.reset()
		p.expect("PUBREL id=2")
		p.send(&mqtt.Pubcomp{ID: 2})
		publishAsync(t, c, &Message{Topic: "t", Payload: []byte("new"), QoS: 1})
		s = p.stream()
		s.expect(`PUBLISH id=1 qos=1 dup topic="t" payload=1:"0"`, `PUBLISH id=3 qos=1 dup topic="t" payload=1:"2"`,
			`PUBLISH id=4 qos=2 dup topic="t" payload=1:"3"`, `PUBLISH id=5 qos=1 topic="t" payload=3:"new"`)
		s.send(&mqtt.Puback{ID: 1}, &mqtt.Puback{ID: 3}, &mqtt.Pubrec{ID: 4})
		s.expect("PUBREL id=4")
		s.send(&mqtt.Pubcomp{ID: 4})
		for _, pub := range pubs {
			if err := pub.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
		p.quiet()
	})
}

// TestStreamsReconnect has messages in flight on several streams when the connection ends.
func TestStreamsReconnect(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep=%v", keep), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ack := mqtt.Connack{}
				if keep {
					ack = keeps
				}
				n, c, p := streaming(t, Options{Streams: &Streams{Keep: keep}}, ack)
				pubs := make(map[string]*Publication)
				publish := func(topic string, qos mqtt.QoS) {
					id := fmt.Sprint(topic, qos)
					pubs[id] = publishAsync(t, c, &Message{Topic: topic, Payload: []byte(id), QoS: qos})
				}
				for _, topic := range []string{"a", "b", "c"} {
					publish(topic, 1)
					publish(topic, 2)
					publish(topic+"'", 2)
				}
				for range 6 {
					p.stream().receive()
				}
				time.Sleep(time.Minute)
				p.nc.Close()
				ack.SessionPresent = true
				p = n.connect("a", ack)
				publish("d", 1)
				got := make(map[string]bool)
				streams := map[bool]int{false: 4, true: 7}[keep]
				for range streams {
					s := p.stream()
					s.nc.SetReadDeadline(time.Now().Add(time.Second))
					for q := s.receive(); q != nil; q = s.receive() {
						m := q.(*mqtt.Publish)
						id := string(m.Payload)
						if got[id] {
							t.Errorf("%s came twice", id)
						}
						if got[id] = true; m.Dup != (keep && id != "d1") {
							t.Errorf("%v", m)
						}
						s.complete(m)
					}
				}
				for id, pub := range pubs {
					err := pub.Wait(t.Context())
					if lost := !keep && id[len(id)-1] == '2'; lost && !errors.Is(err, ErrStreamLost) || !lost && err != nil {
						t.Errorf("%s: %v", id, err)
					} else if got[id] == lost {
						t.Errorf("%s came: %v", id, got[id])
					}
				}
				p.quiet()
				if s := c.Stats(); s.Inflight+s.Queued != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TestStreamOfSubscription: SUBSCRIBE, messages, acknowledgements and UNSUBSCRIBE are on one stream, which is opened again
// when it is lost, and closed at the end.
func TestStreamOfSubscription(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n, c, p := streaming(t, Options{Streams: &Streams{Keep: true}}, keeps)
		o := &SubscribeOptions{Stream: true, ManualAck: true}
		wait := async(func() *Subscription {
			s, err := c.Subscribe(t.Context(), o, mqtt.Subscription{Filter: "f/#", QoS: 2})
			if err != nil {
				t.Error(err)
			}
			return s
		})
		s := p.stream()
		if q := s.grant(); q.Filters[0].RetainHandling != mqtt.RetainSend {
			t.Errorf("%v", q)
		}
		sub := wait()
		s.send(message("f/1", "one", 1, 1), message("f/2", "two", 2, 2), message("f/0", "zero", 0, 0), message("f/3", "three", 2, 3))
		one, two := next(t, sub), next(t, sub)
		two.Ack() // PUBREC before PUBACK is fine, they are of different kinds
		s.expect("PUBREC id=2")
		next(t, sub)
		three := next(t, sub)
		s.send(&mqtt.Pubrel{ID: 2})
		s.expect("PUBCOMP id=2")
		time.Sleep(time.Minute)

		s.reset() // with messages 1 and 3 not acknowledged
		s = p.stream()
		if q := s.grant(); q.Filters[0].RetainHandling != mqtt.RetainSendIfNew {
			t.Errorf("%v", q)
		}
		one.Ack()
		p.quiet()
		again := func(m *mqtt.Publish) *mqtt.Publish { m.Dup = true; return m }
		p.send(again(message("f/1", "one", 1, 1)), again(message("f/3", "three", 2, 3)))
		p.expect("PUBACK id=1")
		three.Ack()
		p.expect("PUBREC id=3")
		p.send(&mqtt.Pubrel{ID: 3})
		p.expect("PUBCOMP id=3")

		s.send(message("f/4", "four", 1, 1))
		four := next(t, sub)
		p.nc.Close() // with message 4 not acknowledged
		ack := keeps
		ack.SessionPresent = true
		p = n.connect("a", ack)
		s = p.stream()
		if q := s.grant(); q.Filters[0].RetainHandling != mqtt.RetainSendIfNew {
			t.Errorf("%v", q)
		}
		s.send(again(message("f/4", "four", 1, 1)))
		s.quiet()
		four.Ack()
		s.expect("PUBACK id=1")
		if st := c.Stats(); st.Duplicates != 2 || st.MessagesReceived != 5 {
			t.Errorf("%+v", st)
		}

		s.send(message("f/5", "five", 1, 5))
		five := next(t, sub)
		left := async(func() error { return sub.Unsubscribe(t.Context()) })
		q, ok := s.receive().(*mqtt.Unsubscribe)
		if !ok {
			t.Fatal("want UNSUBSCRIBE")
		}
		s.send(&mqtt.Unsuback{ID: q.ID, Reasons: make([]mqtt.ReasonCode, 1)})
		if err := left(); err != nil {
			t.Error(err)
		}
		s.quiet() // a message is not acknowledged
		five.Ack()
		s.expect("PUBACK id=5", "end")
		s.nc.Close()
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.out.others.order) != 0 || c.conn.live != 0 {
			t.Errorf("%d lanes are left, %d streams", len(c.out.others.order), c.conn.live)
		}
	})
}

// TestStreamOfSubscriptionLost: without Keep what came on a stream is not acknowledged after its end, although its packet
// identifier is in use again.
func TestStreamOfSubscriptionLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c, p := streaming(t, Options{}, mqtt.Connack{})
		wait := async(func() *Subscription {
			s, err := c.Subscribe(t.Context(), &SubscribeOptions{Stream: true, ManualAck: true}, mqtt.Subscription{Filter: "f/#", QoS: 2})
			if err != nil {
				t.Error(err)
			}
			return s
		})
		s := p.stream()
		s.grant()
		sub := wait()
		s.send(message("f/1", "one", 1, 1), message("f/2", "two", 2, 2))
		one, two := next(t, sub), next(t, sub)
		time.Sleep(time.Minute)
		s.nc.(*streamConn).CloseWrite() // the server ends it
		s = p.stream()
		s.grant()
		s.send(message("f/1", "new one", 1, 1), message("f/2", "new two", 2, 2))
		one.Ack()
		two.Ack()
		s.quiet()
		for range 2 {
			next(t, sub).Ack()
		}
		s.expect("PUBACK id=1", "PUBREC id=2")
		s.send(&mqtt.Pubrel{ID: 2})
		s.expect("PUBCOMP id=2")
		p.quiet()
	})
}

// TestStreamResetWithinPacket: half of a packet is no harm to others, and neither is a server that ends all streams at
// once: their messages take stream 0.
func TestStreamResetWithinPacket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c, p := streaming(t, Options{}, mqtt.Connack{})
		publishAsync(t, c, &Message{Topic: "a", Payload: make([]byte, 1000), QoS: 1})
		s := p.stream()
		if _, err := s.nc.Write([]byte{0x32, 100, 0, 1, 'x'}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.nc.Read(make([]byte, 100)); err != nil { // half of the client's
			t.Fatal(err)
		}
		s.reset()
		for i := range 3 {
			p.expect("PUBLISH id=" + fmt.Sprint(2+i))
			p.send(&mqtt.Puback{ID: uint16(2 + i)})
			publishAsync(t, c, &Message{Topic: "a", QoS: 1})
		}
		p.noStream()
		if st := c.Stats(); st.StreamsLost != 1 || st.StreamsOpened != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestIllegalOnStream: what belongs on stream 0 ends the connection, as does what cannot be decoded.
func TestIllegalOnStream(t *testing.T) {
	for name, b := range map[string][]byte{
		"PINGRESP": {0xd0, 0}, "DISCONNECT": {0xe0, 0}, "AUTH": {0xf0, 0}, "CONNACK": {0x20, 3, 0, 0, 0}, "nonsense": {0x00, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, c, p := streaming(t, Options{Retry: func(error) bool { return false }}, mqtt.Connack{})
				publishAsync(t, c, &Message{Topic: "a"})
				s := p.stream()
				s.receive()
				if _, err := s.nc.Write(b); err != nil {
					t.Fatal(err)
				}
				p.expect("DISCONNECT reason=0x8", "end")
				p.nc.Close()
				<-c.Done()
				var e *mqtt.Error
				if err := c.Err(); !errors.As(err, &e) || e.Remote || e.Code != mqtt.ReasonProtocolError && e.Code != mqtt.ReasonMalformedPacket {
					t.Errorf("%v", c.Err())
				}
			})
		})
	}
}

// TestDisconnectStreams: DISCONNECT follows when the server has read everything on all streams; one that does not read
// makes it wait for a time only.
func TestDisconnectStreams(t *testing.T) {
	t.Run("Disconnect", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, c, p := streaming(t, Options{Limits: Limits{OutputBuffer: 1 << 20}}, mqtt.Connack{})
			var streams []*peer
			for i := range 3 {
				for j := range 100 {
					m := &Message{Topic: fmt.Sprint(i), Payload: append(fmt.Append(nil, j), make([]byte, 800)...)}
					if err := c.Publish(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
				streams = append(streams, p.stream())
			}
			if err := c.Publish(t.Context(), &Message{Topic: "last"}); err != nil {
				t.Fatal(err)
			}
			streams = append(streams, p.stream())
			done := async(func() error { return c.Disconnect(t.Context(), nil) })
			p.quiet()
			for i, s := range streams[:3] {
				for j := range 100 {
					s.expect(fmt.Sprintf(`PUBLISH qos=0 topic="%d" payload=%d:"%d`, i, len(fmt.Sprint(j))+800, j))
				}
				s.expect("end")
				p.quiet()
				time.Sleep(time.Second)
				s.nc.Close()
			}
			streams[3].expect("PUBLISH", "end")
			streams[3].nc.Close()
			p.expect("DISCONNECT reason=0x00", "end")
			p.nc.Close()
			if err := done(); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("stalled", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, c, p := streaming(t, Options{}, mqtt.Connack{})
			if err := c.Publish(t.Context(), &Message{Topic: "a", Payload: make([]byte, 200_000)}); err != nil {
				t.Fatal(err)
			}
			p.stream()
			start := time.Now()
			c.Close()
			if d := time.Since(start); d != 0 {
				t.Errorf("Close took %v", d)
			}
			p.expect("DISCONNECT reason=0x00")
			if d := time.Since(start); d != drainTimeout {
				t.Errorf("DISCONNECT after %v", d)
			}
			p.nc.Close()
		})
	})
}

// TestUnsubscribeStreamLost: UNSUBSCRIBE goes on stream 0 when the stream of the subscription ends before the answer.
func TestUnsubscribeStreamLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c, p := streaming(t, Options{}, mqtt.Connack{})
		wait := async(func() *Subscription {
			s, err := c.Subscribe(t.Context(), &SubscribeOptions{Stream: true}, mqtt.Subscription{Filter: "f"})
			if err != nil {
				t.Error(err)
			}
			return s
		})
		s := p.stream()
		s.grant()
		sub := wait()
		left := async(func() error { return sub.Unsubscribe(t.Context()) })
		s.expect(`UNSUBSCRIBE`)
		time.Sleep(time.Minute)
		s.reset()
		q, ok := p.receive().(*mqtt.Unsubscribe)
		if !ok {
			t.Fatal("want UNSUBSCRIBE")
		}
		p.send(&mqtt.Unsuback{ID: q.ID, Reasons: make([]mqtt.ReasonCode, 1)})
		if err := left(); err != nil {
			t.Error(err)
		}
		p.noStream()
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.out.others.order); n != 0 {
			t.Errorf("%d lanes are left", n)
		}
	})
}

// TestDropOldestOfStreams: a full queue drops the oldest message of the same stream, or when there is none of the longest.
func TestDropOldestOfStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Streams: &Streams{}, Queue: Queue{Messages: 3, Policy: QueueDropOldest}}, "a")
		var pubs []*Publication
		for _, topic := range []string{"a", "a", "a", "b", "b"} {
			pubs = append(pubs, publishAsync(t, c, &Message{Topic: topic, QoS: 1}))
		}
		for i, dropped := range []bool{true, false, false, true, false} {
			if err := pubs[i].Err(); errors.Is(err, ErrQueueFull) != dropped {
				t.Errorf("message %d: %v", i, err)
			}
		}
		if s := c.Stats(); s.Queued != 3 {
			t.Errorf("%+v", s)
		}
	})
}
