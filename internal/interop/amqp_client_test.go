package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// TestAMQPClient runs our client against our broker.
func TestAMQPClient(t *testing.T) {
	addr, _ := startAMQP(t)
	runAMQPClient(t, addr)
}

// TestAMQPClientOfRabbitMQ runs our client against RabbitMQ.
func TestAMQPClientOfRabbitMQ(t *testing.T) {
	p := start(t, peer.RabbitMQ(), peer.Listeners{AMQP: true})
	runAMQPClient(t, p.AMQP)
}

// TestAMQPClientRestart kills our broker while our client publishes and consumes. TestAMQPClientRestartOfRabbitMQ does the same
// to RabbitMQ, whose memory of what it has confirmed outlives the process, too.
func TestAMQPClientRestart(t *testing.T) { restartUnderClient(t, peer.Quartet()) }

func TestAMQPClientRestartOfRabbitMQ(t *testing.T) {
	t.Parallel() // it waits for RabbitMQ most of the time
	restartUnderClient(t, peer.RabbitMQ())
}

// restartUnderClient checks that every message that was published arrives, at least once, in order but for what comes again.
func restartUnderClient(t *testing.T, b peer.Broker) {
	bin := t.TempDir()
	if err := b.Prepare(t.Context(), bin); err != nil {
		missing(t, "the broker %s cannot run here: %v", b.Name, err)
	}
	p, err := peer.StartWith(t.Context(), b, bin, t.TempDir(), peer.Config{Listeners: peer.Listeners{AMQP: true}, Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // RabbitMQ starts slowly
	defer cancel()
	c, err := amqpclient091.Dial(ctx, "amqp://"+p.AMQP, &amqpclient091.Options{
		Publish: &amqpclient091.ChannelOptions{Republish: true, Window: 200},
		Backoff: amqpclient091.Backoff{Max: 100 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Declare(ctx, &amqpclient091.Topology{
		Exchanges: []amqpclient091.Exchange{{Name: "restart", Kind: "topic", Durable: true}},
		Queues:    []amqpclient091.Queue{{Name: "restart", Durable: true}, {Alias: "mine", Exclusive: true}},
		Bindings: []amqpclient091.Binding{
			{Source: "restart", Queue: "restart", Key: "#"}, {Source: "restart", Queue: "mine", Key: "last"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := c.Consume(ctx, "restart", nil)
	if err != nil {
		t.Fatal(err)
	}
	const n = 20000
	go func() {
		for i := range n {
			m := &amqpclient091.Message{
				Exchange: "restart", RoutingKey: "k", Mandatory: true, Body: fmt.Append(nil, i),
				Properties: amqp091.Properties{DeliveryMode: amqp091.Persistent},
			}
			if i == n/2 {
				p.Kill()
				if err := p.Restart(ctx); err != nil {
					t.Error(err)
				}
			}
			if _, err := c.PublishAsync(ctx, m); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	seen := make(map[int]bool)
	last, again := -1, 0
	for d, err := range consumer.Deliveries(ctx) {
		if err != nil {
			t.Fatalf("%d messages: %v", len(seen), err)
		}
		d.Ack() // a stale one comes again
		i := 0
		fmt.Sscan(string(d.Body), &i)
		if seen[i] {
			again++
		} else if i != last+1 && !d.Redelivered {
			t.Errorf("message %d after %d", i, last)
		}
		seen[i] = true
		last = i
		if len(seen) == n {
			break
		}
	}
	if err := c.Publish(ctx, &amqpclient091.Message{Exchange: "restart", RoutingKey: "last", Mandatory: true}); err != nil {
		t.Fatal(err)
	}
	if i, err := c.LookupQueue(ctx, "mine"); err != nil || i.Messages != 1 {
		t.Fatal(i, err)
	}
	t.Logf("%d messages again, %+v", again, c.Stats())
}

// amqpTest is our client on a broker of somebody.
type amqpTest struct {
	*testing.T
	ctx  context.Context
	addr string
	name string // of things at the broker that nobody else has
}

func runAMQPClient(t *testing.T, addr string) {
	for _, test := range []struct {
		name string
		run  func(*amqpTest)
	}{
		{"publish and consume", amqpPublishConsume},
		{"returned", amqpReturned},
		{"refused", amqpRefused},
		{"refused with the connection", amqpRefusedHard},
		{"nacked", amqpNacked},
		{"many", amqpMany},
		{"large", amqpLarge},
		{"get", amqpGet},
		{"requeue", amqpRequeue},
		{"cancel", amqpCancel},
		{"cancelled by the server", amqpServerCancel},
		{"transactions", amqpTransactions},
		{"call", amqpCall},
		{"topology", amqpTopology},
		{"login", amqpLogin},
		{"recovery", amqpRecovery},
		{"republish", amqpRepublish},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			t.Cleanup(cancel)
			name := fmt.Sprintf("c.%s.%d", strings.ReplaceAll(test.name, " ", "-"), os.Getpid())
			test.run(&amqpTest{T: t, ctx: ctx, addr: addr, name: name})
		})
	}
}

// dial connects. links, if it is not nil, are the network connections, which it can cut.
func (t *amqpTest) dial(o *amqpclient091.Options, links *links) *amqpclient091.Client {
	t.Helper()
	if o == nil {
		o = &amqpclient091.Options{}
	}
	if links != nil {
		o.DialContext = links.dial
	}
	o.Username, o.Password = peer.AMQPUser, peer.AMQPPassword
	o.Backoff = amqpclient091.Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond}
	c, err := amqpclient091.Dial(t.ctx, "amqp://"+t.addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// queue declares a queue that is deleted at the end.
func (t *amqpTest) queue(c *amqpclient091.Client, suffix string, args amqp091.Table) string {
	t.Helper()
	name := t.name + suffix
	if _, err := c.DeclareQueue(t.ctx, amqpclient091.Queue{Name: name, Durable: true, Arguments: args}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c, err := amqpclient091.Dial(ctx, "amqp://"+t.addr, nil)
		if err != nil {
			return
		}
		defer c.Close()
		c.DeleteQueue(ctx, name, nil)
	})
	return name
}

func (t *amqpTest) check(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// code checks the code of the server's error.
func (t *amqpTest) code(err error, code amqp091.Code) {
	t.Helper()
	if e, ok := errors.AsType[*amqp091.Error](err); !ok || e.Code != code || !e.Remote {
		t.Fatalf("error %v, want %v of the server", err, code)
	}
}

// links are network connections.
type links struct {
	mu    sync.Mutex
	conns []net.Conn
	dials atomic.Int32
}

func (l *links) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		l.dials.Add(1)
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

// cut cuts all of them.
func (l *links) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}

func amqpPublishConsume(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	s, err := c.Consume(t.ctx, q, nil)
	t.check(err)
	m := &amqpclient091.Message{
		RoutingKey: q, Mandatory: true, Body: []byte("hello"),
		Properties: amqp091.Properties{
			ContentType: "text/plain", DeliveryMode: amqp091.Persistent, MessageID: "1",
			Headers: amqp091.Table{{Key: "n", Value: int32(1)}, {Key: "s", Value: "x"}},
		},
	}
	t.check(c.Publish(t.ctx, m))
	for d, err := range s.Deliveries(t.ctx) {
		t.check(err)
		p := d.Properties()
		if string(d.Body) != "hello" || d.RoutingKey != q || d.Redelivered || p.ContentType != "text/plain" ||
			!p.Headers.Equal(m.Properties.Headers) {
			t.Fatalf("delivery %+v %+v", d, p)
		}
		t.check(d.Ack())
		if err := d.Ack(); err != amqpclient091.ErrSettled {
			t.Fatal(err)
		}
		break
	}
	t.check(s.Cancel(t.ctx))
	if i, err := c.LookupQueue(t.ctx, q); err != nil || i.Messages != 0 || i.Consumers != 0 {
		t.Fatal(i, err)
	}
	t.check(c.Shutdown(t.ctx))
}

func amqpReturned(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	var all []*amqpclient091.Publication
	for i := range 100 {
		m := &amqpclient091.Message{RoutingKey: q, Mandatory: true, Body: fmt.Append(nil, i)}
		if i%3 == 0 {
			m.RoutingKey = q + ".nowhere"
		}
		p, err := c.PublishAsync(t.ctx, m)
		t.check(err)
		all = append(all, p)
	}
	for i, p := range all {
		err := p.Wait(t.ctx)
		if i%3 != 0 {
			t.check(err)
			continue
		}
		e, ok := errors.AsType[*amqpclient091.ReturnedError](err)
		if !ok || e.Code != amqp091.NoRoute || e.RoutingKey != q+".nowhere" || !amqpclient091.SafeToRetry(err) {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	t.check(c.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q + ".nowhere"}))
}

func amqpRefused(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	err := c.Publish(t.ctx, &amqpclient091.Message{Exchange: t.name + ".no", RoutingKey: q})
	t.code(err, amqp091.NotFound)
	if !amqpclient091.SafeToRetry(err) {
		t.Fatal("not safe to retry")
	}
	t.check(c.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q, Mandatory: true}))

	ch, err := c.Channel(t.ctx, nil)
	t.check(err)
	t.code(ch.Publish(t.ctx, &amqpclient091.Message{Exchange: t.name + ".no"}), amqp091.NotFound)
	err = ch.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q})
	t.code(err, amqp091.NotFound)
	if !errors.Is(err, amqpclient091.ErrChannelClosed) || !errors.Is(err, net.ErrClosed) || !amqpclient091.SafeToRetry(err) {
		t.Fatal(err)
	}
	_, err = c.Consume(t.ctx, t.name+".no", nil)
	t.code(err, amqp091.NotFound)
	_, err = c.DeclareQueue(t.ctx, amqpclient091.Queue{Name: q})
	t.code(err, amqp091.PreconditionFailed)
	_, err = c.LookupQueue(t.ctx, t.name+".no")
	t.code(err, amqp091.NotFound)
	if _, err := c.LookupQueue(t.ctx, q); err != nil {
		t.Fatal(err)
	}
}

// RabbitMQ 3.10 closes the connection for some mistakes. They are told once, and the client goes on.
func amqpRefusedHard(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	s, err := c.Consume(t.ctx, q, nil)
	t.check(err)
	err = c.DeclareExchange(t.ctx, amqpclient091.Exchange{Name: t.name, Kind: "no-such-type"})
	if e, ok := errors.AsType[*amqp091.Error](err); !ok || !e.Remote {
		t.Fatal(err)
	}
	t.check(c.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q, Mandatory: true}))
	for d, err := range s.Deliveries(t.ctx) {
		t.check(err)
		t.check(d.Ack())
		break
	}
}

func amqpNacked(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", amqp091.Table{{Key: "x-max-length", Value: int32(1)}, {Key: "x-overflow", Value: "reject-publish"}})
	t.check(c.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q}))
	if err := c.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q}); err != amqpclient091.ErrNacked {
		t.Fatal(err)
	}
}

