package amqpbroker

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// route is where the messages of a channel go that have an exchange and a key. It holds as long as nothing has changed.
type route struct {
	epoch  uint64 // of the virtual host
	access uint64 // of the registry
	x      *exchange
	key    string
	queues []*queue // by number
	fixed  bool     // queues is for every message
	reply  bool     // the queue is one of direct reply-to, which may go without a change of the epoch
	in     uint64   // messages that are not counted yet by the exchange
	out    uint64   // and to how many queues they went
}

// cachedRoutes is how many routes a channel remembers.
const cachedRoutes = 256

// seed is of the hashes of routes.
var routeSeed = maphash.MakeSeed()

// route returns where a message goes. The error closes the channel.
func (c *channel) route(bt *amqpserver.Batch, p *amqpserver.Publish) (*route, error) {
	v := c.s.v
	epoch, access := v.epoch.Load(), c.s.b.reg.generation()
	if r := c.last; r != nil && r.is(p) && r.epoch == epoch && r.access == access {
		return r, nil
	}
	var h maphash.Hash
	h.SetSeed(routeSeed)
	h.Write(p.Exchange)
	h.WriteByte(0)
	h.Write(p.RoutingKey)
	if c.routes == nil {
		c.routes = make([]*route, cachedRoutes)
	}
	slot := &c.routes[h.Sum64()%cachedRoutes]
	if r := *slot; r != nil && r.is(p) && r.epoch == epoch && r.access == access {
		c.last = r
		return r, nil
	}
	r, err := c.newRoute(bt, p, epoch, access)
	if err != nil {
		return nil, err
	}
	*slot, c.last = r, r
	return r, nil
}

func (r *route) is(p *amqpserver.Publish) bool {
	return r.key == string(p.RoutingKey) && r.x.name == string(p.Exchange)
}

// newRoute finds out where messages go.
func (c *channel) newRoute(bt *amqpserver.Batch, p *amqpserver.Publish, epoch, access uint64) (*route, error) {
	s, v := c.s, c.s.v
	name := string(p.Exchange)
	if err := s.may(opWrite, resourceExchange, name); err != nil {
		return nil, err
	}
	x := v.exchange(name)
	if x == nil {
		return nil, errNoExchange(v, name)
	}
	if x.internal {
		return nil, amqp091.SoftError(amqp091.AccessRefused, "cannot publish to internal %s", x.title())
	}
	r := &route{epoch: epoch, access: access, x: x, key: string(p.RoutingKey)}
	if err := s.mayTopic(opWrite, x, r.key); err != nil {
		return nil, err
	}
	if x.name == "" && strings.HasPrefix(r.key, replyTo) {
		r.reply = true
		return r, nil
	}
	sc := scratchOf(bt)
	sc.router.begin()
	sc.router.via(v, x, p.RoutingKey, p.Properties)
	if r.fixed = sc.router.fixed && x.delayed == nil; r.fixed {
		r.queues = slices.Clone(sc.router.queues.list)
		slices.SortFunc(r.queues, func(a, b *queue) int { return cmp.Compare(a.num, b.num) })
	}
	return r, nil
}

// The flags of properties that concern the broker.
const (
	flagHeaders    = 1 << 13
	flagDelivery   = 1 << 12
	flagPriority   = 1 << 11
	flagReplyTo    = 1 << 9
	flagExpiration = 1 << 8
	flagUserID     = 1 << 4
)

// propertyFlags returns the flags of properties.
func propertyFlags(p amqp091.RawProperties) uint16 {
	if len(p) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(p)
}

// readProperties sets what follows from the properties. The expiration must be valid.
func (m *message) readProperties() {
	m.ttl = -1
	flags := propertyFlags(m.props)
	if flags&flagPriority != 0 {
		m.priority, _ = m.props.Priority()
	}
	if flags&flagExpiration != 0 {
		if text, ok := m.props.Expiration(); ok {
			if n, ok := parseExpiration(text); ok {
				m.ttl = n
			}
		}
	}
}

