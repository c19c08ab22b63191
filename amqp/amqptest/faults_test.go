package amqptest_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp"
	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqptest"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// faultyPair returns two peers with faults at the end of one.
func faultyPair(t *testing.T, near amqp091.Role, rules ...amqptest.Rule) (client, server *amqptest.Peer) {
	c, s := memnet.Pipe()
	var f amqptest.Faults
	for _, r := range rules {
		f.Add(r)
	}
	if near == amqp091.Client {
		c = f.Wrap(c, near)
	} else {
		s = f.Wrap(s, near)
	}
	return amqptest.NewPeer(t, c), amqptest.NewPeer(t, s)
}

// bothEnds runs f with the faults at either end: their effect must be the same.
func bothEnds(t *testing.T, f func(t *testing.T, near amqp091.Role)) {
	t.Helper()
	for _, near := range []amqp091.Role{amqp091.Client, amqp091.Server} {
		t.Run(near.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, near) })
		})
	}
}

func TestDrop(t *testing.T) {
	bothEnds(t, func(t *testing.T, near amqp091.Role) {
		client, server := faultyPair(t, near, amqptest.Rule{
			From: amqp091.Client, Method: amqp091.IDBasicAck, Channel: 1, Skip: 1, Times: 1, Do: amqptest.Drop,
		})
		for tag := range uint64(3) {
			client.Send(1, ack(tag))
			client.Send(2, ack(tag))
			server.Send(1, ack(tag))
		}
		for tag := range uint64(3) {
			if tag != 1 {
				server.Expect(1, ack(tag))
			}
			server.Expect(2, ack(tag))
			client.Expect(1, ack(tag))
		}
	})
}

func TestRulesFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f amqptest.Faults
		c, s := memnet.Pipe()
		client, server := amqptest.NewPeer(t, f.Wrap(c, amqp091.Client)), amqptest.NewPeer(t, s)
		pass := func(frame []byte) amqptest.Result { return amqptest.Result{Data: frame} }
		for _, tt := range []struct {
			rule amqptest.Rule
			hits int
		}{
			{amqptest.Rule{}, 7},
			{amqptest.Rule{From: amqp091.Server}, 1},
			{amqptest.Rule{From: amqp091.Client}, 6},
			{amqptest.Rule{Type: amqp091.FrameMethod}, 3},
			{amqptest.Rule{Type: amqp091.FrameHeader}, 1},
			{amqptest.Rule{Type: amqp091.FrameBody}, 1},
			{amqptest.Rule{Type: amqp091.FrameHeartbeat}, 1},
			{amqptest.Rule{Method: amqp091.IDBasicPublish}, 1},
			{amqptest.Rule{Method: amqp091.IDBasicPublish, Content: true}, 1},
			{amqptest.Rule{Channel: 1}, 4},
			{amqptest.Rule{Channel: 2, Type: amqp091.FrameBody}, 0},
			{amqptest.Rule{Skip: 2, Times: 3}, 3},
		} {
			f.Clear()
			tt.rule.Do = pass
			hits := f.Add(tt.rule)
			client.SendHeader(amqp.Header091)
			client.Send(1, hello("x"))
			client.Send(2, ack(1))
			client.SendHeartbeat()
			server.ExpectHeader(amqp.Header091)
			server.Expect(1, hello("x"))
			server.Expect(2, ack(1))
			server.ExpectHeartbeat(time.Second)
			server.Send(1, ack(1))
			client.Expect(1, ack(1))
			if n := hits(); n != tt.hits {
				t.Errorf("%+v hits %d, want %d", tt.rule, n, tt.hits)
			}
		}
	})
}

func TestFirstRuleHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := faultyPair(t, amqp091.Client,
			amqptest.Rule{Method: amqp091.IDBasicAck, Times: 1, Do: amqptest.Replace(&amqp091.BasicNack{DeliveryTag: 7})},
			amqptest.Rule{Do: amqptest.Drop})
		client.Send(1, ack(1), ack(2))
		server.Expect(1, &amqp091.BasicNack{DeliveryTag: 7})
		server.ExpectSilence(time.Second)
	})
}

