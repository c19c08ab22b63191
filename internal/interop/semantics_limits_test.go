package interop

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// TestSemanticsAlarm holds our broker to what a RabbitMQ user can observe while memory is scarce.
func TestSemanticsAlarm(t *testing.T) {
	t.Parallel()
	scarce := withEnv(peer.Quartet(), "GOMEMLIMIT", "100KiB")
	runAlarm(t, start(t, scarce, peer.Listeners{AMQP: true}).AMQP, false)
}

// TestSemanticsAlarmOfRabbitMQ holds RabbitMQ to the same.
func TestSemanticsAlarmOfRabbitMQ(t *testing.T) {
	t.Parallel()
	scarce := withEnv(peer.RabbitMQ(), erlangArgs, "-rabbit vm_memory_high_watermark {absolute,1000000}")
	runAlarm(t, start(t, scarce, peer.Listeners{AMQP: true}).AMQP, true)
}

// TestSemanticsTimeout has consumers that take too long.
func TestSemanticsTimeout(t *testing.T) {
	t.Parallel()
	runTimeout(t, start(t, peer.Quartet(), peer.Listeners{AMQP: true}).AMQP, false)
}

// TestSemanticsTimeoutOfRabbitMQ holds RabbitMQ to the same. It looks for them once a minute, and knows no argument of a queue.
func TestSemanticsTimeoutOfRabbitMQ(t *testing.T) {
	t.Parallel()
	hasty := withEnv(peer.RabbitMQ(), erlangArgs, "-rabbit consumer_timeout 10000 -rabbit channel_tick_interval 1000")
	runTimeout(t, start(t, hasty, peer.Listeners{AMQP: true}).AMQP, true)
}

// erlangArgs is the variable with arguments of RabbitMQ's virtual machine.
const erlangArgs = "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"

// withEnv returns the broker with more in a variable of its environment.
func withEnv(b peer.Broker, name, value string) peer.Broker {
	command := b.Command
	b.Command = func(s *peer.Setup) (*exec.Cmd, error) {
		cmd, err := command(s)
		if err != nil {
			return nil, err
		}
		all := value
		for _, line := range cmd.Environ() {
			if old, ok := strings.CutPrefix(line, name+"="); ok {
				all = strings.TrimSpace(old + " " + value)
			}
		}
		cmd.Env = append(cmd.Environ(), name+"="+all)
		return cmd, nil
	}
	return b
}

func runAlarm(t *testing.T, addr string, rabbitmq bool) {
	for _, f := range alarmFacts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.run(newScript(t, addr, "", rabbitmq))
		})
	}
}

// alarmFacts are about a broker that is short of memory.
var alarmFacts = []fact{
	{"publishers are blocked and told", func(s *script) {
		s.declare(s.q, nil)
		s.call("confirm.select")
		s.publish("", s.q, nil, "1")
		e, err := s.c.Zero().Next(amqpraw.Patience)
		if err != nil || e.Name != "connection.blocked" {
			s.Fatalf("%s, %v", e.Name, err)
		}
		s.equal("reason", e.String("reason"), "low on memory")
	}},
	{"nothing that a blocked publisher sends is read", func(s *script) {
		o := s.other()
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "1")
		if e, err := s.c.Zero().Next(amqpraw.Patience); err != nil || e.Name != "connection.blocked" {
			s.Fatalf("%s, %v", e.Name, err)
		}
		s.publish("", s.q, nil, "2")
		s.ch.Send("queue.delete", "queue", s.q)
		pause(200 * time.Millisecond)
		most := 1
		if !s.rabbitmq {
			most = 2 // the one that shows that the client goes on is taken
		}
		if n := o.count(s.q); n > most {
			s.Errorf("%d messages", n)
		}
	}},
	{"consumers go on", func(s *script) {
		s.declare(s.q, nil)
		s.consume(s.q, "c")
		s.call("basic.cancel", "consumer-tag", "c")
		s.call("queue.delete", "queue", s.q)
		if e, err := s.c.Zero().Next(100 * time.Millisecond); err != amqpraw.ErrSilent {
			s.Errorf("%s, %v", e.Name, err)
		}
	}},
	{"not told without the capability", func(s *script) {
		s.connect(amqpraw.Options{Properties: amqpraw.Table{}})
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "1")
		if e, err := s.c.Zero().Next(200 * time.Millisecond); err != amqpraw.ErrSilent {
			s.Errorf("%s, %v", e.Name, err)
		}
	}},
	{"a blocked connection can be left", func(s *script) {
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "1")
		if e, err := s.c.Zero().Next(amqpraw.Patience); err != nil || e.Name != "connection.blocked" {
			s.Fatalf("%s, %v", e.Name, err)
		}
		s.c.Drop()
		s.connect(amqpraw.Options{})
		s.call("queue.delete", "queue", s.q)
	}},
}

func runTimeout(t *testing.T, addr string, rabbitmq bool) {
	for _, f := range timeoutFacts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.run(newScript(t, addr, "", rabbitmq))
		})
	}
}

