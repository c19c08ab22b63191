package amqp091

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"
)

// openStreams returns a server's machine with channels 1 to n, each on a stream of its own.
func openStreams(t *testing.T, n int) (*Conn, time.Time) {
	t.Helper()
	c, ch := openServer(t)
	now := time.Unix(2, 0)
	ch.remove()
	for id := uint16(1); id <= uint16(n); id++ {
		b, _ := AppendMethod(nil, id, &ChannelOpen{})
		if _, err := c.ReceiveOn(now, id, b); err != nil {
			t.Fatal(err)
		}
		c.channels[id].OpenOK(now)
		drainEvents(c)
	}
	return c, now
}

// TestReceiveOnPieces: what the streams of channels mean does not depend on how they are cut into pieces and mixed.
func TestReceiveOnPieces(t *testing.T) {
	for seed := range int64(100) {
		rnd := rand.New(rand.NewSource(seed))
		mixed, list := piecesStream(rnd)
		var streams [5][]byte // by channel
		for len(mixed) > 0 {
			f, n, err := NextFrame(mixed, 0)
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			streams[f.Channel] = append(streams[f.Channel], mixed[:n]...)
			mixed = mixed[n:]
		}
		var want, got [5][]string
		for _, w := range list {
			var id int
			fmt.Sscan(w, &id)
			want[id] = append(want[id], w)
		}
		c, now := openStreams(t, 4)
		var left [5][]byte
		for busy := true; busy; {
			busy = false
			for id := range streams {
				n := min(len(streams[id]), rnd.Intn(1<<uint(rnd.Intn(14))))
				left[id] = append(left[id], streams[id][:n]...)
				streams[id] = streams[id][n:]
				busy = busy || len(streams[id]) > 0
				for {
					n, err := c.ReceiveOn(now, uint16(id), left[id])
					if err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					for e, ok := c.Next(); ok; e, ok = c.Next() {
						m := e.Content
						got[e.ChannelID()] = append(got[e.ChannelID()],
							fmt.Sprintf("%d %s %s %x %s", e.ChannelID(), m.Exchange, m.RoutingKey, m.Properties, m.Body))
					}
					rest := bytes.Clone(left[id][n:])
					clear(left[id])
					if left[id] = rest; n == 0 {
						break
					}
				}
			}
		}
		for id := range want {
			if g, w := strings.Join(got[id], "\n"), strings.Join(want[id], "\n"); g != w {
				t.Fatalf("seed %d, channel %d:\n%.2000s\nwant\n%.2000s", seed, id, g, w)
			}
		}
	}
}

