package interop

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
)

// routingFacts are about exchanges.
var routingFacts = []fact{
	{"topic", func(s *script) {
		s.exchange(s.x, "topic", nil)
		patterns := []string{"#", "", "#.#", "*", "*.*", "a", "a.#", "a.*", "#.a", "#.a.#", "*.#", "#.*", "a.*.#.b", "*.a", "a.b.#"}
		for _, p := range patterns {
			s.declare(s.q+"|"+p, nil)
			s.bind(s.q+"|"+p, s.x, p)
		}
		for _, tt := range []struct {
			key  string
			want string // patterns apart from # and #.#, which match everything
		}{
			{"", "||a.#"[:1]},
			{"a", "*|a|a.#|#.a|#.a.#|*.#|#.*"},
			{"b", "*|*.#|#.*"},
			{"a.", "*.*|a.#|a.*|#.a.#|*.#|#.*"},
			{".a", "*.*|#.a|#.a.#|*.#|#.*|*.a"},
			{"a.b", "*.*|a.#|a.*|#.a.#|*.#|#.*|a.b.#"},
			{"a.b.c", "a.#|#.a.#|*.#|#.*|a.b.#"},
			{"a.x.b", "a.#|#.a.#|*.#|#.*|a.*.#.b"},
			{"a.x.y.b", "a.#|#.a.#|*.#|#.*|a.*.#.b"},
			{"*", "*|*.#|#.*"},
			{"#", "*|*.#|#.*"},
			{"a.#", "*.*|a.#|a.*|#.a.#|*.#|#.*"},
		} {
			s.publish(s.x, tt.key, nil, "x")
			s.sync()
			want := strings.Split(tt.want, "|")
			if tt.key == "" {
				want = []string{""}
			}
			want = append(want, "#", "#.#")
			s.becomes(s.q+"|#", 1)
			for _, p := range patterns {
				got := s.call("queue.purge", "queue", s.q+"|"+p).Int("message-count") == 1
				if got != slices.Contains(want, p) {
					s.Errorf("key %q, pattern %q: %v", tt.key, p, got)
				}
			}
		}
	}},
	{"a message comes once to a queue", func(s *script) {
		s.exchange(s.x, "topic", nil)
		s.declare(s.q, nil)
		s.bind(s.q, s.x, "a.*")
		s.bind(s.q, s.x, "#")
		s.bind(s.q, s.x, "#") // again
		s.publish(s.x, "a.b", nil, "x")
		s.sync()
		s.becomes(s.q, 1)
		s.call("queue.unbind", "queue", s.q, "exchange", s.x, "routing-key", "#")
		s.publish(s.x, "b", nil, "x")
		s.sync()
		s.equal("messages", s.count(s.q), 1)
	}},
	{"headers", func(s *script) {
		s.exchange(s.x, "headers", nil)
		for i, tt := range []struct {
			args    amqpraw.Table
			headers amqpraw.Table
			want    bool
		}{
			{amqpraw.Table{"x-match": "all", "a": 1, "b": "two"}, amqpraw.Table{"a": 1, "b": "two", "c": 3}, true},
			{amqpraw.Table{"x-match": "all", "a": 1, "b": "two"}, amqpraw.Table{"a": 1}, false},
			{amqpraw.Table{"a": 1, "b": "two"}, amqpraw.Table{"a": 1}, false}, // all is the default
			{amqpraw.Table{"x-match": "any", "a": 1, "b": "two"}, amqpraw.Table{"b": "two"}, true},
			{amqpraw.Table{"x-match": "any", "a": 1, "b": "two"}, amqpraw.Table{"a": 2}, false},
			{amqpraw.Table{"x-match": "all"}, amqpraw.Table{}, true},
			{amqpraw.Table{"x-match": "any"}, amqpraw.Table{"a": 1}, false},
			{amqpraw.Table{"x-match": "all", "a": nil}, amqpraw.Table{"a": "whatever"}, true},
			{amqpraw.Table{"x-match": "all", "a": nil}, amqpraw.Table{}, false},
			{amqpraw.Table{"x-match": "all", "a": int64(7)}, amqpraw.Table{"a": int16(7)}, true},
			{amqpraw.Table{"x-match": "all", "a": "1"}, amqpraw.Table{"a": 1}, false},
			{amqpraw.Table{"x-match": "all", "x-a": 1}, amqpraw.Table{}, true}, // x- is ignored
			{amqpraw.Table{"x-match": "all-with-x", "x-a": 1}, amqpraw.Table{}, false},
			{amqpraw.Table{"x-match": "all-with-x", "x-a": 1}, amqpraw.Table{"x-a": 1}, true},
			{amqpraw.Table{"x-match": "any-with-x", "x-a": 1, "b": 1}, amqpraw.Table{"x-a": 1}, true},
			{amqpraw.Table{"x-match": "any", "x-a": 1, "b": 1}, amqpraw.Table{"x-a": 1}, false},
		} {
			q := fmt.Sprintf("%s.%d", s.q, i)
			s.declare(q, nil)
			s.call("queue.bind", "queue", q, "exchange", s.x, "arguments", tt.args)
			s.publish(s.x, "", amqpraw.Props{"headers": tt.headers}, "x")
			s.sync()
			pause(10 * time.Millisecond)
			if got := s.count(q) == 1; got != tt.want {
				s.Errorf("%v, %v: %v", tt.args, tt.headers, got)
			}
			s.call("queue.delete", "queue", q)
		}
		s.declare(s.q, nil)
		s.refused(channelScope, 406, "PRECONDITION_FAILED - ", "queue.bind", "queue", s.q, "exchange", s.x, "arguments", amqpraw.Table{"x-match": "some"})
	}},
	{"CC and BCC", func(s *script) {
		for _, n := range []string{"to", "cc1", "cc2", "bcc"} {
			s.declare(s.q+n, nil)
		}
		s.publish("", s.q+"to", amqpraw.Props{"headers": amqpraw.Table{
			"CC": []any{s.q + "cc1", s.q + "cc2"}, "BCC": []any{s.q + "bcc"},
		}}, "x")
		for _, n := range []string{"to", "cc1", "cc2", "bcc"} {
			e := s.wait(s.q + n)
			s.equal("routing key", e.String("routing-key"), s.q+"to")
			h := e.Props["headers"].(amqpraw.Table)
			s.equal("CC", h["CC"], []any{s.q + "cc1", s.q + "cc2"})
			s.equal("BCC", h["BCC"], nil)
		}
	}},
	{"exchange to exchange", func(s *script) {
		s.exchange(s.x+".a", "direct", nil)
		s.exchange(s.x+".b", "fanout", nil)
		s.declare(s.q, nil)
		s.bind(s.q, s.x+".b", "")
		s.bind(s.q, s.x+".a", "k")
		s.call("exchange.bind", "source", s.x+".a", "destination", s.x+".b", "routing-key", "k")
		s.call("exchange.bind", "source", s.x+".b", "destination", s.x+".a", "routing-key", "k") // a cycle
		s.publish(s.x+".a", "k", nil, "x")
		s.sync()
		s.becomes(s.q, 1)
		e := s.get(s.q)
		s.equal("exchange", e.String("exchange"), s.x+".a")
		s.call("exchange.delete", "exchange", s.x+".b")
		s.publish(s.x+".a", "k", nil, "y")
		s.becomes(s.q, 1)
	}},
	{"alternate exchange", func(s *script) {
		s.exchange(s.x+".ae", "fanout", nil)
		s.exchange(s.x, "direct", amqpraw.Table{"alternate-exchange": s.x + ".ae"})
		s.declare(s.q, nil)
		s.bind(s.q, s.x+".ae", "")
		if err := s.ch.PublishMandatory(s.x, "nowhere", nil, "x"); err != nil {
			s.Fatal(err)
		}
		s.silent() // it has gone somewhere
		s.equal("exchange", s.wait(s.q).String("exchange"), s.x)
	}},
	{"mandatory", func(s *script) {
		if err := s.ch.PublishMandatory("amq.direct", s.q, amqpraw.Props{"message-id": "7"}, "x"); err != nil {
			s.Fatal(err)
		}
		e := s.next("basic.return")
		s.equal("code", e.Int("reply-code"), 312)
		s.equal("text", e.String("reply-text"), "NO_ROUTE")
		s.equal("exchange", e.String("exchange"), "amq.direct")
		s.equal("routing key", e.String("routing-key"), s.q)
		s.equal("id", e.Props["message-id"], "7")
		s.equal("body", string(e.Body), "x")
		s.publish("amq.direct", s.q, nil, "not mandatory")
		s.silent()
	}},
	{"exchanges that are there", func(s *script) {
		for name, typ := range map[string]string{
			"amq.direct": "direct", "amq.fanout": "fanout", "amq.topic": "topic", "amq.headers": "headers", "amq.match": "headers",
		} {
			s.call("exchange.declare", "exchange", name, "type", typ, "durable", true)
		}
	}},
	{"direct reply-to", func(s *script) {
		s.declare(s.q, nil)
		s.consume("amq.rabbitmq.reply-to", "", "no-ack", true)
		s.publish("", s.q, amqpraw.Props{"reply-to": "amq.rabbitmq.reply-to", "correlation-id": "1"}, "question")
		o := s.other()
		e := o.wait(s.q)
		to, _ := e.Props["reply-to"].(string)
		if !strings.HasPrefix(to, "amq.rabbitmq.reply-to.") {
			s.Fatalf("reply-to %q", to)
		}
		o.call("queue.declare", "queue", to, "passive", true)
		o.publish("", to, amqpraw.Props{"correlation-id": "1"}, "answer")
		answer := s.next("basic.deliver")
		s.equal("answer", string(answer.Body), "answer")
		s.equal("routing key", answer.String("routing-key"), to)
		o.publish("", to+"x", nil, "to nobody")
		o.sync()
		s.silent()
	}},
}