func amqpMany(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	const n, publishers = 5000, 4
	ch, err := c.Channel(t.ctx, &amqpclient091.ChannelOptions{Window: 100})
	t.check(err)
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for i := range n {
				p, err := ch.PublishAsync(t.ctx, &amqpclient091.Message{RoutingKey: q, Mandatory: true, Body: fmt.Append(nil, i)})
				if err != nil {
					t.Error(err)
					return
				}
				if i == n-1 {
					if err := p.Wait(t.ctx); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	s, err := c.Consume(t.ctx, q, &amqpclient091.ConsumeOptions{Prefetch: 50})
	t.check(err)
	seen := 0
	for d, err := range s.Deliveries(t.ctx) {
		t.check(err)
		t.check(d.Ack())
		if seen++; seen == n*publishers {
			break
		}
	}
	wg.Wait()
	t.check(ch.Drain(t.ctx))
	t.check(s.Cancel(t.ctx))
	if st := c.Stats(); st.Confirmed != n*publishers || st.Inflight != 0 || st.Queued != 0 {
		t.Fatalf("%+v", st)
	}
}

func amqpLarge(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	body := []byte(strings.Repeat("0123456789abcdef", 64<<10))
	t.check(c.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q, Mandatory: true, Body: body}))
	t.check(c.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q, Mandatory: true}))
	s, err := c.Consume(t.ctx, q, &amqpclient091.ConsumeOptions{Ack: amqpclient091.AckNone})
	t.check(err)
	n := 0
	for d, err := range s.Deliveries(t.ctx) {
		t.check(err)
		if n == 0 && string(d.Body) != string(body) || n == 1 && len(d.Body) != 0 {
			t.Fatal("another body")
		}
		if n++; n == 2 {
			break
		}
	}
}

