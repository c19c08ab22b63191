package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// A harness runs a broker, its clients and the crashes.
type harness struct {
	o    *options
	l    *ledger
	p    *peer.Proc
	addr string
	log  io.Writer

	// generation is odd from the moment of a crash until the broker is ready again.
	generation atomic.Int64
	publishing atomic.Bool // publishers publish
	gather     atomic.Bool // every consumer is there, and nothing is given back

	done      int        // crashes
	r         *rand.Rand // of the goroutine that calls run
	seeds     atomic.Uint64
	actors    []actor
	consumers []*consumer
	definer   *definer
	running   sync.WaitGroup
}

func newHarness(o *options, log io.Writer) *harness {
	h := &harness{o: o, l: newLedger(log), log: log}
	h.r = h.random()
	return h
}

// random returns a source of its own for each caller.
func (h *harness) random() *rand.Rand { return rand.New(rand.NewPCG(h.o.seed, h.seeds.Add(1))) }

// queues are all queues, with their arguments.
func (h *harness) queues() map[string]amqpraw.Table {
	dlx := func(key string) amqpraw.Table {
		return amqpraw.Table{"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": key}
	}
	return map[string]amqpraw.Table{
		"all":     nil,
		"work":    dlx("dead"),
		"dead":    nil,
		"absent":  nil,
		"prio":    {"x-max-priority": 5},
		"ttl":     dlx("expired"),
		"expired": nil,
		"pipe":    nil,
		"piped":   nil,
		"later":   nil,
	}
}

