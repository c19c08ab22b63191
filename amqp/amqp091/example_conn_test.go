package amqp091_test

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// A client and a server talk to each other, without a network: the client publishes a message, the server confirms it.
func ExampleConn() {
	now := time.Unix(0, 0)
	client := amqp091.NewConn(&amqp091.Config{Role: amqp091.Client})
	server := amqp091.NewConn(&amqp091.Config{Role: amqp091.Server})
	var toServer, toClient []byte

	// onServer handles the events of the server.
	onServer := func() {
		for e, ok := server.Next(); ok; e, ok = server.Next() {
			switch e.Kind {
			case amqp091.EventSend:
				toClient, _ = e.AppendTo(toClient)
			case amqp091.EventHeader:
				server.Start(now, "PLAIN")
			case amqp091.EventStartOK:
				fmt.Println("server: login with", server.Mechanism())
				server.Tune(now)
			case amqp091.EventOpen:
				server.OpenOK(now)
			case amqp091.EventChannelOpen:
				e.Channel.OpenOK(now)
			case amqp091.EventPublish:
				fmt.Printf("server: message %d for %s: %s\n", e.Seq, e.Content.RoutingKey, e.Content.Body)
				e.Channel.Confirm(e.Seq, true)
			}
		}
		toClient = server.AppendConfirms(now, toClient)
	}

	// onClient handles the events of the client.
	onClient := func() {
		for e, ok := client.Next(); ok; e, ok = client.Next() {
			switch e.Kind {
			case amqp091.EventSend:
				toServer, _ = e.AppendTo(toServer)
			case amqp091.EventStart:
				client.StartOK(now, &amqp091.ConnectionStartOK{Mechanism: "PLAIN", Response: []byte("\x00user\x00password")})
			case amqp091.EventOpened:
				client.OpenChannel(now, "open")
			case amqp091.EventReply:
				if e.Ref != "open" {
					continue
				}
				e.Channel.Call(now, &amqp091.ConfirmSelect{NoWait: true}, nil)
				for e, ok := client.Next(); ok; e, ok = client.Next() {
					toServer, _ = e.AppendTo(toServer)
				}
				m := &amqp091.Outgoing{RoutingKey: "greetings", Body: []byte("hello")}
				if _, err := e.Channel.Publish(now, m, "hello"); err == nil {
					toServer, _ = m.AppendTo(toServer, e.Channel.ID(), client.FrameMax(), true)
				}
			case amqp091.EventConfirm:
				fmt.Println("client: confirmed", e.Refs)
			}
		}
	}

	client.Connect(now)
	onClient()
	for len(toServer) > 0 || len(toClient) > 0 {
		toServer = receive(server, now, toServer, onServer)
		toClient = receive(client, now, toClient, onClient)
	}
	// Output:
	// server: login with PLAIN
	// server: message 1 for greetings: hello
	// client: confirmed [hello]
}

// receive feeds a machine and returns what it has not taken.
func receive(c *amqp091.Conn, now time.Time, b []byte, handle func()) []byte {
	for len(b) > 0 {
		n, _ := c.Receive(now, b)
		handle()
		if n == 0 {
			break
		}
		b = b[n:]
	}
	return b
}