func amqpGet(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	ch, err := c.Channel(t.ctx, nil)
	t.check(err)
	for i := range 3 {
		t.check(ch.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q, Body: fmt.Append(nil, i)}))
	}
	d, ok, err := ch.Get(t.ctx, q, amqpclient091.AckManual)
	if err != nil || !ok || string(d.Body) != "0" || d.Remaining != 2 {
		t.Fatal(d, ok, err)
	}
	t.check(d.Requeue())
	for i := range 3 {
		d, ok, err := ch.Get(t.ctx, q, amqpclient091.AckNone)
		if err != nil || !ok || string(d.Body) != fmt.Sprint(i) || d.Redelivered != (i == 0) {
			t.Fatal(d, ok, err)
		}
	}
	if _, ok, err := ch.Get(t.ctx, q, amqpclient091.AckManual); ok || err != nil {
		t.Fatal(ok, err)
	}
}

func amqpRequeue(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	for i := range 10 {
		t.check(c.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q, Body: fmt.Append(nil, i)}))
	}
	s, err := c.Consume(t.ctx, q, &amqpclient091.ConsumeOptions{Prefetch: 10})
	t.check(err)
	n := 0
	for d, err := range s.Deliveries(t.ctx) {
		t.check(err)
		if n++; n == 10 {
			t.check(d.Nack(amqpclient091.NackOptions{Requeue: true, Multiple: true}))
		}
		if n > 10 {
			if !d.Redelivered || string(d.Body) != fmt.Sprint(n-11) {
				t.Fatalf("delivery %d: %+v", n, d)
			}
			if n%2 == 0 {
				t.check(d.Reject())
			} else {
				t.check(d.Ack())
			}
		}
		if n == 20 {
			break
		}
	}
	t.check(s.Cancel(t.ctx))
	if i, err := c.LookupQueue(t.ctx, q); err != nil || i.Messages != 0 {
		t.Fatal(i, err)
	}
}