func TestDelay(t *testing.T) {
	bothEnds(t, func(t *testing.T, near amqp091.Role) {
		client, server := faultyPair(t, near, amqptest.Rule{Method: amqp091.IDBasicPublish, Content: true, Do: amqptest.Delay(3 * time.Second)})
		start := time.Now()
		go client.Send(1, ack(1), hello("x"), ack(2))
		server.Expect(1, ack(1))
		if d := time.Since(start); d != 0 {
			t.Errorf("the frame before took %v", d)
		}
		server.Expect(1, hello("x"), ack(2))
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("took %v", d)
		}
		synctest.Wait()
	})
}

func TestCut(t *testing.T) {
	bothEnds(t, func(t *testing.T, near amqp091.Role) {
		client, server := faultyPair(t, near, amqptest.Rule{Type: amqp091.FrameBody, Do: amqptest.CutAfter(9)})
		b := amqp091.AppendBody(amqp091.AppendContentHeader(publish(), 1, 5, nil), 1, []byte("hello"), 0)
		_, err := client.Conn().Write(b)
		if near == amqp091.Client && err == nil {
			t.Error("no error")
		}
		want := string(b[:len(b)-4])
		if got, err := io.ReadAll(server.Conn()); string(got) != want || err != nil {
			t.Errorf("the other end got %q, %v", got, err)
		}
	})
}

func TestCorrupt(t *testing.T) {
	bothEnds(t, func(t *testing.T, near amqp091.Role) {
		client, server := faultyPair(t, near, amqptest.Rule{Type: amqp091.FrameBody, Times: 1, Do: amqptest.Corrupt(7)},
			amqptest.Rule{Type: amqp091.FrameBody, Do: amqptest.Corrupt(-1)})
		server.Send(1, hello("\xf0x"))
		client.Expect(1, hello("\x0fx"))
		server.Send(1, hello("x"))
		message := failure(t, func(tb testing.TB) { amqptest.NewPeer(tb, client.Conn()).Next() })
		if !strings.Contains(message, "frame ends with 49") {
			t.Errorf("got %q", message)
		}
	})
}

func TestReplace(t *testing.T) {
	bothEnds(t, func(t *testing.T, near amqp091.Role) {
		client, server := faultyPair(t, near, amqptest.Rule{
			From: amqp091.Server, Method: amqp091.IDBasicAck,
			Do: amqptest.Replace(hello("instead"), &amqp091.ChannelClose{ReplyCode: amqp091.NotFound}),
		})
		server.Send(3, ack(1))
		client.Expect(3, hello("instead"), &amqp091.ChannelClose{ReplyCode: amqp091.NotFound})
	})
	defer func() {
		if recover() == nil {
			t.Error("what cannot be encoded makes no panic")
		}
	}()
	amqptest.Replace(&amqp091.QueueDeclare{Queue: strings.Repeat("q", 256)})
}

func TestWholeMessages(t *testing.T) {
	publish := func(do amqptest.Effect) amqptest.Rule {
		return amqptest.Rule{Method: amqp091.IDBasicPublish, Content: true, Skip: 1, Times: 1, Do: do}
	}
	twice := func(frames []byte) amqptest.Result {
		return amqptest.Result{Data: append(frames[:len(frames):len(frames)], frames...)}
	}
	for name, tt := range map[string]struct {
		do   amqptest.Effect
		want []amqp091.Method
	}{
		"drop":    {amqptest.Drop, []amqp091.Method{hello("one"), hello("three")}},
		"twice":   {twice, []amqp091.Method{hello("one"), hello("two"), hello("two"), hello("three")}},
		"replace": {amqptest.Replace(ack(9)), []amqp091.Method{hello("one"), ack(9), hello("three")}},
	} {
		t.Run(name, func(t *testing.T) {
			bothEnds(t, func(t *testing.T, near amqp091.Role) {
				client, server := faultyPair(t, near, publish(tt.do))
				client.Send(1, hello("one"), hello("two"), hello("three"))
				server.Expect(1, tt.want...)
				server.ExpectSilence(time.Second)
			})
		})
	}
}

