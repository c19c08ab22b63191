package amqpbroker

import (
	"cmp"
	"context"
	"crypto/tls"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// managedBroker is a [Broker] for the management API.
type managedBroker struct {
	*Broker
	tags func(user string) UserTags
}

func (b managedBroker) settingsOf() *registry { return b.reg }

func (b managedBroker) change(_ context.Context, list []setting) error {
	return b.Broker.change(list...)
}

func (b managedBroker) loginUser(ctx context.Context, name, password string, addr net.Addr) (User, error) {
	if f := b.opts.Authenticate; f != nil {
		user, err := f(ctx, &Login{Mechanism: "PLAIN", User: name, Password: password, RemoteAddr: addr})
		if err != nil {
			return User{}, err
		}
		if u, ok := b.reg.user(user); ok {
			return u, nil
		}
		u := User{Name: user}
		if b.tags != nil {
			u.Tags = b.tags(user)
		}
		return u, nil
	}
	if err := b.reg.login(name, password, addr); err != nil {
		return User{}, err
	}
	u, _ := b.reg.user(name)
	return u, nil
}

func (b managedBroker) totals() totals {
	s := b.Stats()
	t := totals{
		stats: messageStats{
			Publish: s.Published, DeliverGet: s.Delivered, Deliver: s.Delivered, Redeliver: s.Redelivered, Ack: s.Acked, Unroutable: s.Unroutable,
		},
		connections: int(s.Connections), channels: int(s.Channels), consumers: int(s.Consumers), exchanges: int(s.Exchanges),
		queues: int(s.Queues), memoryUsed: b.opts.MemoryUsed(), memoryLimit: max(b.opts.MemoryLimit, 0), memoryAlarm: s.MemoryAlarm,
		diskAlarm: s.DiskAlarm, diskFreeLimit: max(b.opts.DiskReserve, 0), started: b.started, dir: b.opts.Dir,
	}
	t.messages.set(int(s.Ready), int(s.Unacked))
	if s.Journal != nil {
		t.diskFree = s.Journal.Free
	}
	return t
}

func (q *queueTotals) set(ready, unacked int) {
	q.Ready, q.Unacked, q.Messages = ready, unacked, ready+unacked
}

// add adds the counts of a queue.
func (s *messageStats) add(c *queueCounts) {
	s.Publish += c.published
	s.Deliver += c.delivered
	s.DeliverNo += c.deliveredNo
	s.Get += c.got
	s.GetNo += c.gotNo
	s.DeliverGet += c.delivered + c.deliveredNo + c.got + c.gotNo
	s.Redeliver += c.redelivered
	s.Ack += c.acked
}

func (b managedBroker) hasVhost(name string) bool { return b.vhost(name) != nil }

func (b managedBroker) vhostNames() []string { return b.Vhosts() }

func (b managedBroker) vhostViews() []vhostView {
	var out []vhostView
	for _, name := range b.Vhosts() {
		b.mu.RLock()
		v := b.vhosts[name]
		var d VhostDefinition
		if v != nil {
			d = v.definition
		}
		b.mu.RUnlock()
		if v == nil {
			continue
		}
		view := vhostView{
			Name: name, Description: cmp.Or(d.Metadata.Description, d.Description), Tags: d.Metadata.Tags,
			DefaultQueueType: d.Metadata.DefaultQueueType, Tracing: d.Tracing, Stats: &messageStats{},
		}
		if view.Tags == nil {
			view.Tags = d.Tags
		}
		ready, unacked := 0, 0
		for _, q := range v.sortedQueues() {
			q.mu.Lock()
			ready += q.ready
			unacked += q.acquired
			view.Stats.add(&q.counts)
			q.mu.Unlock()
		}
		view.queueTotals.set(ready, unacked)
		out = append(out, view)
	}
	return out
}

// sortedQueues returns the queues by name.
func (v *vhost) sortedQueues() []*queue {
	v.mu.RLock()
	out := slices.Collect(maps.Values(v.queues))
	v.mu.RUnlock()
	slices.SortFunc(out, func(a, b *queue) int { return cmp.Compare(a.name, b.name) })
	return out
}

func (b managedBroker) putVhost(_ context.Context, d VhostDefinition) (isNew bool, err error) {
	isNew = !b.hasVhost(d.Name)
	return isNew, b.SetVhost(d)
}

func (b managedBroker) dropVhost(_ context.Context, name string) error { return b.DeleteVhost(name) }

// allSessions returns the connections.
func (b managedBroker) allSessions() []*session {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.Collect(maps.Keys(b.sessions))
}

// title is the name of the connection in the API.
func (s *session) title() string {
	return s.conn.RemoteAddr().String() + " -> " + s.conn.LocalAddr().String()
}

func (s *session) details() connDetails {
	d := connDetails{Name: s.title()}
	d.PeerHost, d.PeerPort = hostPort(s.conn.RemoteAddr())
	return d
}

func (b managedBroker) connViews() []*connView {
	var out []*connView
	for _, s := range b.allSessions() {
		out = append(out, s.view())
	}
	return out
}

func (s *session) view() *connView {
	c := s.conn
	stats := c.Stats()
	frameMax, channelMax, heartbeat := c.Tuning()
	props := c.ClientProperties()
	v := &connView{
		Name: s.title(), Vhost: s.v.name, User: s.user, Who: s.user, Type: "network", Protocol: "AMQP 0-9-1", State: "running",
		Channels: int(stats.Channels), ChannelMax: int(channelMax), FrameMax: int64(frameMax), Timeout: int(heartbeat.Seconds()),
		ConnectedAt: s.since.UnixMilli(), Auth: c.Mechanism(), Properties: Arguments(props),
		Recv: uint64(stats.BytesReceived), Send: uint64(stats.BytesSent), SendPending: uint64(stats.Buffered),
	}
	v.Host, v.Port = hostPort(c.LocalAddr())
	v.PeerHost, v.PeerPort = hostPort(c.RemoteAddr())
	if name, ok := props.Get("connection_name"); ok {
		v.UserName, _ = name.(string)
	}
	if c.Blocked() {
		v.State = "blocked"
	}
	if t := c.TLS(); t != nil {
		v.SSL = true
		protocol, cipher := tlsNames(t)
		v.SSLProtocol, v.SSLCipher = &protocol, &cipher
		if len(t.PeerCertificates) > 0 {
			cert := t.PeerCertificates[0]
			subject, issuer := cert.Subject.String(), cert.Issuer.String()
			validity := cert.NotBefore.UTC().Format("2006-01-02T15:04:05Z") + " - " + cert.NotAfter.UTC().Format("2006-01-02T15:04:05Z")
			v.PeerSubject, v.PeerIssuer, v.PeerValidity = &subject, &issuer, &validity
		}
	}
	return v
}

// tlsNames returns the names of the version and the cipher suite in RabbitMQ's words.
func tlsNames(t *tls.ConnectionState) (protocol, cipher string) {
	switch t.Version {
	case tls.VersionTLS12:
		protocol = "tlsv1.2"
	case tls.VersionTLS13:
		protocol = "tlsv1.3"
	default:
		protocol = tls.VersionName(t.Version)
	}
	return protocol, tls.CipherSuiteName(t.CipherSuite)
}

func (b managedBroker) closeConnections(wanted func(*connView) bool, reason string) (n int) {
	bt := amqpserver.NewBatch()
	for _, s := range b.allSessions() {
		if wanted(s.view()) {
			s.conn.Close(bt, amqp091.HardError(amqp091.ConnectionForced, "%s", reason))
			n++
		}
	}
	bt.Flush()
	return n
}

// title is the name of the channel in the API.
func (c *channel) title() string { return c.s.title() + " (" + strconv.Itoa(int(c.ch.ID())) + ")" }

func (b managedBroker) channelViews() []*channelView {
	var out []*channelView
	for _, s := range b.allSessions() {
		s.mu.Lock()
		list := slices.Collect(maps.Values(s.channels))
		s.mu.Unlock()
		for _, c := range list {
			st := c.ch.Stats()
			out = append(out, &channelView{
				Name: c.title(), Number: int(c.ch.ID()), Vhost: s.v.name, User: s.user, Who: s.user, State: "running",
				Connection: s.details(), Confirm: st.Confirming, Transactional: st.Transactional, Consumers: st.Consumers,
				Prefetch: st.Prefetch, GlobalPrefetch: st.Global, Unacked: st.Unsettled, Unconfirmed: st.Unconfirmed,
				Stats: &messageStats{
					Publish: c.counts.published.Load(), Confirm: c.counts.confirmed.Load(), Returned: c.counts.returned.Load(),
				},
			})
		}
	}
	return out
}

func (b managedBroker) consumerViews(name string) []*consumerView {
	out := []*consumerView{}
	v := b.vhost(name)
	if v == nil {
		return out
	}
	for _, q := range v.sortedQueues() {
		out = append(out, q.consumerViews()...)
	}
	return out
}

func (q *queue) consumerViews() (out []*consumerView) {
	q.mu.Lock()
	list := slices.Clone(q.cs.list)
	active := q.cs.active
	q.mu.Unlock()
	for _, co := range list {
		view := &consumerView{
			Tag: co.tag, AckRequired: !co.noAck, Active: !q.single || co == active, ActivityStatus: "up", Exclusive: co.exclusive,
			Arguments: Arguments(co.args), Queue: queueName{q.name, q.v.name},
		}
		if q.single {
			view.ActivityStatus = "waiting"
			if view.Active {
				view.ActivityStatus = "single_active"
			}
		}
		if c, ok := co.sink.(*channel); ok {
			view.Prefetch = c.ch.Stats().Prefetch
			d := c.s.details()
			view.Channel = consumerChannel{
				Name: c.title(), Connection: d.Name, Number: int(c.ch.ID()), PeerHost: d.PeerHost, PeerPort: d.PeerPort, User: c.s.user,
			}
		}
		out = append(out, view)
	}
	return out
}
