package amqptest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqptest"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// exampleT stands for the *testing.T that an example does not have.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper() {}

func (t *exampleT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *exampleT) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *exampleT) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (t *exampleT) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// A broker for one test, and a client of it.
func ExampleNewBroker() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	ctx := context.Background()

	b := amqptest.NewBroker(t, nil)
	client := b.Client(t, nil)
	if _, err := client.DeclareQueue(ctx, amqpclient091.Queue{Name: "jobs"}); err != nil {
		fmt.Println(err)
		return
	}
	consumer, err := client.Consume(ctx, "jobs", &amqpclient091.ConsumeOptions{Ack: amqpclient091.AckNext})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := client.Publish(ctx, &amqpclient091.Message{RoutingKey: "jobs", Body: []byte("sweep")}); err != nil {
		fmt.Println(err)
		return
	}
	for d, err := range consumer.Deliveries(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %s\n", d.RoutingKey, d.Body)
		break
	}
	// Output: jobs sweep
}

// A server is played by hand, to see what a client does when a server misbehaves: it announces a message of nine bytes,
// and sends something else after five.
func ExampleNewPeer() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	near, far := memnet.Pipe() // net.Pipe does too

	ended := make(chan error, 1)
	client, err := amqpclient091.New(&amqpclient091.Options{
		Servers: []string{"test://server"},
		Dialers: map[string]amqpclient091.DialFunc{
			"test": func(context.Context, *url.URL) (net.Conn, error) { return near, nil },
		},
		Retry: func(err error) bool { return false },
		Trace: &amqpclient091.Trace{Disconnected: func(err error) { ended <- err }},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	go client.Consume(context.Background(), "jobs", &amqpclient091.ConsumeOptions{Tag: "c"})

	server := amqptest.NewPeer(t, far)
	server.Accept(nil)
	channel := server.AcceptChannel()
	server.Receive(channel, amqp091.IDBasicQos)
	consume := server.Receive(channel, amqp091.IDBasicConsume)
	fmt.Println(consume)
	server.Send(channel, &amqp091.BasicQosOK{}, &amqp091.BasicConsumeOK{ConsumerTag: "c"})

	server.SendIllegal(channel, &amqp091.BasicDeliver{ConsumerTag: "c", DeliveryTag: 1, RoutingKey: "jobs"})
	server.SendBytes(amqp091.AppendContentHeader(nil, channel, 9, nil)...)
	server.SendBytes(amqp091.AppendBody(nil, channel, []byte("sweep"), 0)...)
	server.Send(channel, &amqp091.BasicCancel{ConsumerTag: "c"})

	fmt.Println(server.Receive(0, amqp091.IDConnectionClose).(*amqp091.ConnectionClose).ReplyCode)
	server.Send(0, &amqp091.ConnectionCloseOK{})
	server.ExpectClose()
	server.Close()
	fmt.Println(errors.Is(<-ended, &amqp091.Error{Code: amqp091.UnexpectedFrame}))
	// Output:
	// basic.consume(queue="jobs", consumer-tag="c")
	// UNEXPECTED_FRAME
	// true
}

// The first confirm is lost.
func ExampleFaults() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	near, far := memnet.Pipe()

	var faults amqptest.Faults
	lost := faults.Add(amqptest.Rule{From: amqp091.Server, Method: amqp091.IDBasicAck, Times: 1, Do: amqptest.Drop})
	client := amqptest.NewPeer(t, faults.Wrap(near, amqp091.Client))
	server := amqptest.NewPeer(t, far)
	server.Send(1, &amqp091.BasicAck{DeliveryTag: 1}, &amqp091.BasicAck{DeliveryTag: 2})
	fmt.Println(client.Receive(1, amqp091.IDBasicAck), lost())
	// Output: basic.ack(delivery-tag=2) 1
}

// A message is lost as a whole, with its content header and its body, and another one arrives in its place.
func ExampleReplace() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	near, far := memnet.Pipe()

	message := func(body string) *amqptest.Content {
		return &amqptest.Content{Method: &amqp091.BasicPublish{RoutingKey: "jobs"}, Body: []byte(body)}
	}
	var faults amqptest.Faults
	faults.Add(amqptest.Rule{Method: amqp091.IDBasicPublish, Content: true, Times: 1, Do: amqptest.Replace(message("rest"))})
	client := amqptest.NewPeer(t, faults.Wrap(near, amqp091.Client))
	server := amqptest.NewPeer(t, far)
	client.Send(1, message("sweep"))
	fmt.Println(server.ReceiveContent(1, amqp091.IDBasicPublish))
	// Output: basic.publish(routing-key="jobs") header(body-size=4) body 4:"rest"
}

// The frames of a connection as text, which Compare compares with a golden file.
func ExampleTrace() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()

	trace := amqptest.Trace{NoHandshake: true}
	broker := amqptest.NewBroker(t, &amqptest.BrokerOptions{Trace: &trace})
	client := broker.Peer(t)
	client.Open(nil)
	client.OpenChannel(1)
	client.Send(1, &amqp091.ConfirmSelect{})
	client.Expect(1, &amqp091.ConfirmSelectOK{})
	client.Send(1, &amqptest.Content{Method: &amqp091.BasicPublish{RoutingKey: "nowhere", Mandatory: true}, Body: []byte("x")})
	client.ReceiveContent(1, amqp091.IDBasicReturn)
	client.Expect(1, &amqp091.BasicAck{DeliveryTag: 1})
	fmt.Print(&trace)
	// Output:
	// C 1 channel.open()
	// S 1 channel.open-ok()
	// C 1 confirm.select()
	// S 1 confirm.select-ok()
	// C 1 basic.publish(routing-key="nowhere", mandatory)
	// C 1 header(body-size=1)
	// C 1 body 1:"x"
	// S 1 basic.return(reply-code=312, reply-text="NO_ROUTE", routing-key="nowhere")
	// S 1 header(body-size=1)
	// S 1 body 1:"x"
	// S 1 basic.ack(delivery-tag=1)
}
