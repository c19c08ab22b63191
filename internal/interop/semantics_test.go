package interop

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// TestSemantics holds our broker to what a RabbitMQ user can observe, error by error.
func TestSemantics(t *testing.T) {
	t.Parallel()
	addr, api, name := startAMQPWithAPI(t)
	runFacts(t, addr, api, name == "rabbitmq")
}

// TestSemanticsOfRabbitMQ holds RabbitMQ to the same, which tells whether the facts are true.
func TestSemanticsOfRabbitMQ(t *testing.T) {
	t.Parallel()
	p := start(t, peer.RabbitMQ(), peer.Listeners{AMQP: true, HTTP: true})
	runFacts(t, p.AMQP, p.HTTP, true)
}

// startAMQP starts the broker that AMQP clients are tested against.
func startAMQP(t *testing.T) (addr, name string) {
	t.Helper()
	addr, _, name = startAMQPWithAPI(t)
	return addr, name
}

// startAMQPWithAPI is startAMQP that returns the address of the management API, too. QUARTET_INTEROP_AMQP=host:port, and QUARTET_INTEROP_API for the other one, have a broker that runs already, and
// QUARTET_INTEROP_BROKER says whether it is RabbitMQ.
func startAMQPWithAPI(t *testing.T) (addr, api, name string) {
	t.Helper()
	name = cmp.Or(os.Getenv("QUARTET_INTEROP_BROKER"), "quartet")
	if addr := os.Getenv("QUARTET_INTEROP_AMQP"); addr != "" {
		return addr, os.Getenv("QUARTET_INTEROP_API"), name
	}
	p := startOurs(t, peer.Listeners{AMQP: true, HTTP: true})
	return p.AMQP, p.HTTP, name
}

// A fact is something that a user can observe.
type fact struct {
	name string
	run  func(s *script)
}

func runFacts(t *testing.T, addr, api string, rabbitmq bool) {
	for _, section := range []struct {
		name  string
		facts []fact
	}{
		{"Channel errors", channelErrors},
		{"Connection errors", connectionErrors},
		{"Arguments", argumentFacts},
		{"Dead letters", deadLetterFacts},
		{"TTL", ttlFacts},
		{"Length", lengthFacts},
		{"Priorities", priorityFacts},
		{"Requeue", requeueFacts},
		{"QoS", qosFacts},
		{"Routing", routingFacts},
		{"Confirms", confirmFacts},
		{"Transactions", txFacts},
		{"Consumers", consumerFacts},
		{"Delayed", delayedFacts},
		{"Groups", quorumFacts},
		{"Frames", frameFacts},
		{"Consistent hash", hashFacts},
		{"Management", managementFacts},
	} {
		t.Run(section.name, func(t *testing.T) {
			for _, f := range section.facts {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					f.run(newScript(t, addr, api, rabbitmq))
				})
			}
		})
	}
}

// Scopes of errors.
const (
	channelScope    = false
	connectionScope = true
)

// A script is one fact being checked: a connection with a channel.
type script struct {
	*testing.T
	addr, api string
	// rabbitmq says that the broker is RabbitMQ 3.10 and not ours.
	rabbitmq bool
	c        *amqpraw.Conn
	ch       *amqpraw.Channel
	// q is a name for a queue that nobody else has, x one for an exchange.
	q, x string
	// n is the number of the channel, free that of the next one of the connection.
	n    uint16
	free *uint16
}

func newScript(t *testing.T, addr, api string, rabbitmq bool) *script {
	t.Helper()
	name := fmt.Sprintf("%s.%d", strings.NewReplacer("/", ".", " ", "_").Replace(t.Name()), os.Getpid())
	if len(name) > 200 {
		name = name[len(name)-200:]
	}
	s := &script{T: t, addr: addr, api: api, rabbitmq: rabbitmq, q: "q." + name, x: "x." + name}
	s.connect(amqpraw.Options{})
	return s
}

// connect makes a new connection with a channel.
func (s *script) connect(o amqpraw.Options) {
	s.Helper()
	o.Repeats = s.rabbitmq
	c, err := amqpraw.Dial(s.addr, o)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Drop() })
	s.c, s.free = c, new(uint16)
	s.channel()
}

