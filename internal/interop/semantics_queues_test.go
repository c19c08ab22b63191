package interop

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
)

// argumentFacts are about the arguments of queues and consumers.
var argumentFacts = []fact{
	{"invalid arguments", func(s *script) {
		for _, args := range []amqpraw.Table{
			{"x-message-ttl": -1},
			{"x-message-ttl": "1000"},
			{"x-expires": 0},
			{"x-expires": -1},
			{"x-expires": "1000"},
			{"x-max-priority": 256},
			{"x-max-priority": -1},
			{"x-max-priority": "9"},
			{"x-max-length": -1},
			{"x-max-length": "9"},
			{"x-max-length-bytes": -1},
			{"x-overflow": "no-such"},
			{"x-overflow": 1},
			{"x-dead-letter-exchange": 1},
			{"x-dead-letter-routing-key": 1, "x-dead-letter-exchange": "x"},
			{"x-dead-letter-routing-key": "key"},
			{"x-queue-type": "no-such"},
			{"x-single-active-consumer": "true"},
		} {
			_, err := s.ch.Call("queue.declare", "queue", s.q, "durable", true, "arguments", args)
			if err == nil {
				s.Errorf("%v is accepted", args)
				s.call("queue.delete", "queue", s.q)
				continue
			}
			s.isClosed(err, channelScope, 406, "PRECONDITION_FAILED - ")
			if !strings.Contains(err.Error(), "invalid ") {
				s.Errorf("%v: %v", args, err)
			}
		}
	}},
	{"valid arguments", func(s *script) {
		for i, args := range []amqpraw.Table{
			{"x-foo": "unknown"},
			{"x-max-priority": 0},
			{"x-max-priority": int64(255)},
			{"x-message-ttl": 0},
			{"x-expires": uint32(60000)},
			{"x-max-length": 0},
			{"x-max-length-bytes": int64(1 << 40)},
			{"x-overflow": "drop-head"},
			{"x-overflow": "reject-publish"},
			{"x-overflow": "reject-publish-dlx"},
			{"x-queue-type": "classic"},
			{"x-single-active-consumer": true},
			{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": ""},
			{"x-message-ttl": int64(1 << 31)},
		} {
			q := fmt.Sprintf("%s.%d", s.q, i)
			if _, err := s.ch.Call("queue.declare", "queue", q, "durable", true, "arguments", args); err != nil {
				s.Errorf("%v: %v", args, err)
				s.channel()
			}
		}
	}},
	{"quorum queue that is not durable", func(s *script) {
		s.refused(channelScope, 406, "PRECONDITION_FAILED - invalid property 'non-durable' for queue %q in vhost '/'",
			"queue.declare", "queue", s.q, "arguments", amqpraw.Table{"x-queue-type": "quorum"})
	}},
	{"what clients of RabbitMQ declare", func(s *script) {
		s.call("queue.declare", "queue", s.q) // transient and not exclusive
		s.call("queue.declare", "queue", s.q+".lazy", "durable", true, "arguments", amqpraw.Table{"x-queue-mode": "lazy"})
		s.call("queue.declare", "queue", s.q+".quorum", "durable", true, "arguments", amqpraw.Table{"x-queue-type": "quorum"})
		s.call("basic.qos", "prefetch-count", 10, "global", true)
	}},
	{"auto-delete", func(s *script) {
		s.call("queue.declare", "queue", s.q, "auto-delete", true)
		s.sync()
		s.count(s.q) // without a consumer it stays
		s.consume(s.q, "c")
		s.call("basic.cancel", "consumer-tag", "c")
		s.refused(channelScope, 404, "NOT_FOUND - ", "queue.declare", "queue", s.q, "passive", true)
		s.call("exchange.declare", "exchange", s.x, "type", "fanout", "auto-delete", true)
		s.declare(s.q, nil)
		s.bind(s.q, s.x, "")
		s.call("queue.unbind", "queue", s.q, "exchange", s.x)
		s.refused(channelScope, 404, "NOT_FOUND - ", "exchange.declare", "exchange", s.x, "type", "fanout", "passive", true)
	}},
	{"durable and exclusive is transient", func(s *script) {
		s.call("queue.declare", "queue", s.q, "exclusive", true, "durable", true)
		s.call("queue.declare", "queue", s.q, "exclusive", true)
		s.refused(channelScope, 406, "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue %q in vhost '/': received 'true' but current is 'false'",
			"queue.declare", "queue", s.q, "exclusive", true, "auto-delete", true)
	}},
	{"server-named queue", func(s *script) {
		a := s.call("queue.declare", "exclusive", true).String("queue")
		b := s.call("queue.declare", "exclusive", true).String("queue")
		if !strings.HasPrefix(a, "amq.gen-") || a == b {
			s.Errorf("%q, %q", a, b)
		}
	}},
}

// deaths returns the entries of x-death without their times.
func (s *script) deaths(e amqpraw.Event) []amqpraw.Table {
	s.Helper()
	h, _ := e.Props["headers"].(amqpraw.Table)
	list, _ := h["x-death"].([]any)
	var all []amqpraw.Table
	for _, x := range list {
		d, _ := x.(amqpraw.Table)
		if _, ok := d["time"].(time.Time); !ok {
			s.Errorf("time is %v", d["time"])
		}
		delete(d, "time")
		all = append(all, d)
	}
	return all
}

// dlx declares a queue whose dead messages go to another one over an exchange.
func (s *script) dlx(args amqpraw.Table) (dead string) {
	s.Helper()
	dead = s.q + ".dead"
	all := amqpraw.Table{"x-dead-letter-exchange": s.x + ".dlx"}
	for k, v := range args {
		all[k] = v
	}
	s.exchange(s.x+".dlx", "fanout", nil)
	s.declare(s.q, all)
	s.declare(dead, nil)
	s.bind(dead, s.x+".dlx", "")
	return dead
}

// deadLetterFacts are about dead-lettering.
var deadLetterFacts = []fact{
	{"rejected", func(s *script) {
		dead := s.dlx(nil)
		s.exchange(s.x, "direct", nil)
		s.bind(s.q, s.x, "R")
		before := time.Now().Add(-2 * time.Second)
		s.publish(s.x, "R", amqpraw.Props{"content-type": "text/plain", "delivery-mode": uint8(2), "headers": amqpraw.Table{"mine": "stays"}}, "body")
		s.becomes(s.q, 1)
		s.get(s.q)
		s.ch.Send("basic.reject", "delivery-tag", 1)
		e := s.wait(dead)
		s.equal("body", string(e.Body), "body")
		s.equal("redelivered", e.Bool("redelivered"), false)
		s.equal("exchange", e.String("exchange"), s.x+".dlx")
		s.equal("routing key", e.String("routing-key"), "R")
		h := e.Props["headers"].(amqpraw.Table)
		s.equal("mine", h["mine"], "stays")
		s.equal("content type", e.Props["content-type"], "text/plain")
		s.equal("x-first-death-exchange", h["x-first-death-exchange"], s.x)
		s.equal("x-first-death-queue", h["x-first-death-queue"], s.q)
		s.equal("x-first-death-reason", h["x-first-death-reason"], "rejected")
		if !s.rabbitmq {
			s.equal("x-last-death-exchange", h["x-last-death-exchange"], s.x)
			s.equal("x-last-death-queue", h["x-last-death-queue"], s.q)
			s.equal("x-last-death-reason", h["x-last-death-reason"], "rejected")
		}
		list := h["x-death"].([]any)
		if at := list[0].(amqpraw.Table)["time"].(time.Time); at.Before(before) || at.After(time.Now().Add(time.Second)) {
			s.Errorf("time %v", at)
		}
		s.equal("x-death", s.deaths(e), []amqpraw.Table{{
			"count": int64(1), "exchange": s.x, "queue": s.q, "reason": "rejected", "routing-keys": []any{"R"},
		}})
	}},
	{"nack without requeue", func(s *script) {
		dead := s.dlx(nil)
		for _, b := range []string{"1", "2", "3"} {
			s.publish("", s.q, nil, b)
		}
		s.becomes(s.q, 3)
		s.messages(s.q)
		s.ch.Send("basic.nack", "delivery-tag", 2, "multiple", true)
		s.becomes(dead, 2)
		s.equal("dead", s.messages(dead), "1 2")
	}},
	{"expired", func(s *script) {
		dead := s.dlx(nil)
		s.publish("", s.q, amqpraw.Props{"expiration": "20"}, "x")
		e := s.wait(dead)
		s.equal("expiration", e.Props["expiration"], nil)
		s.equal("x-death", s.deaths(e), []amqpraw.Table{{
			"count": int64(1), "exchange": "", "queue": s.q, "reason": "expired", "routing-keys": []any{s.q}, "original-expiration": "20",
		}})
	}},
	{"rejected before it expired", func(s *script) {
		dead := s.dlx(nil)
		s.publish("", s.q, amqpraw.Props{"expiration": "60000"}, "x")
		s.becomes(s.q, 1)
		s.get(s.q)
		s.ch.Send("basic.reject", "delivery-tag", 1)
		e := s.wait(dead)
		s.equal("expiration", e.Props["expiration"], nil)
		if !s.rabbitmq {
			s.equal("original-expiration", s.deaths(e)[0]["original-expiration"], "60000")
		}
	}},
	{"queue too long", func(s *script) {
		dead := s.dlx(amqpraw.Table{"x-max-length": 1})
		s.publish("", s.q, nil, "1")
		s.publish("", s.q, nil, "2")
		e := s.wait(dead)
		s.equal("body", string(e.Body), "1")
		s.equal("reason", s.deaths(e)[0]["reason"], "maxlen")
		s.equal("left", s.messages(s.q), "2")
	}},
	{"routing key", func(s *script) {
		s.exchange(s.x, "direct", nil)
		s.declare(s.q, amqpraw.Table{"x-dead-letter-exchange": s.x, "x-dead-letter-routing-key": "other"})
		s.declare(s.q+".dead", nil)
		s.bind(s.q+".dead", s.x, "other")
		s.publish("", s.q, amqpraw.Props{"expiration": "1", "headers": amqpraw.Table{"CC": []any{"cc"}, "BCC": []any{"bcc"}}}, "x")
		e := s.wait(s.q + ".dead")
		s.equal("routing key", e.String("routing-key"), "other")
		h := e.Props["headers"].(amqpraw.Table)
		s.equal("CC", h["CC"], nil)
		s.equal("BCC", h["BCC"], nil)
		s.equal("routing-keys", s.deaths(e)[0]["routing-keys"], []any{s.q, "cc"})
	}},
	{"CC stays without a routing key", func(s *script) {
		s.exchange(s.x, "topic", nil)
		s.declare(s.q, amqpraw.Table{"x-dead-letter-exchange": s.x})
		s.declare(s.q+".dead", nil)
		s.bind(s.q+".dead", s.x, "cc")
		s.publish("", s.q, amqpraw.Props{"expiration": "1", "headers": amqpraw.Table{"CC": []any{"cc"}}}, "x")
		e := s.wait(s.q + ".dead")
		s.equal("routing key", e.String("routing-key"), s.q)
		s.equal("CC", e.Props["headers"].(amqpraw.Table)["CC"], []any{"cc"})
	}},
	{"counts", func(s *script) {
		// work → (reject) → retry → (ttl) → work
		work, retry := s.q+".work", s.q+".retry"
		s.declare(work, amqpraw.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": retry})
		s.declare(retry, amqpraw.Table{"x-message-ttl": 10, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": work})
		s.publish("", work, nil, "x")
		for n := int64(0); n < 3; n++ {
			s.becomes(work, 1)
			e := s.get(work)
			if n > 0 {
				s.equal("x-death", s.deaths(e), []amqpraw.Table{
					{"count": n, "exchange": "", "queue": retry, "reason": "expired", "routing-keys": []any{retry}},
					{"count": n, "exchange": "", "queue": work, "reason": "rejected", "routing-keys": []any{work}},
				})
				h := e.Props["headers"].(amqpraw.Table)
				s.equal("x-first-death-queue", h["x-first-death-queue"], work)
				s.equal("x-first-death-reason", h["x-first-death-reason"], "rejected")
			}
			s.ch.Send("basic.reject", "delivery-tag", e.Args["delivery-tag"])
		}
	}},
	{"cycle of one", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-message-ttl": 10, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": s.q})
		s.publish("", s.q, nil, "x")
		s.empties(s.q)
	}},
	{"cycle of two", func(s *script) {
		a, b := s.q+".a", s.q+".b"
		s.declare(a, amqpraw.Table{"x-message-ttl": 10, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": b})
		s.declare(b, amqpraw.Table{"x-message-ttl": 10, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": a})
		s.publish("", a, nil, "x")
		s.empties(a, b)
	}},
	{"missing exchange", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-dead-letter-exchange": "no.such"})
		s.publish("", s.q, amqpraw.Props{"expiration": "1"}, "x")
		s.becomes(s.q, 0)
		s.publish("", s.q, nil, "y")
		s.becomes(s.q, 1)
		s.get(s.q)
		s.ch.Send("basic.reject", "delivery-tag", 1)
		s.sync()
	}},
	{"deleting the queue is no death", func(s *script) {
		dead := s.dlx(nil)
		s.publish("", s.q, nil, "x")
		s.becomes(s.q, 1)
		s.call("queue.delete", "queue", s.q)
		pause(50 * time.Millisecond)
		s.equal("dead", s.count(dead), 0)
	}},
	{"purging the queue is no death", func(s *script) {
		dead := s.dlx(nil)
		s.publish("", s.q, nil, "x")
		s.becomes(s.q, 1)
		s.equal("purged", s.call("queue.purge", "queue", s.q).Int("message-count"), 1)
		pause(50 * time.Millisecond)
		s.equal("dead", s.count(dead), 0)
	}},
	{"x-death of a client", func(s *script) {
		dead := s.dlx(nil)
		forged := amqpraw.Table{"x-death": []any{amqpraw.Table{
			"count": int64(7), "exchange": "", "queue": s.q, "reason": "rejected", "routing-keys": []any{s.q}, "time": time.Unix(1e9, 0),
		}}}
		s.publish("", s.q, amqpraw.Props{"headers": forged}, "x")
		s.becomes(s.q, 1)
		s.get(s.q)
		s.ch.Send("basic.reject", "delivery-tag", 1)
		want := int64(1)
		if s.rabbitmq {
			want = 8
		}
		s.equal("count", s.deaths(s.wait(dead))[0]["count"], want)
	}},
}

// ttlFacts are about expiry.
var ttlFacts = []fact{
	{"the shorter of both", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-message-ttl": 20})
		s.publish("", s.q, amqpraw.Props{"expiration": "60000"}, "x")
		s.becomes(s.q, 0)
		s.declare(s.q+".2", amqpraw.Table{"x-message-ttl": 60000})
		s.publish("", s.q+".2", amqpraw.Props{"expiration": "20"}, "x")
		s.becomes(s.q+".2", 0)
	}},
	{"zero: now or never", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-message-ttl": 0})
		if err := s.ch.PublishMandatory("", s.q, nil, "nobody is there"); err != nil {
			s.Fatal(err)
		}
		s.silent() // and not returned
		s.equal("messages", s.count(s.q), 0)
		s.consume(s.q, "c", "no-ack", true)
		s.publish("", s.q, nil, "somebody is there")
		s.equal("delivered", s.delivered(1), "somebody is there")
	}},
	{"expiry at the head only", func(s *script) {
		dead := s.dlx(nil)
		s.publish("", s.q, nil, "stays")
		s.publish("", s.q, amqpraw.Props{"expiration": "20"}, "expires")
		s.becomes(s.q, 2)
		pause(100 * time.Millisecond)
		s.equal("messages", s.count(s.q), 2)
		s.equal("first", string(s.get(s.q).Body), "stays")
		s.becomes(dead, 1)
		s.equal("messages", s.count(s.q), 0)
	}},
	{"requeueing does not renew", func(s *script) {
		s.declare(s.q, nil)
		const ttl = 8 * time.Second
		s.publish("", s.q, amqpraw.Props{"expiration": fmt.Sprint(ttl.Milliseconds())}, "x")
		s.becomes(s.q, 1)
		s.get(s.q)
		pause(ttl + 100*time.Millisecond) // what is unacknowledged does not expire
		begin := time.Now()
		s.ch.Send("basic.nack", "delivery-tag", 1, "requeue", true)
		s.becomes(s.q, 0)
		if d := time.Since(begin); d >= ttl {
			s.Errorf("it expires after another %v", d)
		}
	}},
	{"queue expires", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-expires": 150})
		for begin := time.Now(); ; pause(200 * time.Millisecond) { // asking for it would renew it
			pause(250 * time.Millisecond)
			_, err := s.ch.Call("queue.declare", "queue", s.q, "passive", true)
			if err != nil {
				s.isClosed(err, channelScope, 404, "NOT_FOUND - ")
				break
			}
			if time.Since(begin) > amqpraw.Patience {
				s.Fatal("it does not expire")
			}
		}
	}},
	{"a consumer keeps the queue", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-expires": 8000})
		s.consume(s.q, "c")
		pause(9 * time.Second)
		s.count(s.q)
	}},
	{"declaring and getting keep the queue", func(s *script) {
		got, args := s.q+".got", amqpraw.Table{"x-expires": 8000}
		s.declare(s.q, args)
		s.publish("", s.q, nil, "x") // tells whether it is still the same queue
		s.declare(got, args)
		for range 5 {
			pause(2 * time.Second)
			s.declare(s.q, args)
			s.call("basic.get", "queue", got)
		}
		s.equal("what is in the queue that was declared again", s.messages(s.q), "x")
	}},
}

