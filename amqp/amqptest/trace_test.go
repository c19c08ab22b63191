package amqptest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqptest"
	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/script"
)

// converse plays a short conversation over a traced connection.
func converse(t *testing.T, trace *amqptest.Trace, near amqp091.Role) {
	c, s := memnet.Pipe()
	if near == amqp091.Client {
		c = trace.Wrap(c, near)
	} else {
		s = trace.Wrap(s, near)
	}
	client, server := amqptest.NewPeer(t, c), amqptest.NewPeer(t, s)
	meet(client, server, &amqptest.Handshake{FrameMax: 4096})
	long := hello(strings.Repeat("0123456789", 500))
	long.Properties = amqp091.Properties{DeliveryMode: amqp091.Persistent, Headers: amqp091.Table{{Key: "x-delay", Value: 5}}}
	client.Send(1, hello("hi"), long)
	server.Expect(1, hello("hi"), long)
	server.Send(1, &amqp091.BasicAck{DeliveryTag: 2, Multiple: true})
	client.Expect(1, &amqp091.BasicAck{DeliveryTag: 2, Multiple: true})
	client.SendHeartbeat()
	client.SendBytes(8, 0, 0, 0, 0, 0, 0, 0xcf)
	client.SendBytes(9, 1, 2, 3)
	client.Close()
	failure(t, func(tb testing.TB) { amqptest.NewPeer(tb, server.Conn()).Next() })
}

func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace amqptest.Trace
		converse(t, &trace, amqp091.Client)
		converse(t, &trace, amqp091.Server)
		trace.Compare(t, "testdata/trace.txt")
	})
}

func TestTraceWithoutHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := amqptest.Trace{NoHandshake: true}
		converse(t, &trace, amqp091.Client)
		if got := trace.String(); !strings.HasPrefix(got, "C 1 channel.open()\nS 1 channel.open-ok()\nC 1 basic.publish") {
			t.Errorf("got\n%s", got)
		}
	})
}

func TestTraceDiffers(t *testing.T) {
	if script.Updating() {
		t.Skip("-update accepts every trace")
	}
	golden := filepath.Join(t.TempDir(), "trace.txt")
	var trace amqptest.Trace
	if message := failure(t, func(tb testing.TB) { trace.Compare(tb, golden) }); message == "" {
		t.Error("a golden file that is not there made no failure")
	}
	if err := os.WriteFile(golden, []byte("C 1 basic.ack(delivery-tag=2)\nS 0 heartbeat\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	c, s := memnet.Pipe()
	client, server := amqptest.NewPeer(t, trace.Wrap(c, amqp091.Client)), amqptest.NewPeer(t, s)
	client.Send(1, ack(1), ack(2))
	server.Expect(1, ack(1), ack(2))
	message := failure(t, func(tb testing.TB) { trace.Compare(tb, golden) })
	for _, want := range []string{"+ C 1 basic.ack(delivery-tag=1)", "\n  C 1 basic.ack(delivery-tag=2)\n", "- S 0 heartbeat"} {
		if !strings.Contains(message, want) {
			t.Errorf("the message lacks %q:\n%s", want, message)
		}
	}
}
