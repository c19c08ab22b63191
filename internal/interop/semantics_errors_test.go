package interop

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
)

// channelErrors are violations that close the channel and nothing else.
var channelErrors = []fact{
	{"missing queue", func(s *script) {
		const text = "NOT_FOUND - no queue %q in vhost '/'"
		s.refused(channelScope, 404, text, "queue.declare", "queue", s.q, "passive", true)
		s.refused(channelScope, 404, text, "queue.bind", "queue", s.q, "exchange", "amq.direct")
		s.refused(channelScope, 404, text, "basic.consume", "queue", s.q)
		s.refused(channelScope, 404, text, "basic.get", "queue", s.q)
		s.refused(channelScope, 404, text, "queue.purge", "queue", s.q)
	}},
	{"missing exchange", func(s *script) {
		s.declare(s.q, nil)
		const text = "NOT_FOUND - no exchange 'no.such' in vhost '/'"
		s.refused(channelScope, 404, text, "exchange.declare", "exchange", "no.such", "type", "direct", "passive", true)
		s.refused(channelScope, 404, text, "queue.bind", "queue", s.q, "exchange", "no.such")
		s.refused(channelScope, 404, text, "exchange.bind", "source", "no.such", "destination", "amq.direct")
		s.refused(channelScope, 404, text, "exchange.bind", "source", "amq.direct", "destination", "no.such")
		s.publish("no.such", "key", nil, "x")
		s.fails(channelScope, 404, text)
	}},
	{"no queue declared before", func(s *script) {
		const text = "NOT_FOUND - no previously declared queue"
		s.refused(channelScope, 404, text, "basic.consume")
		s.refused(channelScope, 404, text, "basic.get")
		s.refused(channelScope, 404, text, "queue.bind", "exchange", "amq.direct")
		s.refused(channelScope, 404, text, "queue.purge")
	}},
	{"queue declared before", func(s *script) {
		name := s.call("queue.declare", "exclusive", true).String("queue")
		if len(name) < 10 || name[:8] != "amq.gen-" {
			s.Errorf("name %q", name)
		}
		s.call("queue.bind", "exchange", "amq.direct", "routing-key", name)
		s.publish("amq.direct", name, nil, "x")
		s.equal("queue.purge", s.call("queue.purge").Int("message-count"), 1)
		s.publish("", "", nil, "nowhere") // the empty key does not mean that queue
		s.sync()
		s.equal("messages", s.count(name), 0)
	}},
	{"queue declared again", func(s *script) {
		s.call("queue.declare", "queue", s.q, "durable", true)
		s.call("queue.declare", "queue", s.q, "durable", true)
		const stem = "PRECONDITION_FAILED - inequivalent arg "
		s.refused(channelScope, 406, stem+"'durable' for queue %q in vhost '/': received 'false' but current is 'true'",
			"queue.declare", "queue", s.q)
		s.refused(channelScope, 406, stem+"'auto_delete' for queue %q in vhost '/': received 'true' but current is 'false'",
			"queue.declare", "queue", s.q, "durable", true, "auto-delete", true)
		s.refused(channelScope, 406, stem+"'x-max-length' for queue %q in vhost '/': received the value '5' of type 'signedint' but current is none",
			"queue.declare", "queue", s.q, "durable", true, "arguments", amqpraw.Table{"x-max-length": 5})
	}},
	{"queue declared again with other arguments", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-max-length": 5, "x-message-ttl": 1000, "x-dead-letter-exchange": "one"})
		s.declare(s.q, amqpraw.Table{"x-max-length": int64(5), "x-message-ttl": int16(1000), "x-dead-letter-exchange": "one"})
		const stem = "PRECONDITION_FAILED - inequivalent arg "
		s.refused(channelScope, 406, stem+"'x-max-length' for queue %q in vhost '/': received '6' but current is '5'",
			"queue.declare", "queue", s.q, "arguments", amqpraw.Table{"x-max-length": 6, "x-message-ttl": 1000, "x-dead-letter-exchange": "one"})
		s.refused(channelScope, 406, stem+"'x-dead-letter-exchange' for queue %q in vhost '/': received 'two' but current is 'one'",
			"queue.declare", "queue", s.q, "arguments", amqpraw.Table{"x-max-length": 5, "x-message-ttl": 1000, "x-dead-letter-exchange": "two"})
		s.refused(channelScope, 406, stem+"'x-message-ttl' for queue %q in vhost '/': received none but current is the value '1000' of type 'signedint'",
			"queue.declare", "queue", s.q, "arguments", amqpraw.Table{"x-max-length": 5, "x-dead-letter-exchange": "one"})
	}},
	{"exchange declared again", func(s *script) {
		s.exchange(s.x, "direct", nil)
		s.exchange(s.x, "direct", nil)
		stem := "PRECONDITION_FAILED - inequivalent arg '%s' for exchange '" + s.x + "' in vhost '/': received "
		text := func(arg, rest string) string {
			return string(bytes.Replace([]byte(stem), []byte("%s"), []byte(arg), 1)) + rest
		}
		s.refused(channelScope, 406, text("type", "'fanout' but current is 'direct'"), "exchange.declare", "exchange", s.x, "type", "fanout")
		s.refused(channelScope, 406, text("durable", "'true' but current is 'false'"), "exchange.declare", "exchange", s.x, "type", "direct", "durable", true)
		s.refused(channelScope, 406, text("auto_delete", "'true' but current is 'false'"), "exchange.declare", "exchange", s.x, "type", "direct", "auto-delete", true)
		s.refused(channelScope, 406, text("internal", "'true' but current is 'false'"), "exchange.declare", "exchange", s.x, "type", "direct", "internal", true)
		s.refused(channelScope, 406, text("alternate-exchange", "the value 'a' of type 'longstr' but current is none"),
			"exchange.declare", "exchange", s.x, "type", "direct", "arguments", amqpraw.Table{"alternate-exchange": "a"})
	}},
	{"exclusive queue of another connection", func(s *script) {
		s.call("queue.declare", "queue", s.q, "exclusive", true)
		s.call("queue.declare", "queue", s.q, "exclusive", true)
		o := s.other()
		const text = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue %q in vhost '/'"
		o.refused(channelScope, 405, text, "queue.declare", "queue", s.q, "exclusive", true)
		o.refused(channelScope, 405, text, "queue.declare", "queue", s.q, "durable", true) // before other differences
		o.refused(channelScope, 405, text, "queue.declare", "queue", s.q, "passive", true)
		o.refused(channelScope, 405, text, "basic.consume", "queue", s.q)
		o.refused(channelScope, 405, text, "basic.get", "queue", s.q)
		o.refused(channelScope, 405, text, "queue.bind", "queue", s.q, "exchange", "amq.direct")
		o.refused(channelScope, 405, text, "queue.purge", "queue", s.q)
		o.refused(channelScope, 405, text, "queue.delete", "queue", s.q)
		o.publish("", s.q, nil, "publishing is open to all")
		o.sync()
		s.becomes(s.q, 1)
		if err := s.c.Close(); err != nil {
			s.Error(err)
		}
		o.call("queue.declare", "queue", s.q) // it has gone with its connection
	}},
	{"reserved names", func(s *script) {
		s.refused(channelScope, 403, "ACCESS_REFUSED - ", "queue.declare", "queue", "amq.own")
		s.refused(channelScope, 403, "ACCESS_REFUSED - ", "exchange.declare", "exchange", "amq.own", "type", "direct")
		s.refused(channelScope, 403, "ACCESS_REFUSED - ", "exchange.delete", "exchange", "amq.direct")
		s.refused(channelScope, 403, "ACCESS_REFUSED - ", "exchange.delete", "exchange", "")
		s.refused(channelScope, 403, "ACCESS_REFUSED - ", "exchange.declare", "exchange", "", "type", "direct")
		s.declare(s.q, nil)
		s.refused(channelScope, 403, "ACCESS_REFUSED - ", "queue.bind", "queue", s.q, "exchange", "", "routing-key", "k")
		s.refused(channelScope, 403, "ACCESS_REFUSED - ", "queue.unbind", "queue", s.q, "exchange", "", "routing-key", "k")
		s.call("exchange.declare", "exchange", "amq.direct", "type", "direct", "durable", true)
		s.call("exchange.declare", "exchange", "amq.direct", "type", "direct", "passive", true)
	}},
	{"internal exchange", func(s *script) {
		s.call("exchange.declare", "exchange", s.x, "type", "fanout", "internal", true)
		s.publish(s.x, "", nil, "x")
		s.fails(channelScope, 403, "ACCESS_REFUSED - cannot publish to internal exchange '"+s.x+"' in vhost '/'")
	}},
	{"exclusive consumer", func(s *script) {
		s.declare(s.q, nil)
		s.consume(s.q, "one", "exclusive", true)
		o := s.other()
		const text = "ACCESS_REFUSED - queue %q in vhost '/' in exclusive use"
		o.refused(channelScope, 403, text, "basic.consume", "queue", s.q)
		o.refused(channelScope, 403, text, "basic.consume", "queue", s.q, "exclusive", true)
		s.call("basic.cancel", "consumer-tag", "one")
		o.consume(s.q, "two")
		s.refused(channelScope, 403, text, "basic.consume", "queue", s.q, "exclusive", true)
	}},
	{"in use and not empty", func(s *script) {
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "x")
		s.becomes(s.q, 1)
		s.refused(channelScope, 406, "PRECONDITION_FAILED - queue %q in vhost '/' not empty", "queue.delete", "queue", s.q, "if-empty", true)
		s.consume(s.q, "c")
		o := s.other()
		o.refused(channelScope, 406, "PRECONDITION_FAILED - queue %q in vhost '/' in use", "queue.delete", "queue", s.q, "if-unused", true)
		s.exchange(s.x, "direct", nil)
		s.bind(s.q, s.x, "k")
		o.refused(channelScope, 406, "PRECONDITION_FAILED - exchange '"+s.x+"' in vhost '/' in use", "exchange.delete", "exchange", s.x, "if-unused", true)
		s.next("basic.deliver")
		o.call("queue.delete", "queue", s.q)
		s.equal("cancelled", s.next("basic.cancel").String("consumer-tag"), "c")
		o.call("exchange.delete", "exchange", s.x, "if-unused", true)
	}},
	{"unknown delivery tag", func(s *script) {
		s.declare(s.q, nil)
		const text = "PRECONDITION_FAILED - unknown delivery tag "
		for _, m := range []string{"basic.ack", "basic.nack", "basic.reject"} {
			s.ch.Send(m, "delivery-tag", 7)
			s.fails(channelScope, 406, text+"7")
		}
		s.ch.Send("basic.ack", "delivery-tag", 0)
		s.fails(channelScope, 406, text+"0")
		s.publish("", s.q, nil, "x")
		s.becomes(s.q, 1)
		tag := s.get(s.q).Args["delivery-tag"]
		o := s.second()
		o.ch.Send("basic.ack", "delivery-tag", tag) // of the other channel
		o.fails(channelScope, 406, text+"1")
		s.ch.Send("basic.ack", "delivery-tag", tag)
		s.ch.Send("basic.ack", "delivery-tag", tag)
		s.fails(channelScope, 406, text+"1")
	}},
	{"tag 0 means all", func(s *script) {
		s.declare(s.q, nil)
		s.ch.Send("basic.ack", "delivery-tag", 0, "multiple", true) // nothing is outstanding
		s.sync()
		for range 3 {
			s.publish("", s.q, nil, "x")
		}
		s.becomes(s.q, 3)
		s.messages(s.q)
		s.ch.Send("basic.ack", "delivery-tag", 0, "multiple", true)
		s.call("basic.recover", "requeue", true)
		s.equal("messages", s.count(s.q), 0)
	}},
	{"bad properties", func(s *script) {
		s.declare(s.q, nil)
		for _, p := range []amqpraw.Props{
			{"expiration": "soon"},
			{"expiration": "-1"},
			{"expiration": ""},
			{"user-id": "somebody"},
			{"headers": amqpraw.Table{"CC": "not a list"}},
			{"headers": amqpraw.Table{"BCC": 7}},
			{"reply-to": "amq.rabbitmq.reply-to"},
		} {
			s.publish("", s.q, p, "x")
			s.fails(channelScope, 406, "PRECONDITION_FAILED - ")
		}
		s.publish("", s.q, amqpraw.Props{"user-id": "guest", "expiration": "60000"}, "x")
		s.sync()
		s.becomes(s.q, 1)
	}},
	{"reply consumer with acknowledgements", func(s *script) {
		s.refused(channelScope, 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge", "basic.consume", "queue", "amq.rabbitmq.reply-to")
	}},
	{"large message", func(s *script) {
		most := 16 << 20
		if s.rabbitmq {
			most = 128 << 20
		}
		if testing.Short() {
			s.Skip("it is large")
		}
		s.declare(s.q, nil)
		s.publish("", s.q, nil, string(make([]byte, most+1)))
		s.fails(channelScope, 406, "PRECONDITION_FAILED - message size ")
		s.equal("messages", s.count(s.q), 0)
	}},
	{"modes of a channel", func(s *script) {
		s.call("confirm.select")
		s.call("confirm.select")
		s.refused(channelScope, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", "tx.select")
		s.call("tx.select")
		s.call("tx.select")
		s.refused(channelScope, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", "confirm.select")
		s.refused(channelScope, 406, "PRECONDITION_FAILED - channel is not transactional", "tx.commit")
		s.refused(channelScope, 406, "PRECONDITION_FAILED - channel is not transactional", "tx.rollback")
	}},
	{"deleting what is not there", func(s *script) {
		s.call("queue.delete", "queue", "no.such")
		s.call("exchange.delete", "exchange", "no.such")
		s.declare(s.q, nil)
		s.call("queue.unbind", "queue", s.q, "exchange", "amq.direct", "routing-key", "no.such")
		s.call("queue.unbind", "queue", s.q, "exchange", "no.such", "routing-key", "k")
		s.call("queue.unbind", "queue", "no.such", "exchange", "amq.direct", "routing-key", "k")
		s.call("exchange.unbind", "source", "no.such", "destination", "amq.direct", "routing-key", "k")
		s.call("basic.cancel", "consumer-tag", "no.such")
	}},
	{"unknown exchange type", func(s *script) {
		if s.rabbitmq {
			s.refused(connectionScope, 503, "COMMAND_INVALID - ", "exchange.declare", "exchange", s.x, "type", "no.such")
		} else {
			s.refused(channelScope, 406, "PRECONDITION_FAILED - ", "exchange.declare", "exchange", s.x, "type", "no.such")
		}
	}},
	{"what comes after the error is dropped", func(s *script) {
		s.declare(s.q, nil)
		b := amqpraw.AppendMethod(nil, s.n, "queue.declare", "queue", "no.such", "passive", true)
		for range 10 {
			b = amqpraw.AppendPublish(b, s.n, "", s.q, false, nil, []byte("too late"))
		}
		s.c.Write(b)
		s.fails(channelScope, 404, "NOT_FOUND - ")
		s.sync()
		s.equal("messages", s.count(s.q), 0)
	}},
	{"a closed channel can be opened again", func(s *script) {
		_, err := s.ch.Call("queue.declare", "queue", "no.such", "passive", true)
		if err == nil {
			s.Fatal("no error")
		}
		if s.ch, err = s.c.Channel(s.n); err != nil {
			s.Fatal(err)
		}
		s.sync()
	}},
}

// connectionErrors are violations that close the connection.
var connectionErrors = []fact{
	{"consumer tag twice", func(s *script) {
		s.declare(s.q, nil)
		s.consume(s.q, "tag")
		s.refused(connectionScope, 530, "NOT_ALLOWED - attempt to reuse consumer tag 'tag'", "basic.consume", "queue", s.q, "consumer-tag", "tag")
	}},
	{"same tag on another channel", func(s *script) {
		s.declare(s.q, nil)
		s.consume(s.q, "tag")
		s.second().consume(s.q, "tag")
	}},
	{"missing virtual host", func(s *script) {
		_, err := amqpraw.Dial(s.addr, amqpraw.Options{Vhost: "no.such"})
		s.isClosed(err, connectionScope, 530, "NOT_ALLOWED - vhost no.such not found")
	}},
	{"too many channels", func(s *script) {
		s.connect(amqpraw.Options{ChannelMax: 3})
		s.channel()
		s.channel()
		_, err := s.c.Channel(4)
		s.isClosed(err, connectionScope, 530, "NOT_ALLOWED - number of channels opened (3) has reached the negotiated channel_max (3)")
	}},
	{"channel numbers are free", func(s *script) {
		s.connect(amqpraw.Options{ChannelMax: 3})
		ch, err := s.c.Channel(60000)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := ch.Call("basic.qos"); err != nil {
			s.Error(err)
		}
	}},
	{"immediate", func(s *script) {
		s.ch.Send("basic.publish", "routing-key", s.q, "immediate", true)
		s.c.Write(amqpraw.AppendContent(nil, s.n, nil, []byte("x")))
		s.fails(connectionScope, 540, "NOT_IMPLEMENTED - ")
	}},
	{"prefetch size", func(s *script) {
		s.refused(connectionScope, 540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)", "basic.qos", "prefetch-size", 1)
	}},
	{"recover without requeue", func(s *script) {
		s.refused(connectionScope, 540, "NOT_IMPLEMENTED - ", "basic.recover")
	}},
	{"flow off", func(s *script) {
		s.call("channel.flow", "active", true)
		s.refused(connectionScope, 540, "NOT_IMPLEMENTED - ", "channel.flow", "active", false)
	}},
	{"wrong frame end", func(s *script) {
		b := amqpraw.AppendMethod(nil, s.n, "basic.qos")
		b[len(b)-1] = 0xCD
		s.c.Write(b)
		s.fails(connectionScope, 501, "FRAME_ERROR - ")
	}},
	{"frame too large", func(s *script) {
		size := s.c.Tune.Int("frame-max") + 1
		s.ch.Send("basic.publish", "routing-key", s.q)
		b := amqpraw.AppendHeader(nil, s.n, uint64(size), nil)
		s.c.Write(amqpraw.AppendFrame(b, amqpraw.FrameBody, s.n, make([]byte, size)))
		s.fails(connectionScope, 501, "FRAME_ERROR - ")
	}},
	{"unknown type of frame", func(s *script) {
		s.c.Write(amqpraw.AppendFrame(nil, 5, s.n, []byte("x")))
		s.fails(connectionScope, 501, "FRAME_ERROR - ")
	}},
	{"undecodable arguments", func(s *script) {
		s.c.Write(amqpraw.AppendFrame(nil, amqpraw.FrameMethod, s.n, []byte{0, 50, 0, 10, 0, 0, 200, 'q'}))
		s.fails(connectionScope, 501, "FRAME_ERROR - ")
	}},
	{"body longer than announced", func(s *script) {
		s.ch.Send("basic.publish", "routing-key", s.q)
		b := amqpraw.AppendHeader(nil, s.n, 3, nil)
		s.c.Write(amqpraw.AppendFrame(b, amqpraw.FrameBody, s.n, []byte("four")))
		if s.rabbitmq {
			s.Skip("RabbitMQ 3.10 takes it")
		}
		s.fails(connectionScope, 501, "FRAME_ERROR - ")
	}},
	{"header without method", func(s *script) {
		s.c.Write(amqpraw.AppendHeader(nil, s.n, 3, nil))
		s.fails(connectionScope, 505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead")
	}},
	{"body without method", func(s *script) {
		s.c.Write(amqpraw.AppendFrame(nil, amqpraw.FrameBody, s.n, []byte("x")))
		s.fails(connectionScope, 505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead")
	}},
	{"method in place of a header", func(s *script) {
		s.ch.Send("basic.publish", "routing-key", s.q)
		s.ch.Send("basic.qos")
		s.fails(connectionScope, 505, "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead")
	}},
	{"method in place of a body", func(s *script) {
		s.ch.Send("basic.publish", "routing-key", s.q)
		s.c.Write(amqpraw.AppendHeader(nil, s.n, 3, nil))
		s.ch.Send("basic.qos")
		s.fails(connectionScope, 505, "UNEXPECTED_FRAME - expected content body, got non content body frame instead")
	}},
	{"header of another class", func(s *script) {
		s.ch.Send("basic.publish", "routing-key", s.q)
		b := amqpraw.AppendHeader(nil, s.n, 3, nil)
		b[8] = 50
		s.c.Write(b)
		s.fails(connectionScope, 505, "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead")
	}},
	{"heartbeat on a channel", func(s *script) {
		s.c.Write(amqpraw.AppendFrame(nil, amqpraw.FrameHeartbeat, s.n, nil))
		s.fails(connectionScope, 505, "UNEXPECTED_FRAME - ")
	}},
	{"heartbeat on channel 0", func(s *script) {
		s.c.Write(amqpraw.AppendFrame(nil, amqpraw.FrameHeartbeat, 0, nil))
		s.sync()
	}},
	{"channel that is not open", func(s *script) {
		ch := s.c.Expect(9)
		ch.Send("basic.qos")
		s.fails(connectionScope, 504, "CHANNEL_ERROR - expected 'channel.open'")
	}},
	{"channel opened twice", func(s *script) {
		s.ch.Send("channel.open")
		s.fails(connectionScope, 504, "CHANNEL_ERROR - second 'channel.open' seen")
	}},
	{"unknown mechanism", func(s *script) {
		_, err := amqpraw.Dial(s.addr, amqpraw.Options{Mechanism: "NOSUCH"})
		if s.rabbitmq {
			s.ended(err) // after three seconds
		} else if err == nil {
			s.Error("no error")
		}
	}},
	{"wrong password", func(s *script) {
		_, err := amqpraw.Dial(s.addr, amqpraw.Options{Password: "wrong"})
		s.isClosed(err, connectionScope, 403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN")
	}},
	{"wrong password of a client that does not know the error", func(s *script) {
		begin := time.Now()
		_, err := amqpraw.Dial(s.addr, amqpraw.Options{Password: "wrong", Properties: amqpraw.Table{}})
		s.ended(err)
		if d := time.Since(begin); d < 2*time.Second { // which makes guessing slow
			s.Errorf("after %v", d)
		}
	}},
	{"AMQPLAIN", func(s *script) {
		// A table without its length.
		b := amqpraw.AppendMethod(nil, 0, "connection.start-ok", "client-properties", amqpraw.Table{"LOGIN": "guest", "PASSWORD": "guest"})
		response := string(b[15 : len(b)-1-1-4-1]) // after class, method and length; before mechanism, response, locale, end
		s.connect(amqpraw.Options{Mechanism: "AMQPLAIN", Response: response})
	}},
	{"wrong protocol header", func(s *script) {
		for _, h := range []string{"AMQP\x00\x00\x08\x00", "AMQP\x00\x01\x00\x00", "AMQP\x03\x01\x00\x00", "HTTP/1.1"} {
			nc, err := net.Dial("tcp", s.addr)
			if err != nil {
				s.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(amqpraw.Patience))
			io.WriteString(nc, h)
			got, err := io.ReadAll(nc)
			if string(got) != amqpraw.Header {
				s.Errorf("after %q: %q, %v", h, got, err)
			}
		}
	}},
	{"frame size in tune-ok too large", func(s *script) {
		_, err := amqpraw.Dial(s.addr, amqpraw.Options{FrameMax: uint32(s.c.Tune.Int("frame-max")) + 1})
		if s.rabbitmq {
			s.ended(err) // after three seconds
		} else if err == nil {
			s.Error("no error")
		}
	}},
	{"what comes after connection.close is read", func(s *script) {
		// A client may have more on the way. A reset would take the answer from it.
		b := amqpraw.AppendMethod(nil, 0, "connection.close", "reply-code", 200)
		for len(b) < 4<<20 {
			b = amqpraw.AppendPublish(b, s.n, "", s.q, false, nil, make([]byte, 1000))
		}
		if err := s.c.Write(b); err != nil {
			s.Error(err)
		}
		if e, err := s.c.Zero().Reply(); e.Name != "connection.close-ok" {
			s.Errorf("%s, %v", e.Name, err)
		}
	}},
	{"what connection.start says", func(s *script) {
		p, _ := s.c.Start.Args["server-properties"].(amqpraw.Table)
		caps, _ := p["capabilities"].(amqpraw.Table)
		for _, name := range []string{
			"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
			"consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to",
		} {
			if caps[name] != true {
				s.Errorf("no capability %s", name)
			}
		}
		for _, name := range []string{"product", "version", "platform"} {
			if v, _ := p[name].(string); v == "" {
				s.Errorf("no property %s", name)
			}
		}
		s.equal("channel-max", s.c.Tune.Int("channel-max"), 2047)
		s.equal("frame-max", s.c.Tune.Int("frame-max"), 131072)
		s.equal("heartbeat", s.c.Tune.Int("heartbeat"), 60)
		s.equal("locales", s.c.Start.String("locales"), "en_US")
	}},
}