// lengthFacts are about the maximum length of queues.
var lengthFacts = []fact{
	{"drop the head", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-max-length": 2})
		for _, b := range []string{"1", "2", "3", "4"} {
			s.publish("", s.q, nil, b)
		}
		s.sync()
		s.becomes(s.q, 2)
		s.equal("left", s.messages(s.q), "3 4")
	}},
	{"bytes", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-max-length-bytes": 10})
		for _, b := range []string{"aaaaa", "bbbbb", "ccc"} {
			s.publish("", s.q, nil, b)
		}
		s.sync()
		s.becomes(s.q, 2)
		s.equal("left", s.messages(s.q), "bbbbb ccc")
	}},
	{"only what is ready counts", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-max-length": 2})
		s.publish("", s.q, nil, "a")
		s.publish("", s.q, nil, "b")
		s.becomes(s.q, 2)
		s.messages(s.q)
		s.publish("", s.q, nil, "c")
		s.publish("", s.q, nil, "d")
		s.becomes(s.q, 2)
		s.ch.Send("basic.nack", "delivery-tag", 0, "multiple", true, "requeue", true)
		s.sync()
		s.becomes(s.q, 2)
		s.equal("left", s.messages(s.q), "c d") // the requeued ones were the oldest
	}},
	{"reject the publisher", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
		s.declare(s.q+".free", nil)
		s.exchange(s.x, "fanout", nil)
		s.bind(s.q, s.x, "")
		s.bind(s.q+".free", s.x, "")
		s.call("confirm.select")
		s.publish(s.x, "", nil, "1")
		s.equal("first", s.next("basic.ack").Int("delivery-tag"), 1)
		s.publish(s.x, "", nil, "2")
		s.equal("second", s.next("basic.nack").Int("delivery-tag"), 2)
		s.equal("full", s.messages(s.q), "1")
		s.equal("free", s.messages(s.q+".free"), "1 2")
	}},
	{"reject the publisher and dead-letter", func(s *script) {
		dead := s.dlx(amqpraw.Table{"x-max-length": 1, "x-overflow": "reject-publish-dlx"})
		s.call("confirm.select")
		s.publish("", s.q, nil, "1")
		s.next("basic.ack")
		s.publish("", s.q, nil, "2")
		s.next("basic.nack")
		e := s.wait(dead)
		s.equal("body", string(e.Body), "2")
		s.equal("reason", s.deaths(e)[0]["reason"], "maxlen")
	}},
}