// confirmFacts are about publisher confirms.
var confirmFacts = []fact{
	{"one by one", func(s *script) {
		s.declare(s.q, nil)
		s.call("confirm.select")
		for i := range 3 {
			s.publish("", s.q, nil, "x")
			e := s.next("basic.ack")
			s.equal("tag", e.Int("delivery-tag"), i+1)
		}
	}},
	{"all of many", func(s *script) {
		s.call("queue.declare", "queue", s.q, "durable", true)
		s.call("confirm.select")
		var b []byte
		const n = 500
		for range n {
			b = amqpraw.AppendPublish(b, s.n, "", s.q, false, amqpraw.Props{"delivery-mode": 2}, []byte("x"))
		}
		s.c.Write(b)
		done := make(map[int]bool)
		low := 1
		for len(done) < n {
			e := s.next("basic.ack")
			tag := e.Int("delivery-tag")
			from := tag
			if e.Bool("multiple") {
				from = low
			}
			for i := from; i <= tag; i++ {
				if done[i] && i == tag {
					s.Fatalf("%d is confirmed twice", i)
				}
				done[i] = true
			}
			for done[low] {
				low++
			}
		}
		s.silent()
	}},
	{"what cannot be routed", func(s *script) {
		s.call("confirm.select")
		if err := s.ch.PublishMandatory("amq.direct", s.q, nil, "x"); err != nil {
			s.Fatal(err)
		}
		s.next("basic.return") // comes first
		s.equal("tag", s.next("basic.ack").Int("delivery-tag"), 1)
		s.publish("amq.direct", s.q, nil, "x")
		s.equal("tag", s.next("basic.ack").Int("delivery-tag"), 2)
	}},
	{"an error confirms nothing", func(s *script) {
		s.call("confirm.select")
		s.publish("no.such", s.q, nil, "x")
		_, err := s.ch.Next(amqpraw.Patience)
		s.isClosed(err, channelScope, 404, "NOT_FOUND - ")
	}},
}

