package amqptest_test

import (
	"fmt"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqptest"
)

// A client that is played by hand opens channels on streams of their own, as over QUIC. The end of a stream is that of its
// channel, and of no other.
func ExamplePeer_OpenStream() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()

	b := amqptest.NewBroker(t, &amqptest.BrokerOptions{Streams: true})
	p := b.Peer(t) // plays channel 0
	p.Open(nil)
	one, two := p.OpenStream(), p.OpenStream()
	one.OpenChannel(1)
	two.OpenChannel(2)
	one.Close()
	two.Send(2, &amqp091.QueueDeclare{Queue: "q"})
	fmt.Println(two.Receive(2, amqp091.IDQueueDeclareOK))
	// Output: queue.declare-ok(queue="q")
}