// priorityFacts are about priorities.
var priorityFacts = []fact{
	{"order", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-max-priority": 5})
		for _, m := range []struct {
			body     string
			priority int
		}{{"none", -1}, {"one", 1}, {"five", 5}, {"nine", 9}, {"zero", 0}, {"one again", 1}} {
			p := amqpraw.Props{}
			if m.priority >= 0 {
				p["priority"] = m.priority
			}
			s.publish("", s.q, p, m.body)
		}
		s.becomes(s.q, 6)
		for _, want := range []string{"five", "nine", "one", "one again", "none", "zero"} {
			e := s.get(s.q)
			s.equal("next", string(e.Body), want)
			if want == "nine" {
				s.equal("priority", e.Props["priority"], uint8(9))
			}
		}
	}},
	{"without the argument", func(s *script) {
		s.declare(s.q, nil)
		s.publish("", s.q, amqpraw.Props{"priority": 1}, "first")
		s.publish("", s.q, amqpraw.Props{"priority": 9}, "second")
		s.becomes(s.q, 2)
		s.equal("order", s.messages(s.q), "first second")
	}},
	{"requeued to its place", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-max-priority": 5})
		s.publish("", s.q, amqpraw.Props{"priority": 3}, "a")
		s.publish("", s.q, amqpraw.Props{"priority": 3}, "b")
		s.becomes(s.q, 2)
		s.get(s.q)
		s.publish("", s.q, amqpraw.Props{"priority": 5}, "c")
		s.ch.Send("basic.reject", "delivery-tag", 1, "requeue", true)
		s.becomes(s.q, 3)
		s.equal("order", s.messages(s.q), "c a(r) b")
	}},
}

