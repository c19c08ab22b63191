package mqttclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
)

// conn is one network connection. The fields of the first group belong to the goroutine that reads, the others are
// guarded by c.mu.
type conn struct {
	c       *Client
	nc      net.Conn
	server  *url.URL
	version mqtt.Version
	clean   bool // CONNECT had the clean start flag
	dec     mqtt.Decoder
	in      codec.Buffer
	heard   bool // something came

	sess     *mqtt.Session
	connack  *mqtt.Connack    // the server has accepted
	up       bool             // the connection is Client.conn, or was
	bye      *mqtt.Disconnect // from the server
	stale    bool             // the server resumes a session that MQTT 3.1.1 could not refuse
	auths    chan *mqtt.Auth  // from the server
	subIDs   bool             // the server knows subscription identifiers
	purge    bool             // only to delete a session
	fresh    bool             // the server began a new session
	draining bool             // events is at work
	lost     []*Publication   // to be published anew
	asked    []asked          // EventResends that wait for bodies
	held     int              // QoS 2 messages that wait for their barrier, or for their body after that
	since    time.Time

	timer *time.Timer
	armed time.Time

	crowd *Subscription // got QoS 0 messages lately

	mux       netio.Streams // of a connection that has streams, when they are wanted
	multi     bool          // data streams are used
	keep      bool          // the server keeps what is in flight on them
	datagrams bool          // QoS 0 messages may take datagrams
	streams   map[uint64]*stream
	live      int         // of streams, not over
	waiting   int         // bytes in their output buffers
	sweeper   *time.Timer // ends idle ones
	gram      []byte      // scratch

	early   bool // the handshake is not complete
	parting bool // the data streams are to end before DISCONNECT
	gated   bool // only the first bytes of out may be written now
	gate    int  // so many

	sentEarly []*Publication // behind CONNECT

	out     []byte // encoded, not written
	spare   []byte // the buffer of the last write
	writing bool
	closing bool  // close the connection once out is written
	err     error // of the connection
	hungUp  bool  // somebody closes nc
	flushed chan struct{}
	gone    chan struct{} // closed when the connection is over

	pub   mqtt.Publish // scratch
	topic []byte       // scratch
}

// batch is how many packets are handled without letting others have the lock.
const batch = 64

func newConn(c *Client, nc net.Conn, server *url.URL, v mqtt.Version) *conn {
	l := &c.o.Limits
	cfg := mqtt.Config{
		Role:              mqtt.Client,
		ReceiveMaximum:    l.ReceiveMaximum,
		SendMaximum:       uint16(l.MaxInflight),
		TopicAliasMaximum: uint16(l.TopicAliases),
		SendAliasMaximum:  uint16(l.TopicAliases),
		Barriers:          c.store != nil,
	}
	if l.MaxPacketSize < mqtt.MaxPacketSize {
		cfg.MaximumPacketSize = l.MaxPacketSize
	}
	k := &conn{
		c: c, nc: nc, server: server, version: v,
		dec:     mqtt.Decoder{From: mqtt.Server, MaxSize: int(l.MaxPacketSize)},
		in:      codec.Buffer{Max: int(max(l.MaxPacketSize, 64<<10))},
		sess:    mqtt.NewSession(cfg),
		auths:   make(chan *mqtt.Auth, 1),
		flushed: make(chan struct{}),
		gone:    make(chan struct{}),
	}
	k.useStreams()
	k.awaitConfirmed()
	return k
}

// open reports whether PUBLISH packets may be added to the output buffer.
func (k *conn) open() bool { return len(k.out) < k.c.o.Limits.OutputBuffer && !k.closing }

// paused reports whether the server has answered CONNECT and nobody has looked at that.
func (k *conn) paused() bool { return k.connack != nil && !k.up && !k.closing }

// serve reads until the connection is over.
func (k *conn) serve() {
	k.feed()
	for k.read() == nil {
	}
}

// read reads once and handles what came.
func (k *conn) read() error {
	n, err := k.in.Fill(k.nc)
	if n > 0 {
		k.heard = true
		k.c.mu.Lock()
		k.c.stats.BytesReceived += uint64(n)
		k.c.mu.Unlock()
		k.feed()
	}
	if err != nil {
		k.c.mu.Lock()
		k.fail(err)
		k.c.mu.Unlock()
	}
	return err
}

// feed handles the whole packets in the input buffer, except those after a CONNACK that nobody has looked at.
func (k *conn) feed() {
	for more := true; more; {
		var crowd *Subscription
		if more, crowd = k.feedBatch(); crowd != nil && crowd.crowded() {
			runtime.Gosched() // a consumer that only lacks the processor gets it now
		}
	}
}

// feedBatch handles some packets and reports whether there may be more, and a subscription that got QoS 0 messages.
func (k *conn) feedBatch() (more bool, crowd *Subscription) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	now := time.Now()
	for range batch {
		if k.paused() {
			more = false
			break
		}
		more = k.receive(now)
		if !more {
			break
		}
	}
	if k.up {
		k.c.sendQueued()
	}
	k.kick()
	k.arm()
	crowd, k.crowd = k.crowd, nil
	return more, crowd
}