// The frames of a message that is held do not hold those of other channels; an empty body has no frame, and a long one many.
func TestWholeMessagesOfManyFrames(t *testing.T) {
	bothEnds(t, func(t *testing.T, near amqp091.Role) {
		client, server := faultyPair(t, near, amqptest.Rule{
			Method: amqp091.IDBasicPublish, Content: true, Skip: 1, Do: amqptest.Replace(ack(9)),
		})
		client.Send(1, hello(""), hello(""))
		server.Expect(1, hello(""), ack(9))

		b := amqp091.AppendContentHeader(publish(), 1, 6, nil)
		b = amqp091.AppendBody(b, 1, []byte("one"), 0)
		b = amqp091.AppendAck(b, 2, 1, false)
		b = amqp091.AppendHeartbeat(b)
		client.SendBytes(b...)
		server.Expect(2, ack(1))
		server.ExpectHeartbeat(time.Second)
		client.SendBytes(amqp091.AppendBody(nil, 1, []byte("two"), 0)...)
		server.Expect(1, ack(9))

		// A message that does not end is let go.
		client.SendIllegal(1, &amqp091.BasicPublish{RoutingKey: "q"}, ack(5))
		message := failure(t, func(tb testing.TB) { amqptest.NewPeer(tb, server.Conn()).Next() })
		if !strings.Contains(message, "basic.ack(delivery-tag=5) within the content of 1 basic.publish") {
			t.Errorf("got %q", message)
		}
	})
}

func TestOwnEffect(t *testing.T) {
	bothEnds(t, func(t *testing.T, near amqp091.Role) {
		twice := func(frame []byte) amqptest.Result {
			return amqptest.Result{Data: append(frame[:len(frame):len(frame)], frame...)}
		}
		client, server := faultyPair(t, near, amqptest.Rule{Method: amqp091.IDBasicAck, Do: twice})
		client.Send(1, ack(1))
		server.Expect(1, ack(1), ack(1))
	})
}

func TestDelayEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := faultyPair(t, amqp091.Client, amqptest.Rule{Do: amqptest.Delay(time.Hour)})
		done := make(chan error)
		go func() { _, err := client.Conn().Write(amqp091.AppendHeartbeat(nil)); done <- err }()
		synctest.Wait()
		start := time.Now()
		client.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestFramesPassWhole(t *testing.T) {
	bothEnds(t, func(t *testing.T, near amqp091.Role) {
		client, server := faultyPair(t, near)
		b := append([]byte(amqp091.ProtocolHeader), amqp091.AppendAck(nil, 1, 7, false)...)
		for _, octet := range b[:len(b)-1] {
			client.SendBytes(octet)
		}
		server.ExpectHeader(amqp.Header091)
		server.ExpectSilence(time.Second)
		client.SendBytes(b[len(b)-1])
		server.Expect(1, ack(7))
		client.SendBytes(1, 0, 1)
		client.Close()
		if _, err := io.ReadAll(server.Conn()); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsNoFramePasses(t *testing.T) {
	for _, first := range []string{"HTTP/1.1 400 Bad Request\r\n", "\x01\x00\x01\xff\xff\xff\xff", "\x00"} {
		bothEnds(t, func(t *testing.T, near amqp091.Role) {
			client, server := faultyPair(t, near)
			client.SendBytes([]byte(first)...)
			client.SendBytes(4)
			client.Close()
			if got, err := io.ReadAll(server.Conn()); string(got) != first+"\x04" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestFaultsOnOpenConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f amqptest.Faults
		c, s := memnet.Pipe()
		client, server := amqptest.NewPeer(t, c), amqptest.NewPeer(t, f.Wrap(s, amqp091.Server))
		hits := f.Add(amqptest.Rule{Do: amqptest.Drop})
		client.Send(1, ack(1), hello("x"))
		server.ExpectSilence(time.Second)
		if n := hits(); n != 4 {
			t.Errorf("%d frames hit", n)
		}
		f.Clear()
		client.Send(1, ack(2))
		server.Expect(1, ack(2))
	})
}

func TestListenerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f amqptest.Faults
		inner := memnet.Listen("x")
		l := f.Listener(inner)
		defer l.Close()
		f.Refuse(1)
		accepted := make(chan net.Conn)
		go func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		first, _ := inner.Dial(t.Context())
		if _, err := first.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("refused connection: %v", err)
		}
		second, _ := inner.Dial(t.Context())
		defer second.Close()
		(<-accepted).Close()
	})
}
