package mqttbroker

import (
	"context"
	"iter"
	"net"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// Session describes the session of a client.
type Session struct {
	Client    string // client identifier
	User      string
	Connected bool
	Addr      net.Addr // of a connected client
	// Expires is when the session of a client that is away ends; zero is never.
	Expires       time.Time
	Subscriptions []mqtt.Subscription // as granted
	Queued        int                 // messages that wait
	QueuedBytes   int
}

// Sessions returns the sessions, of clients that are connected and of those that are away, in no particular order.
func (b *Broker) Sessions() iter.Seq[Session] {
	return func(yield func(Session) bool) {
		for _, s := range b.allSessions() {
			if !yield(b.describe(s)) {
				return
			}
		}
	}
}

// Session returns the session of a client; ok is false when it has none.
func (b *Broker) Session(client string) (s Session, ok bool) {
	b.mu.Lock()
	found := b.sessions[client]
	b.mu.Unlock()
	if found == nil {
		return Session{}, false
	}
	return b.describe(found), true
}

func (b *Broker) allSessions() []*session {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*session, 0, len(b.sessions))
	for _, s := range b.sessions {
		all = append(all, s)
	}
	return all
}

func (b *Broker) describe(s *session) Session {
	d := Session{Client: s.id, User: s.user}
	b.mu.Lock()
	if s.owner != nil {
		d.Connected, d.Addr = true, s.owner.client.RemoteAddr
	} else if s.expires != 0 {
		d.Expires = time.UnixMilli(s.expires)
	}
	b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs.list {
		o := sub.options()
		d.Subscriptions = append(d.Subscriptions, mqtt.Subscription{
			Filter: sub.filter, QoS: o.qos(), NoLocal: o.has(optNoLocal), RetainAsPublished: o.has(optRAP),
		})
	}
	if s.backlog != nil {
		d.Queued, d.QueuedBytes = s.backlog.queue.len(), s.backlog.queue.bytes
	}
	if c := s.conn.Load(); c != nil {
		for _, l := range c.lanes {
			d.Queued += l.queue.len()
			d.QueuedBytes += l.queue.bytes
		}
	}
	return d
}

// Kick disconnects a client and reports whether it was connected. The reason is one that DISCONNECT may have (section
// 3.14.2.1), others become ReasonAdministrativeAction. The session stays, and the will is published.
func (b *Broker) Kick(client string, reason mqtt.ReasonCode) bool {
	if !reason.IsError() || !reason.ValidFor(mqtt.TypeDisconnect) {
		reason = mqtt.ReasonAdministrativeAction
	}
	b.mu.Lock()
	var c *conn
	if s := b.sessions[client]; s != nil {
		c = s.owner
	}
	b.mu.Unlock()
	if c == nil {
		return false
	}
	c.c.Disconnect(nil, &mqtt.Disconnect{Reason: reason})
	return true
}

// DeleteSession ends the session of a client, which is disconnected first with ReasonAdministrativeAction, and reports
// whether there was one. It waits until the connection is gone and the end is durable. With an error, which is that of ctx or of
// the journal, the session ends later, or may be there again after a crash.
func (b *Broker) DeleteSession(ctx context.Context, client string) (bool, error) {
	b.mu.Lock()
	s := b.sessions[client]
	if s == nil {
		b.mu.Unlock()
		return false, nil
	}
	c := s.owner
	recorded := s.told
	if c == nil {
		b.endsSession(s)
		b.mu.Unlock()
		b.endSession(s, EndDeleted)
	} else {
		s.doomed = true
		b.mu.Unlock()
		c.c.Disconnect(nil, &mqtt.Disconnect{Reason: mqtt.ReasonAdministrativeAction})
		select {
		case <-c.done:
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
	if !recorded {
		return true, nil
	}
	return true, b.awaitDurable(ctx)
}

// Reauthorize asks the [Authorizer] again what each client may do, after its rules have changed. Clients stay connected
// and keep their subscriptions; from now on they publish and receive what they may. What waits for a client that may not
// receive it any more is dropped.
func (b *Broker) Reauthorize() {
	b.permitGen.Add(1) // who is about to connect asks again, see attach
	all := b.allSessions()
	for _, s := range all {
		for !b.askAgain(s) {
		}
	}
	b.permitGen.Add(1) // what connections remember may be of before
	for _, s := range all {
		s.mu.Lock()
		checked := false
		for _, sub := range s.subs.list {
			checked = s.reauthorize(sub) || checked
		}
		if checked && s.backlog != nil {
			b.withdrawn(s, s.backlog.queue.filter(func(ref any) bool {
				m, _, _, _ := unpack(ref)
				return s.allowed(ActionReceive, m.Topic()) == Allow
			}), DropDenied)
			s.trim()
		}
		if c := s.conn.Load(); checked && c != nil {
			for _, l := range c.lanes {
				for _, ref := range l.filter(func(ref any) bool { return s.allowed(ActionReceive, ref.(*outgoing).m.Topic()) == Allow }) {
					b.lost(s, ref, DropDenied)
				}
			}
		}
		s.mu.Unlock()
	}
}

// askAgain asks what the client of a session may do. It reports false when the answer is not for the client that has the
// session now, or perhaps by older rules.
func (b *Broker) askAgain(s *session) bool {
	gen := b.permitGen.Load()
	b.mu.Lock()
	owner, c := s.owner, &Client{ID: s.id, User: s.user}
	if owner != nil {
		c = owner.client
	}
	b.mu.Unlock()
	permit := b.permissions(c)
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.owner != owner || gen != b.permitGen.Load() {
		return false
	}
	s.permit.Store(b.permitOf(&permit))
	return true
}

// reauthorize finds out whether the messages of a subscription are to be authorized one by one. s.mu is held.
func (s *session) reauthorize(sub *subscription) bool {
	filter, _ := sharedFilter(sub.filter)
	checked := s.allowed(ActionSubscribe, filter) != Allow
	sub.opts.Store(uint64(sub.options().with(optChecked, checked)))
	return checked
}
