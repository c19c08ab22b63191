package mqttbroker

import (
	"context"
	"fmt"
	"iter"
	"net"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/topic"
)

// Publish publishes a message of the application itself. It needs no permission; the topics below $SYS are open to it.
// p is not changed, and not needed any more when Publish returns; ID and Dup do not count. At QoS 1 and 2, and for
// retained messages, Publish returns when the message is durable, as far as the broker's journal makes it.
//
// Messages of one goroutine are delivered in the order of its calls. Publish pauses for a bounded time when receivers are
// behind, as the server's readers do. The error is an *mqtt.Error: of the topic, of the
// properties, of a hook, of a limit. That nobody has subscribed is not an error.
func (b *Broker) Publish(ctx context.Context, p *mqtt.Publish) error {
	if err := topic.MQTT.ValidateNameBytes(p.Topic); err != nil {
		return &mqtt.Error{Code: mqtt.ReasonTopicNameInvalid, Err: err}
	}
	in := *p
	in.Dup, in.ID = false, 0
	if p.QoS > 0 {
		in.ID = 1 // some, for the check
	}
	if p.QoS > mqtt.QoS2 || len(p.Properties) > 0 {
		if _, err := mqtt.AppendPublish(nil, &in, mqtt.Version5); err != nil {
			return err
		}
	}
	bt, ok := b.batches.Get().(*mqttserver.Batch)
	if !ok {
		bt = mqttserver.NewBatch()
	}
	from := publisher{stripe: &b.counters[0]}
	var wait chan mqtt.ReasonCode
	if b.rec != nil {
		wait = make(chan mqtt.ReasonCode, 1)
		from.wait = wait
	}
	reason := b.accept(ctx, bt, b.scratch(bt), &in, from)
	bt.Flush()
	bt.Wait()
	b.batches.Put(bt)
	if wait != nil {
		select {
		case reason = <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if reason.IsError() {
		return &mqtt.Error{Code: reason}
	}
	return nil
}

// SubscribeOptions are the options of [Broker.Subscribe]. Nil is the zero value.
type SubscribeOptions struct {
	// Queue is how many messages may wait to be taken. Default 1024. When it is full a message is dropped and counted,
	// or goes to another member of a shared subscription. Retained messages at the begin do not count.
	Queue int
	// ManualAck leaves it to the application to call [Delivery.Ack]. Otherwise a delivery is acknowledged when the loop
	// over [Subscription.Messages] asks for the next one or ends.
	ManualAck bool
}

// Subscribe makes subscriptions of the application itself: of filters as clients have them, shared ones included. It
// needs no permission. A message that matches several of the filters comes once. No Local has no effect. The error is an
// *mqtt.Error.
func (b *Broker) Subscribe(filters []mqtt.Subscription, opts *SubscribeOptions) (*Subscription, error) {
	l := &Subscription{b: b, num: b.ids.Add(1), wake: make(chan struct{}, 1)}
	if opts != nil {
		l.opts = *opts
	}
	if l.opts.Queue == 0 {
		l.opts.Queue = defaultLocalQueue
	}
	plain := 0
	for _, f := range filters {
		_, rest, shared, err := topic.ParseShared(f.Filter)
		if err == nil {
			err = topic.MQTT.ValidateFilter(rest)
		}
		if err != nil {
			return nil, &mqtt.Error{Code: mqtt.ReasonTopicFilterInvalid, Err: err}
		}
		if f.QoS > mqtt.QoS2 {
			return nil, &mqtt.Error{Code: mqtt.ReasonQoSNotSupported, Reason: fmt.Sprintf("QoS %d", f.QoS)}
		}
		if !shared {
			plain++
		}
	}
	l.overlaps = plain > 1
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, net.ErrClosed
	}
	b.locals[l] = struct{}{}
	b.mu.Unlock()
	for _, f := range filters {
		l.add(f)
	}
	return l, nil
}

const defaultLocalQueue = 1024

// Subscription is an in-process subscription, see [Broker.Subscribe]. It is safe for concurrent use. Close it when it is
// not used any more.
type Subscription struct {
	b        *Broker
	num      uint64
	opts     SubscribeOptions
	overlaps bool
	wake     chan struct{} // holds a token while there may be something to take
	dropped  atomic.Int64

	mu      sync.Mutex
	subs    []*subscription
	queue   queue
	replays []replay
	unacked outgoingList
	err     error // why it ended
}

// Delivery is a message for an in-process subscription.
type Delivery struct {
	// Message is shared; it must not be changed.
	Message *Message
	// QoS is that of the message or of the subscription, whichever is lower.
	QoS mqtt.QoS
	// Retain: the message was retained before the subscription was made, or the subscription asked for the flag as it was
	// published.
	Retain bool

	l   *Subscription
	ref any
}

// Ack tells that the message is processed. One of a shared subscription that is not acknowledged when the [Subscription]
// is closed goes to another member. Ack may be called more than once.
func (d *Delivery) Ack() {
	d.l.mu.Lock()
	defer d.l.mu.Unlock()
	if d.l.unacked.remove(d.ref) {
		d.l.b.rec.release(d.Message)
	}
}

// add makes one of the subscriptions.
func (l *Subscription) add(f mqtt.Subscription) {
	sub := &subscription{local: l, filter: f.Filter}
	f.NoLocal = false
	o := makeOptions(f, 0, Allow)
	sub.opts.Store(uint64(o))
	filter, shared := sharedFilter(f.Filter)
	if shared { // who leaves it must find its group
		l.b.join(sub, filter)
	}
	l.mu.Lock()
	if l.err != nil { // the broker was closed meanwhile
		l.mu.Unlock()
		if shared {
			l.b.leave(sub)
		}
		return
	}
	l.subs = append(l.subs, sub)
	if shared {
		l.mu.Unlock()
		return
	}
	l.b.subs.Insert(filter, sub)
	if f.RetainHandling != mqtt.RetainDontSend {
		l.replays = append(l.replays, l.b.newReplay(filter, o))
	}
	l.mu.Unlock()
	l.signal()
}

// signal wakes a receiver.
func (l *Subscription) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take takes the message sc.out, as a member of a group or (nil) for itself. It reports whether there was room.
func (l *Subscription) take(b *Broker, sc *scratch, pub *publication, ids []uint32, member *subscription) bool {
	ref := refOf(pub.message(b), sc.out.QoS, sc.out.Retain, ids, member)
	l.mu.Lock()
	ok := l.err == nil && !l.queue.full(l.opts.Queue, 0)
	if ok {
		l.queue.push(ref)
		if member != nil {
			b.rec.hold(pub.m)
		}
	}
	l.mu.Unlock()
	switch {
	case ok:
		l.signal()
	case member == nil:
		l.dropped.Add(1)
		b.drops[DropQueueFull].Add(1)
	}
	return ok
}

// Dropped returns how many messages found the queue full.
func (l *Subscription) Dropped() int64 { return l.dropped.Load() }

// Messages returns the messages as they come, until the loop is left or ctx or the subscription ends; then the last pair
// has the error: that of ctx, or net.ErrClosed. Several loops share the messages.
func (l *Subscription) Messages(ctx context.Context) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		var rd JournalReader
		for {
			d, err := l.next(ctx, &rd)
			if err != nil {
				yield(nil, err)
				return
			}
			more := yield(d, nil)
			if !l.opts.ManualAck {
				d.Ack()
			}
			if !more {
				return
			}
		}
	}
}

