package amqp091

import (
	"testing"
	"time"
)

// FuzzConn feeds any bytes to machines of both roles, in pieces, with some verbs in between: no panic, nothing after
// EventClose, what is sent can be decoded, an error has a code and is followed by the end, and memory is bounded by what
// has come.
func FuzzConn(f *testing.F) {
	message, _ := AppendPublish(nil, 1, "e", "k", true)
	message = AppendBody(AppendContentHeader(message, 1, 10_000, nil), 1, make([]byte, 10_000), 4096)
	for _, list := range [][]Method{
		{&BasicQos{PrefetchCount: 3}, &BasicConsume{Queue: "q", ConsumerTag: "c"}, &ConfirmSelect{}},
		{&TxSelect{}, &BasicAck{DeliveryTag: 1}, &BasicNack{DeliveryTag: 3, Multiple: true, Requeue: true}, &TxRollback{}, &TxCommit{}},
		{&ChannelClose{ReplyCode: 200}, &ChannelOpen{}, &BasicRecover{Requeue: true}},
		{&QueueDeclareOK{Queue: "q"}, &BasicConsumeOK{ConsumerTag: "c"}, &BasicGetEmpty{}, &BasicCancel{ConsumerTag: "c"}},
	} {
		var b []byte
		for _, m := range list {
			b, _ = AppendMethod(b, 1, m)
		}
		for role := range byte(4) {
			f.Add(role, append(b, message...), byte(50))
			f.Add(role|1<<2|1<<3, append(b, message...), byte(50)) // as the stream of channel 1
		}
	}
	delivery, _ := AppendDeliver(nil, 1, "c", 1, true, "e", "k")
	f.Add(byte(3), AppendContentHeader(delivery, 1, 0, nil), byte(7))
	other, _ := AppendDeliver(delivery, 2, "c", 1, true, "e", "k")
	f.Add(byte(3), AppendContentHeader(other, 1, 0, RawProperties{0x10, 0, 1}), byte(200))
	f.Add(byte(0), []byte(ProtocolHeader), byte(3))
	f.Fuzz(func(t *testing.T, kind byte, in []byte, piece byte) {
		z := &fuzzedConn{t: t, now: time.Unix(2, 0)}
		var ch *Channel
		switch kind & 3 {
		case 0:
			z.c = NewConn(&Config{Role: Server, MaxMessage: 1 << 20})
		case 1:
			z.c, ch = openServer(t)
		case 2:
			z.c = NewConn(&Config{Role: Client})
			z.c.Connect(z.now)
		case 3:
			z.c, ch = openClient(t)
			for _, m := range []Method{&ConfirmSelect{}, &BasicGet{}, &BasicConsume{}} {
				ch.Call(z.now, m, m)
			}
			ch.Publish(z.now, &Outgoing{Mandatory: true}, 1)
			z.c.OpenChannel(z.now, nil) // it is not open yet
		}
		if ch != nil && kind&3 == 1 {
			if s, err := ch.Consume("x", false); err == nil {
				for i := range 5 {
					ch.Deliver(z.now, s, i)
				}
			}
		}
		z.streams, z.on = kind&4 != 0, uint16(kind>>3)
		z.events()
		var left []byte
		for len(in) > 0 && !z.closed {
			n := min(len(in), int(piece)+1)
			left = append(left, in[:n]...)
			in = in[n:]
			left = z.receive(left)
			z.now = z.now.Add(time.Duration(piece) * time.Millisecond)
			z.c.Advance(z.now)
			z.events()
		}
	})
}

// fuzzedConn is a machine under a fuzzer.
type fuzzedConn struct {
	t      *testing.T
	c      *Conn
	now    time.Time
	total  int
	closed bool

	streams bool   // ReceiveOn
	on      uint16 // the channel of the stream
	down    bool
}

