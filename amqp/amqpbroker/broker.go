package amqpbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// Broker is an AMQP broker: a backend for [amqpserver.Server], to be used in process too. Make one with [New]. It is safe for
// concurrent use.
type Broker struct {
	opts      Options
	started   time.Time
	rec       *recorder // nil in memory
	reg       *registry
	deadlines deadlines
	alarms    alarms
	nums      atomic.Uint64 // the last number of a queue or delayed exchange
	replies   sync.Map      // by name: the *queue of a client that uses direct reply-to
	counts    brokerCounts

	hosting  sync.Mutex // held while a virtual host is made, changed or deleted: taken first
	setting  sync.Mutex // held while a setting changes
	recorded map[settingKey]stored

	mu       sync.RWMutex
	vhosts   map[string]*vhost
	sessions map[*session]struct{}
	perUser  map[string]int // connections
	perVhost map[string]int
	closed   bool
	idle     chan struct{} // closed when the last connection ends after Shutdown has begun

	spawning   sync.Mutex // taken last
	stopped    bool       // under spawning
	background sync.WaitGroup
}

// New returns a broker. Nil options are the zero value: a broker that refuses everybody. Close it when it is not used any
// more. With a journal, that of [Options].Dir for example, it has read all of it when it returns.
func New(opts *Options) (*Broker, error) {
	b := &Broker{
		opts:     opts.withDefaults(),
		started:  time.Now(),
		vhosts:   make(map[string]*vhost),
		sessions: make(map[*session]struct{}),
		perUser:  make(map[string]int),
		perVhost: make(map[string]int),
		recorded: make(map[settingKey]stored),
	}
	b.alarms.b = b
	b.reg = newRegistry(b.opts.LoopbackUsers)
	if p := b.opts.Unregistered; p != nil && b.opts.Authenticate != nil {
		var err error
		if b.reg.unregistered, err = compilePermission(*p); err != nil {
			return nil, fmt.Errorf("amqpbroker: Options.Unregistered: %w", err)
		}
	}
	if err := b.openJournal(); err != nil {
		return nil, err
	}
	if len(b.vhosts) == 0 {
		if err := b.begin(); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	b.deadlines.start()
	return b, nil
}

// begin gives a new broker what it begins with.
func (b *Broker) begin() error {
	if d := b.opts.Definitions; d != nil && len(d.Vhosts) > 0 {
		return b.Import(d)
	}
	if err := b.AddVhost("/"); err != nil {
		return err
	}
	if b.opts.Definitions != nil {
		return b.Import(b.opts.Definitions)
	}
	return nil
}

// openJournal makes the broker what its journal says, if it has one.
func (b *Broker) openJournal() error {
	j := b.opts.Journal
	if b.opts.Dir != "" {
		if j != nil {
			return errors.New("amqpbroker: both Dir and Journal are set")
		}
		var err error
		if j, err = openFileJournal(&b.opts); err != nil {
			return err
		}
	}
	if j == nil {
		return nil
	}
	b.opts.Journal = j
	b.rec = newRecorder(j, b.opts.Logger)
	if err := b.restore(); err != nil {
		return errors.Join(err, j.Close())
	}
	return nil
}

// spawn runs f in a goroutine for which Close waits. It reports false when the broker is closed.
func (b *Broker) spawn(f func()) bool {
	b.spawning.Lock()
	defer b.spawning.Unlock()
	if b.stopped {
		return false
	}
	b.background.Go(f)
	return true
}

// isStopped reports whether the broker is being closed.
func (b *Broker) isStopped() bool {
	b.spawning.Lock()
	defer b.spawning.Unlock()
	return b.stopped
}

// vhost returns the virtual host of a name, or nil.
func (b *Broker) vhost(name string) *vhost {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.vhosts[name]
}

// vhostOf is vhost with the error of the in-process verbs.
func (b *Broker) vhostOf(name string) (*vhost, error) {
	if v := b.vhost(name); v != nil {
		return v, nil
	}
	return nil, errNoVhost(name)
}

func errNoVhost(name string) error {
	return amqp091.HardError(amqp091.NotAllowed, "vhost %s not found", name)
}

// publishers returns the connections that have published.
func (b *Broker) publishers() (list []*session) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for s := range b.sessions {
		if s.publishes.Load() {
			list = append(list, s)
		}
	}
	return list
}