// next waits for a message. rd is made when one must be read.
func (l *Subscription) next(ctx context.Context, rd *JournalReader) (*Delivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			l.signal() // it may have been woken for a message that is for others now
			return nil, err
		}
		if d, more, err := l.poll(); d != nil || err != nil {
			if more || err != nil {
				l.signal() // others may wait too
			}
			if err == nil && !l.warm(d, rd) {
				continue
			}
			return d, err
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// poll takes a message that is there: retained ones first, so that none comes after a live one of its topic.
func (l *Subscription) poll() (d *Delivery, more bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, false, l.err
	}
	ref := l.replayed()
	if ref == nil {
		if l.queue.len() == 0 {
			return nil, false, nil
		}
		ref = l.queue.pop()
	}
	l.unacked.add(ref)
	d = &Delivery{l: l, ref: ref}
	d.Message, d.QoS, d.Retain, _ = unpack(ref)
	return d, l.queue.len() > 0 || len(l.replays) > 0, nil
}

// warm reads the body of a retained message that only the journal has. It reports false when that is retained no more.
func (l *Subscription) warm(d *Delivery, rd *JournalReader) bool {
	if d.Message.flags&flagCold == 0 {
		return true
	}
	if *rd == nil {
		*rd = l.b.rec.j.Reader()
	}
	d.Message = l.b.readRetained(*rd, d.Message)
	return d.Message != nil
}

// replayed takes the next retained message. One that was replaced meanwhile is left out. l.mu is held.
func (l *Subscription) replayed() any {
	for len(l.replays) > 0 {
		r := &l.replays[0]
		if m := r.next(l.b, nil); m != nil {
			r.skip()
			return r.ref(m)
		}
		l.replays = l.replays[1:]
	}
	return nil
}

// Close ends the subscription. What waits is dropped, or goes to other members of shared subscriptions. It always
// returns nil.
func (l *Subscription) Close() error {
	l.end(net.ErrClosed)
	return nil
}

// end ends the subscription for a reason.
func (l *Subscription) end(err error) {
	l.b.mu.Lock()
	delete(l.b.locals, l)
	l.b.mu.Unlock()
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = err
	subs := l.subs
	l.mu.Unlock()
	l.signal()
	for _, sub := range subs {
		if sub.shared() {
			l.b.leave(sub)
		} else {
			l.b.subs.Delete(sub.filter, sub)
		}
	}
	l.mu.Lock()
	refs := l.unacked.takeAll()
	for l.queue.len() > 0 {
		if o, ok := l.queue.pop().(*outgoing); ok && o.member != nil {
			refs = append(refs, o)
		}
	}
	l.replays = nil
	l.mu.Unlock()
	l.b.redispatch(refs)
}
