package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// A publisher publishes to its streams in random turn. It keeps its part of the session over crashes: what is not
// acknowledged is sent again, in order.
type publisher struct {
	h       *harness
	name    string
	v       mqtt.Version
	r       *rand.Rand
	streams []*stream
	retain  bool
	known   bool // the broker has the session

	mu       sync.Mutex
	link     *link
	inflight []*outgoing
	window   int
	lastID   uint16
	heard    time.Time // when the broker last acknowledged
}

// outgoing is a message that is not acknowledged to its end.
type outgoing struct {
	s        *stream
	n        uint32
	id       uint16
	payload  []byte
	released bool // PUBREC came
}

// window is how many messages a publisher has in flight.
const window = 50

func (p *publisher) run(ctx context.Context) {
	for ctx.Err() == nil {
		if p.retain && p.h.hold.Load() {
			sleep(ctx, time.Millisecond)
			continue
		}
		p.h.connection(ctx, p.name, p.connect)
	}
}

// connect runs one connection. own tells that this side ended it.
func (p *publisher) connect(ctx context.Context) (own bool, err error) {
	l, ack, err := dial(p.h.addr, &mqtt.Connect{Version: p.v, ClientID: p.name})
	if err != nil {
		return false, err
	}
	defer l.close()
	p.h.sessionPresent(p.name, p.known, ack.SessionPresent)
	p.known = true
	limit := window
	if n, ok := ack.Properties.Uint16(mqtt.PropReceiveMaximum); ok {
		limit = min(limit, int(n))
	}
	if err := p.resume(l, limit); err != nil {
		return false, err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.read(l) }()
	life := p.h.life(p.r)
	begin, last := time.Now(), time.Now()
	for {
		select {
		case err := <-ended:
			return false, err
		case <-ctx.Done():
			return true, nil
		case <-time.After(2 * time.Millisecond):
		}
		now := time.Now()
		if now.Sub(begin) > life || p.retain && p.h.hold.Load() {
			l.close()
			<-ended
			return true, nil
		}
		if err := p.publish(l, now.Sub(last)); err != nil {
			return false, err
		}
		last = now
	}
}

// resume sends again what is in flight.
func (p *publisher) resume(l *link, limit int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link, p.window, p.heard = l, limit, time.Now()
	for _, m := range p.inflight {
		if m.released {
			l.queue(&mqtt.Pubrel{ID: m.id})
			continue
		}
		p.h.l.sentAgain(m.s, m.n)
		l.queue(p.packet(m, true))
	}
	return l.flush()
}

func (p *publisher) packet(m *outgoing, dup bool) *mqtt.Publish {
	return &mqtt.Publish{Topic: []byte(m.s.topic), Payload: m.payload, QoS: m.s.qos, Retain: p.retain, Dup: dup, ID: m.id}
}

// publish publishes as much as is due after the time since the last call.
func (p *publisher) publish(l *link, since time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.h.publishing.Load() {
		if len(p.inflight) > 0 && time.Since(p.heard) > answerTime {
			p.h.l.fault(stuck, "%s: %d messages are not acknowledged", p.name, len(p.inflight))
			p.heard = time.Now().Add(time.Hour)
		}
		return nil
	}
	due := since.Seconds() * p.h.rate
	n := int(due)
	if p.r.Float64() < due-float64(n) {
		n++
	}
	for range min(n, p.window-len(p.inflight)) {
		s := p.streams[p.r.IntN(len(p.streams))]
		m := &outgoing{s: s, id: p.freeID()}
		m.n, m.payload = p.h.l.next(s, p.r, p.retain && p.r.IntN(6) == 0)
		p.inflight = append(p.inflight, m)
		l.queue(p.packet(m, false))
	}
	return l.flush()
}

// freeID returns a packet identifier that is not in flight.
func (p *publisher) freeID() uint16 {
	for {
		p.lastID++
		if p.lastID != 0 && p.find(p.lastID) < 0 {
			return p.lastID
		}
	}
}

// find returns the index of the message with an identifier, or -1.
func (p *publisher) find(id uint16) int {
	for i, m := range p.inflight {
		if m.id == id {
			return i
		}
	}
	return -1
}

// read takes acknowledgements.
func (p *publisher) read(l *link) error {
	for {
		packet, err := l.receive()
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.take(l, packet)
		if !l.more() {
			err = l.flush()
		}
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (p *publisher) take(l *link, packet mqtt.Packet) {
	p.heard = time.Now()
	switch ack := packet.(type) {
	case *mqtt.Puback:
		p.acknowledged(ack.ID, ack.Reason, true)
	case *mqtt.Pubrec:
		p.acknowledged(ack.ID, ack.Reason, false)
		if !ack.Reason.IsError() {
			l.queue(&mqtt.Pubrel{ID: ack.ID})
		}
	case *mqtt.Pubcomp:
		if i := p.find(ack.ID); i >= 0 && p.inflight[i].released {
			p.h.l.completed(p.inflight[i].s, p.inflight[i].n)
			p.inflight = append(p.inflight[:i], p.inflight[i+1:]...)
		}
	case *mqtt.Disconnect:
		p.h.l.fault(cutOff, "%s: DISCONNECT %v", p.name, ack.Reason)
	}
}

// acknowledged takes PUBACK (done) or PUBREC.
func (p *publisher) acknowledged(id uint16, reason mqtt.ReasonCode, done bool) {
	i := p.find(id)
	if i < 0 {
		return
	}
	m := p.inflight[i]
	if reason.IsError() {
		p.h.l.fault(refused, "%s: %s, message %d: %v", p.name, m.s.topic, m.n, reason)
		done = true
	} else {
		p.h.l.acked(m.s, m.n)
	}
	m.released = true
	if done {
		p.inflight = append(p.inflight[:i], p.inflight[i+1:]...)
	}
}

// idle reports whether nothing is in flight.
func (p *publisher) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inflight) == 0
}
