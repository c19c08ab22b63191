package mqttbroker

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// Connect implements [mqttserver.Backend].
func (b *Broker) Connect(ctx context.Context, mc *mqttserver.Conn) (*mqttserver.Accepted, error) {
	p := mc.Connect()
	user, err := b.authenticate(ctx, mc, p)
	if err != nil {
		return nil, err
	}
	c := &conn{b: b, c: mc, v5: p.Version >= mqtt.Version5, done: make(chan struct{})}
	c.client = &Client{
		ID: p.ClientID, User: user, RemoteAddr: mc.RemoteAddr(), Listener: mc.Listener(), Version: p.Version, Properties: p.Properties,
	}
	if p.ClientID == "" {
		c.client.ID = rand.Text()
	}
	c.stripe = &b.counters[fnv(c.client.ID)%stripes]
	gen := b.permitGen.Load()
	permit := b.permissions(c.client)
	will, err := b.newWill(p, permit)
	if err != nil {
		return nil, err
	}
	if c.present, err = b.attach(ctx, c, p, gen, permit, will); err != nil {
		return nil, err
	}
	a := &mqttserver.Accepted{State: c.s.state, Present: c.present, Session: c}
	if c.s.durable {
		a.Session = &durableConn{c}
	}
	if p.ClientID == "" {
		a.ClientID = c.client.ID
	}
	if c.v5 {
		a.Properties = b.connackProperties(c, p)
	}
	return a, nil
}

// authenticate asks who the client is.
func (b *Broker) authenticate(ctx context.Context, mc *mqttserver.Conn, p *mqtt.Connect) (user string, err error) {
	if x := mc.Auth(); x != nil {
		if named, ok := x.(interface{ User() string }); ok {
			return named.User(), nil
		}
		return p.Username, nil
	}
	if b.opts.Authenticate == nil {
		return "", &mqtt.Error{Code: mqtt.ReasonNotAuthorized}
	}
	l := &Login{
		ClientID: p.ClientID, Username: p.Username, Password: p.Password,
		HasUsername: p.HasUsername, HasPassword: p.HasPassword, Certificate: certificate(mc),
		RemoteAddr: mc.RemoteAddr(), Listener: mc.Listener(), Version: p.Version, Properties: p.Properties,
	}
	user, err = b.opts.Authenticate(ctx, l)
	if errors.Is(err, ErrNoOpinion) {
		err = &mqtt.Error{Code: mqtt.ReasonNotAuthorized}
	}
	return user, err
}

// certificate returns the verified certificate of the client, or nil.
func certificate(mc *mqttserver.Conn) *x509.Certificate {
	t := mc.TLS()
	if t == nil || len(t.VerifiedChains) == 0 || len(t.VerifiedChains[0]) == 0 {
		return nil
	}
	return t.VerifiedChains[0][0]
}

// Auth implements [mqttserver.Authenticator].
func (b *Broker) Auth(ctx context.Context, mc *mqttserver.Conn, method string) (mqttserver.AuthExchange, error) {
	if b.opts.Exchange == nil {
		return nil, &mqtt.Error{Code: mqtt.ReasonBadAuthenticationMethod}
	}
	return b.opts.Exchange(ctx, mc, method)
}

// permissions asks what a client may do.
func (b *Broker) permissions(c *Client) Permissions {
	if b.opts.Authorize == nil {
		return b.permitAll
	}
	if p := b.opts.Authorize(c); p != nil {
		return p
	}
	return nothing
}