func TestReceiveOnMisplaced(t *testing.T) {
	frame := func(id uint16, m Method) []byte { b, _ := AppendMethod(nil, id, m); return b }
	for _, test := range []struct {
		on   uint16
		b    []byte
		code Code
		text string
	}{
		{0, frame(1, &BasicQos{}), ChannelError, "frame of channel 1 on stream 0"},
		{0, frame(3, &ChannelOpen{}), ChannelError, "frame of channel 3 on stream 0"},
		{1, frame(2, &BasicQos{}), ChannelError, "frame of channel 2 on the stream of channel 1"},
		{1, frame(0, &ConnectionClose{}), CommandInvalid, "frame of channel 0 on the stream of channel 1"},
		{1, AppendHeartbeat(nil), CommandInvalid, "frame of channel 0 on the stream of channel 1"},
		{1, AppendContentHeader(nil, 2, 0, nil), ChannelError, "frame of channel 2 on the stream of channel 1"},
		{3, frame(3, &BasicQos{}), ChannelError, "expected 'channel.open'"},
		// Behind a frame that is right.
		{1, append(frame(1, &BasicQos{}), frame(2, &BasicQos{})...), ChannelError, "frame of channel 2 on the stream of channel 1"},
		{1, append(frame(1, &BasicAck{}), frame(2, &BasicAck{})...), ChannelError, "frame of channel 2 on the stream of channel 1"},
	} {
		c, now := openStreams(t, 2)
		_, err := c.ReceiveOn(now, test.on, test.b)
		for range 3 { // an event may come first
			if err == nil {
				drainEvents(c)
				_, n, _ := NextFrame(test.b, 0)
				_, err = c.ReceiveOn(now, test.on, test.b[n:])
			}
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != test.code || e.Text != test.text || !e.Hard {
			t.Errorf("%d %x: %v, want %v %s", test.on, test.b, err, test.code, test.text)
		}
		if n, err := c.ReceiveOn(now, 2, frame(1, &BasicQos{})); err != nil || n == 0 {
			t.Errorf("after the end: %d, %v", n, err)
		}
	}
}

// TestReceiveOnBeforeOpen: a channel's stream waits for the connection.
func TestReceiveOnBeforeOpen(t *testing.T) {
	c := NewConn(&Config{Role: Server})
	now := time.Unix(1, 0)
	open, _ := AppendMethod(nil, 1, &ChannelOpen{})
	if n, err := c.ReceiveOn(now, 1, open); n != 0 || err != nil {
		t.Error(n, err)
	}
	if n, err := c.ReceiveOn(now, 0, []byte(ProtocolHeader)); n != len(ProtocolHeader) || err != nil {
		t.Error(n, err)
	}
	if n, err := c.ReceiveOn(now, 1, open); n != 0 || err != nil {
		t.Error(n, err)
	}
}

// tellings takes the events and returns their kinds.
func tellings(c *Conn) string {
	var list []string
	for e, ok := c.Next(); ok; e, ok = c.Next() {
		switch e.Kind {
		case EventSend:
			list = append(list, "send")
		case EventChannelClosed:
			list = append(list, "closed")
		case EventChannelGone:
			list = append(list, "gone")
		default:
			list = append(list, fmt.Sprint(e.Kind))
		}
	}
	return strings.Join(list, " ")
}

func TestChannelLost(t *testing.T) {
	c, now := openStreams(t, 3)
	ch := c.channels[1]
	// Open, with a delivery, half a message, a confirm that was not sent.
	s, err := ch.Consume("c", false)
	if err != nil {
		t.Fatal(err)
	}
	ch.Deliver(now, s, "ref")
	ch.confirms.enable()
	ch.confirms.number()
	ch.Confirm(1, true)
	b, _ := AppendPublish(nil, 1, "", "q", false)
	c.ReceiveOn(now, 1, AppendContentHeader(b, 1, 5, nil))
	ch.Lost(nil)
	if got := tellings(c); got != "closed" {
		t.Errorf("open: %s", got)
	}
	if refs := ch.Unsettled(); len(refs) != 1 || refs[0] != "ref" || ch.Err() != nil {
		t.Errorf("%v, %v", refs, ch.Err())
	}
	if ch, n := c.Confirmable(); ch != nil || n != 0 || c.channels[1] != nil || c.Confirms() != 0 {
		t.Error("something is left")
	}
	ch.Lost(nil) // again
	if got := tellings(c); got != "" {
		t.Errorf("closed: %s", got)
	}
	// On its way to be closed, by this side and by the other one.
	ch = c.channels[2]
	ch.Close(now, SoftError(NotFound, "no"))
	if got := tellings(c); got != "send closed" {
		t.Errorf("close: %s", got)
	}
	ch.Lost(nil)
	if got := tellings(c); got != "gone" || c.channels[2] != nil {
		t.Errorf("closing: %s", got)
	}
	ch = c.channels[3]
	b, _ = AppendMethod(nil, 3, &ChannelClose{ReplyCode: 200})
	c.ReceiveOn(now, 3, b)
	tellings(c)
	ch.Lost(nil)
	if got := tellings(c); got != "" || c.channels[3] != nil || ch.CloseOK(now) != ErrState {
		t.Errorf("answering: %s", got)
	}
	// A number is free again.
	b, _ = AppendMethod(nil, 1, &ChannelOpen{})
	if n, err := c.ReceiveOn(now, 1, b); n != len(b) || err != nil || c.channels[1] == nil {
		t.Error(n, err)
	}
	// A client learns of the end of its close.
	cc, cch := openClient(t)
	cch.Lost(&Error{Code: ChannelError, Text: "lost"})
	if got := tellings(cc); got != "closed" || cch.Err() == nil {
		t.Errorf("client: %s, %v", got, cch.Err())
	}
}

// TestServerGone: with streams, the server's shell is told when the client has answered channel.close.
func TestServerGone(t *testing.T) {
	c, now := openStreams(t, 1)
	c.channels[1].Close(now, SoftError(NotFound, "no"))
	tellings(c)
	b, _ := AppendMethod(nil, 1, &ChannelCloseOK{})
	if _, err := c.ReceiveOn(now, 1, b); err != nil {
		t.Fatal(err)
	}
	if got := tellings(c); got != "gone" {
		t.Error(got)
	}
}

// TestConfirmable: what is confirmed comes out channel by channel, as it does together.
func TestConfirmable(t *testing.T) {
	c, now := openStreams(t, 3)
	for id := uint16(1); id <= 3; id++ {
		ch := c.channels[id]
		ch.confirms.enable()
		for range 5 {
			ch.Confirm(ch.confirms.number(), true)
		}
	}
	want := map[uint16]string{}
	for ch, n := c.Confirmable(); ch != nil; ch, n = c.Confirmable() {
		b := ch.AppendConfirms(now, nil)
		if len(b) > n || len(b) == 0 {
			t.Errorf("%d bytes of %d", len(b), n)
		}
		f, size, err := NextFrame(b, 0)
		if err != nil || size != len(b) || f.Channel != ch.ID() {
			t.Errorf("%v, %v", f, err)
		}
		want[ch.ID()] = f.String()
		if b := ch.AppendConfirms(now, nil); len(b) != 0 {
			t.Error("twice")
		}
	}
	for id := uint16(1); id <= 3; id++ {
		if got := want[id]; got != fmt.Sprintf("%d basic.ack(delivery-tag=5, multiple)", id) {
			t.Errorf("channel %d: %s", id, got)
		}
	}
	// One in the middle.
	for id := uint16(1); id <= 3; id++ {
		ch := c.channels[id]
		ch.Confirm(ch.confirms.number(), true)
	}
	c.channels[2].AppendConfirms(now, nil)
	if n := len(c.pending); n != 2 || c.pending[0] != c.channels[1] || c.pending[1] != c.channels[3] {
		t.Errorf("%d channels are left", n)
	}
}

// TestStreamHeartbeats: what is sent on a channel may stand still in its stream, so it puts no heartbeat off.
func TestStreamHeartbeats(t *testing.T) {
	c, now := openStreams(t, 1)
	c.limits(now, 10, 4096, 10)
	ch := c.channels[1]
	s, _ := ch.Consume("c", true)
	beats := 0
	for range 100 {
		now = now.Add(time.Second)
		ch.Deliver(now, s, nil)
		ch.Send(now, &QueueDeclareOK{})
		ch.confirms.enable()
		ch.Confirm(ch.confirms.number(), true)
		ch.AppendConfirms(now, nil)
		c.Heard(now)
		drainEvents(c)
		c.Advance(now)
		for e, ok := c.Next(); ok; e, ok = c.Next() {
			if e.Kind == EventSend && e.frame == sendHeartbeat {
				beats++
			}
		}
	}
	if beats != 20 {
		t.Errorf("%d heartbeats in 100 seconds, with an interval of 10", beats)
	}
}
