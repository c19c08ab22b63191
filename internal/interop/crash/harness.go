package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
	"github.com/quartet-mq/quartet/mqtt"
)

// A harness runs a broker, its clients and the crashes.
type harness struct {
	o    *options
	l    *ledger
	p    *peer.Proc
	addr string
	log  io.Writer
	rate float64 // messages per second and publisher

	// generation is odd from the moment of a crash until the broker is ready again.
	generation atomic.Int64
	publishing atomic.Bool // publishers publish
	gather     atomic.Bool // every subscriber is there
	hold       atomic.Bool // publishers of retained messages stay away

	done        int        // crashes
	r           *rand.Rand // of the goroutine that calls run
	seeds       atomic.Uint64
	publishers  []*publisher
	subscribers []*subscriber
	changes     map[string][]string // filters to choose from, by name of the subscriber
	retained    []*stream
	ended       []string // sessions that were ended on purpose
	actors      sync.WaitGroup

	mu        sync.Mutex
	newcomers []*newcomer
	made      int
}

// A newcomer is a subscriber that came during the load, and what ends it.
type newcomer struct {
	*subscriber
	stop context.CancelFunc
	done chan struct{}
}

func newHarness(o *options, log io.Writer) *harness {
	h := &harness{o: o, l: newLedger(log), log: log, changes: make(map[string][]string)}
	h.r = h.random()
	return h
}

// random returns a source of its own for each caller.
func (h *harness) random() *rand.Rand { return rand.New(rand.NewPCG(h.o.seed, h.seeds.Add(1))) }

// life returns how long a connection lasts until its client breaks it.
func (h *harness) life(r *rand.Rand) time.Duration {
	return time.Second + time.Duration(r.IntN(8000))*time.Millisecond
}

// connection runs a connection and judges its end.
func (h *harness) connection(ctx context.Context, name string, connect func(context.Context) (own bool, err error)) {
	generation := h.generation.Load()
	own, err := connect(ctx)
	if err != nil && !own && ctx.Err() == nil && h.same(generation) {
		h.l.fault(cutOff, "%s: %v", name, err)
		sleep(ctx, 100*time.Millisecond)
	}
	sleep(ctx, time.Millisecond)
}

// same reports whether the broker was ready in a generation and has not been killed since.
func (h *harness) same(generation int64) bool {
	return generation%2 == 0 && h.generation.Load() == generation
}

// sessionPresent judges the flag of a CONNACK.
func (h *harness) sessionPresent(name string, known, present bool) {
	switch {
	case known && !present:
		h.l.fault(noSession, "%s, crash %d", name, h.l.crashes())
	case !known && present:
		h.l.fault(oldSession, "%s, crash %d", name, h.l.crashes())
	}
}

// new returns the newest version that the broker speaks.
func (h *harness) new() mqtt.Version {
	if h.o.old {
		return mqtt.Version311
	}
	return mqtt.Version5
}

// populate makes the clients. There are some of each version and QoS.
func (h *harness) populate() {
	const publishers, topics = 6, 3
	h.rate = float64(h.o.rate) / publishers
	versions := []mqtt.Version{mqtt.Version311, h.new()}
	for i := range publishers {
		p := &publisher{h: h, name: fmt.Sprintf("pub-%d", i), v: versions[i%2], r: h.random()}
		for t := range topics {
			for _, qos := range []mqtt.QoS{mqtt.QoS1, mqtt.QoS2} {
				p.streams = append(p.streams, h.l.newStream(fmt.Sprintf("load/%d/%d", i, t), qos))
			}
		}
		h.publishers = append(h.publishers, p)
	}
	for i, qos := range []mqtt.QoS{mqtt.QoS1, mqtt.QoS2} {
		p := &publisher{h: h, name: fmt.Sprintf("ret-%d", i), v: versions[i%2], r: h.random(), retain: true}
		for t := range 20 {
			p.streams = append(p.streams, h.l.newStream(fmt.Sprintf("ret/%d/%d", i, t), qos))
		}
		h.retained = append(h.retained, p.streams...)
		h.publishers = append(h.publishers, p)
	}
	add := func(name string, v mqtt.Version, qos mqtt.QoS, habit habit, filters ...string) *subscriber {
		s := newSubscriber(h, name, v, qos, habit, filters...)
		h.subscribers = append(h.subscribers, s)
		return s
	}
	add("steady-311", mqtt.Version311, mqtt.QoS2, steady, "load/#")
	add("steady-5", h.new(), mqtt.QoS2, steady, "load/+/0", "load/+/1").quota = 10
	add("flapping-311", mqtt.Version311, mqtt.QoS1, flapping, "load/#")
	add("flapping-5", h.new(), mqtt.QoS2, flapping, "load/#")
	add("absent-311", mqtt.Version311, mqtt.QoS2, absent, "load/0/+", "load/1/+", "load/2/+")
	add("absent-5", h.new(), mqtt.QoS1, absent, "load/3/#", "load/4/#").quota = 100
	add("watcher", h.new(), mqtt.QoS2, steady, "will/#")
	for i, v := range versions {
		s := add(fmt.Sprintf("changing-%d", i), v, mqtt.QoS2, flapping)
		for p := range publishers {
			h.changes[s.name] = append(h.changes[s.name], fmt.Sprintf("load/%d/1", p), fmt.Sprintf("load/%d/2", p))
		}
	}
}

