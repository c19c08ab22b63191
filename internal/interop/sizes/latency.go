package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/load"
)

// Rates of latency: churn is messages per second that replace retained ones, every is the time between two looks at the
// metrics.
const (
	churnRate = 10_000
	every     = 50 * time.Millisecond
)

// latency measures the time to PUBACK of a publisher that waits for each, at first alone, then with a subscriber that gets
// its messages, then beside a publisher that replaces retained messages in random order: all segments get holes, and the journal is rewritten. The times are told apart
// by whether it was rewritten meanwhile.
func latency(e *env) error {
	p, err := newProbe(e)
	if err != nil {
		return err
	}
	defer p.f.Close()
	if err := p.run(0, e.probe); err != nil {
		return err
	}
	p.report("alone")
	e.table.add("alone: syncs per message", "%.2f", p.syncs/float64(len(p.quiet)))
	if _, err := p.f.Subscriber("subscriber", 1, "one"); err != nil {
		return err
	}
	if err := p.run(0, e.probe); err != nil {
		return err
	}
	p.report("with a subscriber")
	e.table.add("with a subscriber: syncs per message", "%.2f", p.syncs/float64(len(p.quiet)))
	if err := p.store(); err != nil {
		return err
	}
	if err := p.run(churnRate, 3*e.probe); err != nil {
		return err
	}
	p.report(fmt.Sprintf("beside %d messages/s, nothing rewritten", churnRate))
	quiet := quantile(p.quiet, 0.99)
	e.table.add("rewritten meanwhile", "%s in %.0f %% of the time", mib(p.rewritten), 100*p.share())
	busy := p.busy
	p.quiet, p.busy = p.busy, nil
	p.report(fmt.Sprintf("beside %d messages/s, while rewriting", churnRate))
	if len(busy) > 0 && quiet > 0 {
		e.table.add("p99, while rewriting / while not", "%.2f", float64(quantile(busy, 0.99))/float64(quiet))
	}
	return nil
}

// A probe is a publisher that waits for each PUBACK, on one loop with a publisher that makes garbage.
type probe struct {
	e           *env
	f           *load.Flow
	one, many   *load.Pub
	churn       int64 // messages of many in this run
	quiet, busy []time.Duration
	pending     []time.Duration // since the last look
	rewritten   float64         // bytes in this run
	syncs       float64         // in this run
	looks, hits int
}

func newProbe(e *env) (*probe, error) {
	f, err := load.NewFlow(e.TCP, 0)
	if err != nil {
		return nil, err
	}
	p := &probe{e: e, f: f}
	f.Durable = true
	if p.one, err = f.Publisher("one", 1, "one"); err != nil {
		return nil, err
	}
	names := make([]string, e.retained)
	for i, at := range rand.New(rand.NewPCG(1, 1)).Perm(e.retained) {
		names[at] = fmt.Sprintf("retained/%07d", i)
	}
	if p.many, err = f.Publisher("many", 1, names...); err != nil {
		return nil, err
	}
	p.many.Retain()
	p.one.Retain() // nobody subscribes, so that only a retained message needs a sync
	return p, nil
}

// store publishes every retained message once.
func (p *probe) store() error {
	for p.many.Acked < int64(p.e.retained) {
		p.many.Publish(p.f.Loop, int64(p.e.retained)-p.many.Sent)
		if err := p.f.Poll(100 * time.Millisecond); err != nil {
			return err
		}
		if err := p.e.ctx.Err(); err != nil {
			return err
		}
	}
	p.e.table.add("retained messages", "%d", p.e.retained)
	return nil
}

// run measures for the time d beside rate messages per second.
func (p *probe) run(rate int, d time.Duration) error {
	p.quiet, p.busy, p.pending = nil, nil, nil
	p.looks, p.hits = 0, 0
	m, err := p.e.metrics()
	if err != nil {
		return err
	}
	begin := time.Now()
	p.churn = 0
	first := m
	last, lastAt := m[rewrittenBytes], begin
	for now := begin; now.Sub(begin) < d; {
		want := p.one.Acked + 1
		p.one.Publish(p.f.Loop, 1)
		sent := time.Now()
		for p.one.Acked < want {
			if due := int64(float64(rate)*time.Since(begin).Seconds()) - p.churn; due > 0 {
				p.churn += p.many.Publish(p.f.Loop, due)
			}
			if err := p.f.Poll(time.Millisecond); err != nil {
				return err
			}
			if time.Since(sent) > time.Minute {
				return fmt.Errorf("no PUBACK in a minute")
			}
		}
		now = time.Now()
		p.pending = append(p.pending, now.Sub(sent))
		if now.Sub(lastAt) < every {
			continue
		}
		if m, err = p.e.metrics(); err != nil {
			return err
		}
		p.sort(m[rewrittenBytes] > last)
		last, lastAt = m[rewrittenBytes], time.Now()
		if err := p.e.ctx.Err(); err != nil {
			return err
		}
	}
	p.rewritten, p.syncs = last-first[rewrittenBytes], m[syncs]-first[syncs]
	return nil
}

// sort puts the times since the last look where they belong.
func (p *probe) sort(rewriting bool) {
	p.looks++
	if rewriting {
		p.hits++
		p.busy = append(p.busy, p.pending...)
	} else {
		p.quiet = append(p.quiet, p.pending...)
	}
	p.pending = p.pending[:0]
}

// share returns in how much of the time the journal was rewritten.
func (p *probe) share() float64 { return float64(p.hits) / float64(max(p.looks, 1)) }

// report adds a row with the times of quiet.
func (p *probe) report(what string) {
	if len(p.quiet) == 0 {
		p.e.table.add(what, "–")
		return
	}
	at := func(q float64) time.Duration { return quantile(p.quiet, q).Round(time.Microsecond) }
	p.e.table.add(what+": PUBLISH to PUBACK, p50, p99, p99.9, most", "%v, %v, %v, %v", at(0.5), at(0.99), at(0.999), at(1))
}