// attach makes c the connection of its session, which is resumed or made. An older connection is taken over: closed, and
// waited for. The permissions are those of gen; if the rules change meanwhile they are asked for again.
func (b *Broker) attach(ctx context.Context, c *conn, p *mqtt.Connect, gen uint32, permit Permissions, w *will) (present bool, err error) {
	for {
		if now := b.permitGen.Load(); now != gen {
			gen, permit = now, b.permissions(c.client)
		}
		b.mu.Lock()
		if gen != b.permitGen.Load() {
			b.mu.Unlock()
			continue
		}
		s := b.sessions[c.client.ID]
		over := s != nil && s.owner == nil && s.expires != 0 && s.expires <= time.Now().UnixMilli() && !b.closed
		if s == nil || s.owner == nil && !s.willDue() && !over {
			break
		}
		if over { // the session has ended, perhaps before a crash, and the client comes before the timer
			b.mu.Unlock()
			b.sessionDue(s, time.Now().UnixMilli())
			continue
		}
		if s.owner == nil { // the will delay has passed, and the client comes before the timer
			w := s.takeWill()
			b.mu.Unlock()
			b.publishWill(s, w)
			continue
		}
		old := s.owner
		b.mu.Unlock()
		old.c.Disconnect(nil, &mqtt.Disconnect{Reason: mqtt.ReasonSessionTakenOver})
		select {
		case <-old.done:
		case <-ctx.Done():
			return false, &mqtt.Error{Code: mqtt.ReasonServerBusy, Err: ctx.Err()}
		}
	}
	s := b.sessions[c.client.ID]
	resume := s != nil && !p.CleanStart && s.user == c.client.User
	switch {
	case b.closed, b.rec.broken():
		err = &mqtt.Error{Code: mqtt.ReasonServerUnavailable}
	case s == nil && b.opts.MaxSessions > 0 && len(b.sessions) >= b.opts.MaxSessions:
		err = &mqtt.Error{Code: mqtt.ReasonQuotaExceeded, Reason: "too many sessions"}
	}
	if err != nil {
		b.mu.Unlock()
		return false, err
	}
	old, replaced := s, false
	if !resume {
		s = &session{id: c.client.ID, num: b.ids.Add(1), user: c.client.User}
		s.durable = b.rec != nil && b.sessionExpiry(p) != 0
		if old != nil {
			replaced = old.told
			b.endsSession(old)
		}
		b.sessions[s.id] = s
	}
	c.s = s
	s.owner, s.will, s.expires, s.expiry = c, w, 0, b.sessionExpiry(p)
	s.permit.Store(b.permitOf(&permit))
	b.deadlines.set(s, 0) // a will that was to come does not [MQTT-3.1.3-9]
	b.gauges.connectedMax.Store(max(b.gauges.connectedMax.Load(), b.gauges.connected.Add(1)))
	b.mu.Unlock()
	if !resume {
		if old != nil {
			b.endSession(old, EndReplaced)
		}
		if f := b.opts.Events.SessionCreated; f != nil {
			f(s.id)
		}
	}
	err = b.wake(s)
	if err == nil {
		err = b.recordConnect(ctx, s, replaced)
	}
	if err != nil {
		b.mu.Lock()
		s.will = nil // the connection never came about
		b.mu.Unlock()
		c.Closed(err, nil)
	}
	return resume, err
}

// permitOf returns permissions to be kept: without an Authorizer there are only ones.
func (b *Broker) permitOf(p *Permissions) *Permissions {
	if b.opts.Authorize == nil {
		return &b.permitAll
	}
	return p
}

// recordConnect records that a client has connected to its session, with its will, and waits until that is durable, and the end
// of a session with records that was replaced: it must not come back after a crash.
func (b *Broker) recordConnect(ctx context.Context, s *session, replaced bool) error {
	if b.rec == nil {
		return nil
	}
	b.mu.Lock()
	b.recordOwner(s, true)
	told := s.told
	b.mu.Unlock()
	if !told && !replaced {
		return nil
	}
	switch err := b.awaitDurable(ctx); err {
	case nil:
		return nil
	case errNotDurable:
		return &mqtt.Error{Code: mqtt.ReasonServerUnavailable}
	default:
		return &mqtt.Error{Code: mqtt.ReasonServerBusy, Err: err}
	}
}

// errNotDurable says that what was recorded did not become durable.
var errNotDurable = errors.New("mqttbroker: the journal has failed")