// willers makes the clients with wills.
func (h *harness) willers() (ws []*willer) {
	for i, x := range []willer{
		{v: mqtt.Version311},
		{v: mqtt.Version5},
		{v: mqtt.Version311},
		{v: mqtt.Version5},
		{v: mqtt.Version5, delay: 1, away: true},
		{v: mqtt.Version5, delay: 3600},
	} {
		if h.o.old && x.v == mqtt.Version5 {
			if x.delay > 0 {
				continue // there are no delays
			}
			x.v = mqtt.Version311
		}
		x.h, x.r, x.name = h, h.random(), fmt.Sprintf("will-%d", i)
		x.wills = h.l.newWillStream("will/"+x.name, mqtt.QoS(1+i/2%2), x.delay > 1)
		ws = append(ws, &x)
	}
	return ws
}

// start starts the clients.
func (h *harness) start(ctx context.Context) {
	h.populate()
	for _, p := range h.publishers {
		h.actors.Go(func() { p.run(ctx) })
	}
	for _, s := range h.subscribers {
		h.actors.Go(func() { s.run(ctx) })
	}
	for _, w := range h.willers() {
		h.actors.Go(func() { w.run(ctx) })
	}
	h.actors.Go(func() { h.invite(ctx) })
}

// invite makes new subscribers during the load, some in the moments before a crash.
func (h *harness) invite(ctx context.Context) {
	const most = 8
	r := h.random()
	for ctx.Err() == nil {
		sleep(ctx, time.Duration(r.IntN(200))*time.Millisecond)
		h.mu.Lock()
		if h.publishing.Load() && !h.gather.Load() && len(h.newcomers) < most {
			h.made++
			v := []mqtt.Version{mqtt.Version311, h.new()}[h.made%2]
			filter := fmt.Sprintf("load/%d/+", h.made%6)
			s := newSubscriber(h, fmt.Sprintf("new-%d", h.made), v, mqtt.QoS2, absent, filter)
			c, stop := context.WithCancel(ctx)
			n := &newcomer{subscriber: s, stop: stop, done: make(chan struct{})}
			h.newcomers = append(h.newcomers, n)
			go func() {
				defer close(n.done)
				s.run(c)
			}()
		}
		h.mu.Unlock()
	}
}

// guests returns the newcomers.
func (h *harness) guests() []*newcomer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*newcomer(nil), h.newcomers...)
}

// dismiss ends the newcomers' sessions. They must not come back.
func (h *harness) dismiss() {
	for _, n := range h.guests() {
		n.stop()
		<-n.done
		n.account.remove()
		if err := h.endSession(n.name, n.v); err != nil {
			h.l.fault(cutOff, "%s: %v", n.name, err)
			continue
		}
		h.ended = append(h.ended, n.name)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newcomers = nil
}

// endSession ends a session with a connection that asks for a clean one.
func (h *harness) endSession(name string, v mqtt.Version) error {
	l, _, err := dial(h.addr, &mqtt.Connect{Version: v, ClientID: name, CleanStart: true})
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.bye(); err != nil {
		return err
	}
	l.nc.SetReadDeadline(time.Now().Add(answerTime))
	l.receive()
	return nil
}

// checkEnded looks for sessions that have come back.
func (h *harness) checkEnded() {
	for _, name := range h.ended {
		l, ack, err := dial(h.addr, &mqtt.Connect{Version: mqtt.Version311, ClientID: name})
		if err != nil {
			h.l.fault(cutOff, "%s: %v", name, err)
			continue
		}
		h.sessionPresent(name, false, ack.SessionPresent)
		l.close()
		if err := h.endSession(name, mqtt.Version311); err != nil {
			h.l.fault(cutOff, "%s: %v", name, err)
		}
	}
	h.ended = nil
}

// checkRetained asks for all retained messages while nobody publishes any.
func (h *harness) checkRetained() {
	v := []mqtt.Version{mqtt.Version311, h.new()}[h.r.IntN(2)]
	l, _, err := dial(h.addr, &mqtt.Connect{Version: v, ClientID: "checker", CleanStart: true})
	if err != nil {
		h.l.fault(cutOff, "checker: %v", err)
		return
	}
	defer l.close()
	got, err := h.readRetained(l)
	if err != nil {
		h.l.fault(stuck, "retained messages: %v", err)
	}
	for _, s := range h.retained {
		n, ok := got[s]
		if !ok {
			n = -1
		}
		if why := h.l.retainedWrong(s, n); why != "" {
			h.l.fault(badRetained, "%s: %d %s; %s", s.topic, n, why, h.l.describe(s))
		}
	}
}

// readRetained subscribes and takes retained messages until all are there that must be, and what comes until a PINGRESP. It gives
// up when nothing comes for a while.
func (h *harness) readRetained(l *link) (map[*stream]int, error) {
	missing := make(map[*stream]bool)
	for _, s := range h.retained {
		if !h.l.mayBeEmpty(s) {
			missing[s] = true
		}
	}
	l.queue(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "ret/#", QoS: mqtt.QoS1}}})
	got := make(map[*stream]int)
	for pinged := false; ; {
		if len(missing) == 0 && !pinged {
			l.queue(&mqtt.Pingreq{})
			pinged = true
		}
		if err := l.flush(); err != nil {
			return got, err
		}
		l.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		packet, err := l.receive()
		if err != nil {
			return got, err
		}
		switch p := packet.(type) {
		case *mqtt.Pingresp:
			return got, nil
		case *mqtt.Publish:
			st, ok := readStamp(p.Payload)
			if !ok || int(st.stream) >= len(h.l.streams) {
				h.l.fault(corrupt, "retained message of %s", p.Topic)
				break
			}
			s := h.l.streams[st.stream]
			if s.topic != string(p.Topic) {
				h.l.fault(wrongTopic, "retained message: %s instead of %s", p.Topic, s.topic)
			}
			got[s] = int(st.n)
			delete(missing, s)
			if p.QoS == mqtt.QoS1 {
				l.queue(&mqtt.Puback{ID: p.ID})
			}
		}
	}
}

// sleep waits for the time d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
