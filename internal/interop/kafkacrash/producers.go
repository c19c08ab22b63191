package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// An actor is a client.
type actor interface {
	run(ctx context.Context)
	idle() bool // nothing is under way
}

// producer produces idempotently.
type producer struct {
	h      *harness
	number int
	topic  string
	moves  bool
	rate   int // records in a second
	r      *rand.Rand
	flying atomic.Int64
}

func (p *producer) idle() bool { return p.flying.Load() == 0 }

func (p *producer) run(ctx context.Context) {
	opts := []kgo.Opt{kgo.DefaultProduceTopic(p.topic), kgo.MaxBufferedRecords(500), kgo.ProducerLinger(time.Duration(p.r.IntN(5)) * time.Millisecond)}
	if p.h.o.verbose {
		opts = append(opts, kgo.WithLogger(kgo.BasicLogger(p.h.out, kgo.LogLevelInfo, func() string {
			return time.Now().Format("15:04:05.000 ") + fmt.Sprintf("producer %d: ", p.number)
		})))
	}
	cl := p.h.client(opts...)
	defer cl.Close()
	for ctx.Err() == nil {
		sleep(ctx, time.Duration(p.r.IntN(20))*time.Millisecond)
		for range p.rate / 100 {
			if !p.h.publishing.Load() {
				break
			}
			m, b := p.h.l.publish(p.number, nil, p.moves, p.r)
			p.flying.Add(1)
			cl.Produce(ctx, &kgo.Record{Key: fmt.Append(nil, p.r.IntN(100)), Value: b}, func(_ *kgo.Record, err error) {
				p.flying.Add(-1)
				switch {
				case err == nil:
					p.h.l.acknowledged(m)
				case ctx.Err() == nil:
					p.h.l.fault(refused, "record %d of producer %d: %v", m.number, p.number, err)
				}
			})
		}
	}
}

// transactor produces in transactions.
type transactor struct {
	h      *harness
	number int
	old    bool // a client from before KIP-890
	r      *rand.Rand
	busy   atomic.Bool
}

func (t *transactor) idle() bool { return !t.busy.Load() }

func (t *transactor) run(ctx context.Context) {
	for ctx.Err() == nil {
		opts := []kgo.Opt{kgo.TransactionalID(fmt.Sprint("transactor-", t.number)), kgo.TransactionTimeout(transactionTimeout)}
		if t.old {
			opts = append(opts, kgo.MaxVersions(kversion.V3_5_0()))
		}
		cl := t.h.client(opts...)
		for ctx.Err() == nil && t.transaction(ctx, cl) {
			t.busy.Store(false)
		}
		cl.Close()
		t.busy.Store(false)
		sleep(ctx, 20*time.Millisecond)
	}
}

// transaction runs a transaction. false is the end of the client.
func (t *transactor) transaction(ctx context.Context, cl *kgo.Client) bool {
	sleep(ctx, time.Duration(t.r.IntN(10))*time.Millisecond)
	t.busy.Store(true)
	if !t.h.publishing.Load() {
		t.busy.Store(false)
		sleep(ctx, 10*time.Millisecond)
		return true
	}
	if err := cl.BeginTransaction(); err != nil {
		t.h.say("transactor %d: begin: %v", t.number, err)
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	g := t.h.l.newGroup()
	var failed atomic.Bool
	for range 1 + t.r.IntN(10) {
		_, b := t.h.l.publish(t.number, g, false, t.r)
		topic := []string{"txna", "txnb"}[t.r.IntN(2)]
		cl.Produce(ctx, &kgo.Record{Topic: topic, Key: fmt.Append(nil, t.r.IntN(100)), Value: b}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(true)
			}
		})
		if t.r.IntN(8) == 0 {
			sleep(ctx, time.Duration(t.r.IntN(10))*time.Millisecond)
		}
	}
	if err := cl.Flush(ctx); err != nil || failed.Load() || t.r.IntN(4) == 0 {
		t.h.l.ended(g, not)
		if err != nil {
			_ = cl.AbortBufferedRecords(ctx)
		}
		if err := cl.EndTransaction(ctx, kgo.TryAbort); err != nil {
			t.h.say("transactor %d: abort: %v", t.number, err)
			return false
		}
		return true
	}
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.h.say("transactor %d: commit: %v", t.number, err)
		return false
	}
	t.h.l.ended(g, taken)
	return true
}

// mover consumes records and produces each to another topic, in transactions that also commit the offsets.
type mover struct {
	h      *harness
	number int
	r      *rand.Rand
}

// idle implements actor. What is not moved is missing in the account.
func (v *mover) idle() bool { return true }

func (v *mover) run(ctx context.Context) {
	for ctx.Err() == nil {
		sess, err := kgo.NewGroupTransactSession(append(v.h.options(),
			kgo.TransactionalID(fmt.Sprint("mover-", v.number)), kgo.TransactionTimeout(transactionTimeout), kgo.DefaultProduceTopic("out"),
			kgo.ConsumerGroup("movers"), kgo.ConsumeTopics("in"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.FetchMaxWait(200*time.Millisecond))...)
		if err != nil {
			v.h.l.fault(refused, "mover: %v", err)
			return
		}
		for ctx.Err() == nil && v.move(ctx, sess) {
		}
		sess.Close()
		sleep(ctx, 20*time.Millisecond)
	}
}

// move moves what there is. false is the end of the session.
func (v *mover) move(ctx context.Context, sess *kgo.GroupTransactSession) bool {
	poll, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	fetches := sess.PollFetches(poll)
	cancel()
	if fetches.NumRecords() == 0 {
		return true
	}
	if err := sess.Begin(); err != nil {
		v.h.say("mover %d: begin: %v", v.number, err)
		return false
	}
	ctx, cancel = context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	e := kgo.AbortingFirstErrPromise(sess.Client())
	fetches.EachRecord(func(r *kgo.Record) {
		sess.Produce(ctx, &kgo.Record{Key: r.Key, Value: r.Value}, e.Promise())
	})
	commit := e.Err() == nil && v.r.IntN(8) > 0
	if _, err := sess.End(ctx, kgo.TransactionEndTry(commit)); err != nil {
		v.h.say("mover %d: end: %v", v.number, err)
		return false
	}
	return true
}
