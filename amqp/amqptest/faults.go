package amqptest

import (
	"bytes"
	"net"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/wiretest"
)

// Faults make the connections that are wrapped with them misbehave. Rules may be added and removed while connections
// are open. The zero value does nothing. It is safe for concurrent use.
//
// Frames pass as a whole: the beginning of one waits until its end is there. The protocol header passes as a frame of
// channel 0 without type. What is no AMQP 0-9-1 passes as it is.
type Faults struct{ rules wiretest.Rules }

// Rule says which frames a fault hits, and what it does to them. Of several rules that fit a frame the one added first
// holds.
type Rule struct {
	// From is who sends the frames; zero means either end.
	From amqp091.Role

	// Type is the type of the frames; zero means every type.
	Type amqp091.FrameType

	// Method is the method in the frames, which are method frames then; zero means every frame.
	Method amqp091.MethodID

	// Channel is the channel of the frames; zero means every channel.
	Channel uint16

	// Content makes one unit of a method frame that is hit and the content header and body that belong to it: Do gets all
	// their frames at once, when the last one has come. Methods without content are not concerned.
	Content bool

	// Skip is how many of these frames, on all connections together, pass before the rule begins.
	Skip int

	// Times is how many frames the rule hits; zero means all from then on.
	Times int

	// Do is what happens to them.
	Do Effect
}

// Effect is what happens to a frame, or to the frames of a message if [Rule] says Content: [Drop], or one made by [Delay],
// [CutAfter], [Corrupt] or [Replace], or one's own. It must neither keep nor change the bytes that it is called with.
type Effect func(frame []byte) Result

// Result is what becomes of a frame. The zero Result drops it.
type Result struct {
	// Data is sent in place of the frame: the frame itself, another one, several, or nothing.
	Data []byte

	// Delay is how long Data and everything behind it waits.
	Delay time.Duration

	// Cut closes the connection after Data.
	Cut bool
}

// effect makes an Effect of one that does not know what a frame is.
func effect(do wiretest.Effect) Effect { return func(frame []byte) Result { return Result(do(frame)) } }

// Drop loses the frame.
func Drop(frame []byte) Result { return Result{} }

// Delay holds the frame, and what follows it in its direction, for a time.
func Delay(d time.Duration) Effect { return effect(wiretest.Delay(d)) }

// CutAfter closes the connection after the first n bytes of the frame.
func CutAfter(n int) Effect { return effect(wiretest.CutAfter(n)) }

// Corrupt inverts the byte at an offset in the frame; -1 is the last byte. A frame that has no such byte passes.
func Corrupt(offset int) Effect { return effect(wiretest.Corrupt(offset)) }

// Replace sends messages in place of the frame, on its channel; they may be a [Content]. It panics when one of them cannot
// be encoded.
func Replace(messages ...amqp091.Method) Effect {
	replacement := func(channel uint16) (b []byte) {
		for _, m := range messages {
			var err error
			if b, err = appendMethod(b, channel, m, amqp091.FrameMinSize); err != nil {
				panic("amqptest: Replace: " + err.Error())
			}
		}
		return b
	}
	replacement(0)
	return func(frame []byte) Result {
		f, _, _ := amqp091.NextFrame(frame, 0)
		return Result{Data: replacement(f.Channel)}
	}
}

// Add adds a rule and returns a function that tells how many frames, or messages, it has hit.
func (f *Faults) Add(r Rule) (hits func() int) {
	return f.rules.Add(&wiretest.Rule{
		Fits: func(from wiretest.End, frame []byte) bool {
			return (r.From == 0 || r.From == amqp091.Role(from)) && r.fits(frame)
		},
		Skip: r.Skip, Times: r.Times, Content: r.Content,
		Do: func(frame []byte) wiretest.Result { return wiretest.Result(r.Do(frame)) },
	})
}

// fits tells whether the rule is about a frame.
func (r *Rule) fits(unit []byte) bool {
	f, ok := frameOf(unit)
	if !ok {
		return r.Type == 0 && r.Method == 0 && r.Channel == 0
	}
	return (r.Type == 0 || r.Type == f.Type) && (r.Method == 0 || r.Method == methodOf(f)) &&
		(r.Channel == 0 || r.Channel == f.Channel)
}

// Refuse refuses the next n connections; a negative n refuses all, until Clear.
func (f *Faults) Refuse(n int) { f.rules.Refuse(n) }

// Clear removes all rules.
func (f *Faults) Clear() { f.rules.Clear() }

// Wrap returns conn with the faults in both directions. near is the role of the end that uses the result: Client for a
// connection that was dialled, Server for one that was accepted.
func (f *Faults) Wrap(conn net.Conn, near amqp091.Role) net.Conn {
	return tap(conn, near, func(from amqp091.Role) wiretest.Effect {
		return (&faultyWay{faults: f, from: from}).see
	})
}

// Listener returns l with the faults on each connection that it accepts. A refused connection is closed at once.
func (f *Faults) Listener(l net.Listener) net.Listener {
	return wiretest.Listener(l, f.rules.Refused, func(conn net.Conn) net.Conn { return f.Wrap(conn, amqp091.Server) })
}

// tap shows what passes a conn, of which the near end has the given role, to a function for each direction.
func tap(conn net.Conn, near amqp091.Role, see func(from amqp091.Role) wiretest.Effect) net.Conn {
	far := amqp091.Client
	if near == amqp091.Client {
		far = amqp091.Server
	}
	return wiretest.Tap(conn, frameSize, see(near), see(far))
}

// faultyWay is one direction of a connection with faults.
type faultyWay struct {
	faults *Faults
	from   amqp091.Role
	held   map[uint16]*heldContent // messages that a rule has hit and that are not complete, by channel
}

// heldContent are the frames of a message for a rule.
type heldContent struct {
	rule   *wiretest.Rule
	frames []byte
	left   uint64 // of the body
}

// see decides about one frame.
func (w *faultyWay) see(unit []byte) wiretest.Result {
	f, ok := frameOf(unit)
	if h := w.held[f.Channel]; ok && h != nil && f.Type != amqp091.FrameHeartbeat {
		h.frames = append(h.frames, unit...)
		switch f.Type {
		case amqp091.FrameHeader:
			_, h.left, _, _ = amqp091.DecodeContentHeader(f.Payload)
		case amqp091.FrameBody:
			h.left -= min(h.left, uint64(len(f.Payload)))
		default: // the sender does not end what it has begun
			delete(w.held, f.Channel)
			return wiretest.Result{Data: h.frames}
		}
		if h.left > 0 {
			return wiretest.Result{}
		}
		delete(w.held, f.Channel)
		return h.rule.Do(h.frames)
	}
	r := w.faults.rules.Hit(wiretest.End(w.from), unit)
	switch {
	case r == nil:
		return wiretest.Result{Data: unit}
	case r.Content && ok && carries(methodOf(f)):
		if w.held == nil {
			w.held = make(map[uint16]*heldContent)
		}
		w.held[f.Channel] = &heldContent{rule: r, frames: bytes.Clone(unit)}
		return wiretest.Result{}
	}
	return r.Do(unit)
}

// frameOf returns the frame that a unit is; not ok for a protocol header, and for what is no frame.
func frameOf(unit []byte) (f amqp091.Frame, ok bool) {
	f, n, err := amqp091.NextFrame(unit, 0)
	return f, err == nil && n == len(unit)
}

// methodOf returns the method in a frame, or 0.
func methodOf(f amqp091.Frame) amqp091.MethodID {
	if f.Type != amqp091.FrameMethod {
		return 0
	}
	id, _ := amqp091.PeekMethod(f.Payload)
	return id
}
