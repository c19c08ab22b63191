package amqp091

import (
	"testing"
	"time"
	"unsafe"
)

// openServer returns a server machine that is open, with channel 1, and no event left.
func openServer(t testing.TB) (*Conn, *Channel) {
	t.Helper()
	now := time.Unix(1, 0)
	c := NewConn(&Config{Role: Server})
	step := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
		drainEvents(c)
	}
	in := func(channel uint16, list ...Method) {
		for _, m := range list {
			b, err := AppendMethod(nil, channel, m)
			if err == nil {
				_, err = c.Receive(now, b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := c.Receive(now, []byte(ProtocolHeader)); err != nil {
		t.Fatal(err)
	}
	step(c.Start(now, "PLAIN"))
	in(0, &ConnectionStartOK{Mechanism: "PLAIN"})
	step(c.Tune(now))
	in(0, &ConnectionTuneOK{ChannelMax: 2047, FrameMax: DefaultFrameMax}, &ConnectionOpen{VirtualHost: "/"})
	step(c.OpenOK(now))
	in(1, &ChannelOpen{})
	ch := c.channels[1]
	step(ch.OpenOK(now))
	return c, ch
}

// openClient returns a client machine that is open, with channel 1, and no event left.
func openClient(t testing.TB) (*Conn, *Channel) {
	t.Helper()
	now := time.Unix(1, 0)
	c := NewConn(&Config{Role: Client})
	in := func(channel uint16, m Method) {
		b, err := AppendMethod(nil, channel, m)
		if err == nil {
			_, err = c.Receive(now, b)
		}
		if err != nil {
			t.Fatal(err)
		}
		drainEvents(c)
	}
	c.Connect(now)
	in(0, &ConnectionStart{VersionMinor: 9})
	c.StartOK(now, &ConnectionStartOK{})
	in(0, &ConnectionTune{})
	in(0, &ConnectionOpenOK{})
	ch, err := c.OpenChannel(now, nil)
	if err != nil {
		t.Fatal(err)
	}
	in(1, &ChannelOpenOK{})
	return c, ch
}

func drainEvents(c *Conn) (n int) {
	for _, ok := c.Next(); ok; _, ok = c.Next() {
		n++
	}
	return n
}

// flows are the steady flows that must not allocate. Each step is one message.
func flows(t testing.TB) map[string]func() {
	now := time.Unix(2, 0)
	ref := any(&struct{ int }{})
	body := make([]byte, 256)
	props, _ := (&Properties{DeliveryMode: 2, ContentType: "text/plain"}).Append(nil)
	receive := func(c *Conn, b []byte) {
		for len(b) > 0 {
			n, err := c.Receive(now, b)
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			b = b[n:]
			for e, ok := c.Next(); ok; e, ok = c.Next() {
				if e.Kind == EventChannelClosed {
					t.Fatal(e.Channel.Err())
				}
			}
		}
	}
	message, _ := AppendPublish(nil, 1, "amq.topic", "some.routing.key", false)
	message = AppendBody(AppendContentHeader(message, 1, 256, props), 1, body, DefaultFrameMax)
	split := len(message) - 256 - FrameOverhead
	buf := make([]byte, 0, 4096)

	publish, _ := openServer(t)
	apart, _ := openServer(t)
	confirm, confirmed := openServer(t)
	select_, _ := AppendMethod(nil, 1, &ConfirmSelect{})
	receive(confirm, select_)
	deliver, delivered := openServer(t)
	consumer, _ := delivered.Consume("c", false)
	noAck, _ := delivered.Consume("n", true)
	client, out := openClient(t)
	out.Call(now, &ConfirmSelect{}, nil)
	drainEvents(client)
	incoming, _ := openClient(t)
	selectOK, _ := AppendMethod(nil, 1, &ConfirmSelectOK{})
	receive(client, selectOK)
	delivery, _ := AppendDeliver(nil, 1, "consumer", 7, false, "amq.topic", "some.routing.key")
	delivery = AppendBody(AppendContentHeader(delivery, 1, 256, props), 1, body, DefaultFrameMax)
	outgoing := &Outgoing{Exchange: "amq.topic", RoutingKey: "some.routing.key", Properties: props, Body: body, Mandatory: true}

	return map[string]func(){
		"publish": func() { receive(publish, message) },
		"publish in two reads": func() {
			receive(apart, message[:split])
			receive(apart, message[split:])
		},
		"publish and confirm": func() {
			receive(confirm, message)
			confirmed.Confirm(confirmed.confirms.next, true)
			buf = confirm.AppendConfirms(now, buf[:0])
		},
		"deliver": func() {
			tag, ok := delivered.Deliver(now, noAck, ref)
			if !ok {
				t.Fatal("no credit")
			}
			buf, _ = AppendDeliver(buf[:0], 1, "n", tag, false, "amq.topic", "some.routing.key")
			buf = AppendBody(AppendContentHeader(buf, 1, 256, props), 1, body, DefaultFrameMax)
		},
		"deliver and ack": func() {
			tag, ok := delivered.Deliver(now, consumer, ref)
			if !ok {
				t.Fatal("no credit")
			}
			buf = AppendAck(buf[:0], 1, tag, false)
			receive(deliver, buf)
		},
		"deliver and ack multiple": func() {
			var tag uint64
			for range 4 {
				tag, _ = delivered.Deliver(now, consumer, ref)
			}
			buf = AppendAck(buf[:0], 1, tag, true)
			receive(deliver, buf)
		},
		"client publish and confirm": func() {
			seq, err := out.Publish(now, outgoing, ref)
			if err != nil {
				t.Fatal(err)
			}
			buf, _ = outgoing.AppendTo(buf[:0], 1, DefaultFrameMax, true)
			buf = AppendAck(buf[:0], 1, seq, false)
			receive(client, buf)
		},
		"client deliver and ack": func() {
			receive(incoming, delivery)
			incoming.channels[1].Settle(now, 7, false, Acked)
			e, _ := incoming.Next()
			buf, _ = e.AppendTo(buf[:0])
		},
	}
}

func TestConnAllocates(t *testing.T) {
	for name, step := range flows(t) {
		t.Run(name, func(t *testing.T) {
			for range 100 {
				step()
			}
			if n := testing.AllocsPerRun(200, step); n > 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func BenchmarkConn(b *testing.B) {
	for name, step := range flows(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

// TestSizes holds what connections and channels cost that do nothing.
func TestSizes(t *testing.T) {
	for _, v := range []struct {
		what      string
		got, most uintptr
	}{
		{"Event", unsafe.Sizeof(Event{}), 192},
		{"Conn", unsafe.Sizeof(Conn{}), 896},
		{"Channel", unsafe.Sizeof(Channel{}), 640},
		{"Consumer", unsafe.Sizeof(Consumer{}), 80},
	} {
		t.Logf("%s has %d bytes", v.what, v.got)
		if v.got > v.most {
			t.Errorf("%s has %d bytes, more than %d", v.what, v.got, v.most)
		}
	}
}