// receive feeds bytes and returns what is left of them.
func (z *fuzzedConn) receive(b []byte) []byte {
	for !z.closed {
		n, err := 0, error(nil)
		if z.streams {
			n, err = z.c.ReceiveOn(z.now, z.on, b)
		} else {
			n, err = z.c.Receive(z.now, b)
		}
		if n > len(b) || n < 0 {
			z.t.Fatalf("%d of %d bytes", n, len(b))
		}
		z.total += n
		down := z.down
		z.events()
		if err != nil {
			e, ok := err.(*Error)
			if !ok || e.Code == 0 || !e.Hard && !e.Remote || !z.down || down && !z.closed {
				z.t.Fatalf("%v, down: %v", err, z.down)
			}
		}
		if n == 0 {
			break
		}
		rest := append([]byte(nil), b[n:]...)
		clear(b) // views of it end
		b = rest
	}
	collected := uint64(0)
	for _, ch := range z.c.channels {
		if cap(ch.content.body) > 4*z.total+64 || len(ch.content.buf) > z.total {
			z.t.Fatalf("%d and %d bytes for a content, %d came", cap(ch.content.body), len(ch.content.buf), z.total)
		}
		collected += ch.content.counted
	}
	if collected != z.c.collected && !z.down {
		z.t.Fatalf("%d bytes collected, not %d", z.c.collected, collected)
	}
	waits := z.streams && z.on != 0 && z.c.phase < phaseOpen
	if len(b) > int(z.c.recvMax)+FrameOverhead && !z.closed && !waits {
		z.t.Fatalf("%d bytes are not taken", len(b))
	}
	return b
}

// events handles the events of the machine, as a friendly shell does.
func (z *fuzzedConn) events() {
	c, now := z.c, z.now
	for e, ok := c.Next(); ok; e, ok = c.Next() {
		if z.closed {
			z.t.Fatalf("%s after close", kinds[e.Kind])
		}
		switch e.Kind {
		case EventSend:
			b, err := e.AppendTo(nil)
			if err != nil {
				z.t.Fatal(err)
			}
			if string(b) == ProtocolHeader {
				continue
			}
			f, n, err := NextFrame(b, 0)
			if err != nil || n != len(b) {
				z.t.Fatalf("sends %q: %v", b, err)
			}
			if f.Type == FrameMethod {
				if _, err := DecodeMethod(f.Payload); err != nil {
					z.t.Fatal(err)
				}
			}
		case EventHeader:
			c.Start(now, "PLAIN")
		case EventStartOK, EventSecureOK:
			c.Tune(now)
		case EventOpen:
			c.OpenOK(now)
		case EventUpdateSecret:
			c.UpdateSecretOK(now)
		case EventStart:
			c.StartOK(now, &ConnectionStartOK{Mechanism: "PLAIN"})
		case EventSecure:
			c.SecureOK(now, nil)
		case EventOpened:
			c.OpenChannel(now, nil)
		case EventChannelOpen:
			e.Channel.OpenOK(now)
		case EventPublish, EventDeliver, EventReturn:
			var p Properties
			if err := e.Content.Properties.Decode(&p); err != nil {
				z.t.Fatal(err)
			}
			if e.Seq != 0 && e.Kind == EventPublish {
				e.Channel.Confirm(e.Seq, len(e.Content.Body)&1 == 0)
			}
		case EventSettled, EventConfirm:
			for _, ref := range e.Refs {
				if ref == nil {
					z.t.Fatal("no reference")
				}
			}
		case EventMethod:
			if m, ok := e.Method.(*BasicConsume); ok {
				if s, err := e.Channel.Consume(m.ConsumerTag, m.NoAck); err == nil {
					for i := range 3 {
						e.Channel.Deliver(now, s, i)
					}
				}
			}
			if e.Method.ID() == IDTxCommit {
				e.Channel.Send(now, &TxCommitOK{})
			}
		case EventChannelClose:
			e.Channel.Unsettled()
			e.Channel.CloseOK(now)
		case EventChannelClosed:
			e.Channel.Unsettled()
			e.Channel.Unconfirmed()
		case EventDown:
			if z.down {
				z.t.Fatal("down twice")
			}
			z.down = true
			c.CloseOK(now)
		case EventClose:
			if !z.down {
				z.t.Fatal("closed without being down")
			}
			z.closed = true
		}
	}
	size := c.Confirms()
	if b := c.AppendConfirms(now, nil); len(b) > size {
		z.t.Fatalf("%d bytes of confirms, not %d", len(b), size)
	}
}