// other returns the script on another connection.
func (s *script) other() *script {
	s.Helper()
	o := *s
	o.connect(amqpraw.Options{})
	return &o
}

// second returns the script on another channel of the same connection.
func (s *script) second() *script {
	s.Helper()
	o := *s
	o.channel()
	return &o
}

// channel opens the next channel.
func (s *script) channel() {
	s.Helper()
	*s.free++
	s.n = *s.free
	ch, err := s.c.Channel(s.n)
	if err != nil {
		s.Fatalf("channel %d: %v", s.n, err)
	}
	s.ch = ch
}

// call calls a method that must work.
func (s *script) call(name string, args ...any) amqpraw.Method {
	s.Helper()
	m, err := s.ch.Call(name, args...)
	if err != nil {
		s.Fatalf("%s %v: %v", name, args, err)
	}
	return m
}

// declare declares a transient queue.
func (s *script) declare(name string, args amqpraw.Table) {
	s.Helper()
	s.call("queue.declare", "queue", name, "arguments", args)
}

// exchange declares a transient exchange.
func (s *script) exchange(name, typ string, args amqpraw.Table) {
	s.Helper()
	s.call("exchange.declare", "exchange", name, "type", typ, "arguments", args)
}

func (s *script) bind(queue, exchange, key string) {
	s.Helper()
	s.call("queue.bind", "queue", queue, "exchange", exchange, "routing-key", key)
}

// publish sends a message.
func (s *script) publish(exchange, key string, p amqpraw.Props, body string) {
	s.Helper()
	if err := s.ch.Publish(exchange, key, p, body); err != nil {
		s.Fatal(err)
	}
}

// sync waits until the broker has handled what was sent on the channel.
func (s *script) sync() {
	s.Helper()
	s.call("channel.flow", "active", true)
}

// refused calls a method that must fail with an error of that scope, code and begin of the text; afterwards the script has
// a new channel. %q in the text stands for the name of the queue in apostrophes.
func (s *script) refused(connection bool, code int, text, name string, args ...any) {
	s.Helper()
	_, err := s.ch.Call(name, args...)
	s.isClosed(err, connection, code, text)
}

// fails waits for an error after something that has no answer.
func (s *script) fails(connection bool, code int, text string) {
	s.Helper()
	s.isClosed(s.ch.Err(amqpraw.Patience), connection, code, text)
}

func (s *script) isClosed(err error, connection bool, code int, text string) {
	s.Helper()
	text = strings.ReplaceAll(text, "%q", "'"+s.q+"'")
	closed, ok := closedOf(err)
	switch {
	case !ok:
		s.Errorf("error %v in place of %d %s", err, code, text)
	case closed.Connection != connection || closed.Code != code || !strings.HasPrefix(closed.Text, text):
		s.Errorf("%v\nwant connection %v, %d %s", err, connection, code, text)
	}
	if ok && !closed.Connection && !connection {
		// The rest of the connection must go on.
		s.channel()
		return
	}
	s.connect(amqpraw.Options{})
}

func closedOf(err error) (*amqpraw.Closed, bool) { return errors.AsType[*amqpraw.Closed](err) }

// get takes a message.
func (s *script) get(queue string) amqpraw.Event {
	s.Helper()
	e, err := s.ch.CallContent("basic.get", "queue", queue)
	if err != nil {
		s.Fatalf("basic.get: %v", err)
	}
	if e.Name == "basic.get-empty" {
		s.Fatalf("no message in %s", queue)
	}
	return e
}

// wait takes a message that may take a while to come.
func (s *script) wait(queue string) amqpraw.Event {
	s.Helper()
	for begin := time.Now(); ; pause(5 * time.Millisecond) {
		e, err := s.ch.CallContent("basic.get", "queue", queue, "no-ack", true)
		if err != nil {
			s.Fatalf("basic.get: %v", err)
		}
		if e.Name != "basic.get-empty" {
			return e
		}
		if time.Since(begin) > amqpraw.Patience {
			s.Fatalf("no message in %s after %v", queue, amqpraw.Patience)
		}
	}
}