// txFacts are about transactions.
var txFacts = []fact{
	{"commit and rollback", func(s *script) {
		s.declare(s.q, nil)
		s.call("tx.select")
		s.publish("", s.q, nil, "1")
		s.sync()
		s.equal("messages", s.count(s.q), 0)
		s.call("tx.commit")
		s.becomes(s.q, 1)
		s.publish("", s.q, nil, "2")
		s.call("tx.rollback")
		s.call("tx.commit")
		s.equal("messages", s.count(s.q), 1)
	}},
	{"acknowledgements", func(s *script) {
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "1")
		s.publish("", s.q, nil, "2")
		s.becomes(s.q, 2)
		o := s.second()
		s.call("tx.select")
		s.equal("messages", s.messages(s.q), "1 2")
		s.ch.Send("basic.ack", "delivery-tag", 1)
		s.call("tx.rollback")
		s.ch.Send("basic.ack", "delivery-tag", 2) // 1 is still unacknowledged
		s.call("tx.commit")
		s.call("channel.close", "reply-code", 200)
		o.becomes(s.q, 1)
		s.equal("left", o.messages(s.q), "1(r)")
	}},
	{"requeueing", func(s *script) {
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "1")
		s.becomes(s.q, 1)
		s.call("tx.select")
		s.get(s.q)
		s.ch.Send("basic.nack", "delivery-tag", 1, "requeue", true)
		s.sync()
		s.equal("messages", s.count(s.q), 0)
		s.call("tx.commit")
		s.becomes(s.q, 1)
	}},
	{"return before commit-ok", func(s *script) {
		s.call("tx.select")
		if err := s.ch.PublishMandatory("amq.direct", s.q, nil, "x"); err != nil {
			s.Fatal(err)
		}
		s.call("tx.commit")
		e, err := s.ch.Next(0)
		if err != nil || e.Name != "basic.return" {
			// In the queue of events already when commit-ok has come.
			s.Errorf("%s, %v", e.Name, err)
		}
	}},
}

