package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// A subscriber has a session with subscriptions and acknowledges what it gets at once. It subscribes once: afterwards the
// broker has to know, crash or not.
type subscriber struct {
	h       *harness
	name    string
	v       mqtt.Version
	r       *rand.Rand
	qos     mqtt.QoS
	quota   uint16 // receive maximum, version 5
	habit   habit
	account *receiver
	filters []string // what it subscribes to, one by one
	known   bool     // the broker has the session
	rx      map[uint16]bool
	here    atomic.Bool // connected

	mu      sync.Mutex
	link    *link
	leaving bool
	active  map[string]*interest // subscriptions, those that are not acknowledged included
	request *request             // what is not acknowledged
	lastID  uint16
}

// A habit says when a subscriber is there.
type habit int

const (
	steady   habit = iota // always
	flapping              // comes and goes
	absent                // comes to subscribe, and when everybody has to
)

// A request is a SUBSCRIBE or UNSUBSCRIBE.
type request struct {
	id       uint16
	interest *interest
	leave    bool
}

func newSubscriber(h *harness, name string, v mqtt.Version, qos mqtt.QoS, habit habit, filters ...string) *subscriber {
	return &subscriber{
		h: h, name: name, v: v, qos: qos, habit: habit, filters: filters,
		r:       h.random(),
		account: h.l.newReceiver(name),
		rx:      make(map[uint16]bool),
		active:  make(map[string]*interest),
	}
}

func (s *subscriber) run(ctx context.Context) {
	for ctx.Err() == nil {
		if s.habit == absent && s.subscribed() && !s.h.gather.Load() {
			sleep(ctx, time.Millisecond)
			continue
		}
		s.h.connection(ctx, s.name, s.connect)
		if s.habit == flapping && !s.h.gather.Load() {
			sleep(ctx, time.Duration(s.r.IntN(300))*time.Millisecond)
		}
	}
}

// subscribed reports whether all that it wants to subscribe to from the begin is acknowledged.
func (s *subscriber) subscribed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.filters) == 0 && s.request == nil
}

// connect runs one connection. own tells that this side ended it.
func (s *subscriber) connect(ctx context.Context) (own bool, err error) {
	c := &mqtt.Connect{Version: s.v, ClientID: s.name}
	if s.v == mqtt.Version5 && s.quota > 0 {
		c.Properties = c.Properties.AppendUint16(mqtt.PropReceiveMaximum, s.quota)
	}
	l, ack, err := dial(s.h.addr, c)
	if err != nil {
		return false, err
	}
	defer l.close()
	s.h.sessionPresent(s.name, s.known, ack.SessionPresent)
	s.account.connected()
	generation := s.h.generation.Load()
	s.begin(l, ack.SessionPresent)
	s.here.Store(true)
	defer s.here.Store(false)
	ended := make(chan error, 1)
	go func() { ended <- s.read(l) }()
	clean, own, err := s.stay(ctx, l, ended)
	s.account.ended(clean && s.h.same(generation))
	return own, err
}

// begin sends the request that is not acknowledged, or everything anew if the broker has forgotten the session.
func (s *subscriber) begin(l *link, present bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.leaving = l, false
	if !present {
		clear(s.rx)
		if s.known {
			for f := range s.active {
				s.filters = append(s.filters, f)
			}
			s.request = nil
		}
	}
	s.known = true
	if s.request != nil {
		s.ask(s.request)
	}
}

// stay waits for the end of the connection: for somebody else to end it, or for its time.
func (s *subscriber) stay(ctx context.Context, l *link, ended <-chan error) (clean, own bool, err error) {
	life := s.h.life(s.r)
	if s.habit == flapping {
		life = time.Duration(20+s.r.IntN(600)) * time.Millisecond
	}
	for begin := time.Now(); ; {
		select {
		case err := <-ended:
			return false, false, err
		case <-ctx.Done():
			l.close()
			<-ended
			return false, true, nil
		case <-time.After(3 * time.Millisecond):
		}
		if err := s.change(l); err != nil {
			return false, false, err
		}
		over := time.Since(begin) > life
		if s.habit == absent {
			over = s.subscribed()
		}
		if over && !s.h.gather.Load() {
			break
		}
	}
	if s.r.IntN(2) == 0 {
		l.close()
		<-ended
		return false, true, nil
	}
	s.mu.Lock()
	s.leaving = true
	err = l.bye()
	s.mu.Unlock()
	select {
	case <-ended:
	case <-time.After(answerTime):
		s.h.l.fault(stuck, "%s: DISCONNECT does not end the connection", s.name)
		l.close()
		<-ended
		return false, true, nil
	}
	return err == nil, true, nil
}

