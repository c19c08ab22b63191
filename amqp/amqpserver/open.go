package amqpserver

import (
	"context"
	"crypto/x509"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/internal/sasl"
)

// open takes a connection from its first byte to connection.open-ok and starts its goroutine. It runs in a goroutine of its
// own, so that the deep stack of all that does not stay.
func (c *Conn) open(deadline time.Time) {
	if f := c.srv.trace.Open; f != nil {
		f(c)
	}
	ctx, cancel := context.WithDeadline(c.srv.door.Context(), deadline)
	defer cancel()
	c.nc.SetReadDeadline(deadline)
	h := &handshake{c: c, mechanisms: c.mechanisms()}
	for !h.done {
		ev, ok := c.next()
		if !ok {
			break
		}
		h.step(ctx, &ev)
	}
	c.mu.Lock()
	if !c.ended {
		c.nc.SetReadDeadline(time.Time{})
	}
	c.mu.Unlock()
	c.acceptStreams()
	go func() { c.finish(c.in.loop()) }()
}

// next reads until there is an event of the handshake. When ok is false there will be none any more.
func (c *Conn) next() (ev amqp091.Event, ok bool) {
	for {
		if c.isDown() {
			return ev, false
		}
		b, err := c.in.read()
		if err != nil {
			c.mu.Lock()
			c.abort(lost(err))
			c.unlock(nil)
			return ev, false
		}
		rd := c.in.rd
		c.calls.Lock()
		n, ev := c.first(rd, b)
		c.call(rd.batch)
		c.calls.Unlock()
		rd.batch.Flush()
		c.in.keep(b[n:], n > 0)
		if ev.Kind != 0 {
			return ev, true
		}
	}
}

func (c *Conn) isDown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down
}

// first handles the frames at the front of b up to the first event of the handshake, and returns it.
func (c *Conn) first(rd *reader, b []byte) (n int, ev amqp091.Event) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return len(b), ev
	}
	n, _ = c.receive(&c.in, rd.batch.Now(), b)
	if f := c.srv.trace.Received; f != nil {
		traceFrames(c, f, b[:n])
	}
	c.drain(rd)
	c.unlock(rd.batch)
	if len(rd.events) > 0 {
		ev, rd.events[0] = rd.events[0], amqp091.Event{}
		rd.events = rd.events[:0]
	}
	return n, ev
}

// handshake is what a connection needs until it is open.
type handshake struct {
	c          *Conn
	mechanisms []string
	server     sasl.Server
	done       bool
}

// step answers the client.
func (h *handshake) step(ctx context.Context, ev *amqp091.Event) {
	c := h.c
	switch ev.Kind {
	case amqp091.EventHeader:
		c.do(func(now time.Time) { c.machine.Start(now, strings.Join(h.mechanisms, " ")) })
	case amqp091.EventStartOK:
		if !c.confirmed(ctx) {
			c.Abort()
			return
		}
		m := ev.Method.(*amqp091.ConnectionStartOK)
		c.mechanism, c.peer = m.Mechanism, m.ClientProperties
		if !slices.Contains(h.mechanisms, m.Mechanism) {
			c.Close(nil, &amqp091.Error{Code: amqp091.CommandInvalid, Hard: true, Method: m.ID(),
				Text: "unknown authentication mechanism '" + m.Mechanism + "'"})
			return
		}
		h.server = h.mechanism(m.Mechanism)
		h.authenticate(ctx, m.Response)
	case amqp091.EventSecureOK:
		h.authenticate(ctx, ev.Method.(*amqp091.ConnectionSecureOK).Response)
	case amqp091.EventOpen:
		h.open(ctx, ev.Method.(*amqp091.ConnectionOpen).VirtualHost)
	}
}

// confirmed waits for the end of the handshake below the connection: what came before may be early data, which somebody may
// send again, and a login must not be in it (amqp091.EarlyNever). It is false when ctx ends before.
func (c *Conn) confirmed(ctx context.Context) bool {
	early, ok := c.nc.(netio.EarlyData)
	if !ok {
		return true
	}
	select {
	case <-early.Confirmed():
		return true
	case <-ctx.Done():
		return false
	}
}