// consumerFacts are about consumers.
var consumerFacts = []fact{
	{"name of the server", func(s *script) {
		s.declare(s.q, nil)
		a := s.call("basic.consume", "queue", s.q).String("consumer-tag")
		b := s.call("basic.consume", "queue", s.q).String("consumer-tag")
		if !strings.HasPrefix(a, "amq.ctag-") || a == b {
			s.Errorf("%q, %q", a, b)
		}
	}},
	{"in turn", func(s *script) {
		s.declare(s.q, nil)
		s.consume(s.q, "a")
		s.consume(s.q, "b")
		for range 10 {
			s.publish("", s.q, nil, "x")
		}
		s.share("5 5", "a", "b")
	}},
	{"consumer priority", func(s *script) {
		s.declare(s.q, nil)
		s.call("basic.qos", "prefetch-count", 3)
		s.consume(s.q, "low", "arguments", amqpraw.Table{"x-priority": -1})
		s.consume(s.q, "none")
		s.consume(s.q, "high", "arguments", amqpraw.Table{"x-priority": 10})
		for range 7 {
			s.publish("", s.q, nil, "x")
		}
		s.share("1 3 3", "low", "none", "high")
	}},
	{"single active consumer", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-single-active-consumer": true})
		s.consume(s.q, "first")
		s.consume(s.q, "second")
		for range 4 {
			s.publish("", s.q, nil, "x")
		}
		s.share("4 0", "first", "second")
		s.call("basic.cancel", "consumer-tag", "first")
		for range 2 {
			s.publish("", s.q, nil, "x")
		}
		s.share("2", "second")
		s.refused(channelScope, 403, "ACCESS_REFUSED - ", "basic.consume", "queue", s.q, "exclusive", true)
	}},
	{"cancelled with the queue", func(s *script) {
		s.declare(s.q, nil)
		s.consume(s.q, "c")
		s.other().call("queue.delete", "queue", s.q)
		s.equal("tag", s.next("basic.cancel").String("consumer-tag"), "c")
		s.call("basic.cancel", "consumer-tag", "c")
	}},
	{"not told without the capability", func(s *script) {
		s.connect(amqpraw.Options{Properties: amqpraw.Table{}})
		s.declare(s.q, nil)
		s.consume(s.q, "c")
		s.other().call("queue.delete", "queue", s.q)
		s.silent()
	}},
	{"no-wait", func(s *script) {
		s.ch.Send("queue.declare", "queue", s.q, "no-wait", true)
		s.ch.Send("exchange.declare", "exchange", s.x, "type", "fanout", "no-wait", true)
		s.ch.Send("queue.bind", "queue", s.q, "exchange", s.x, "no-wait", true)
		s.ch.Send("basic.consume", "queue", s.q, "consumer-tag", "c", "no-ack", true, "no-wait", true)
		s.publish(s.x, "", nil, "x")
		s.equal("delivered", s.delivered(1), "x")
		s.ch.Send("basic.cancel", "consumer-tag", "c", "no-wait", true)
		s.ch.Send("queue.purge", "queue", s.q, "no-wait", true)
		s.ch.Send("queue.delete", "queue", s.q, "no-wait", true)
		s.ch.Send("exchange.delete", "exchange", s.x, "no-wait", true)
		s.ch.Send("confirm.select", "no-wait", true)
		s.publish("", "nowhere", nil, "x")
		s.next("basic.ack")
		s.refused(channelScope, 404, "NOT_FOUND - ", "queue.declare", "queue", s.q, "passive", true)
	}},
	{"properties come as they went", func(s *script) {
		s.declare(s.q, nil)
		p := amqpraw.Props{
			"content-type": "text/plain", "content-encoding": "utf-8", "delivery-mode": uint8(1), "priority": uint8(3), "correlation-id": "c",
			"reply-to": "r", "message-id": "m", "timestamp": time.Unix(1e9, 0).UTC(), "type": "t", "user-id": "guest", "app-id": "a", "cluster-id": "x",
			"headers": amqpraw.Table{
				"nil": nil, "bool": true, "b": int8(-1), "B": uint8(200), "s": int16(-2), "u": uint16(3), "I": int32(-4), "i": uint32(5),
				"l": int64(-6), "f": float32(1.5), "d": 2.5, "D": amqpraw.Decimal{Scale: 2, Value: 314}, "S": "text", "x": []byte{0, 1},
				"T": time.Unix(1e9, 0).UTC(), "F": amqpraw.Table{"a": "b"}, "A": []any{int32(1), "two", amqpraw.Table{}},
			},
		}
		s.publish("", s.q, p, "x")
		s.equal("properties", s.wait(s.q).Props, p)
	}},
	{"bodies of every size", func(s *script) {
		s.declare(s.q, nil)
		s.consume(s.q, "c", "no-ack", true)
		for _, n := range []int{0, 1, 4087, 4088, 4089, 131063, 131064, 131065, 300000} {
			body := strings.Repeat("0123456789abcde", n/15+1)[:n]
			s.publish("", s.q, nil, body)
			if e := s.next("basic.deliver"); string(e.Body) != body {
				s.Errorf("%d bytes became %d", n, len(e.Body))
			}
		}
	}},
}

