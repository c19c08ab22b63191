package amqpserver_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// TestTrace shows all frames of a connection in both directions.
func TestTrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var log []string
		note := func(what string) func(*amqpserver.Conn, amqp091.Frame) {
			return func(_ *amqpserver.Conn, f amqp091.Frame) {
				mu.Lock()
				defer mu.Unlock()
				log = append(log, what+" "+f.String())
			}
		}
		state := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, fmt.Sprintf(format, args...))
		}
		_, l := serve(t, new(queues), &amqpserver.Options{Trace: &amqpserver.Trace{
			Open:     func(*amqpserver.Conn) { state("open") },
			Opened:   func(c *amqpserver.Conn) { state("opened %s", c.User()) },
			Closed:   func(_ *amqpserver.Conn, cause error) { state("closed %v", cause) },
			Received: note("<"), Sent: note(">"),
		}})
		p := open(t, l)
		p.roundTrip2(5000)
		p.bye()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		got := strings.Join(log, "\n")
		for _, want := range []string{
			"open\n> 0 connection.start(", "\n< 0 connection.start-ok(", "\n> 0 connection.open-ok()\nopened guest\n",
			"\n< 1 basic.publish(routing-key=\"q\")\n< 1 header(body-size=5000)\n< 1 body 5000:\"xxx",
			"\n> 1 basic.deliver(consumer-tag=\"c\", delivery-tag=1, routing-key=\"q\")\n> 1 header(body-size=5000)\n> 1 body 5000:\"xxx",
			"\n< 0 connection.close(reply-code=200)\n> 0 connection.close-ok()\nclosed <nil>",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in:\n%s", want, got)
			}
		}
	})
}

// roundTrip2 is roundTrip on a channel that is open.
func (p *peer) roundTrip2(n int) {
	p.t.Helper()
	p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c", NoAck: true})
	p.next()
	p.next()
	p.publish(1, "q", strings.Repeat("x", n))
	for range 3 {
		p.next()
	}
}
