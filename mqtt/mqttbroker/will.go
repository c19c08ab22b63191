package mqttbroker

import (
	"context"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/topic"
)

// will is the will message of a connected client, or of one that is away and whose will delay runs.
type will struct {
	p      mqtt.Publish
	delay  uint32 // seconds
	due    int64  // unix milliseconds, while the delay runs
	client *Client
}

// newWill returns the will that is to be stored with the connection [MQTT-3.1.2-7], nil for none.
func (b *Broker) newWill(p *mqtt.Connect, permit Permissions) (*will, error) {
	w := p.Will
	if w == nil {
		return nil, nil
	}
	switch {
	case topic.MQTT.ValidateName(w.Topic) != nil:
		return nil, &mqtt.Error{Code: mqtt.ReasonTopicNameInvalid, Reason: "will topic"}
	case reserved(w.Topic), permit(ActionPublish, w.Topic) != Allow:
		return nil, &mqtt.Error{Code: mqtt.ReasonNotAuthorized, Reason: "will topic"}
	}
	delay, _ := w.Properties.Uint32(mqtt.PropWillDelayInterval)
	return &will{
		p: mqtt.Publish{
			Topic: []byte(w.Topic), Payload: w.Payload, Properties: w.Properties, QoS: w.QoS, Retain: w.Retain,
		},
		delay: delay,
	}, nil
}

// takeWill takes the will out of a session: a will is published once [MQTT-3.1.2-10]. b.mu is held.
func (s *session) takeWill() *will {
	w := s.will
	s.will = nil
	return w
}

// willDue reports whether the delay of the will of a client that is away has passed. b.mu is held.
func (s *session) willDue() bool { return s.will != nil && s.will.due <= time.Now().UnixMilli() }

// publishWill publishes a will, nil for none.
func (b *Broker) publishWill(s *session, w *will) {
	if w == nil {
		return
	}
	if b.rec != nil {
		defer func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.recordOwner(s, s.owner != nil)
		}()
	}
	if s.allowed(ActionPublish, string(w.p.Topic)) != Allow {
		return
	}
	if w.client == nil {
		w.client = &Client{ID: s.id, User: s.user}
	}
	bt := mqttserver.NewBatch()
	defer bt.Flush()
	from := publisher{client: w.client, stripe: &b.counters[fnv(s.id)%stripes], dead: true}
	if b.rec != nil && s.durable {
		from.will = s
	}
	b.accept(context.Background(), bt, b.scratch(bt), &w.p, from)
}

// recordOwner records who has a session, how long it lasts and its will, if anything of the session is recorded. b.mu is
// held.
func (b *Broker) recordOwner(s *session, connected bool) {
	if b.rec == nil || !s.durable && s.will == nil && !s.told {
		return
	}
	s.told = true
	b.rec.owner(s, owner{
		client: s.id, user: s.user, expiry: s.expiry, connected: connected, expires: s.expires, will: s.will,
	})
}

// sessionDue is called when the will delay or the expiry interval of a session has passed.
func (b *Broker) sessionDue(s *session, now int64) {
	b.mu.Lock()
	if s.owner != nil || b.sessions[s.id] != s || b.closed {
		b.mu.Unlock()
		return
	}
	if s.expires != 0 && s.expires <= now {
		b.endsSession(s)
		b.mu.Unlock()
		b.gauges.expired.Add(1)
		b.endSession(s, EndExpired)
		return
	}
	var w *will
	if s.will != nil && s.will.due <= now {
		w = s.takeWill()
	}
	b.schedule(s)
	b.mu.Unlock()
	b.publishWill(s, w)
}

// schedule sets the deadline of a session whose client is away. b.mu is held.
func (b *Broker) schedule(s *session) {
	at := s.expires
	if s.will != nil && (at == 0 || s.will.due < at) {
		at = s.will.due
	}
	b.deadlines.set(s, at)
}

// seconds returns the time that is n seconds after now, in unix milliseconds.
func seconds(now time.Time, n uint32) int64 { return now.UnixMilli() + int64(n)*1000 }
