package sim

import "time"

// Side is one of the two ends of a Link.
type Side int

// The two ends.
const (
	Client Side = iota
	Server
)

// Other returns the opposite end.
func (s Side) Other() Side { return 1 - s }

// String returns the name of the end.
func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "server"
}

// Faults say how a link misbehaves. The zero value is a link that delivers at once and never fails.
type Faults struct {
	// MinDelay and MaxDelay bound how long a message is under way. Messages of one stream and direction keep their
	// order; those of different streams overtake each other.
	MinDelay, MaxDelay time.Duration

	// Loss, Duplicate and Cut are probabilities for each message: that it is lost, that it arrives twice, that the
	// connection is cut when it is sent. A reliable transport only cuts.
	Loss, Duplicate, Cut float64
}

// Handler has what the two ends of a Link do. Both functions are called from World.Step only.
type Handler struct {
	// Deliver gets a message that arrives at an end. The end may keep it.
	Deliver func(to Side, stream int, message []byte)

	// Down tells an end that its connection is gone. The two ends learn of it at different times.
	Down func(at Side)
}

// Link is a connection of several streams between two ends, which can be made again after it was cut.
type Link struct {
	Faults Faults

	world *World
	h     Handler
	epoch int // of the connection; messages of an older one are lost
	cut   bool
	up    [2]bool
	last  map[path]time.Time // the latest arrival so far
}

// path is one direction of one stream.
type path struct {
	to     Side
	stream int
}

// NewLink returns a link that is down.
func NewLink(w *World, f Faults, h Handler) *Link {
	return &Link{Faults: f, world: w, h: h}
}

// Connect makes a new connection, which both ends have at once. What was under way on the former one is lost.
func (l *Link) Connect() {
	l.epoch++
	l.cut, l.up = false, [2]bool{true, true}
	l.last = make(map[path]time.Time)
}

// Up reports whether an end believes that its connection is up.
func (l *Link) Up(at Side) bool { return l.up[at] }

// Send copies a message and sends it on a stream. When the end's connection is down it goes nowhere.
func (l *Link) Send(from Side, stream int, message []byte) {
	if !l.up[from] || l.cut {
		return
	}
	if l.world.Chance(l.Faults.Cut) {
		l.Cut()
		return
	}
	if l.world.Chance(l.Faults.Loss) {
		return
	}
	l.deliver(from.Other(), stream, message)
	if l.world.Chance(l.Faults.Duplicate) {
		l.deliver(from.Other(), stream, message)
	}
}

func (l *Link) deliver(to Side, stream int, message []byte) {
	at := l.world.Now().Add(l.delay())
	p := path{to, stream}
	if last := l.last[p]; at.Before(last) {
		at = last
	}
	l.last[p] = at
	epoch, copied := l.epoch, append([]byte(nil), message...)
	l.world.At(at, func() {
		if l.epoch == epoch && l.up[to] {
			l.h.Deliver(to, stream, copied)
		}
	})
}

func (l *Link) delay() time.Duration {
	return l.world.Between(l.Faults.MinDelay, l.Faults.MaxDelay)
}

// Cut ends the connection: nothing is sent any more, of what is under way each end gets what arrives before it learns
// of the end, and then Handler.Down is called for it.
func (l *Link) Cut() {
	if l.cut {
		return
	}
	l.cut = true
	l.world.Logf("cut connection %d", l.epoch)
	for _, side := range [...]Side{Client, Server} {
		epoch := l.epoch
		l.world.After(l.delay(), func() {
			if l.epoch == epoch && l.up[side] {
				l.drop(side)
			}
		})
	}
}

// Close ends the connection from one end, which learns of it at once: what it had sent still arrives.
func (l *Link) Close(from Side) {
	if !l.up[from] {
		return
	}
	l.up[from] = false
	if l.cut {
		return
	}
	l.cut = true
	to, epoch, at := from.Other(), l.epoch, l.world.Now().Add(l.delay())
	for p, last := range l.last {
		if p.to == to && at.Before(last) {
			at = last
		}
	}
	l.world.At(at, func() {
		if l.epoch == epoch && l.up[to] {
			l.drop(to)
		}
	})
}

func (l *Link) drop(at Side) {
	l.up[at] = false
	l.h.Down(at)
}
