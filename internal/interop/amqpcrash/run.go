package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// run starts the broker b, kills it as often as the options say, and returns the account. The error tells what kept it from
// doing so; faults of the broker are in the account.
func run(ctx context.Context, b peer.Broker, bin, dir string, o *options, log io.Writer) (*ledger, error) {
	o.delays = b.Name != "rabbitmq"
	h := newHarness(o, log)
	fmt.Fprintf(log, "%s, seed %d, %d kills\n", b.Name, o.seed, o.kills)
	p, err := peer.StartWith(ctx, b, bin, dir, peer.Config{Listeners: peer.Listeners{AMQP: true}, Durable: true, Args: o.args})
	if err != nil {
		return nil, err
	}
	h.p, h.addr = p, p.AMQP
	if err := h.topology(); err != nil {
		p.Stop()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	h.start(ctx)
	err = h.kills(ctx)
	cancel()
	h.running.Wait()
	p.Kill()
	if err == nil && h.l.faults.counts == nil {
		os.RemoveAll(p.Dir)
	} else {
		fmt.Fprintf(log, "files are in %s\n", p.Dir)
	}
	return h.l, err
}

// kills runs the load and kills the broker again and again.
func (h *harness) kills(ctx context.Context) error {
	h.publishing.Store(true)
	for h.done < h.o.kills && ctx.Err() == nil {
		for range h.o.each {
			sleep(ctx, 30*time.Millisecond+time.Duration(h.r.Int64N(int64(h.o.between))))
			if err := h.crash(ctx, "under load"); err != nil {
				return err
			}
			if h.done >= h.o.kills {
				break
			}
		}
		if err := h.settle(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// crash kills the broker and starts it again, sometimes with a second crash in the midst of that.
func (h *harness) crash(ctx context.Context, when string) error {
	h.done++
	if h.o.calm {
		return nil
	}
	h.generation.Add(1)
	h.p.Kill()
	h.l.kill()
	again := ""
	for h.r.IntN(4) == 0 {
		d := time.Duration(h.r.Int64N(int64(60 * time.Millisecond)))
		if err := h.p.Exec(); err != nil {
			return err
		}
		sleep(ctx, d)
		h.p.Kill()
		h.l.kill()
		again += fmt.Sprintf(", again %v after its start", d.Round(time.Millisecond))
	}
	begin := time.Now()
	if err := h.p.Restart(ctx); err != nil {
		h.l.fault(noStart, "crash %d: %v", h.l.crashes(), err)
		return err
	}
	up := time.Since(begin)
	h.generation.Add(1)
	if err := h.definer.check(); err != nil {
		h.l.fault(cutOff, "definitions: %v", err)
	}
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	fmt.Fprintf(h.log, "kill %d %s%s: up in %v; %d confirmed, %d in transactions, %d delivered, %d faults\n",
		len(h.l.kills), when, again, up.Round(time.Millisecond), h.l.confirms, h.l.inTx, h.l.delivered, h.l.faults.total())
	return nil
}

// settle stops the load, has the consumers take everything, perhaps with a crash in between, and balances the account.
func (h *harness) settle(ctx context.Context) error {
	h.publishing.Store(false)
	if !h.wait(ctx, 2*amqpraw.Patience, h.idle) {
		h.l.fault(stuck, "publishers do not come to an end")
	}
	h.gather.Store(true)
	if h.r.IntN(2) == 0 {
		sleep(ctx, time.Duration(h.r.Int64N(int64(100*time.Millisecond))))
		if err := h.crash(ctx, "while everybody gathers"); err != nil {
			return err
		}
	}
	h.drain(ctx)
	h.l.balance()
	h.gather.Store(false)
	h.publishing.Store(true)
	return ctx.Err()
}

// idle reports whether no publisher has anything in flight.
func (h *harness) idle() bool {
	for _, a := range h.actors {
		if !a.idle() {
			return false
		}
	}
	return true
}

// drain waits until everything is there that is owed and the queues are empty, or nothing comes for a while.
func (h *harness) drain(ctx context.Context) {
	const quiet = 20 * time.Second
	// Nobody knows whether delayed messages that were cut off are to come. What comes after the account is balanced is a fault.
	h.wait(ctx, maxDelay+5*time.Second, func() bool { return !h.l.mayCome() })
	least, lastAt := 1<<62, time.Now()
	for calm := 0; ctx.Err() == nil; {
		ready, err := h.counts()
		if err != nil {
			h.l.fault(cutOff, "counting: %v", err)
			return
		}
		left := ready + h.l.missing()
		if !h.idle() {
			left++
		}
		// For a while, as what is being delivered is in no queue.
		if calm++; left > 0 {
			calm = 0
		}
		if calm == 15 {
			return
		}
		if left < least {
			least, lastAt = left, time.Now()
		}
		if time.Since(lastAt) > quiet {
			if ready > 0 {
				h.l.fault(notEmpty, "%d messages", ready)
			}
			return
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

// wait waits until f is true, for the time d at most.
func (h *harness) wait(ctx context.Context, d time.Duration, f func() bool) bool {
	for begin := time.Now(); time.Since(begin) < d && ctx.Err() == nil; {
		if f() {
			return true
		}
		sleep(ctx, 5*time.Millisecond)
	}
	return f()
}
