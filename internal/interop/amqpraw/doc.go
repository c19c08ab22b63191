// Package amqpraw is a few lines of AMQP 0-9-1 for tests: methods by name with their arguments by name, frames as they are on
// the wire, and a blocking client that does what it is told, legal or not. It shares no code with our codec, so that it can
// judge it. Mistakes of the caller panic.
//
//	c, err := amqpraw.Dial(addr, amqpraw.Options{})
//	ch, err := c.Channel(1)
//	ok, err := ch.Call("queue.declare", "queue", "q", "durable", true)
//	n := ok.Args["message-count"]
package amqpraw