// topology declares what the clients need.
func (h *harness) topology() error {
	c, err := amqpraw.Dial(h.addr, amqpraw.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	ch, err := c.Channel(1)
	if err != nil {
		return err
	}
	for name, args := range h.queues() {
		if _, err := ch.Call("queue.declare", "queue", name, "durable", true, "arguments", args); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		name, typ string
		args      amqpraw.Table
	}{
		{"load", "topic", nil}, {"dlx", "direct", nil}, {"delay", "x-delayed-message", amqpraw.Table{"x-delayed-type": "direct"}},
	} {
		if x.name == "delay" && !h.o.delays {
			continue
		}
		if _, err := ch.Call("exchange.declare", "exchange", x.name, "type", x.typ, "durable", true, "arguments", x.args); err != nil {
			return err
		}
	}
	for _, b := range [][3]string{
		{"all", "load", "#"},
		{"work", "load", "load.*.0"},
		{"absent", "load", "load.0.#"},
		{"absent", "load", "load.1.*"},
		{"prio", "load", "load.*.1"},
		{"dead", "dlx", "dead"},
		{"expired", "dlx", "expired"},
		{"later", "delay", "later"},
	} {
		if b[1] == "delay" && !h.o.delays {
			continue
		}
		if _, err := ch.Call("queue.bind", "queue", b[0], "exchange", b[1], "routing-key", b[2]); err != nil {
			return err
		}
	}
	return nil
}

// routes returns the queues that a message to the exchange load goes to.
func routes(publisher, topic int) []string {
	queues := []string{"all"}
	switch topic {
	case 0:
		queues = append(queues, "work")
	case 1:
		queues = append(queues, "prio")
	}
	if publisher < 2 {
		queues = append(queues, "absent")
	}
	return queues
}

// An actor is a client that publishes.
type actor interface {
	run(ctx context.Context)
	// idle reports whether it has nothing in flight.
	idle() bool
}

// populate makes the clients.
func (h *harness) populate() {
	const publishers = 6
	load := func(publisher int) (all []*stream) {
		for topic := range 3 {
			all = append(all, &stream{
				number: h.l.newStream(), exchange: "load", key: fmt.Sprintf("load.%d.%d", publisher, topic),
				queues: routes(publisher, topic), priority: topic == 1,
			})
		}
		return all
	}
	later := func() *stream {
		return &stream{number: h.l.newStream(), exchange: "delay", key: "later", queues: []string{"later"}, delayed: true}
	}
	for i := range publishers {
		p := &publisher{h: h, name: fmt.Sprintf("pub-%d", i), r: h.random(), rate: float64(h.o.rate) / publishers, streams: load(i)}
		switch i {
		case 2, 3:
			p.streams = append(p.streams, &stream{number: h.l.newStream(), key: "ttl", queues: []string{"expired"}, expires: true})
		case 4:
			if h.o.delays {
				p.streams = append(p.streams, later())
			}
		case 5:
			p.streams = append(p.streams, &stream{number: h.l.newStream(), key: "pipe", queues: []string{"pipe"}})
		}
		h.actors = append(h.actors, p)
	}
	for i := range 2 {
		t := &transactor{h: h, name: fmt.Sprintf("tx-%d", i), r: h.random(), streams: load(i)}
		if i == 0 && h.o.delays {
			t.streams = append(t.streams, later())
		}
		h.actors = append(h.actors, t)
	}
	for i := range 2 {
		h.actors = append(h.actors, &mover{h: h, name: fmt.Sprintf("mover-%d", i), r: h.random(), stream: h.l.newStream()})
	}
	for _, c := range []consumer{
		{queue: "all", prefetch: 50, ordered: true},
		{queue: "all", prefetch: 200, batch: 20, flapping: true, ordered: true},
		{queue: "work", prefetch: 20, rejects: true, ordered: true},
		{queue: "work", prefetch: 20, rejects: true, flapping: true, ordered: true},
		{queue: "absent", prefetch: 300, batch: 50, absent: true, ordered: true},
		{queue: "prio", prefetch: 10, flapping: true},
		{queue: "dead", prefetch: 10, flapping: true, from: "work"},
		{queue: "expired", prefetch: 10, flapping: true, from: "ttl"},
		{queue: "piped", prefetch: 50, flapping: true},
		{queue: "later", prefetch: 50, batch: 10, flapping: true},
	} {
		c.h, c.name, c.r = h, fmt.Sprintf("con-%d", len(h.consumers)), h.random()
		h.consumers = append(h.consumers, &c)
	}
	h.definer = newDefiner(h)
}

// start starts the clients.
func (h *harness) start(ctx context.Context) {
	h.populate()
	for _, a := range h.actors {
		h.running.Go(func() { a.run(ctx) })
	}
	for _, c := range h.consumers {
		h.running.Go(func() { c.run(ctx) })
	}
	h.running.Go(func() { h.definer.run(ctx) })
}

// connection runs a connection and judges its end.
func (h *harness) connection(ctx context.Context, name string, connect func(ctx context.Context, ch *amqpraw.Channel) (own bool, err error)) {
	generation := h.generation.Load()
	own := false
	c, err := amqpraw.Dial(h.addr, amqpraw.Options{})
	if err == nil {
		var ch *amqpraw.Channel
		if ch, err = c.Channel(1); err == nil {
			own, err = connect(ctx, ch)
		}
		c.Drop()
	}
	if err != nil && !own && ctx.Err() == nil && h.same(generation) {
		kind := cutOff
		if errors.Is(err, amqpraw.ErrSilent) {
			kind = stuck
		}
		h.l.fault(kind, "%s: %v", name, err)
		sleep(ctx, 100*time.Millisecond)
	}
	sleep(ctx, time.Millisecond)
}

// same reports whether the broker was ready in a generation and has not been killed since.
func (h *harness) same(generation int64) bool {
	return generation%2 == 0 && h.generation.Load() == generation
}

// counts returns the number of ready messages of all queues.
func (h *harness) counts() (n int, err error) {
	c, err := amqpraw.Dial(h.addr, amqpraw.Options{})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ch, err := c.Channel(1)
	if err != nil {
		return 0, err
	}
	for name := range h.queues() {
		ok, err := ch.Call("queue.declare", "queue", name, "passive", true)
		if err != nil {
			return 0, err
		}
		n += ok.Int("message-count")
	}
	return n, nil
}

// sleep waits for the time d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