// Authenticate implements [amqpserver.Backend].
func (b *Broker) Authenticate(ctx context.Context, c *amqpserver.Conn, a *amqpserver.Auth) (string, error) {
	if f := b.opts.Authenticate; f != nil {
		l := &Login{
			Mechanism: a.Mechanism, User: a.User, Password: a.Password, RemoteAddr: c.RemoteAddr(), Listener: c.Listener(),
		}
		if t := c.TLS(); t != nil && len(t.VerifiedChains) > 0 {
			l.Certificate = t.VerifiedChains[0][0]
		}
		return f(ctx, l)
	}
	switch a.Mechanism {
	case "PLAIN", "AMQPLAIN":
		return a.User, b.reg.login(a.User, a.Password, c.RemoteAddr())
	case "EXTERNAL":
		return a.User, b.reg.known(a.User, c.RemoteAddr())
	}
	return "", fmt.Errorf("nobody may use %s", a.Mechanism)
}

// Open implements [amqpserver.Backend].
func (b *Broker) Open(_ context.Context, c *amqpserver.Conn, vhost string) (amqpserver.Session, error) {
	v := b.vhost(vhost)
	if v == nil {
		return nil, errNoVhost(vhost)
	}
	s := &session{b: b, v: v, conn: c, user: c.User(), since: time.Now(), exclusive: make(map[*queue]struct{})}
	s.permit = b.reg.permit(s.user, vhost)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := s.permit.open(); err != nil { // with the lock: DeleteUser closes the connection otherwise
		return nil, err
	}
	if b.closed {
		return nil, amqp091.HardError(amqp091.ConnectionForced, "broker is closed")
	}
	if b.vhosts[vhost] != v {
		return nil, errNoVhost(vhost) // it was deleted meanwhile
	}
	if err := b.reg.checkConnections(s.user, vhost, b.perUser[s.user], b.perVhost[vhost]); err != nil {
		return nil, err
	}
	b.connected(s, 1)
	b.sessions[s] = struct{}{}
	return s, nil
}

// connected counts connections. b.mu is held.
func (b *Broker) connected(s *session, n int) {
	if b.perUser[s.user] += n; b.perUser[s.user] == 0 {
		delete(b.perUser, s.user)
	}
	if b.perVhost[s.v.name] += n; b.perVhost[s.v.name] == 0 {
		delete(b.perVhost, s.v.name)
	}
}

// Shutdown waits until no client is connected and closes the broker. Shut the servers down first.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	if b.idle == nil {
		b.idle = make(chan struct{})
		b.checkIdle()
	}
	idle := b.idle
	b.mu.Unlock()
	select {
	case <-idle:
		return b.Close()
	case <-ctx.Done():
		return errors.Join(ctx.Err(), b.Close())
	}
}

// checkIdle tells Shutdown when nobody is connected. b.mu is held.
func (b *Broker) checkIdle() {
	if b.idle == nil || len(b.sessions) > 0 {
		return
	}
	select {
	case <-b.idle:
	default:
		close(b.idle)
	}
}

// Close ends the broker: clients are disconnected, in-process subscriptions end with net.ErrClosed. It does not wait for
// clients.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	var list []*session
	for s := range b.sessions {
		list = append(list, s)
	}
	var vhosts []*vhost
	for _, v := range b.vhosts {
		vhosts = append(vhosts, v)
	}
	b.mu.Unlock()
	b.deadlines.close()
	b.alarms.close()
	bt := amqpserver.NewBatch()
	for _, s := range list {
		s.conn.Close(bt, amqp091.HardError(amqp091.ConnectionForced, "broker shut down"))
	}
	bt.Flush()
	for _, v := range vhosts {
		v.endLocals(net.ErrClosed)
	}
	if b.rec != nil && !b.rec.broken() {
		b.recordClean(vhosts)
	}
	b.spawning.Lock()
	b.stopped = true
	b.spawning.Unlock()
	if b.rec == nil {
		b.background.Wait()
		return nil
	}
	b.rec.closing.Store(true)
	err := b.rec.j.Close()
	b.background.Wait()
	return err
}
