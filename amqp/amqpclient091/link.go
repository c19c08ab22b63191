package amqpclient091

import (
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/topic/delivery"
)

// link is a channel on one connection. A Channel has one after the other. Client.mu guards it.
type link struct {
	h     *Channel
	k     *conn
	o     *lane // that carries it
	m     *amqp091.Channel
	dead  atomic.Bool // written with c.mu held
	ready bool        // everything is in its place: messages may be sent
	began bool        // it was ready
	setup int         // answers that are to come before it is ready
	again bool        // recovery waits for it

	tag      uint64             // of the last delivery that needs an acknowledgement
	skipped  uint64             // others since then, which may have had numbers
	settled  delivery.Watermark // tags that are settled
	later    []uint64           // tags to acknowledge at the next flush, each by itself or with those before it
	dirty    bool               // in lane.dirty
	through  bool               // one of later stands for all before it, too
	allowed  int                // how many deliveries may be unsettled
	exchange string             // of the last delivery
	key      string             // of the last delivery

	ending    bool   // tx.commit or tx.rollback is not answered
	held      []held // what waits for that
	txThrough uint64 // the highest tag that was settled in the transaction with all before it
}

// attach opens the channel on a connection; again says that recovery waits for it. c.mu is held.
func (h *Channel) attach(k *conn, again bool) error {
	l := &link{h: h, k: k, again: again}
	l.settled.Reset(1)
	x := newCall(nil)
	x.then = func(*amqp091.Event) { l.begin() }
	m, err := k.m.OpenChannel(time.Now(), x)
	if err != nil {
		err = ended(ErrTooManyChannels, err)
		if again {
			k.c.recoveryFailed("channel", "", err)
			k.c.recoveredOne()
		}
		if h.kind != kindControl {
			h.end(err)
		}
		return err
	}
	l.m, m.Ref = m, l
	h.link = l
	k.links[m.ID()] = l
	l.o = k.lane(l, m.ID())
	x.o = l.o
	l.o.wait(1)
	k.events()
	return nil
}

// begin puts everything in its place on a channel that was opened: mode, limits, consumers.
func (l *link) begin() {
	h := l.h
	l.setup = 1
	switch h.o.Mode {
	case Confirms:
		l.step(&amqp091.ConfirmSelect{})
	case Transactions:
		l.step(&amqp091.TxSelect{})
	}
	if n := h.o.Prefetch; n > 0 {
		l.step(&amqp091.BasicQos{PrefetchCount: uint16(n), Global: true})
	}
	for _, s := range h.order {
		l.setup++
		l.consume(s, l.stepDone)
	}
	l.stepDone()
}

// step calls a method of the beginning.
func (l *link) step(m amqp091.Method) {
	l.setup++
	x := newCall(m)
	x.then = func(*amqp091.Event) { l.stepDone() }
	l.call(x)
}

func (l *link) stepDone() {
	if l.setup--; l.setup == 0 && !l.dead.Load() {
		l.ready, l.began = true, true
		l.h.begun(l)
	}
}

// call sends a method. c.mu is held; the caller kicks the connection.
func (l *link) call(x *call) {
	if err := checkMethod(x.m, l.k.m.FrameMax()); err != nil {
		x.fail(err)
		return
	}
	if l.ending && !l.dead.Load() {
		l.held = append(l.held, held{x: x})
		return
	}
	if l.dead.Load() || l.m.Call(time.Now(), x.m, x) != nil {
		x.fail(errAgain)
		return
	}
	x.o = l.o
	l.o.wait(1)
	l.k.events()
}

// method takes a method that is no answer.
func (l *link) method(m amqp091.Method) {
	switch m := m.(type) {
	case *amqp091.BasicCancel:
		if s := l.h.consumers[m.ConsumerTag]; s != nil {
			l.h.remove(s)
			s.finish(ended(ErrCanceled, nil))
		}
	case *amqp091.ChannelFlow:
		l.h.stopped = !m.Active
		l.k.c.sendQueued()
	}
}

// lost ends the link with its connection. c.mu is held.
func (l *link) lost(cause error) {
	if l.dead.Load() {
		return
	}
	for i, ref := range l.die() {
		x := ref.(*call)
		if i > 0 || x.m == nil || !blames(cause, x.m.ID()) {
			x.fail(&UnknownError{cause})
			continue
		}
		x.fail(cause) // the server has closed the connection because of it: it must not be sent again
		if x.consumer != nil {
			l.h.remove(x.consumer)
			x.consumer.finish(cause)
		}
	}
	l.h.lost(l, cause, l.unconfirmed())
}

// closed ends the link because the channel was closed, by the server or because the server broke a rule. c.mu is held.
func (l *link) closed(cause error) {
	c := l.k.c
	if f := c.o.Trace.ChannelClosed; f != nil {
		f(cause)
	}
	calls := l.die()
	l.h.closedByServer(l, cause, calls)
	l.k.kick()
}

// die ends the link and returns the calls that are not answered.
func (l *link) die() (calls []any) {
	l.ready = false
	l.dead.Store(true)
	delete(l.k.links, l.m.ID())
	l.h.link = nil
	l.later = nil
	l.h.stopped, l.h.txSettled = false, nil
	for _, s := range l.h.consumers {
		s.forget()
	}
	calls = l.m.Calls()
	for _, w := range l.held {
		if w.x != nil {
			calls = append(calls, w.x)
		}
	}
	l.held = nil
	return calls
}

// unconfirmed returns the messages whose confirm will not come, in their order.
func (l *link) unconfirmed() []any {
	refs := l.m.Unconfirmed()
	l.h.inflight -= len(refs)
	l.o.wait(-len(refs))
	return refs
}