// requeueFacts are about messages that come back.
var requeueFacts = []fact{
	{"to their places", func(s *script) {
		s.declare(s.q, nil)
		for i := range 6 {
			s.publish("", s.q, nil, fmt.Sprint(i+1))
		}
		s.becomes(s.q, 6)
		for i := range 4 {
			e := s.get(s.q)
			s.equal("message-count", e.Int("message-count"), 5-i)
			s.equal("redelivered", e.Bool("redelivered"), false)
		}
		s.ch.Send("basic.nack", "delivery-tag", 3, "requeue", true)
		s.ch.Send("basic.reject", "delivery-tag", 1, "requeue", true)
		s.sync()
		s.becomes(s.q, 4)
		s.equal("order", s.messages(s.q), "1(r) 3(r) 5 6")
	}},
	{"when the channel is closed", func(s *script) {
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "1")
		s.publish("", s.q, nil, "2")
		s.becomes(s.q, 2)
		o := s.second()
		s.equal("first", s.messages(s.q), "1 2")
		s.call("channel.close", "reply-code", 200)
		o.becomes(s.q, 2)
		s.equal("again", o.messages(s.q), "1(r) 2(r)")
	}},
	{"when the connection is lost", func(s *script) {
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "1")
		s.becomes(s.q, 1)
		s.consume(s.q, "c")
		s.delivered(1)
		o := s.other()
		s.c.Drop()
		o.becomes(s.q, 1)
		s.equal("again", o.messages(s.q), "1(r)")
	}},
	{"recover", func(s *script) {
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "1")
		s.publish("", s.q, nil, "2")
		s.consume(s.q, "c")
		s.equal("first", s.delivered(2), "1 2")
		s.call("basic.recover", "requeue", true)
		s.equal("again", s.delivered(2), "1(r) 2(r)")
	}},
	{"cancelling does not requeue", func(s *script) {
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "1")
		s.consume(s.q, "c")
		s.delivered(1)
		s.call("basic.cancel", "consumer-tag", "c")
		s.equal("messages", s.count(s.q), 0)
		s.ch.Send("basic.ack", "delivery-tag", 1)
		s.sync()
	}},
	{"basic.get ignores prefetch", func(s *script) {
		s.declare(s.q, nil)
		s.call("basic.qos", "prefetch-count", 1)
		s.publish("", s.q, nil, "1")
		s.publish("", s.q, nil, "2")
		s.becomes(s.q, 2)
		s.equal("both", s.messages(s.q), "1 2")
	}},
	{"of two consumers to the other", func(s *script) {
		s.declare(s.q, nil)
		s.call("basic.qos", "prefetch-count", 1)
		s.consume(s.q, "c")
		s.publish("", s.q, nil, "1")
		s.delivered(1)
		o := s.other()
		o.consume(s.q, "d")
		s.call("basic.cancel", "consumer-tag", "c")
		s.ch.Send("basic.reject", "delivery-tag", 1, "requeue", true)
		s.equal("the other", o.delivered(1), "1(r)")
	}},
}