func amqpCancel(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	for range 20 {
		t.check(c.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q}))
	}
	s, err := c.Consume(t.ctx, q, &amqpclient091.ConsumeOptions{Prefetch: 5})
	t.check(err)
	n := 0
	for d, err := range s.Deliveries(t.ctx) {
		t.check(err)
		if n++; n == 3 {
			t.check(s.Cancel(t.ctx))
		}
		t.check(d.Ack())
	}
	if n < 3 || n > 8 {
		t.Fatal(n)
	}
	s, err = c.Consume(t.ctx, q, &amqpclient091.ConsumeOptions{Prefetch: 5})
	t.check(err)
	t.check(s.Close())
	for range s.Deliveries(t.ctx) {
		t.Fatal("delivery after Close")
	}
	t.eventually(func() bool {
		i, err := c.LookupQueue(t.ctx, q)
		return err == nil && int(i.Messages) == 20-n
	})
}

// eventually waits for something that a broker does in its own time.
func (t *amqpTest) eventually(ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.ctx.Done():
			t.Fatal("it never happens")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func amqpServerCancel(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	s, err := c.Consume(t.ctx, q, nil)
	t.check(err)
	_, err = c.DeleteQueue(t.ctx, q, nil)
	t.check(err)
	for _, err := range s.Deliveries(t.ctx) {
		if !errors.Is(err, amqpclient091.ErrCanceled) {
			t.Fatal(err)
		}
	}
	t.check(s.Cancel(t.ctx))
}

func amqpTransactions(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	ch, err := c.Channel(t.ctx, &amqpclient091.ChannelOptions{Mode: amqpclient091.Transactions})
	t.check(err)
	t.check(ch.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q}))
	t.check(ch.Rollback(t.ctx))
	t.check(ch.Publish(t.ctx, &amqpclient091.Message{RoutingKey: q, Body: []byte("2")}))
	t.check(ch.Commit(t.ctx))
	d, ok, err := ch.Get(t.ctx, q, amqpclient091.AckManual)
	if err != nil || !ok || string(d.Body) != "2" || d.Remaining != 0 {
		t.Fatal(d, ok, err)
	}
	t.check(d.Ack())
	t.check(ch.Commit(t.ctx))
	if i, err := c.LookupQueue(t.ctx, q); err != nil || i.Messages != 0 {
		t.Fatal(i, err)
	}
}