// hasty declares a queue whose consumers have ten seconds, as they have with the RabbitMQ of the test.
func (s *script) hasty() {
	s.Helper()
	s.declare(s.q, amqpraw.Table{"x-consumer-timeout": 10_000})
}

const timedOut = "PRECONDITION_FAILED - delivery acknowledgement on channel %d timed out. Timeout value used: 10000 ms. " +
	"This timeout value can be configured, see consumers doc guide to learn more"

// timeoutFacts are about consumers that do not acknowledge in time.
var timeoutFacts = []fact{
	{"the channel is closed and the message comes back", func(s *script) {
		s.hasty()
		s.publish("", s.q, nil, "1")
		o := s.other()
		s.consume(s.q, "c")
		s.equal("delivered", s.delivered(1), "1")
		s.fails(channelScope, 406, fmt.Sprintf(timedOut, 1))
		o.becomes(s.q, 1)
		s.equal("left", o.messages(s.q), "1(r)")
	}},
	{"other channels go on", func(s *script) {
		s.hasty()
		s.publish("", s.q, nil, "1")
		o := s.second()
		s.consume(s.q, "c")
		s.delivered(1)
		_, err := s.ch.Next(amqpraw.Patience)
		s.isClosed(err, channelScope, 406, fmt.Sprintf(timedOut, 1))
		o.sync()
	}},
	{"basic.get, too", func(s *script) {
		s.hasty()
		s.publish("", s.q, nil, "1")
		s.becomes(s.q, 1)
		s.get(s.q)
		s.fails(channelScope, 406, fmt.Sprintf(timedOut, 1))
	}},
	{"an acknowledgement in time", func(s *script) {
		s.hasty()
		s.consume(s.q, "c")
		for i := range 5 {
			s.publish("", s.q, nil, fmt.Sprint(i))
			s.delivered(1)
			pause(2500 * time.Millisecond)
			s.ch.Send("basic.ack", "delivery-tag", i+1)
		}
		s.sync()
	}},
	{"without acknowledgements", func(s *script) {
		s.hasty()
		s.consume(s.q, "c", "no-ack", true)
		s.publish("", s.q, nil, "1")
		s.delivered(1)
		pause(12 * time.Second)
		s.sync()
	}},
}

// quorumFacts are about single active consumers and basic.get, and about returned messages of quorum queues.
var quorumFacts = []fact{
	{"delivery limit", func(s *script) {
		dead := s.q + ".dead"
		s.call("queue.declare", "queue", s.q, "durable", true, "arguments", amqpraw.Table{
			"x-queue-type": "quorum", "x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead,
		})
		s.declare(dead, nil)
		s.publish("", s.q, amqpraw.Props{"delivery-mode": 2}, "x")
		s.consume(s.q, "c")
		for i := range 3 {
			e := s.next("basic.deliver")
			s.equal("redelivered", e.Bool("redelivered"), i > 0)
			h, _ := e.Props["headers"].(amqpraw.Table)
			want := any(nil)
			if i > 0 {
				want = int64(i)
			}
			s.equal("x-delivery-count", h["x-delivery-count"], want)
			s.ch.Send("basic.nack", "delivery-tag", e.Int("delivery-tag"), "requeue", true)
		}
		e := s.wait(dead)
		d := s.deaths(e)[0]
		s.equal("reason", d["reason"], "delivery_limit")
		s.equal("count", d["count"], int64(1))
		s.equal("left", s.count(s.q), 0)
		s.call("queue.delete", "queue", s.q)
	}},
	{"a lost connection counts", func(s *script) {
		s.call("queue.declare", "queue", s.q, "durable", true, "arguments", amqpraw.Table{"x-queue-type": "quorum", "x-delivery-limit": 1})
		s.publish("", s.q, amqpraw.Props{"delivery-mode": 2}, "x")
		for range 2 {
			o := s.other()
			o.consume(s.q, "c")
			o.delivered(1)
			o.c.Drop()
		}
		o := s.other()
		for begin := time.Now(); ; pause(20 * time.Millisecond) {
			m := o.call("queue.declare", "queue", s.q, "passive", true)
			if m.Int("message-count") == 0 && m.Int("consumer-count") == 0 {
				break
			}
			if time.Since(begin) > amqpraw.Patience {
				s.Fatalf("%d messages", m.Int("message-count"))
			}
		}
		o.call("queue.delete", "queue", s.q)
	}},
	{"single active consumer and basic.get", func(s *script) {
		s.declare(s.q, amqpraw.Table{"x-single-active-consumer": true})
		s.call("basic.qos", "prefetch-count", 1)
		s.consume(s.q, "c")
		for _, b := range []string{"1", "2", "3"} {
			s.publish("", s.q, nil, b)
		}
		s.equal("the consumer", s.delivered(1), "1")
		o := s.other()
		o.becomes(s.q, 2)
		s.equal("somebody else", string(o.get(s.q).Body), "2")
		o.ch.Send("basic.ack", "delivery-tag", 1)
		o.sync()
		s.ch.Send("basic.ack", "delivery-tag", 1)
		s.equal("the consumer", s.delivered(1), "3")
	}},
}