// qosFacts are about prefetch.
var qosFacts = []fact{
	{"for each new consumer", func(s *script) {
		s.filled(10)
		s.call("basic.qos", "prefetch-count", 2)
		s.consume(s.q, "a")
		s.consume(s.q, "b")
		s.share("2 2", "a", "b")
	}},
	{"for the channel", func(s *script) {
		s.filled(10)
		s.call("basic.qos", "prefetch-count", 3, "global", true)
		s.consume(s.q, "a")
		s.share("3", "a")
		s.consume(s.q, "b")
		s.share("0", "b")
	}},
	{"both", func(s *script) {
		s.filled(10)
		s.call("basic.qos", "prefetch-count", 2)
		s.call("basic.qos", "prefetch-count", 3, "global", true) // the other way round RabbitMQ forgets this one
		s.consume(s.q, "a")
		s.share("2", "a")
		s.consume(s.q, "b")
		s.share("1", "b")
	}},
	{"consumers that were there keep theirs", func(s *script) {
		s.filled(10)
		s.call("basic.qos", "prefetch-count", 1)
		s.consume(s.q, "a")
		s.share("1", "a")
		s.call("basic.qos", "prefetch-count", 5)
		s.share("0", "a")
	}},
	{"zero is unlimited", func(s *script) {
		s.filled(500)
		s.consume(s.q, "a")
		s.share("500", "a")
	}},
	{"does not matter without acknowledgements", func(s *script) {
		s.filled(10)
		s.call("basic.qos", "prefetch-count", 2)
		s.consume(s.q, "a", "no-ack", true)
		s.share("10", "a")
	}},
	{"an acknowledgement makes room", func(s *script) {
		s.filled(10)
		s.call("basic.qos", "prefetch-count", 3)
		s.consume(s.q, "a")
		s.share("3", "a")
		s.ch.Send("basic.ack", "delivery-tag", 2, "multiple", true)
		s.share("2", "a")
	}},
}

// filled declares the queue with n messages.
func (s *script) filled(n int) {
	s.Helper()
	s.declare(s.q, nil)
	for i := range n {
		s.publish("", s.q, nil, fmt.Sprint(i+1))
	}
	s.becomes(s.q, n)
}

// share waits for n messages, after which nothing more may come, and wants each of the consumers to get so many of them as
// want says.
func (s *script) share(want string, tags ...string) {
	s.Helper()
	n := 0
	for _, f := range strings.Fields(want) {
		k, err := strconv.Atoi(f)
		if err != nil {
			s.Fatal(err)
		}
		n += k
	}
	got := make(map[string]int)
	for range n {
		got[s.next("basic.deliver").String("consumer-tag")]++
	}
	s.silent()
	var all []string
	for _, t := range tags {
		all = append(all, fmt.Sprint(got[t]))
	}
	s.equal(strings.Join(tags, ", "), strings.Join(all, " "), want)
}
