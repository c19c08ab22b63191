package mqttserver

import (
	"context"
	"errors"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// open takes a connection from its first byte to the CONNACK and starts its goroutine. It runs in a goroutine of its own,
// so that the deep stack of all that does not stay.
func (c *Conn) open(deadline time.Time) {
	if f := c.srv.trace.Open; f != nil {
		f(c)
	}
	ctx, cancel := context.WithDeadline(c.srv.door.Context(), deadline)
	defer cancel()
	c.nc.SetReadDeadline(deadline)
	p, ok := c.next()
	if !ok {
		c.loop()
		return
	}
	c.connect = p.(*mqtt.Connect)
	c.clientID, c.username = c.connect.ClientID, c.connect.Username
	a, err := c.decide(ctx)
	c.nc.SetReadDeadline(time.Time{})
	if err != nil {
		c.reject(a, err)
		c.loop()
		return
	}
	c.accept(a)
	go c.loop()
}

// next reads until there is a packet that the server must answer: CONNECT, or AUTH before CONNACK. When ok is false the
// connection is at its end.
func (c *Conn) next() (p mqtt.Packet, ok bool) {
	for {
		b, err := c.read()
		if err != nil {
			c.mu.Lock()
			c.abort(lost(err))
			c.mu.Unlock()
			return nil, false
		}
		rd := c.in.rd
		rd.early = false
		n, p := c.first(rd, b)
		early := rd.early
		rd.batch.Flush()
		c.keep(b[n:], n > 0 || early)
		if early {
			if err := c.ext.confirmIn(c.srv.limits.ConnectTimeout); err != nil {
				c.mu.Lock()
				c.abort(lost(err))
				c.mu.Unlock()
			}
		}
		if c.isEnded() {
			return nil, false
		}
		if p != nil {
			return p, true
		}
	}
}

func (c *Conn) isEnded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// first handles the packet at the front of b before CONNACK, and returns it when it is to be answered.
func (c *Conn) first(rd *reader, b []byte) (n int, p mqtt.Packet) {
	p, n, err := rd.dec.Decode(b, c.version)
	if err == nil && n == 0 {
		return 0, nil
	}
	if c.ext != nil && err == nil && c.ext.premature(p) {
		rd.early = true
		return 0, nil
	}
	now := rd.batch.Now()
	c.mu.Lock()
	if connect, ok := p.(*mqtt.Connect); ok && c.version == 0 {
		c.version = min(max(connect.Version, mqtt.Version31), mqtt.Version5)
	}
	if err != nil {
		c.machine.Fail(now, p, err)
	} else {
		c.received(p)
		err = c.machine.Receive(now, 0, p)
	}
	ev := c.drain(rd)
	if err != nil && !c.ended {
		c.abort(err)
	}
	c.unlock(rd.batch)
	if err != nil {
		return len(b), nil
	}
	return n, ev.Packet
}

// decide asks the backend, after the limits.
func (c *Conn) decide(ctx context.Context) (*Accepted, error) {
	if err := c.checkConnect(); err != nil {
		return nil, err
	}
	if method, ok := c.connect.Properties.String(mqtt.PropAuthenticationMethod); ok && c.version == mqtt.Version5 {
		data, err := c.authenticate(ctx, method)
		if err != nil {
			return nil, err
		}
		a, err := c.srv.backend.Connect(ctx, c)
		if err == nil && data != nil {
			a.Properties = a.Properties.AppendBytes(mqtt.PropAuthenticationData, data)
		}
		return a, err
	}
	return c.srv.backend.Connect(ctx, c)
}

// checkConnect applies the limits to a CONNECT.
func (c *Conn) checkConnect() error {
	if c.refuse != 0 {
		return &mqtt.Error{Code: c.refuse}
	}
	if c.srv.draining() {
		return &mqtt.Error{Code: mqtt.ReasonServerUnavailable}
	}
	if c.srv.memory.full(time.Now()) {
		return &mqtt.Error{Code: mqtt.ReasonServerBusy}
	}
	if w := c.connect.Will; w != nil && tooDeep(w.Topic, &c.srv.limits) {
		return &mqtt.Error{Code: mqtt.ReasonTopicNameInvalid, Reason: "topic of the will exceeds a limit"}
	}
	return nil
}

// wireError returns what the client may know of an error of the backend. Other errors are logged.
func (c *Conn) wireError(what string, err error, t mqtt.PacketType) *mqtt.Error {
	e, ok := errors.AsType[*mqtt.Error](err)
	if ok && e.Code.IsError() && e.Code.ValidFor(t) {
		return &mqtt.Error{Code: e.Code, Reason: e.Reason}
	}
	c.log(what, err)
	return &mqtt.Error{Code: mqtt.ReasonUnspecifiedError}
}

// reject answers CONNECT with a failure.
func (c *Conn) reject(a *Accepted, err error) {
	e := c.wireError("backend failed to connect a client", err, mqtt.TypeConnack)
	ack := &mqtt.Connack{Reason: e.Code}
	if a != nil {
		ack.Properties = a.Properties
	}
	if e.Reason != "" && !ack.Properties.Has(mqtt.PropReasonString) {
		ack.Properties = ack.Properties.AppendString(mqtt.PropReasonString, e.Reason)
	}
	c.connect = nil
	c.mu.Lock()
	if err := c.machine.Reject(time.Now(), ack); err != nil && !c.ended {
		c.abort(err)
	}
	c.drain(nil)
	c.unlock(nil)
}

// accept answers CONNECT and starts the session.
func (c *Conn) accept(a *Accepted) {
	b := c.srv.takeBatch()
	defer c.srv.giveBatch(b)
	c.calls.Lock()
	c.mu.Lock()
	c.session = a.Session
	ack := &mqtt.Connack{SessionPresent: a.Present, Properties: a.Properties}
	if a.ClientID != "" {
		c.clientID = a.ClientID
		if c.version == mqtt.Version5 {
			ack.Properties = ack.Properties.AppendString(mqtt.PropAssignedClientIdentifier, a.ClientID)
		}
	}
	if !c.ended {
		c.acceptMachine(b, ack, a)
	}
	c.drain(nil)
	started := c.accepted && !c.ended
	c.unlock(b)
	c.call(b)
	c.mu.Lock()
	started = started && !c.detached // what was called may have been Session.Closed
	c.mu.Unlock()
	if started {
		if f := c.srv.trace.Connected; f != nil {
			f(c)
		}
		c.session.Start(b)
		if c.ext != nil {
			c.ext.start()
		}
	}
	c.calls.Unlock()
	b.Flush()
}

// acceptMachine makes the machine accept, with c.mu held.
func (c *Conn) acceptMachine(b *Batch, ack *mqtt.Connack, a *Accepted) {
	now := b.Now()
	if c.ext != nil {
		ack.Properties = c.ext.offer(c.connect, ack.Properties)
	}
	if p, ok := a.Session.(Persister); ok {
		c.persist = p
		c.machine.UseBarriers()
	}
	c.connect = nil
	if err := c.machine.Accept(now, ack, a.State); err != nil {
		c.log("backend's answer to CONNECT cannot be sent", err)
		c.machine.Fail(now, nil, &mqtt.Error{Code: mqtt.ReasonImplementationSpecificError})
		return
	}
	c.accepted, c.present = true, ack.SessionPresent
	if at := c.machine.Timeout(); !at.IsZero() {
		c.arm(at.Sub(now))
	}
}