// frameFacts are about properties that do not fit into a frame.
var frameFacts = []fact{
	{"larger than the frame size of the consumer", func(s *script) {
		s.declare(s.q, nil)
		o := *s
		o.connect(amqpraw.Options{FrameMax: 4096})
		o.consume(s.q, "c")
		s.publish("", s.q, amqpraw.Props{"headers": amqpraw.Table{"k": strings.Repeat("x", 5000)}}, "m")
		e, err := o.ch.Next(amqpraw.Patience)
		if s.rabbitmq { // it sends a frame that is larger than what the client has allowed
			if err != nil || string(e.Body) != "m" {
				s.Errorf("%s, %v", e.Name, err)
			}
			return
		}
		o.isClosed(err, channelScope, 311, "CONTENT_TOO_LARGE - ")
		s.becomes(s.q, 1) // and another consumer can have it
		s.equal("left", s.messages(s.q), "m(r)")
	}},
}

// hashFacts are about x-consistent-hash.
var hashFacts = []fact{
	{"by the routing key", func(s *script) {
		s.hashed(nil, "1", "1")
		for i := range 1000 {
			s.publish(s.x, fmt.Sprint("key", i), nil, "m")
		}
		s.sync()
		s.becomesTogether(1000)
		a, b := s.count(s.q+".0"), s.count(s.q+".1")
		if a < 300 || b < 300 {
			s.Errorf("%d and %d messages", a, b)
		}
	}},
	{"by weight", func(s *script) {
		s.hashed(nil, "1", "9")
		for i := range 1000 {
			s.publish(s.x, fmt.Sprint("key", i), nil, "m")
		}
		s.sync()
		s.becomesTogether(1000)
		if n := s.count(s.q + ".0"); n < 20 || n > 300 {
			s.Errorf("%d of 1000 messages for a tenth", n)
		}
	}},
	{"the same key to the same queue", func(s *script) {
		s.hashed(nil, "5", "5")
		for range 100 {
			s.publish(s.x, "key", nil, "m")
		}
		s.sync()
		s.becomesTogether(100)
		if a, b := s.count(s.q+".0"), s.count(s.q+".1"); a != 0 && b != 0 {
			s.Errorf("%d and %d messages", a, b)
		}
	}},
	{"by a header", func(s *script) {
		s.hashed(amqpraw.Table{"hash-header": "h"}, "1", "1")
		for i := range 400 {
			s.publish(s.x, "key", amqpraw.Props{"headers": amqpraw.Table{"h": fmt.Sprint("value", i)}}, "m")
		}
		s.sync()
		s.becomesTogether(400)
		if a, b := s.count(s.q+".0"), s.count(s.q+".1"); a < 80 || b < 80 {
			s.Errorf("%d and %d messages", a, b)
		}
	}},
	{"by a property", func(s *script) {
		s.hashed(amqpraw.Table{"hash-property": "message_id"}, "1", "1")
		for i := range 400 {
			s.publish(s.x, "key", amqpraw.Props{"message-id": fmt.Sprint("id", i)}, "m")
		}
		s.sync()
		s.becomesTogether(400)
		if a, b := s.count(s.q+".0"), s.count(s.q+".1"); a < 80 || b < 80 {
			s.Errorf("%d and %d messages", a, b)
		}
	}},
	{"weights are numbers", func(s *script) {
		s.hashed(nil)
		s.declare(s.q, nil)
		s.refused(channelScope, 406, "PRECONDITION_FAILED - ", "queue.bind", "queue", s.q, "exchange", s.x, "routing-key", "x")
	}},
	{"header or property", func(s *script) {
		s.refused(channelScope, 406, "PRECONDITION_FAILED - ", "exchange.declare", "exchange", s.x, "type", "x-consistent-hash",
			"arguments", amqpraw.Table{"hash-header": "h", "hash-property": "message_id"})
		s.refused(channelScope, 406, "PRECONDITION_FAILED - ", "exchange.declare", "exchange", s.x, "type", "x-consistent-hash",
			"arguments", amqpraw.Table{"hash-property": "no_such"})
	}},
}

// hashed declares the exchange with queues of these weights.
func (s *script) hashed(args amqpraw.Table, weights ...string) {
	s.Helper()
	s.exchange(s.x, "x-consistent-hash", args)
	for i, w := range weights {
		q := fmt.Sprintf("%s.%d", s.q, i)
		s.declare(q, nil)
		s.bind(q, s.x, w)
	}
}

// becomesTogether waits until the two queues of hashed have n messages.
func (s *script) becomesTogether(n int) {
	s.Helper()
	for begin := time.Now(); s.count(s.q+".0")+s.count(s.q+".1") != n; pause(5 * time.Millisecond) {
		if time.Since(begin) > amqpraw.Patience {
			s.Fatalf("%d and %d messages, not %d", s.count(s.q+".0"), s.count(s.q+".1"), n)
		}
	}
}
