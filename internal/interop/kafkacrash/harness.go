package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// transactionTimeout is how long a transaction may stay open. After a kill its producer may need a while.
const transactionTimeout = 10 * time.Second

// patience is how long nothing may come forward before that is a fault. It is long: on a busy machine members of a group may
// be thrown out, and the others then wait a minute for one that does not join again.
const patience = 5 * time.Minute

// partitions are the topics with their partitions.
func partitions() map[string]int32 {
	return map[string]int32{"plain": 8, "in": 4, "out": 4, "txna": 4, "txnb": 4}
}

// harness runs the gateway, its clients and the kills.
type harness struct {
	o   *options
	l   *ledger
	p   *proc
	out *os.File

	publishing atomic.Bool
	seeds      atomic.Uint64
	r          *rand.Rand // of the goroutine of kills
	actors     []actor
	running    sync.WaitGroup
	positions  map[string][]int64 // of the reader
}

func newHarness(o *options, out *os.File) *harness {
	h := &harness{o: o, l: newLedger(out), out: out, positions: make(map[string][]int64)}
	h.r = h.random()
	for topic, n := range partitions() {
		h.positions[topic] = make([]int64, n)
	}
	return h
}

// random returns a source of its own for each caller.
func (h *harness) random() *rand.Rand { return rand.New(rand.NewPCG(h.o.seed, h.seeds.Add(1))) }

func (h *harness) say(format string, args ...any) {
	if h.o.verbose {
		fmt.Fprintf(h.out, format+"\n", args...)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (h *harness) options() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(h.p.addr), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }), kgo.MetadataMinAge(50 * time.Millisecond)}
}

// client returns a client.
func (h *harness) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(h.options(), opts...)...)
	if err != nil {
		panic(err) // the options are wrong
	}
	return cl
}

// topics makes the topics.
func (h *harness) topics(ctx context.Context) error {
	cl := h.client()
	defer cl.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	for name, n := range partitions() {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, n, 1
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("topic %s: %w", t.Topic, err)
		}
	}
	return nil
}

// begin starts the clients.
func (h *harness) begin(ctx context.Context) {
	for i := range 3 {
		h.actors = append(h.actors, &producer{h: h, number: i, topic: "plain", rate: 1000, r: h.random()})
	}
	h.actors = append(h.actors, &producer{h: h, number: 3, topic: "in", moves: true, rate: 300, r: h.random()})
	for i := range 4 {
		h.actors = append(h.actors, &transactor{h: h, number: 10 + i, old: i%2 == 1, r: h.random()})
	}
	for i := range 2 {
		h.actors = append(h.actors, &mover{h: h, number: i, r: h.random()})
	}
	h.publishing.Store(true)
	for _, a := range h.actors {
		h.running.Go(func() { a.run(ctx) })
	}
}

// kills kills the gateway again and again.
func (h *harness) kills(ctx context.Context) error {
	for n := 0; n < h.o.kills && ctx.Err() == nil; {
		for range h.o.each {
			if n++; n > h.o.kills {
				break
			}
			sleep(ctx, 50*time.Millisecond+time.Duration(h.r.Int64N(int64(h.o.between))))
			if err := h.crash(ctx); err != nil {
				return err
			}
		}
		if err := h.settle(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// crash kills the gateway and starts it again, sometimes with another kill in the midst of that.
func (h *harness) crash(ctx context.Context) error {
	if h.o.calm {
		return nil
	}
	h.p.kill()
	h.l.kills++
	again := ""
	for h.r.IntN(4) == 0 {
		d := time.Duration(h.r.Int64N(int64(60 * time.Millisecond)))
		if err := h.p.exec(); err != nil {
			return err
		}
		sleep(ctx, d)
		h.p.kill()
		h.l.kills++
		again += fmt.Sprintf(", again %v after its start", d.Round(time.Millisecond))
	}
	begin := time.Now()
	if err := h.p.start(ctx); err != nil {
		h.l.fault(noStart, "kill %d: %v", h.l.kills, err)
		return err
	}
	fmt.Fprintf(h.out, time.Now().Format("15:04:05.000 ")+"kill %d%s: up in %v\n", h.l.kills, again, time.Since(begin).Round(time.Millisecond))
	return nil
}

// settle stops the load, reads all that is there and balances the account.
func (h *harness) settle(ctx context.Context) error {
	h.publishing.Store(false)
	if !h.wait(ctx, patience, h.idle) {
		h.l.fault(stuck, "producers do not come to an end")
	}
	missing, since := 1<<62, time.Now()
	for ctx.Err() == nil {
		open, err := h.read(ctx)
		if err != nil {
			return err
		}
		n := h.l.missing() + open
		if n == 0 {
			break
		}
		if n < missing {
			missing, since = n, time.Now()
		}
		if time.Since(since) > patience {
			if open > 0 {
				h.l.fault(hanging, "%d partitions", open)
			}
			break
		}
		sleep(ctx, 100*time.Millisecond)
	}
	h.l.balance()
	h.publishing.Store(true)
	return ctx.Err()
}

func (h *harness) idle() bool {
	for _, a := range h.actors {
		if !a.idle() {
			return false
		}
	}
	return true
}

// wait waits until f is true, for the time d at most.
func (h *harness) wait(ctx context.Context, d time.Duration, f func() bool) bool {
	for begin := time.Now(); time.Since(begin) < d && ctx.Err() == nil; sleep(ctx, 5*time.Millisecond) {
		if f() {
			return true
		}
	}
	return f()
}