// receive handles the packet at the front of the input buffer and reports whether there was one.
func (k *conn) receive(now time.Time) bool {
	b := k.in.Bytes()
	if k.closing || len(b) == 0 {
		k.in.Discard(len(b))
		return false
	}
	p, n, err := k.decode(b)
	if err != nil {
		k.sess.Fail(now, p, err)
		k.events()
		return false
	}
	if n == 0 {
		return false
	}
	k.in.Discard(n)
	if f := k.c.o.Trace.PacketReceived; f != nil {
		f(p)
	}
	if ack, ok := p.(*mqtt.Connack); ok && !k.up {
		p = k.checkConnack(ack, n)
	}
	if err := k.sess.Receive(now, 0, p); err != nil && errors.Is(err, mqtt.ErrState) {
		k.fail(err)
	}
	k.events()
	return true
}

// oldRefusal is how some old servers refuse version 5: with their own return code 1 in a CONNACK of version 5.
const oldRefusal = "\x20\x03\x00\x01\x00"

// decode decodes the packet at the front of b.
func (k *conn) decode(b []byte) (p mqtt.Packet, n int, err error) {
	if k.version == mqtt.Version5 && !k.up && bytes.HasPrefix(b, []byte(oldRefusal)) {
		return &mqtt.Connack{Reason: mqtt.ReasonUnsupportedProtocolVersion}, len(oldRefusal), nil
	}
	return k.dec.Decode(b, k.decodeVersion(b))
}

// decodeVersion returns the version in which to decode the packet at the front of b: an old server answers the CONNECT
// of a newer version with a CONNACK of its own.
func (k *conn) decodeVersion(b []byte) mqtt.Version {
	if k.version == mqtt.Version5 && !k.up && len(b) >= 2 && b[0] == byte(mqtt.TypeConnack)<<4 && b[1] == 2 {
		return mqtt.Version311
	}
	return k.version
}

// checkConnack looks at CONNACK before the machine does.
func (k *conn) checkConnack(p *mqtt.Connack, size int) *mqtt.Connack {
	if k.version == mqtt.Version5 && size == 4 && !p.Reason.IsError() {
		return &mqtt.Connack{Reason: mqtt.ReasonUnsupportedProtocolVersion}
	}
	if k.version == mqtt.Version311 && p.SessionPresent && !k.clean && k.c.epoch == 0 && !k.c.o.Resume {
		k.stale = true
	}
	return p
}

// events takes the machine's events. c.mu is held.
func (k *conn) events() {
	if k.draining {
		return
	}
	k.draining = true
	for !k.paused() || k.fresh { // what a lost session leaves is taken at once
		e, ok := k.sess.Next()
		if !ok {
			break
		}
		k.event(&e)
	}
	k.draining = false
	if len(k.lost) > 0 {
		for _, p := range slices.Backward(k.lost) {
			k.c.out.pushFront(p)
		}
		k.lost = nil
	}
}

func (k *conn) event(e *mqtt.Event) {
	c := k.c
	switch e.Kind {
	case mqtt.EventSend:
		k.append(e)
	case mqtt.EventPublish:
		k.deliver(e.Packet.(*mqtt.Publish), e.Stream)
	case mqtt.EventSettled:
		p := e.Ref.(*Publication)
		if c.store != nil {
			k.unhold(p)
			c.store.settled(p, e.ID)
		}
		if c.out.removeInflight(p) {
			c.finish(p, e.Reason, nil)
		}
	case mqtt.EventPersist:
		k.persist(e)
	case mqtt.EventResend:
		k.resend(e.ID, e.Ref.(*Publication))
	case mqtt.EventLost:
		if p, ok := e.Ref.(*Publication); ok {
			k.lose(p, e)
		}
	case mqtt.EventConnack:
		k.connack = e.Packet.(*mqtt.Connack)
		k.begin()
	case mqtt.EventAuth:
		select {
		case k.auths <- e.Packet.(*mqtt.Auth):
		default:
		}
	case mqtt.EventSuback:
		c.suback(e.Ref.(*subscribeRef), e.Packet.(*mqtt.Suback))
	case mqtt.EventUnsuback:
		e.Ref.(*unsubscribing).done(c)
	case mqtt.EventDisconnect:
		k.bye = e.Packet.(*mqtt.Disconnect)
	case mqtt.EventClose:
		k.close()
	}
}

// begin takes note of a CONNACK: whether the machine has begun a new session.
func (k *conn) begin() {
	ack := k.connack
	resumed := ack.SessionPresent
	if k.version == mqtt.Version31 {
		resumed = !k.clean // its CONNACK does not tell
	}
	k.fresh = !ack.Reason.IsError() && !resumed
	if k.fresh && !k.purge && k.c.store != nil {
		k.c.newSession()
		k.c.store.begun()
	}
}