// delayedFacts are about the exchange of that type, which RabbitMQ as Debian has it does not have.
var delayedFacts = []fact{
	{"later", func(s *script) {
		s.delayed()
		// All at once: how far apart the broker reads them must not make up for their delays.
		var b []byte
		for _, m := range []struct {
			body  string
			delay any
		}{{"third", 6000}, {"second", int64(3000)}, {"first", 0}} {
			b = amqpraw.AppendPublish(b, s.n, s.x, "k", false, amqpraw.Props{"headers": amqpraw.Table{"x-delay": m.delay}}, []byte(m.body))
		}
		begin := time.Now()
		if err := s.c.Write(b); err != nil {
			s.Fatal(err)
		}
		s.consume(s.q, "c", "no-ack", true)
		s.equal("order", s.delivered(3), "first second third")
		if d := time.Since(begin); d < 6*time.Second {
			s.Errorf("after %v", d)
		}
	}},
	{"without a delay", func(s *script) {
		s.delayed()
		s.consume(s.q, "c", "no-ack", true)
		s.publish(s.x, "k", nil, "1")
		s.publish(s.x, "k", amqpraw.Props{"headers": amqpraw.Table{"x-delay": -5}}, "2")
		s.equal("order", s.delivered(2), "1 2")
	}},
	{"type is required", func(s *script) {
		s.needDelayed()
		s.refused(channelScope, 406, "PRECONDITION_FAILED - ", "exchange.declare", "exchange", s.x, "type", "x-delayed-message", "durable", true)
	}},
	{"confirmed at once", func(s *script) {
		s.delayed()
		s.call("confirm.select")
		s.publish(s.x, "k", amqpraw.Props{"headers": amqpraw.Table{"x-delay": 60000}}, "x")
		s.next("basic.ack")
		s.equal("messages", s.count(s.q), 0)
	}},
}

func (s *script) needDelayed() {
	s.Helper()
	if s.rabbitmq {
		s.Skip("RabbitMQ is without the plugin")
	}
}

// delayed declares the exchange with a queue.
func (s *script) delayed() {
	s.Helper()
	s.needDelayed()
	s.call("exchange.declare", "exchange", s.x, "type", "x-delayed-message", "durable", true, "arguments", amqpraw.Table{"x-delayed-type": "direct"})
	s.declare(s.q, nil)
	s.bind(s.q, s.x, "k")
}