// awaitDurable waits until what was recorded is durable. The error is errNotDurable or that of ctx.
func (b *Broker) awaitDurable(ctx context.Context) error {
	done := make(chan Outcome, 1)
	b.rec.await(nil, func(_ *mqttserver.Batch, o Outcome) { done <- o })
	select {
	case o := <-done:
		if o != Done {
			return errNotDurable
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wake brings a session back whose client connects: the bodies of what is in flight are read.
func (b *Broker) wake(s *session) error {
	var cold map[*entry]*Message
	if b.rec != nil && s.state != nil {
		rd := b.rec.j.Reader()
		for o := range s.state.Outbound() {
			e, ok := o.Ref.(*entry)
			if !ok || o.Released {
				continue
			}
			m, err := readMessage(rd, e.seq)
			if err != nil {
				b.opts.Logger.Error("journal: a message in flight cannot be read", "client", s.id, "err", err)
				return &mqtt.Error{Code: mqtt.ReasonServerUnavailable, Err: err}
			}
			if cold == nil {
				cold = make(map[*entry]*Message)
			}
			cold[e] = m
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		s.state = new(mqtt.State)
	}
	s.state.Rebind(func(ref any) any {
		e, ok := ref.(*entry)
		if !ok {
			return ref
		}
		m := cold[e]
		if m == nil { // released: the body is not needed any more
			m = coldMessage("", e.seq, messageFlags(e.qos), e.size, 0)
			m.size -= messageOverhead
		}
		var member *subscription
		if e.group != "" {
			if member = s.subs.get(e.group); member == nil {
				member = &subscription{s: s, filter: e.group}
			}
		}
		ref = e.ref(m, member)
		if o, ok := ref.(*outgoing); ok && member != nil {
			s.pending().shared.add(o)
		}
		return ref
	})
	s.awake = true
	return nil
}

// rest lets a session rest whose client has gone: what waits and what is in flight goes out of memory, if the journal
// has it.
func (b *Broker) rest(s *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awake = false
	if s.state.Empty() {
		s.state = nil
	}
	if b.rec == nil || !s.durable {
		return
	}
	b.chill(s)
	if s.state != nil {
		s.state.Rebind(func(ref any) any {
			e := entryOf(ref)
			return &e
		})
	}
	if s.backlog != nil {
		s.backlog.shared = outgoingList{}
		s.trim()
	}
}

// sessionExpiry returns the session expiry interval that a client gets (section 3.1.2.11.2); clients of older versions
// have 0 with a clean session and otherwise as much as there is.
func (b *Broker) sessionExpiry(p *mqtt.Connect) uint32 {
	var want uint32
	switch {
	case p.Version >= mqtt.Version5:
		want, _ = p.Properties.Uint32(mqtt.PropSessionExpiryInterval)
	case !p.CleanStart:
		want = forever
	}
	return b.capExpiry(want)
}

// capExpiry applies MaxSessionExpiry.
func (b *Broker) capExpiry(want uint32) uint32 {
	switch limit := b.opts.MaxSessionExpiry; {
	case limit < 0:
		return 0
	case limit > 0:
		return min(want, uint32(min(max(limit/time.Second, 1), forever-1)))
	}
	return want
}

// connackProperties returns what the broker adds to the CONNACK.
func (b *Broker) connackProperties(c *conn, p *mqtt.Connect) (props mqtt.Properties) {
	if want, _ := p.Properties.Uint32(mqtt.PropSessionExpiryInterval); want != c.s.expiry {
		props = props.AppendUint32(mqtt.PropSessionExpiryInterval, c.s.expiry)
	}
	if asked, _ := p.Properties.Byte(mqtt.PropRequestResponseInformation); asked == 1 && b.opts.ResponseInformation != nil {
		if info := b.opts.ResponseInformation(c.client); info != "" {
			props = props.AppendString(mqtt.PropResponseInformation, info)
		}
	}
	return props
}
