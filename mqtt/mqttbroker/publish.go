package mqttbroker

import (
	"context"
	"errors"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/topic"
)

// publication is a message that is being accepted. It lives in a scratch; what outlives the call is its Message.
type publication struct {
	in      *mqtt.Publish // as it is forwarded: without topic alias and subscription identifiers
	m       *Message      // made when somebody needs it
	topic   string        // the topic name, when it is known as a string
	from    *Client       // nil for the application
	stripe  *counters
	seq     uint64
	expires int64 // unix milliseconds, 0 is never
	origin  origin
	got     []receiver // who has it already
	open    bool       // it was recorded for this publication, which decides about it: see answer
	keep    bool       // it is to be recorded as the retained message of its topic
	cleared bool       // it took a retained message away, which is recorded
	full    bool       // it was refused because the journal has no room
	locked  bool       // the lock of the topic is held: receivers are locked too, so that replays and this message are ordered
}

// publisher returns the client identifier of the publisher, for the No Local option.
func (p *publication) publisher() string {
	if p.from == nil {
		return ""
	}
	return p.from.ID
}

// name returns the topic name as a string.
func (p *publication) name() string {
	if p.topic == "" {
		p.topic = string(p.in.Topic)
	}
	return p.topic
}

// message returns the message, copied once.
func (p *publication) message(b *Broker) *Message {
	if p.m == nil {
		if p.seq == 0 {
			p.seq = b.number()
		}
		p.m = newMessage(p.name(), p.in, p.seq, p.expires)
	}
	return p.m
}

// durable returns the message, which the journal has from now on. Those who have got it before, because they end with the
// process, keep their own.
func (p *publication) durable(b *Broker) *Message {
	switch {
	case p.m == nil:
		p.m = newMessage(p.name(), p.in, 0, p.expires)
	case p.m.flags&flagJournaled != 0:
		return p.m
	default:
		p.m = p.m.copied()
	}
	b.rec.message(p.m, p.origin, p.keep, Token{})
	p.seq, p.open = p.m.seq, true
	return p.m
}

// size returns what the message counts.
func (p *publication) size() int {
	if p.m != nil {
		return p.m.bytes()
	}
	n := len(p.in.Topic) + len(p.in.Payload) + messageOverhead
	if p.expires != 0 {
		n += 8
	}
	if len(p.in.Properties) > 0 {
		n += 4 + len(p.in.Properties)
	}
	return n
}

// number returns the number of a message.
func (b *Broker) number() uint64 {
	if b.rec == nil {
		return b.seq.Add(1)
	}
	return b.rec.number()
}

// scratch is what a goroutine that publishes needs again and again.
type scratch struct {
	pub    publication
	in     mqtt.Publish    // the message as it is forwarded
	out    mqtt.Publish    // the message as it goes to one receiver
	name   []byte          // topic of a message that waited
	props  mqtt.Properties // properties of out
	plain  mqtt.Properties // properties of in, where they are not those that came
	ids    []uint32
	merged []match
	hook   Publishing
}

// match is a subscription that matches, of a receiver that may have several.
type match struct {
	sub  *subscription
	opts subscriptionOptions
}

// scratch returns the scratch of a batch.
func (b *Broker) scratch(bt *mqttserver.Batch) *scratch {
	if sc, ok := bt.Scratch.(*scratch); ok {
		return sc
	}
	sc := new(scratch)
	bt.Scratch = sc
	return sc
}

// publication returns the publication of a message that was accepted before.
func (sc *scratch) publication(m *Message, from publisher, now int64) *publication {
	sc.name = append(sc.name[:0], m.Topic()...)
	sc.plain = m.appendProperties(sc.plain[:0], now, nil)
	sc.in = mqtt.Publish{Topic: sc.name, Payload: m.Payload(), Properties: sc.plain, QoS: m.QoS(), Retain: m.Retain()}
	sc.pub = publication{
		in: &sc.in, m: m, topic: m.Topic(), from: from.client, stripe: from.stripe, seq: m.seq, expires: m.expiry(),
	}
	return &sc.pub
}