// parseExpiration parses milliseconds in decimal.
func parseExpiration(text []byte) (int64, bool) {
	n := int64(0)
	for _, c := range text {
		if c < '0' || c > '9' || n > math.MaxInt64/100 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(text) > 0
}

// inspect checks and reads the properties of a message. The error closes the channel. copies tells that the headers have other
// keys.
func (c *channel) inspect(m *message) (copies bool, err error) {
	flags := propertyFlags(m.props)
	if flags&flagDelivery != 0 && m.props.DeliveryMode() == amqp091.Persistent {
		m.flags |= messagePersistent
	}
	if flags&flagPriority != 0 {
		m.priority, _ = m.props.Priority()
	}
	if flags&(flagHeaders|flagReplyTo|flagExpiration|flagUserID) == 0 {
		return false, nil
	}
	if flags&flagExpiration != 0 {
		text, _ := m.props.Expiration()
		n, ok := parseExpiration(text)
		if !ok {
			return false, amqp091.SoftError(amqp091.PreconditionFailed, "invalid expiration '%s'", text)
		}
		m.ttl = n
	}
	if flags&flagUserID != 0 {
		if id, ok := m.props.UserID(); ok {
			if err := c.s.b.reg.mayClaim(c.s.user, id); err != nil {
				return false, err
			}
		}
	}
	if flags&flagReplyTo != 0 {
		if to, _ := m.props.ReplyTo(); string(to) == replyTo {
			if err := c.readdress(m); err != nil {
				return false, err
			}
		}
	}
	if flags&flagHeaders == 0 {
		return false, nil
	}
	headers := m.props.Headers()
	for key, value := range headers.All() {
		if string(key) == "CC" || string(key) == "BCC" {
			if !value.IsArray() {
				return false, amqp091.SoftError(amqp091.PreconditionFailed, "invalid message: {unacceptable_type_in_header,%s,%s}", key,
					typeName(value.Value()))
			}
			copies = true
		}
	}
	return copies, nil
}

// Publish implements [amqpserver.Session].
func (s *session) Publish(bt *amqpserver.Batch, ch *amqpserver.Channel, p *amqpserver.Publish) error {
	c := ch.Value.(*channel)
	s.b.alarms.watch()
	if !s.publishes.Load() {
		s.b.alarms.published(bt, s)
	}
	r, err := c.route(bt, p)
	if err != nil {
		return err
	}
	sc := scratchOf(bt)
	pub := &sc.pub
	pub.view = message{
		exchange: r.x.name, key: r.key, props: p.Properties, body: p.Body, at: bt.Now().UnixMilli(), ttl: -1, flags: messageView,
	}
	m := &pub.view
	pub.m = m
	copies, err := c.inspect(m)
	if err != nil {
		return err
	}
	c.counts.published.Add(1)
	if ch.Transactional() {
		return c.tx.publish(c, r, pub.own(), p.Mandatory, copies)
	}
	c.publish(bt, r, pub, p.Mandatory, copies, p.Seq)
	if len(sc.dead) > 0 {
		s.b.bury(bt)
	}
	return nil
}

// targets returns the queues of a message. The slice may be the scratch's.
func (c *channel) targets(bt *amqpserver.Batch, r *route, m *message, copies bool) []*queue {
	sc := scratchOf(bt)
	switch {
	case r.reply:
		if q := c.s.b.repliesOf(c.s.v, r.key); q != nil {
			sc.router.begin()
			sc.router.addQueue(q)
			return sc.router.queues.list
		}
		if q := c.s.v.queue(r.key); q != nil {
			sc.router.begin()
			sc.router.addQueue(q)
			return sc.router.queues.list
		}
		return nil
	case r.fixed && !copies:
		return r.queues
	}
	return c.s.v.route(sc, r.x, []byte(r.key), m.props)
}

// publish publishes a message, and confirms it.
func (c *channel) publish(bt *amqpserver.Batch, r *route, pub *publication, mandatory, copies bool, seq uint64) {
	conf := confirmation{c: c, seq: seq}
	if d := r.x.delayed; d != nil && r.x.delay(bt, pub.m, nil, conf) {
		return
	}
	queues := c.targets(bt, r, pub.m, copies)
	if r.in == 0 {
		c.s.routes = append(c.s.routes, r)
	}
	r.in++
	r.out += uint64(len(queues))
	if len(queues) == 0 {
		c.unroutable(bt, pub.m, mandatory)
		conf.done(bt, false)
		return
	}
	if copies {
		stripCopies(pub.m)
	}
	c.s.b.distribute(bt, pub, queues, nil, conf)
}

// unroutable returns a message that goes nowhere, if its publisher wants it back.
func (c *channel) unroutable(bt *amqpserver.Batch, m *message, mandatory bool) {
	if !mandatory {
		c.s.b.counts.unroutable.Add(1)
		return
	}
	c.counts.returned.Add(1)
	c.ch.Return(bt, amqp091.NoRoute, "NO_ROUTE", &amqpserver.Delivery{
		Exchange: m.exchange, RoutingKey: m.key, Properties: m.props, Body: m.body,
	})
}

// stripCopies removes the header BCC, which nobody else is to see.
func stripCopies(m *message) {
	headers := m.props.Headers()
	if _, ok := headers.Get("BCC"); ok {
		m.props = m.props.WithHeaders(nil, headers.AppendWithout(nil, "BCC"))
	}
}
