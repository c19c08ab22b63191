package mqtt

import (
	"bytes"
	"time"
)

// aliases are the topic aliases of one connection [MQTT-3.3.2-7], in both directions (section 3.3.2.3.4).
type aliases struct {
	received [][]byte // topics by alias - 1; grows as the peer uses aliases

	// Outbound. A topic gets an alias when it comes again after having been seen. When all aliases are taken, those
	// that were not used for a while are given to others: a hand goes round and takes the mark of use away.
	sendMax uint16
	hand    uint16
	byTopic map[string]uint16
	topics  []aliased // by alias - 1
	seen    [64]uint32
	props   Properties // scratch
}

// aliased is a topic that has an outbound alias.
type aliased struct {
	topic string
	used  bool
}

// alias returns the tables of aliases.
func (s *Session) alias() *aliases {
	if s.aliases == nil {
		s.aliases = new(aliases)
	}
	return s.aliases
}

// resolve checks the properties of a received PUBLISH of version 5: it puts the topic of its alias in, and takes the
// alias out of the properties.
func (s *Session) resolve(now time.Time, p *Publish) error {
	alias, found := uint16(0), false
	rest := p.Properties
	for q, tail, ok := rest.next(); ok; q, tail, ok = rest.next() {
		switch q.ID {
		case PropTopicAlias:
			if found {
				return s.fail(now, ReasonProtocolError, "two topic aliases")
			}
			alias, found = uint16(q.Uint()), true
			head := p.Properties[:len(p.Properties)-len(rest)]
			copy(p.Properties[3:], head) // close the gap from the left
			p.Properties = p.Properties[3:]
		case PropSubscriptionIdentifier:
			if s.cfg.Role == Server {
				return s.fail(now, ReasonProtocolError, "subscription identifier from a client") // [MQTT-3.3.4-6]
			}
		}
		rest = tail
	}
	switch {
	case !found && len(p.Topic) == 0:
		return s.fail(now, ReasonProtocolError, "neither topic nor topic alias")
	case !found:
		return nil
	case alias == 0 || alias > s.cfg.TopicAliasMaximum || s.version < Version5:
		return s.fail(now, ReasonTopicAliasInvalid, "")
	}
	return s.lookUp(now, p, int(alias)-1)
}

// lookUp sets or uses the alias i+1 of the peer.
func (s *Session) lookUp(now time.Time, p *Publish, i int) error {
	a := s.alias()
	if len(p.Topic) == 0 {
		if i >= len(a.received) || a.received[i] == nil {
			return s.fail(now, ReasonProtocolError, "unknown topic alias")
		}
		p.Topic = a.received[i]
		return nil
	}
	for i >= len(a.received) {
		a.received = append(a.received, nil)
	}
	if !bytes.Equal(a.received[i], p.Topic) {
		a.received[i] = bytes.Clone(p.Topic)
	}
	return nil
}

// assign replaces the topic of p by its alias, or gives it one. maxPacket is the peer's maximum packet size.
func (a *aliases) assign(p *Publish, maxPacket uint32) {
	if a.sendMax == 0 || len(p.Topic) < 3 {
		return
	}
	if alias, ok := a.byTopic[string(p.Topic)]; ok {
		a.topics[alias-1].used = true
		p.Topic = nil
		a.add(p, alias)
		return
	}
	h := hash(p.Topic)
	seen := &a.seen[h%uint32(len(a.seen))]
	if *seen != h {
		*seen = h
		return
	}
	if maxPacket != 0 && uint64(PublishSize(p, Version5))+6 > uint64(maxPacket) {
		return
	}
	if alias := a.free(); alias != 0 {
		topic := string(p.Topic)
		if a.byTopic == nil {
			a.byTopic = make(map[string]uint16)
		}
		a.byTopic[topic] = alias
		a.topics[alias-1] = aliased{topic: topic, used: true}
		a.add(p, alias)
	}
}

// free returns an alias that may be given to a topic, 0 when this is not the time.
func (a *aliases) free() uint16 {
	if n := len(a.topics); n < int(a.sendMax) {
		a.topics = append(a.topics, aliased{})
		return uint16(n + 1)
	}
	i := a.hand
	a.hand = (a.hand + 1) % a.sendMax
	t := &a.topics[i]
	if t.used {
		t.used = false
		return 0
	}
	delete(a.byTopic, t.topic)
	return i + 1
}

// add puts the alias before the properties of p.
func (a *aliases) add(p *Publish, alias uint16) {
	a.props = append(a.props[:0].AppendUint16(PropTopicAlias, alias), p.Properties...)
	p.Properties = a.props
}

// hash is FNV-1a.
func hash(b []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}