// pause waits; nothing but the broker's clock can tell when it is done.
func pause(d time.Duration) { <-time.After(d) }

// messages takes all messages without acknowledging and returns their bodies, with (r) when redelivered.
func (s *script) messages(queue string) string {
	s.Helper()
	var all []string
	for {
		e, err := s.ch.CallContent("basic.get", "queue", queue)
		if err != nil {
			s.Fatalf("basic.get: %v", err)
		}
		if e.Name == "basic.get-empty" {
			return strings.Join(all, " ")
		}
		all = append(all, bodyOf(e))
	}
}

func bodyOf(e amqpraw.Event) string {
	if e.Bool("redelivered") {
		return string(e.Body) + "(r)"
	}
	return string(e.Body)
}

// count returns the number of ready messages.
func (s *script) count(queue string) int {
	s.Helper()
	return s.call("queue.declare", "queue", queue, "passive", true).Int("message-count")
}

// becomes waits until a queue has n ready messages.
func (s *script) becomes(queue string, n int) {
	s.Helper()
	for begin := time.Now(); s.count(queue) != n; pause(5 * time.Millisecond) {
		if time.Since(begin) > amqpraw.Patience {
			s.Fatalf("%s has %d messages after %v, want %d", queue, s.count(queue), amqpraw.Patience, n)
		}
	}
}

// empties waits until queues are empty together and stay so for a while.
func (s *script) empties(queues ...string) {
	s.Helper()
	empty := 0 // times in a row
	for begin := time.Now(); empty < 20; pause(10 * time.Millisecond) {
		n := 0
		for _, q := range queues {
			n += s.count(q)
		}
		if empty++; n > 0 {
			empty = 0
		}
		if time.Since(begin) > amqpraw.Patience {
			s.Fatalf("the queues do not stay empty")
		}
	}
}

// refusedLogin logs in until that is refused. RabbitMQ takes note of a connection some time after it has let the client in, so
// it may let in more than its limit.
func (s *script) refusedLogin(o amqpraw.Options, code int, text string) {
	s.Helper()
	begin := time.Now()
	c, err := amqpraw.Dial(s.addr, o)
	for s.rabbitmq && err == nil && time.Since(begin) < amqpraw.Patience {
		c.Close()
		c, err = amqpraw.Dial(s.addr, o)
	}
	if err == nil {
		c.Close()
	}
	s.isClosed(err, connectionScope, code, text)
}

// consume starts a consumer.
func (s *script) consume(queue, tag string, args ...any) {
	s.Helper()
	s.call("basic.consume", append([]any{"queue", queue, "consumer-tag", tag}, args...)...)
}

// next waits for an event of that name.
func (s *script) next(name string) amqpraw.Event {
	s.Helper()
	e, err := s.ch.Next(amqpraw.Patience)
	if err != nil {
		s.Fatalf("waiting for %s: %v", name, err)
	}
	if e.Name != name {
		s.Fatalf("%s %v in place of %s", e.Name, e.Args, name)
	}
	return e
}

// delivered waits for deliveries and returns their bodies, with (r) when redelivered.
func (s *script) delivered(n int) string {
	s.Helper()
	var all []string
	for range n {
		all = append(all, bodyOf(s.next("basic.deliver")))
	}
	return strings.Join(all, " ")
}

// silent says that nothing must come for a while.
func (s *script) silent() {
	s.Helper()
	s.sync()
	if e, err := s.ch.Next(100 * time.Millisecond); err != amqpraw.ErrSilent {
		s.Fatalf("%s %v %q, %v", e.Name, e.Args, e.Body, err)
	}
}

func (s *script) equal(what string, got, want any) {
	s.Helper()
	if !reflect.DeepEqual(got, want) {
		s.Errorf("%s is %v (%T), want %v (%T)", what, got, got, want, want)
	}
}

// ended says that the broker must have closed the stream without a word.
func (s *script) ended(err error) {
	s.Helper()
	if _, ok := errors.AsType[net.Error](err); !ok && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		s.Errorf("error %v in place of the end of the stream", err)
	}
}