func amqpCall(t *amqpTest) {
	c := t.dial(nil, nil)
	q := t.queue(c, "", nil)
	s, err := c.Consume(t.ctx, q, &amqpclient091.ConsumeOptions{Ack: amqpclient091.AckNext})
	t.check(err)
	go func() {
		for d, err := range s.Deliveries(t.ctx) {
			if err != nil {
				return
			}
			c.Reply(t.ctx, d, &amqpclient091.Message{Body: append([]byte("re "), d.Body...)})
		}
	}()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			d, err := c.Call(t.ctx, &amqpclient091.Message{RoutingKey: q, Body: fmt.Append(nil, i)})
			if err != nil || string(d.Body) != fmt.Sprint("re ", i) {
				t.Error(d, err)
			}
		})
	}
	wg.Wait()
	_, err = c.Call(t.ctx, &amqpclient091.Message{RoutingKey: q + ".no"})
	if _, ok := errors.AsType[*amqpclient091.ReturnedError](err); !ok {
		t.Fatal(err)
	}
}

func amqpTopology(t *amqpTest) {
	c := t.dial(nil, nil)
	x, y := t.name+".x", t.name+".y"
	t.check(c.Declare(t.ctx, &amqpclient091.Topology{
		Exchanges: []amqpclient091.Exchange{{Name: x, Kind: "topic", AutoDelete: true}, {Name: y, Kind: "fanout", AutoDelete: true}},
		Queues:    []amqpclient091.Queue{{Alias: "mine", Exclusive: true}},
		Bindings:  []amqpclient091.Binding{{Source: x, Exchange: y, Key: "a.*"}, {Source: y, Queue: "mine"}},
	}))
	t.check(c.LookupExchange(t.ctx, x))
	t.check(c.Publish(t.ctx, &amqpclient091.Message{Exchange: x, RoutingKey: "a.b", Mandatory: true}))
	i, err := c.LookupQueue(t.ctx, "mine")
	if err != nil || i.Messages != 1 || !strings.HasPrefix(i.Name, "amq.gen") || c.QueueName("mine") != i.Name {
		t.Fatal(i, err)
	}
	t.check(c.Unbind(t.ctx, amqpclient091.Binding{Source: x, Exchange: y, Key: "a.*"}))
	if n, err := c.PurgeQueue(t.ctx, "mine"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	_, err = c.DeleteQueue(t.ctx, "mine", &amqpclient091.DeleteOptions{IfEmpty: true})
	t.check(err)
	t.check(c.DeleteExchange(t.ctx, y, nil))
}

func amqpLogin(t *amqpTest) {
	for _, mechanism := range []string{"PLAIN", "AMQPLAIN"} {
		c := t.dial(&amqpclient091.Options{Mechanisms: []string{mechanism}, Name: "test"}, nil)
		if i, ok := c.Info(); !ok || i.Mechanism != mechanism || i.VirtualHost != "/" || i.FrameMax == 0 {
			t.Fatalf("%+v", i)
		}
		t.check(c.Shutdown(t.ctx))
	}
	for _, u := range []string{"amqp://guest:wrong@", "amqp://"} {
		vhost := ""
		if u == "amqp://" {
			vhost = "/no-such-host"
		}
		_, err := amqpclient091.Dial(t.ctx, u+t.addr+vhost, nil)
		code := amqp091.AccessRefused
		if vhost != "" {
			code = amqp091.NotAllowed
		}
		t.code(err, code)
		if amqpclient091.DefaultRetry(err) {
			t.Fatal("tries again")
		}
	}
}

func amqpRecovery(t *amqpTest) {
	var l links
	c := t.dial(nil, &l)
	q := t.queue(c, "", nil)
	x := t.name + ".x"
	t.check(c.Declare(t.ctx, &amqpclient091.Topology{
		Exchanges: []amqpclient091.Exchange{{Name: x, AutoDelete: true}},
		Queues:    []amqpclient091.Queue{{Alias: "mine", Exclusive: true}, {Name: q + ".exclusive", Exclusive: true}},
		Bindings:  []amqpclient091.Binding{{Source: x, Queue: "mine", Key: "k"}, {Source: x, Queue: q, Key: "k"}},
	}))
	mine, err := c.Consume(t.ctx, "mine", &amqpclient091.ConsumeOptions{Prefetch: 2})
	t.check(err)
	other, err := c.Consume(t.ctx, q, nil)
	t.check(err)
	var unsettled *amqpclient091.Delivery
	for round := range 4 {
		name := c.QueueName("mine")
		for {
			err := c.Publish(t.ctx, &amqpclient091.Message{Exchange: x, RoutingKey: "k", Mandatory: true, Body: fmt.Append(nil, round)})
			if err == nil {
				break
			}
			if !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
		}
		for _, s := range []*amqpclient091.Consumer{mine, other} {
			for d, err := range s.Deliveries(t.ctx) {
				t.check(err)
				if string(d.Body) != fmt.Sprint(round) {
					t.check(d.Ack()) // unsettled in the round before
					continue
				}
				if s == mine {
					t.check(d.Ack())
				} else if unsettled = d; round%2 == 1 {
					t.check(d.Ack())
				}
				break
			}
		}
		l.cut()
		t.eventually(func() bool { return c.QueueName("mine") != name })
		t.check(c.Connected(t.ctx))
		if err := unsettled.Ack(); err != amqpclient091.ErrStale && round%2 == 0 {
			t.Fatal(err)
		}
	}
}

func amqpRepublish(t *amqpTest) {
	var l links
	c := t.dial(&amqpclient091.Options{Publish: &amqpclient091.ChannelOptions{Republish: true, Window: 500}}, &l)
	q := t.queue(c, "", nil)
	const n = 20000
	go func() {
		for i := range 10 {
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(time.Duration(i) * 10 * time.Millisecond):
			}
			l.cut()
		}
	}()
	var all []*amqpclient091.Publication
	for i := range n {
		p, err := c.PublishAsync(t.ctx, &amqpclient091.Message{RoutingKey: q, Mandatory: true, Body: fmt.Append(nil, i)})
		t.check(err)
		all = append(all, p)
	}
	for _, p := range all {
		t.check(p.Wait(t.ctx))
	}
	s, err := c.Consume(t.ctx, q, nil)
	t.check(err)
	seen := make(map[string]bool)
	last, again := -1, 0
	for d, err := range s.Deliveries(t.ctx) {
		t.check(err)
		d.Ack()
		i := 0
		fmt.Sscan(string(d.Body), &i)
		switch {
		case i == last+1:
			last = i
		case i > last && !d.Redelivered:
			t.Fatalf("message %d after %d", i, last)
		default:
			again++
		}
		seen[string(d.Body)] = true
		if len(seen) == n {
			break
		}
	}
	t.Logf("%d connections, %d messages again, %+v", l.dials.Load(), again, c.Stats())
}