// change makes the next subscription, or one of the changes of a subscriber that has several filters to choose from.
func (s *subscriber) change(l *link) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.request != nil {
		return nil
	}
	if len(s.filters) > 0 {
		f := s.filters[0]
		s.filters = s.filters[1:]
		s.subscribe(f)
		return l.flush()
	}
	choice := s.h.changes[s.name]
	if len(choice) == 0 || s.h.gather.Load() || s.r.IntN(10) > 0 {
		return nil
	}
	f := choice[s.r.IntN(len(choice))]
	switch i := s.active[f]; {
	case i == nil:
		s.subscribe(f)
	case s.account.missingFrom(f) == 0:
		s.account.note(&i.unsubscribing)
		s.request = &request{interest: i, leave: true}
		s.ask(s.request)
	}
	return l.flush()
}

// subscribe begins a subscription, or asks again for one that the broker has lost.
func (s *subscriber) subscribe(filter string) {
	i := s.active[filter]
	if i == nil {
		i = s.account.subscribing(filter, s.qos)
		s.active[filter] = i
	}
	s.request = &request{interest: i}
	s.ask(s.request)
}

// ask sends a request.
func (s *subscriber) ask(q *request) {
	if s.lastID++; s.lastID == 0 {
		s.lastID++
	}
	q.id = s.lastID
	if q.leave {
		s.link.queue(&mqtt.Unsubscribe{ID: q.id, Filters: []string{q.interest.filter}})
	} else {
		s.link.queue(&mqtt.Subscribe{ID: q.id, Filters: []mqtt.Subscription{{Filter: q.interest.filter, QoS: q.interest.qos}}})
	}
	s.link.flush() // an error comes to light on reading
}

// read takes packets until the end of the connection.
func (s *subscriber) read(l *link) error {
	for {
		packet, err := l.receive()
		if err != nil {
			return err
		}
		s.mu.Lock()
		if !s.leaving {
			s.take(l, packet)
			if !l.more() {
				err = l.flush()
			}
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (s *subscriber) take(l *link, packet mqtt.Packet) {
	switch p := packet.(type) {
	case *mqtt.Publish:
		s.message(l, p)
	case *mqtt.Pubrel:
		delete(s.rx, p.ID)
		l.queue(&mqtt.Pubcomp{ID: p.ID})
	case *mqtt.Suback:
		if q := s.answered(p.ID, p.Reasons); q != nil && q.interest.subscribed == 0 {
			s.account.note(&q.interest.subscribed)
		}
	case *mqtt.Unsuback:
		if q := s.answered(p.ID, p.Reasons); q != nil {
			s.account.note(&q.interest.unsubAcked)
			delete(s.active, q.interest.filter)
		}
	case *mqtt.Disconnect:
		s.h.l.fault(cutOff, "%s: DISCONNECT %v", s.name, p.Reason)
	}
}

// answered returns the request that was answered.
func (s *subscriber) answered(id uint16, reasons []mqtt.ReasonCode) *request {
	q := s.request
	if q == nil || q.id != id {
		return nil
	}
	s.request = nil
	for _, r := range reasons {
		if r.IsError() {
			s.h.l.fault(refused, "%s: %s: %v", s.name, q.interest.filter, r)
		}
	}
	return q
}

// message takes a message and acknowledges it.
func (s *subscriber) message(l *link, p *mqtt.Publish) {
	switch p.QoS {
	case mqtt.QoS0:
		s.account.deliver(p)
	case mqtt.QoS1:
		s.account.deliver(p)
		l.queue(&mqtt.Puback{ID: p.ID})
	case mqtt.QoS2:
		if !s.rx[p.ID] {
			s.rx[p.ID] = true
			s.account.deliver(p)
		}
		l.queue(&mqtt.Pubrec{ID: p.ID})
	}
}
