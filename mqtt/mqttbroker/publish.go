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
	locked  bool  // the lock of the topic is held: receivers are locked too, so that replays and this message are ordered
}

// origin returns the client identifier of the publisher, for the No Local option.
func (p *publication) origin() string {
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
			p.seq = b.seq.Add(1)
		}
		p.m = newMessage(p.name(), p.in, p.seq, p.expires)
	}
	return p.m
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
	topic  string // the topic name, if it is known as a string
	will   bool
	c      *conn // the connection, of which ack and id are
	ack    mqttserver.Ack
	id     uint16
	wait   chan<- mqtt.ReasonCode // the application waits
}

// accept takes a message whose publisher is allowed to publish it: asks the hook, orders it, retains it, gives it to
// everybody who subscribed, and answers the publisher, as soon as everything is durable. It returns the reason so far.
func (b *Broker) accept(ctx context.Context, bt *mqttserver.Batch, sc *scratch, p *mqtt.Publish, from publisher) mqtt.ReasonCode {
	from.stripe.received(len(p.Payload))
	pub := &sc.pub
	*pub = publication{topic: from.topic, from: from.client, stripe: from.stripe}
	qos := p.QoS
	reason := b.hook(ctx, sc, p, from)
	if !reason.IsError() {
		b.forwardable(sc, p)
		reason = b.admit(pub)
	}
	durable := b.rec != nil && (pub.in.QoS > 0 || pub.in.Retain)
	switch {
	case reason.IsError():
		from.stripe.rejected.Add(1)
	case durable && b.opts.DeliverAfterSync:
		b.acceptThenDeliver(pub, from, qos)
		return reason
	case durable:
		m := pub.message(b)
		b.rec.message(m, Token{})
		reason = b.distribute(bt, sc, pub)
		b.rec.release(m)
	default:
		reason = b.distribute(bt, sc, pub)
	}
	b.answer(bt, from, qos, pub.seq, reason)
	return reason
}

// admit reports whether the message can be taken at all.
func (b *Broker) admit(pub *publication) mqtt.ReasonCode {
	p := pub.in
	switch {
	case b.rec.broken() && (p.QoS > 0 || p.Retain):
		return mqtt.ReasonServerUnavailable
	case b.opts.QueuePolicy == RejectPublisher && p.QoS > 0 && b.anyFull(pub):
		return mqtt.ReasonQuotaExceeded
	}
	return mqtt.ReasonSuccess
}

// acceptThenDeliver is accept for DeliverAfterSync: the message is made durable, then distributed. Completions come in
// the order of acceptance, so deliveries do.
func (b *Broker) acceptThenDeliver(pub *publication, from publisher, qos mqtt.QoS) {
	m := pub.message(b)
	b.rec.message(m, Token{kind: tokenFunc, c: from.c, then: func(bt *mqttserver.Batch, o Outcome) {
		reason := mqtt.ReasonServerUnavailable
		if o == Done {
			sc := b.scratch(bt)
			reason = b.distribute(bt, sc, sc.publication(m, from, time.Now().UnixMilli()))
		}
		b.rec.release(m)
		b.answer(bt, from, qos, m.seq, reason)
	}})
}

// answer acknowledges a message when everything recorded so far is durable.
func (b *Broker) answer(bt *mqttserver.Batch, from publisher, qos mqtt.QoS, seq uint64, reason mqtt.ReasonCode) {
	switch {
	case from.wait != nil:
		b.answerApplication(bt, from.wait, seq, reason)
		return
	case from.c == nil:
		return
	case qos == mqtt.QoS0:
		return
	case b.rec.broken():
		from.c.cut(bt)
		return
	}
	if !from.c.v5 { // there is no way to say no but to close [MQTT311-3.3.5-2]
		reason = mqtt.ReasonSuccess
	}
	if b.rec == nil || reason.IsError() {
		from.ack.Done(bt, reason, nil)
		return
	}
	rec := Record{Kind: RecordAccepted, Client: from.client.ID, Seq: seq, QoS: qos}
	if qos == mqtt.QoS2 {
		rec.Kind, rec.Delta, rec.ID = RecordState, mqtt.DeltaReceived, from.id
	}
	b.rec.append(&rec, Token{kind: tokenAck, c: from.c, ack: from.ack, reason: reason})
}

// hook calls OnPublish.
func (b *Broker) hook(ctx context.Context, sc *scratch, p *mqtt.Publish, from publisher) mqtt.ReasonCode {
	f := b.opts.Hooks.OnPublish
	if f == nil {
		return mqtt.ReasonSuccess
	}
	sc.pub.seq = b.seq.Add(1)
	sc.hook = Publishing{Client: from.client, Will: from.will, Sequence: sc.pub.seq, Message: p}
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

// answerApplication is answer for [Broker.Publish].
func (b *Broker) answerApplication(bt *mqttserver.Batch, wait chan<- mqtt.ReasonCode, seq uint64, reason mqtt.ReasonCode) {
	b.rec.await(bt, Record{Kind: RecordAccepted, Seq: seq}, nil, func(_ *mqttserver.Batch, o Outcome) {
		if o != Done {
			reason = mqtt.ReasonServerUnavailable
		}
		wait <- reason
	})
}
