package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// run starts the broker b, kills it as often as the options say, and returns the account. The error tells what kept it from
// doing so; faults of the broker are in the account.
func run(ctx context.Context, b peer.Broker, bin, dir string, o *options, log io.Writer) (*ledger, error) {
	h := newHarness(o, log)
	h.l.onRelease = b.Name == "mosquitto"
	fmt.Fprintf(log, "%s, seed %d, %d kills\n", b.Name, o.seed, o.kills)
	p, err := peer.StartWith(ctx, b, bin, dir, peer.Config{Durable: !o.calm, Args: append(peer.Unlimited(), o.args...)})
	if err != nil {
		return nil, err
	}
	h.p, h.addr = p, p.TCP
	ctx, cancel := context.WithCancel(ctx)
	h.start(ctx)
	err = h.kills(ctx)
	cancel()
	h.actors.Wait()
	for _, n := range h.guests() {
		<-n.done
	}
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
	if !h.wait(ctx, answerTime, func() bool { return h.settled() }) {
		return errors.New("the clients do not get their sessions")
	}
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

// settled reports whether all clients have their sessions and subscriptions.
func (h *harness) settled() bool {
	for _, s := range h.subscribers {
		if !s.subscribed() {
			return false
		}
	}
	return true
}

// crash kills the broker and starts it again, sometimes with a second crash in the midst of that.
func (h *harness) crash(ctx context.Context, when string) error {
	h.done++
	if h.o.calm {
		return nil
	}
	h.l.kill()
	h.generation.Add(1)
	h.hold.Store(true)
	h.p.Kill()
	again := ""
	for h.r.IntN(4) == 0 {
		d := time.Duration(h.r.Int64N(int64(60 * time.Millisecond)))
		if err := h.p.Exec(); err != nil {
			return err
		}
		sleep(ctx, d)
		h.l.kill()
		h.p.Kill()
		again += fmt.Sprintf(", again %v after its start", d.Round(time.Millisecond))
	}
	begin := time.Now()
	if err := h.p.Restart(ctx); err != nil {
		h.l.fault(noStart, "crash %d: %v", h.l.crashes(), err)
		return err
	}
	up := time.Since(begin)
	h.generation.Add(1)
	h.checkRetained()
	h.checkEnded()
	h.hold.Store(false)
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	fmt.Fprintf(h.log, "kill %d %s%s: up in %v; %d acknowledged, %d delivered, %d faults\n",
		len(h.l.kills), when, again, up.Round(time.Millisecond), h.l.acks, h.l.delivered, h.l.faults.total())
	return nil
}

// settle stops the load, has every subscriber take what it is owed, perhaps with a crash in between, and balances the account.
func (h *harness) settle(ctx context.Context) error {
	h.publishing.Store(false)
	if !h.wait(ctx, 2*answerTime, h.idle) {
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
	for _, r := range h.accounts() {
		r.report()
	}
	h.checkRetained()
	h.l.reportWills()
	h.dismiss()
	h.gather.Store(false)
	h.publishing.Store(true)
	return ctx.Err()
}

// idle reports whether no publisher has anything in flight.
func (h *harness) idle() bool {
	for _, p := range h.publishers {
		if !p.idle() {
			return false
		}
	}
	return true
}

// drain waits until everything is there that is owed, or nothing comes for a while.
func (h *harness) drain(ctx context.Context) {
	const quiet = 20 * time.Second
	least, lastAt := math.MaxInt, time.Now()
	for ctx.Err() == nil && time.Since(lastAt) < quiet {
		missing := h.l.willsMissing()
		for _, r := range h.accounts() {
			missing += r.missing()
		}
		if missing == 0 && h.everybody() {
			break
		}
		if missing < least {
			least, lastAt = missing, time.Now()
		}
		sleep(ctx, 10*time.Millisecond)
	}
	if !h.everybody() {
		h.l.fault(stuck, "not every subscriber gets a connection")
	}
	sleep(ctx, 50*time.Millisecond) // for what comes too much
}

// everybody reports whether every subscriber is connected.
func (h *harness) everybody() bool {
	for _, s := range h.subscribers {
		if !s.here.Load() {
			return false
		}
	}
	for _, n := range h.guests() {
		if !n.here.Load() {
			return false
		}
	}
	return true
}

// accounts returns the accounts of all subscribers.
func (h *harness) accounts() []*receiver {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	return append([]*receiver(nil), h.l.receivers...)
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
