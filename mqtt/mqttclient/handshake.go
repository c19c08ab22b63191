package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// handshake sends CONNECT and goes on until the connection is up. With purge it starts a new session and ends it.
func (k *conn) handshake(ctx context.Context, purge bool) error {
	c := k.c
	k.purge = purge
	p, err := k.connectPacket(ctx, purge)
	if err != nil {
		return err
	}
	c.mu.Lock()
	st := &c.state
	if purge {
		st = new(mqtt.State)
	}
	if err = k.sess.Connect(time.Now(), p, st); err == nil {
		k.events()
		if !purge {
			k.publishEarly()
		}
		k.kick()
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := k.awaitConnack(ctx); err != nil {
		return err
	}
	if k.fresh && !purge && c.store != nil { // otherwise an old State could meet messages of the new session
		if err := c.store.j.Sync(ctx); err != nil {
			return &StorageError{Dir: c.o.Dir, Err: err}
		}
	}
	return k.accepted(purge)
}

// accepted goes on after CONNACK.
func (k *conn) accepted(purge bool) error {
	c := k.c
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	if purge {
		k.up = true
		k.disconnect(nil)
		c.mu.Unlock()
		return nil
	}
	k.activate()
	info := c.info
	c.mu.Unlock()
	c.o.Logger.Debug("connected", "server", k.server.Redacted(), "client", info.ClientID, "version", info.Version.String())
	if f := c.o.Trace.Connected; f != nil {
		f(info)
	}
	return nil
}

// awaitConnack reads until the server has accepted.
func (k *conn) awaitConnack(ctx context.Context) error {
	for k.connack == nil {
		if err := k.read(); err != nil {
			return k.handshakeErr(ctx)
		}
		if k.isClosing() {
			return k.handshakeErr(ctx)
		}
		if err := k.authenticate(ctx); err != nil {
			return err
		}
	}
	if k.connack.Reason.IsError() {
		return k.handshakeErr(ctx)
	}
	return k.finishAuth()
}

// isClosing reports whether the connection is at its end: who writes may have found that out.
func (k *conn) isClosing() bool {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.closing
}

// handshakeErr returns why the connection ended before it was up.
func (k *conn) handshakeErr(ctx context.Context) error {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	err := k.cause()
	if !k.heard && ctx.Err() == nil && k.sess.Err() == nil {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	return err
}

// abandon closes a connection that did not come up, behind the machine's last word if it has one.
func (k *conn) abandon(err error) {
	k.c.mu.Lock()
	if !k.closing {
		k.fail(err)
	}
	k.sess.Lost()
	k.c.mu.Unlock()
	<-k.flushed
	k.nc.Close()
}

// connectPacket returns the CONNECT.
func (k *conn) connectPacket(ctx context.Context, purge bool) (*mqtt.Connect, error) {
	o := k.c.o
	user, password, err := o.login(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("mqttclient: credentials: %w", err)
	}
	p := o.connectPacket(k.version, user, password)
	k.c.mu.Lock()
	p.ClientID = k.c.info.ClientID
	begun := k.c.epoch > 0 || o.Resume
	k.c.mu.Unlock()
	if k.version < mqtt.Version5 {
		p.CleanStart = purge || o.expiry == 0
		k.clean = p.CleanStart
		return p, nil
	}
	if k.mux != nil {
		p.Properties = o.Streams.offer(p.Properties)
	}
	p.CleanStart = !begun
	k.clean = p.CleanStart
	return p, k.startAuth(ctx, p)
}

// connectPacket returns what CONNECT says on every connection.
func (c *config) connectPacket(v mqtt.Version, user string, password []byte) *mqtt.Connect {
	p := &mqtt.Connect{
		Version: v, KeepAlive: c.keepAlive, ClientID: c.ClientID, Will: c.Will,
		Username: user, HasUsername: user != "",
		Password: password, HasPassword: password != nil && (user != "" || v == mqtt.Version5),
	}
	if v < mqtt.Version5 {
		if c.Will != nil {
			w := *c.Will
			w.Properties = nil
			p.Will = &w
		}
		return p
	}
	p.Properties = append(p.Properties, c.ConnectProperties...)
	if c.expiry > 0 {
		p.Properties = p.Properties.AppendUint32(mqtt.PropSessionExpiryInterval, c.expiry)
	}
	return p
}

// login returns the user name and password for a server.
func (c *config) login(ctx context.Context, k *conn) (user string, password []byte, err error) {
	switch {
	case c.Credentials != nil:
		return c.Credentials(ctx, k.server)
	case c.Username == "" && c.Password == nil && k.server.User != nil:
		if p, ok := k.server.User.Password(); ok {
			password = []byte(p)
		}
		return k.server.User.Username(), password, nil
	}
	return c.Username, c.Password, nil
}

// activate makes k the client's connection: it resumes the session, subscribes where the server has lost it, and sends
// what waits. c.mu is held.
func (k *conn) activate() {
	c, ack := k.c, k.connack
	k.up = true
	k.since = time.Now()
	available, ok := ack.Properties.Byte(mqtt.PropSubscriptionIdentifierAvailable)
	k.subIDs = k.version == mqtt.Version5 && (!ok || available != 0)
	if id, ok := ack.Properties.String(mqtt.PropAssignedClientIdentifier); ok {
		c.info.ClientID = id
	}
	c.conn, c.last = k, k
	k.agree(ack.Properties)
	c.info = Info{
		Server: k.server, Version: k.version, ClientID: c.info.ClientID,
		SessionPresent: ack.SessionPresent, Properties: ack.Properties,
		Streams: k.multi, StreamsKept: k.multi && k.keep, Datagrams: k.datagrams,
	}
	c.stats.Connects++
	present := ack.SessionPresent && c.epoch > 0
	if present {
		c.expectRedelivery()
	} else {
		c.newSession()
	}
	k.keepEarly()
	k.resubscribe(present)
	k.events()
	c.sendQueued()
	k.kick()
	k.arm()
	close(c.up)
	c.reportFirst(nil)
}

// level returns the level at which to log the end of a connection: it is worth a warning when the server misbehaved.
func level(err error) slog.Level {
	if e, ok := errors.AsType[*mqtt.Error](err); ok && !e.Remote {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// down takes note of a connection that is over and returns why.
func (c *Client) down(k *conn) error {
	c.mu.Lock()
	k.fail(net.ErrClosed)
	k.sess.Lost()
	for p := c.out.first; k.held > 0 && p != nil; p = p.next {
		k.unhold(p)
	}
	k.leaveStreams()
	c.conn = nil
	if !c.closed {
		c.up = make(chan struct{})
	}
	err := k.cause()
	if c.closed {
		err = nil
	}
	close(k.gone)
	c.mu.Unlock()
	c.o.Logger.Log(context.Background(), level(err), "disconnected", "server", k.server.Redacted(), "err", err)
	if f := c.o.Trace.Disconnected; f != nil {
		f(err)
	}
	return err
}