// do makes a change of the machine and sends what comes of it.
func (c *Conn) do(f func(now time.Time)) {
	c.mu.Lock()
	if !c.ended {
		f(time.Now())
		c.drain(nil)
		c.rearm()
	}
	c.unlock(nil)
}

// authenticate makes a step of the client's mechanism.
func (h *handshake) authenticate(ctx context.Context, response []byte) {
	c := h.c
	if response == nil {
		response = []byte{}
	}
	challenge, done, err := h.server.Step(ctx, response)
	switch {
	case err != nil:
		c.srv.logger.Warn("login refused", "listener", c.listener.Name, "remote", c.nc.RemoteAddr(), "mechanism", c.mechanism, "err", err)
		c.do(func(now time.Time) { c.machine.Refuse(now, err) })
	case !done:
		c.do(func(now time.Time) { c.machine.Secure(now, challenge) })
	default:
		c.do(func(now time.Time) { c.machine.Tune(now) })
	}
}

// mechanism returns the server's side of a mechanism.
func (h *handshake) mechanism(name string) sasl.Server {
	password := func(ctx context.Context, user, password string) error {
		return h.ask(ctx, &Auth{Mechanism: name, User: user, Password: password})
	}
	switch name {
	case "PLAIN":
		return sasl.PlainServer(password)
	case "AMQPLAIN":
		return sasl.AMQPlainServer(password)
	}
	return &identity{h, &Auth{Mechanism: name, User: h.c.certificateUser()}}
}

// ask asks the backend.
func (h *handshake) ask(ctx context.Context, a *Auth) error {
	user, err := h.c.srv.backend.Authenticate(ctx, h.c, a)
	if err == nil {
		h.c.user = user
	}
	return err
}

// identity is EXTERNAL or ANONYMOUS: what the client says does not count. (Some clients say something else than RFC 4422
// asks for.)
type identity struct {
	h *handshake
	a *Auth
}

// Step implements sasl.Server.
func (i *identity) Step(ctx context.Context, _ []byte) ([]byte, bool, error) {
	if i.a.Mechanism == "ANONYMOUS" {
		i.a.User = ""
	} else if i.a.User == "" {
		return nil, false, errNoCertificate
	}
	return nil, true, i.h.ask(ctx, i.a)
}

// User implements sasl.Server.
func (i *identity) User() string { return i.a.User }

// mechanisms returns the mechanisms that are offered on the connection.
func (c *Conn) mechanisms() []string {
	var list []string
	for _, m := range c.srv.mechanisms {
		if m != "EXTERNAL" || c.certificate() != nil {
			list = append(list, m)
		}
	}
	return list
}

// certificate returns the client's certificate if it was verified, else nil.
func (c *Conn) certificate() *x509.Certificate {
	if st := c.TLS(); st != nil && len(st.VerifiedChains) > 0 && len(st.PeerCertificates) > 0 {
		return st.PeerCertificates[0]
	}
	return nil
}

// certificateUser returns the user of the client's certificate.
func (c *Conn) certificateUser() string {
	cert := c.certificate()
	switch {
	case cert == nil:
		return ""
	case c.srv.certUser != nil:
		return c.srv.certUser(cert)
	}
	return cert.Subject.String()
}

// open opens the virtual host and starts the session.
func (h *handshake) open(ctx context.Context, vhost string) {
	c := h.c
	c.vhost = vhost
	session, err := c.srv.backend.Open(ctx, c, vhost)
	if err != nil {
		c.Close(nil, c.wireError("backend failed to open a virtual host", amqp091.IDConnectionOpen, err))
		return
	}
	b := c.srv.takeBatch()
	defer c.srv.giveBatch(b)
	c.calls.Lock()
	c.mu.Lock()
	c.session = session
	c.flusher, _ = session.(Flusher)
	if !c.down && c.machine.OpenOK(b.Now()) == nil {
		c.opened = true
		c.drain(nil)
		c.rearm()
	}
	opened, detached := c.opened, c.detached
	c.unlock(b)
	switch {
	case opened:
		h.done = true
		if f := c.srv.trace.Opened; f != nil {
			f(c)
		}
		session.Start(b)
	case detached: // it ended meanwhile
		session.Closed(net.ErrClosed)
	}
	c.call(b)
	c.calls.Unlock()
	b.Flush()
}
