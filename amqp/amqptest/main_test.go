package amqptest_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqptest"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// pair returns two peers that play with each other.
func pair(tb testing.TB) (client, server *amqptest.Peer) {
	c, s := memnet.Pipe()
	return amqptest.NewPeer(tb, c), amqptest.NewPeer(tb, s)
}

// open returns two peers with an open connection and channel 1.
func open(tb testing.TB, h *amqptest.Handshake) (client, server *amqptest.Peer) {
	c, s := memnet.Pipe()
	client, server = amqptest.NewPeer(tb, c), amqptest.NewPeer(tb, s)
	meet(client, server, h)
	return client, server
}

// meet opens a connection, and channel 1, between two peers.
func meet(client, server *amqptest.Peer, h *amqptest.Handshake) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Accept(h)
		server.AcceptChannel()
	}()
	client.Open(h)
	client.OpenChannel(1)
	<-done
}

// hello is a message to the queue q.
func hello(text string) *amqptest.Content {
	return &amqptest.Content{Method: &amqp091.BasicPublish{RoutingKey: "q"}, Body: []byte(text)}
}

// ack is a method.
func ack(tag uint64) *amqp091.BasicAck { return &amqp091.BasicAck{DeliveryTag: tag} }

// failing is a TB that keeps the message of Fatal.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper() {}

func (f *failing) Cleanup(func()) {}

func (f *failing) Fatal(args ...any) {
	f.message = fmt.Sprint(args...)
	runtime.Goexit()
}

func (f *failing) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }

func (f *failing) Errorf(format string, args ...any) { f.message = fmt.Sprintf(format, args...) }

// failure returns the message with which do fails a test.
func failure(t *testing.T, do func(tb testing.TB)) string {
	t.Helper()
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(f)
	}()
	<-done
	return f.message
}
