package mqttbroker

import (
	"context"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/topic"
)

// Broker is an MQTT broker: a backend for [mqttserver.Server], to be used in process too. Make one with [New]. It is
// safe for concurrent use.
type Broker struct {
	opts      Options
	started   time.Time
	rec       *recorder // nil in memory
	subs      *topic.Trie[*subscription]
	groups    groups
	groupSeed uint64
	retained  retained
	deadlines deadlines
	seq       atomic.Uint64 // the last number of a message
	ids       atomic.Uint64 // the last number of a session or in-process subscriber
	gens      atomic.Uint64 // see cold
	permitGen atomic.Uint32 // counts Reauthorize
	counters  [stripes]counters
	drops     [DropUnreadable + 1]atomic.Int64
	gauges    gauges
	batches   sync.Pool // of Publish
	sys       sys

	permitAll Permissions

	mu       sync.Mutex
	sessions map[string]*session
	ending   map[uint64]*session // sessions that have ended, but not yet for the journal
	locals   map[*Subscription]struct{}
	closed   bool
	idle     chan struct{} // closed when the last connection ends after Shutdown has begun

	spawning   sync.Mutex     // taken last
	stopped    bool           // under spawning
	background sync.WaitGroup // see spawn
}

// New returns a broker. Nil options are the zero value: a broker that refuses everybody. Close it when it is not used
// any more. With a journal, that of [Options].Dir for example, it has read all of it when it returns.
func New(opts *Options) (*Broker, error) {
	b := &Broker{
		opts:      opts.withDefaults(),
		started:   time.Now(),
		sessions:  make(map[string]*session),
		ending:    make(map[uint64]*session),
		locals:    make(map[*Subscription]struct{}),
		subs:      topic.NewTrie[*subscription](topic.MQTT),
		groupSeed: rand.Uint64(),
		permitAll: everything,
	}
	if b.opts.Strategy > StrategyHash || b.opts.QueuePolicy > RejectPublisher {
		return nil, errors.New("mqttbroker: unknown strategy or queue policy")
	}
	if b.opts.Seed != 0 {
		b.groupSeed = b.opts.Seed
	}
	b.groups.m = make(map[string]*group)
	b.retained.names = topic.NewNames[*Message](topic.MQTT)
	b.retained.seed = maphash.MakeSeed()
	b.deadlines.fire, b.deadlines.live = b.due, b.isRetained
	if err := b.openJournal(); err != nil {
		return nil, err
	}
	b.deadlines.start()
	b.startSys()
	return b, nil
}

// openJournal makes the broker what its journal says, if it has one.
func (b *Broker) openJournal() error {
	j := b.opts.Journal
	if b.opts.Dir != "" {
		if j != nil {
			return errors.New("mqttbroker: both Dir and Journal are set")
		}
		var err error
		if j, err = openFileJournal(&b.opts); err != nil {
			return err
		}
	}
	if j == nil {
		return nil
	}
	b.opts.Journal = j
	b.rec = newRecorder(j, b.opts.Logger)
	if err := b.restore(); err != nil {
		return errors.Join(err, j.Close())
	}
	return nil
}

// spawn runs f in a goroutine for which Close waits. It reports false when the broker is closed.
func (b *Broker) spawn(f func()) bool {
	b.spawning.Lock()
	defer b.spawning.Unlock()
	if b.stopped {
		return false
	}
	b.background.Go(f)
	return true
}

// isStopped reports whether the broker is being closed.
func (b *Broker) isStopped() bool {
	b.spawning.Lock()
	defer b.spawning.Unlock()
	return b.stopped
}

// due is called when a deadline has come.
func (b *Broker) due(d deadline, now time.Time) {
	if d.m != nil {
		b.expireRetained(d.m)
		return
	}
	b.sessionDue(d.s, now.UnixMilli())
}

// Shutdown waits until no client is connected and closes the broker. Shut the servers down first.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	if b.idle == nil {
		b.idle = make(chan struct{})
		b.checkIdle()
	}
	idle := b.idle
	b.mu.Unlock()
	select {
	case <-idle:
		return b.Close()
	case <-ctx.Done():
		return errors.Join(ctx.Err(), b.Close())
	}
}

// checkIdle tells Shutdown when nobody is connected. b.mu is held.
func (b *Broker) checkIdle() {
	if b.idle == nil || b.gauges.connected.Load() > 0 {
		return
	}
	select {
	case <-b.idle:
	default:
		close(b.idle)
	}
}

// Close ends the broker: in-process subscriptions end with net.ErrClosed, clients that are connected are disconnected,
// nobody can connect any more. It does not wait for clients. Wills that are due later are not published.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	var conns []*conn
	for _, s := range b.sessions {
		if s.owner != nil {
			conns = append(conns, s.owner)
		}
	}
	var locals []*Subscription
	for l := range b.locals {
		locals = append(locals, l)
	}
	b.mu.Unlock()
	b.deadlines.close()
	b.stopSys()
	for _, c := range conns {
		c.c.Disconnect(nil, &mqtt.Disconnect{Reason: mqtt.ReasonServerShuttingDown})
	}
	for _, l := range locals {
		l.end(net.ErrClosed)
	}
	b.spawning.Lock()
	b.stopped = true
	b.spawning.Unlock()
	if b.rec == nil {
		return nil
	}
	b.rec.closing.Store(true)
	err := b.rec.j.Close()
	b.background.Wait()
	return err
}