// publisher is who publishes, and how it is answered.
type publisher struct {
	client *Client // nil for the application
	stripe *counters
	topic  string   // the topic name, if it is known as a string
	will   *session // whose will it is, if that is recorded
	dead   bool     // it is a will
	c      *conn    // the connection, of which ack and id are
	ack    mqttserver.Ack
	id     uint16
	wait   chan<- mqtt.ReasonCode // the application waits
}

// accept takes a message whose publisher is allowed to publish it: asks the hook, orders it, retains it, gives it to
// everybody who subscribed, and answers the publisher, as soon as everything is durable. It returns the reason so far.
func (b *Broker) accept(ctx context.Context, bt *mqttserver.Batch, sc *scratch, p *mqtt.Publish, from publisher) mqtt.ReasonCode {
	from.stripe.received(len(p.Payload))
	pub := &sc.pub
	*pub = publication{topic: from.topic, from: from.client, stripe: from.stripe, origin: from.origin(p.QoS)}
	qos := p.QoS
	reason := b.hook(ctx, sc, p, from)
	if !reason.IsError() {
		b.forwardable(sc, p)
		reason = b.admit(bt, pub, from.dead)
	}
	switch {
	case reason.IsError():
		from.stripe.rejected.Add(1)
	case b.rec != nil && b.opts.DeliverAfterSync && (pub.in.QoS > 0 || pub.in.Retain):
		b.acceptThenDeliver(pub, from, qos)
		return reason
	default:
		reason = b.distribute(bt, sc, pub)
	}
	b.answer(bt, pub, from, qos, reason)
	return reason
}

// origin returns what the message means to the session of its publisher.
func (p *publisher) origin(qos mqtt.QoS) origin {
	switch {
	case p.will != nil:
		return origin{s: p.will, will: true}
	case p.c != nil && qos == mqtt.QoS2 && p.c.s.durable:
		return origin{s: p.c.s, id: p.id}
	}
	return origin{}
}

// admit reports whether the message can be taken at all, and slows its publisher down when the journal has little room.
// Wills are taken while there is any.
func (b *Broker) admit(bt *mqttserver.Batch, pub *publication, will bool) mqtt.ReasonCode {
	p := pub.in
	if b.rec != nil && (p.QoS > 0 || p.Retain) {
		pressure := b.rec.pressure()
		switch {
		case b.rec.broken():
			return mqtt.ReasonServerUnavailable
		case will:
		case pressure == PressureFull:
			pub.full = true
			return mqtt.ReasonQuotaExceeded
		case pressure == PressureSlow:
			bt.Slow(slowPause)
		}
	}
	if b.opts.QueuePolicy == RejectPublisher && p.QoS > 0 && b.anyFull(pub) {
		return mqtt.ReasonQuotaExceeded
	}
	return mqtt.ReasonSuccess
}

// slowPause is how long a publisher pauses for each read of its input while the journal has little room.
const slowPause = 20 * time.Millisecond

// acceptThenDeliver is accept for DeliverAfterSync: the message is made durable, then distributed. Completions come in
// the order of acceptance, so deliveries do.
func (b *Broker) acceptThenDeliver(pub *publication, from publisher, qos mqtt.QoS) {
	m := newMessage(pub.name(), pub.in, 0, pub.expires)
	origin := pub.origin
	b.rec.message(m, origin, false, Token{kind: tokenFunc, c: from.c, then: func(bt *mqttserver.Batch, o Outcome) {
		sc := b.scratch(bt)
		late := sc.publication(m, from, time.Now().UnixMilli())
		late.open = true
		reason := mqtt.ReasonServerUnavailable
		if o == Done {
			reason = b.distribute(bt, sc, late)
		}
		if reason.IsError() && origin.s != nil && !origin.will { // the identifier can be used again
			b.rec.note(origin.s, record{kind: recordReleased, id: origin.id}, Token{})
		}
		b.answer(bt, late, from, qos, reason)
	}})
}