// lose takes a message that was in flight in a session that the server has lost, or on a stream that is over. The reason
// says whether the server had received it.
func (k *conn) lose(p *Publication, e *mqtt.Event) {
	reason, err := e.Reason, ErrSessionLost
	if e.Delta == mqtt.DeltaSettled {
		err = ErrStreamLost
	}
	switch {
	case !k.c.out.removeInflight(p):
	case p.pub.QoS == mqtt.QoS1:
		p.expires = time.Time{} // it was sent once
		k.lost = append(k.lost, p)
	case reason == mqtt.ReasonSuccess:
		k.c.ended(p)
		k.c.finish(p, reason, nil)
	default:
		k.c.ended(p)
		k.c.finish(p, reason, err)
	}
}

// append encodes the packet of an EventSend.
func (k *conn) append(e *mqtt.Event) {
	if e.Stream != 0 {
		k.appendStream(e)
		return
	}
	if k.early {
		k.hold(tracePacket(e))
	}
	b, err := e.AppendTo(k.out, k.version)
	if err != nil {
		k.fail(err)
		return
	}
	k.out = b
	if f := k.c.o.Trace.PacketSent; f != nil {
		f(tracePacket(e))
	}
}

// tracePacket returns the packet of an event.
func tracePacket(e *mqtt.Event) mqtt.Packet {
	if e.Packet != nil {
		return e.Packet
	}
	switch e.Type {
	case mqtt.TypePuback:
		return &mqtt.Puback{ID: e.ID, Reason: e.Reason}
	case mqtt.TypePubrec:
		return &mqtt.Pubrec{ID: e.ID, Reason: e.Reason}
	case mqtt.TypePubrel:
		return &mqtt.Pubrel{ID: e.ID, Reason: e.Reason}
	case mqtt.TypePubcomp:
		return &mqtt.Pubcomp{ID: e.ID, Reason: e.Reason}
	}
	return &mqtt.Pingreq{}
}

// resend answers EventResend, now or when the body is in memory.
func (k *conn) resend(id uint16, p *Publication) {
	if len(k.asked) > 0 || p.cold() || !k.ready(k.c.out.of(p.lane)) {
		k.asked = append(k.asked, asked{id, p})
		if p.cold() {
			k.c.warm()
		}
		return
	}
	k.answer(id, p)
}

// answer answers EventResend. A message that has ended meanwhile has no body.
func (k *conn) answer(id uint16, p *Publication) {
	if p.pub.Topic == nil {
		k.sess.Drop(id)
		return
	}
	k.pub = p.pub
	if k.version < mqtt.Version5 {
		k.pub.Properties = nil
	}
	l := k.c.out.of(p.lane)
	if k.sess.Resend(time.Now(), l.stream(), id, &k.pub) == nil {
		k.appendPublish(l)
		if k.c.store != nil {
			k.unhold(p)
			k.c.store.wasSent(p)
		}
	}
}

// disconnect sends DISCONNECT and closes the connection behind it. c.mu is held.
func (k *conn) disconnect(d *mqtt.Disconnect) error {
	if d == nil || k.version < mqtt.Version5 {
		d = new(mqtt.Disconnect)
	}
	if k.c.o.nameless && k.version == mqtt.Version5 && !d.Properties.Has(mqtt.PropSessionExpiryInterval) {
		d = &mqtt.Disconnect{Reason: d.Reason, Properties: slices.Clip(d.Properties).AppendUint32(mqtt.PropSessionExpiryInterval, 0)}
	}
	if k.live > 0 {
		return k.disconnectStreams(d)
	}
	if err := k.sess.Disconnect(time.Now(), d); err != nil {
		return err
	}
	k.events()
	k.kick()
	return nil
}

// arm sets the timer of the machine. It is not moved when the deadline only becomes later. c.mu is held.
func (k *conn) arm() {
	t := k.sess.Timeout()
	if t.IsZero() || k.closing || !k.armed.IsZero() && !t.Before(k.armed) {
		return
	}
	k.armed = t
	if k.timer == nil {
		k.timer = time.AfterFunc(time.Until(t), k.tick)
		return
	}
	k.timer.Reset(time.Until(t))
}

// tick runs on the timer's goroutine.
func (k *conn) tick() {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	k.armed = time.Time{}
	if k.closing || k.err != nil {
		return
	}
	if !k.writing && len(k.out) == 0 {
		k.out, k.spare = nil, nil // the connection has been idle for a while
	}
	k.sess.Advance(time.Now())
	k.events()
	k.kick()
	k.arm()
}

// cause returns why the connection is over. c.mu is held.
func (k *conn) cause() error {
	if k.bye != nil {
		text, _ := k.bye.Properties.String(mqtt.PropReasonString)
		return &mqtt.Error{Code: k.bye.Reason, Reason: text, Remote: true, Err: net.ErrClosed}
	}
	if err := k.sess.Err(); err != nil {
		return err
	}
	if k.err == io.EOF {
		return fmt.Errorf("mqttclient: server closed the connection: %w", net.ErrClosed)
	}
	return k.err
}