// answer acknowledges a message when everything recorded about it is durable.
func (b *Broker) answer(bt *mqttserver.Batch, pub *publication, from publisher, qos mqtt.QoS, reason mqtt.ReasonCode) {
	var t Token
	var ack bool // from.ack is to be done
	switch {
	case from.wait != nil:
		t = tellApplication(from.wait, reason)
	case from.c == nil, qos == mqtt.QoS0:
	case b.rec.broken():
		from.c.cut(bt)
	case !from.c.v5 && pub.full:
		from.c.cut(bt) // there is no other way to say that the message is not stored
	default:
		if !from.c.v5 { // there is no way to say no but to close [MQTT311-3.3.5-2]
			reason = mqtt.ReasonSuccess
		}
		ack = true
		t = Token{kind: tokenAck, c: from.c, ack: from.ack, reason: reason}
	}
	switch {
	case pub.open:
		b.rec.accepted(pub.m, "", t)
	case ack && pub.origin.s != nil && !reason.IsError() && b.rec.note(pub.origin.s, record{kind: recordReceived, id: pub.origin.id}, t):
	case pub.cleared && !t.IsZero():
		b.rec.wait(t)
	case ack: // nothing is recorded
		from.ack.Done(bt, reason, nil)
	case from.wait != nil:
		from.wait <- reason
	}
}

// tellApplication returns the token of a message of [Broker.Publish].
func tellApplication(wait chan<- mqtt.ReasonCode, reason mqtt.ReasonCode) Token {
	return Token{kind: tokenFunc, then: func(_ *mqttserver.Batch, o Outcome) {
		if o != Done {
			reason = mqtt.ReasonServerUnavailable
		}
		wait <- reason
	}}
}

// hook calls OnPublish.
func (b *Broker) hook(ctx context.Context, sc *scratch, p *mqtt.Publish, from publisher) mqtt.ReasonCode {
	f := b.opts.Hooks.OnPublish
	if f == nil {
		return mqtt.ReasonSuccess
	}
	sc.pub.seq = b.number()
	sc.hook = Publishing{Client: from.client, Will: from.dead, Sequence: sc.pub.seq, Message: p}
	name := string(p.Topic)
	err := f(ctx, &sc.hook)
	if string(p.Topic) != name && err == nil {
		sc.pub.topic = ""
		err = topic.MQTT.ValidateNameBytes(p.Topic)
	}
	if err == nil {
		return mqtt.ReasonSuccess
	}
	var e *mqtt.Error
	if errors.As(err, &e) && e.Code.IsError() && e.Code.ValidFor(mqtt.TypePuback) {
		return e.Code
	}
	b.opts.Logger.Warn("message rejected", "topic", name, "err", err)
	return mqtt.ReasonUnspecifiedError
}

// forwardable makes the publication's message from p: without the properties that are not forwarded, and finds out when
// it expires.
func (b *Broker) forwardable(sc *scratch, p *mqtt.Publish) {
	sc.in = *p
	sc.in.ID, sc.in.Dup = 0, false
	sc.pub.in = &sc.in
	if len(p.Properties) == 0 {
		return
	}
	for q := range p.Properties.All() {
		switch q.ID {
		case mqtt.PropMessageExpiryInterval:
			sc.pub.expires = time.Now().UnixMilli() + int64(q.Uint())*1000
		case mqtt.PropTopicAlias, mqtt.PropSubscriptionIdentifier, mqtt.PropWillDelayInterval:
			sc.in.Properties = nil
		}
	}
	if sc.in.Properties == nil {
		sc.plain = appendWithout(sc.plain[:0], p.Properties, mqtt.PropTopicAlias, mqtt.PropSubscriptionIdentifier, mqtt.PropWillDelayInterval)
		sc.in.Properties = sc.plain
	}
}

// appendWithout appends the properties that are not among some.
func appendWithout(dst, props mqtt.Properties, without ...mqtt.PropertyID) mqtt.Properties {
next:
	for q := range props.All() {
		for _, id := range without {
			if q.ID == id {
				continue next
			}
		}
		dst = dst.Append(q)
	}
	return dst
}

// distribute retains the message if it is to be, and delivers it.
func (b *Broker) distribute(bt *mqttserver.Batch, sc *scratch, pub *publication) mqtt.ReasonCode {
	if !pub.in.Retain {
		return b.fanOut(bt, sc, pub)
	}
	pub.locked = true
	mu := b.retained.stripe(pub.in.Topic)
	mu.Lock()
	defer mu.Unlock()
	if reason := b.retain(pub); reason.IsError() {
		pub.stripe.rejected.Add(1)
		return reason
	}
	return b.fanOut(bt, sc, pub)
}
