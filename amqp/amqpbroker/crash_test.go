package amqpbroker

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// The crash tests run a whole broker on a file system that knows what is synced. Whenever the broker sends a method that
// promises something, the state after power loss at this moment is set aside, with what the clients know then. Later a broker
// is opened on each of these states, and everything that was promised must be there, once.

// known is what the clients of a crash test know.
type known struct {
	messages map[string]*messageModel
	order    []string // messages as they were published
	txs      []*txModel
	defs     map[string]defState // names of queues
}

// messageModel is a message, with what became of it in each queue.
type messageModel struct {
	id        string
	queues    map[string]*placeModel
	confirmed bool
	tx        int // in known.txs, counted from 1; 0 for none
}

// placeModel is a message in a queue.
type placeModel struct {
	delivered bool
	acked     bool // the client has sent it
	rejected  bool
	tx        int // in which it was acknowledged
}

type txModel struct{ committed bool }

type defState uint8

const (
	defAsked   defState = iota + 1
	defThere            // the broker has said so
	defUnasked          // to be deleted
	defGone
)

func (k *known) clone() *known {
	c := &known{messages: make(map[string]*messageModel, len(k.messages)), order: slices.Clone(k.order), defs: maps.Clone(k.defs)}
	for id, m := range k.messages {
		n := *m
		n.queues = make(map[string]*placeModel, len(m.queues))
		for q, p := range m.queues {
			place := *p
			n.queues[q] = &place
		}
		c.messages[id] = &n
	}
	for _, t := range k.txs {
		n := *t
		c.txs = append(c.txs, &n)
	}
	return c
}

// moment is a power loss: what is on disk and what the clients know.
type moment struct {
	why   string
	disk  *vfs.Mem
	known *known
}

// crashWorld is a world whose clients have a model.
type crashWorld struct {
	*world
	rnd   *rand.Rand
	disk  *vfs.Mem
	peers map[string]*crashPeer
	calm  bool
	rate  int // one of so many promises is a moment

	mu      sync.Mutex
	coin    *rand.Rand
	known   *known
	moments []moment
	n       int
}

// crashPeer is a client with what it waits for.
type crashPeer struct {
	*peer
	w       *crashWorld
	seqs    []string // messages by their number, from 1
	next    int      // the lowest number that is not confirmed
	replies []func() // what the answers to come promise
	unacked map[uint64]string
	queue   string
	tx      int
}

const crashDir = "data"

func crashOptions(disk *vfs.Mem) Options {
	return Options{fs: disk, Dir: crashDir, SegmentSize: 4 << 10, hotMessages: 16, MemoryLimit: -1}
}

func openCrash(t *testing.T, disk *vfs.Mem, rnd *rand.Rand) *crashWorld {
	c := &crashWorld{
		rate: 4, rnd: rnd, coin: rand.New(rand.NewPCG(rnd.Uint64(), 3)), disk: disk, peers: map[string]*crashPeer{},
		known: &known{messages: map[string]*messageModel{}, defs: map[string]defState{}},
	}
	opts := crashOptions(disk)
	c.world = newWorld(t, &opts, &amqpserver.Options{Trace: &amqpserver.Trace{Sent: c.promised}})
	return c
}

// promised is called when the broker sends a frame.
func (c *crashWorld) promised(conn *amqpserver.Conn, f amqp091.Frame) {
	if f.Type != amqp091.FrameMethod {
		return
	}
	m, err := amqp091.DecodeMethod(f.Payload)
	if err != nil {
		c.t.Error(err)
		return
	}
	name, _ := conn.ClientProperties().Get("name")
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[fmt.Sprint(name)]
	if p == nil {
		return
	}
	switch m := m.(type) {
	case *amqp091.BasicAck:
		if m.Multiple {
			for ; p.next < int(m.DeliveryTag); p.next++ {
				c.known.messages[p.seqs[p.next]].confirmed = true
			}
		} else {
			c.known.messages[p.seqs[m.DeliveryTag-1]].confirmed = true
		}
	case *amqp091.BasicDeliver:
		return // what it is for comes in the body
	case *amqp091.TxCommitOK, *amqp091.QueueDeclareOK, *amqp091.QueueDeleteOK, *amqp091.QueueBindOK, *amqp091.ExchangeDeclareOK:
		p.replies[0]()
		p.replies = p.replies[1:]
	default:
		return
	}
	if c.coin.IntN(c.rate) > 0 {
		return
	}
	why := fmt.Sprintf("%d: %s to %s", c.n, m, p.name)
	c.moments = append(c.moments, moment{why, c.disk.DropClone(), c.known.clone()})
	c.moments = append(c.moments, moment{why, c.disk.CrashClone(c.coin.Uint64()), c.known.clone()})
}

// client connects a client that behaves.
func (c *crashWorld) client(name string) *crashPeer {
	p := &crashPeer{peer: c.dial(name), w: c, unacked: map[uint64]string{}}
	p.react = p.reaction
	c.mu.Lock()
	c.peers[name] = p
	c.mu.Unlock()
	p.start()
	return p
}

// reaction is what a client does with what comes.
func (p *crashPeer) reaction(_ uint16, m amqp091.Method, ct *content) {
	d, ok := m.(*amqp091.BasicDeliver)
	if !ok {
		return
	}
	c := p.w
	c.mu.Lock()
	id := string(ct.body)
	place := c.known.messages[id].queues[p.queue]
	if place == nil {
		c.t.Errorf("%s has %s", p.queue, id)
		c.mu.Unlock()
		return
	}
	place.delivered = true
	p.unacked[d.DeliveryTag] = id
	if p.tx > 0 { // the test decides when
		c.mu.Unlock()
		return
	}
	what := c.coin.IntN(10)
	switch {
	case what < 5:
		place.acked = true
		delete(p.unacked, d.DeliveryTag)
	case what < 7 && p.queue == "work":
		place.rejected = true
		delete(p.unacked, d.DeliveryTag)
	case what < 8 && !d.Redelivered:
		delete(p.unacked, d.DeliveryTag)
	default:
		what = 9
	}
	c.mu.Unlock()
	switch {
	case what < 5:
		p.send(1, &amqp091.BasicAck{DeliveryTag: d.DeliveryTag})
	case what < 7 && p.queue == "work":
		p.send(1, &amqp091.BasicReject{DeliveryTag: d.DeliveryTag})
	case what < 8:
		p.send(1, &amqp091.BasicReject{DeliveryTag: d.DeliveryTag, Requeue: true})
	}
}

// define sends a method that is answered when something is durable.
func (p *crashPeer) define(m amqp091.Method, done func()) {
	p.w.mu.Lock()
	p.replies = append(p.replies, done)
	p.w.mu.Unlock()
	p.send(1, m)
}

// crashQueues are the queues that are there all the time.
var crashQueues = []string{"a", "b", "work", "ttl", "dead", "txs", "late"}

// setUp makes the queues. It reports false when the disk has failed before they were there: what is published to a queue that
// is not there is confirmed too.
func (c *crashWorld) setUp() bool {
	p := c.client("setup")
	c.wait()
	args := map[string]amqp091.Table{
		"work": {{Key: "x-dead-letter-exchange", Value: ""}, {Key: "x-dead-letter-routing-key", Value: "dead"}},
		"ttl": {
			{Key: "x-dead-letter-exchange", Value: ""}, {Key: "x-dead-letter-routing-key", Value: "dead"},
			{Key: "x-message-ttl", Value: int32(500)},
		},
	}
	nothing := func() {}
	for _, q := range crashQueues {
		p.define(&amqp091.QueueDeclare{Queue: q, Durable: true, Arguments: args[q]}, nothing)
	}
	p.define(&amqp091.ExchangeDeclare{Exchange: "fan", Type: "fanout", Durable: true}, nothing)
	p.define(&amqp091.ExchangeDeclare{
		Exchange: "delay", Type: delayedKind, Durable: true, Arguments: amqp091.Table{{Key: "x-delayed-type", Value: "fanout"}},
	}, nothing)
	for _, q := range []string{"a", "b"} {
		p.define(&amqp091.QueueBind{Queue: q, Exchange: "fan"}, nothing)
	}
	p.define(&amqp091.QueueBind{Queue: "late", Exchange: "delay"}, nothing)
	c.wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(p.replies) == 0
}

// publish publishes a message of a client, to an exchange or a queue.
func (c *crashWorld) publish(p *crashPeer, exchange, key string, queues ...string) {
	c.mu.Lock()
	c.n++
	id := fmt.Sprintf("%s-%d-%s%s", p.name, c.n, exchange, key)
	m := &messageModel{id: id, queues: map[string]*placeModel{}, tx: p.tx}
	for _, q := range queues {
		m.queues[q] = &placeModel{}
	}
	c.known.messages[id] = m
	c.known.order = append(c.known.order, id)
	p.seqs = append(p.seqs, id)
	c.mu.Unlock()
	props := amqp091.Properties{DeliveryMode: amqp091.Persistent}
	if exchange == "delay" {
		props.Headers = amqp091.Table{{Key: delayHeader, Value: int32(1 + c.rnd.IntN(600))}}
	}
	p.peer.publish(1, exchange, key, &props, id)
}

// load is a random life of some clients.
func (c *crashWorld) load(steps int) {
	if !c.setUp() {
		return
	}
	var pubs []*crashPeer
	for _, name := range []string{"p1", "p2"} {
		p := c.client(name)
		p.send(1, &amqp091.ConfirmSelect{})
		pubs = append(pubs, p)
	}
	tx := c.client("tx")
	tx.queue = "b"
	tx.tx = 1
	c.known.txs = append(c.known.txs, &txModel{})
	tx.send(1, &amqp091.TxSelect{}, &amqp091.BasicQos{PrefetchCount: 3}, &amqp091.BasicConsume{Queue: "b", NoWait: true, ConsumerTag: "t"})
	for _, q := range []string{"a", "work"} {
		c.consumer(q)
	}
	admin := c.client("admin")
	c.wait()
	for step := range steps {
		switch what := c.rnd.IntN(20); {
		case what < 3:
			c.publish(pubs[what%2], "fan", "", "a", "b")
		case what < 7:
			c.publish(pubs[what%2], "", "work", "work")
		case what < 9:
			c.publish(pubs[what%2], "", "a", "a")
		case what < 10:
			c.publish(pubs[what%2], "", "ttl", "ttl")
		case what < 11:
			c.publish(pubs[what%2], "delay", "", "late")
		case what < 13:
			if c.publish(tx, "", "txs", "txs"); c.rnd.IntN(3) == 0 {
				c.publish(tx, "delay", "", "late")
			}
		case what < 15:
			c.commit(tx)
		case what < 16:
			q := []string{"a", "work"}[c.rnd.IntN(2)]
			c.peers["c-"+q].drop()
			c.wait()
			c.consumer(q)
		case what < 17:
			c.define(admin, fmt.Sprintf("d%d", c.rnd.IntN(3)))
		case what < 18:
			time.Sleep(time.Duration(c.rnd.IntN(300)) * time.Millisecond)
		default:
			c.wait()
		}
		if c.calm || step%8 == 7 {
			c.wait()
		}
	}
	c.wait()
}

// consumer connects the consumer of a queue.
func (c *crashWorld) consumer(queue string) {
	p := c.client("c-" + queue)
	p.queue = queue
	p.send(1, &amqp091.BasicQos{PrefetchCount: 5}, &amqp091.BasicConsume{Queue: queue, NoWait: true, ConsumerTag: "t"})
}

// commit acknowledges what the client has got, and commits.
func (c *crashWorld) commit(p *crashPeer) {
	c.mu.Lock()
	var tags []uint64
	for tag, id := range p.unacked {
		tags = append(tags, tag)
		c.known.messages[id].queues[p.queue].tx = p.tx
		delete(p.unacked, tag)
	}
	n := p.tx - 1
	c.known.txs = append(c.known.txs, &txModel{})
	p.tx = len(c.known.txs)
	c.mu.Unlock()
	slices.Sort(tags)
	for _, tag := range tags {
		p.send(1, &amqp091.BasicAck{DeliveryTag: tag})
	}
	p.define(&amqp091.TxCommit{}, func() { c.known.txs[n].committed = true })
}

// define makes or deletes a queue.
func (c *crashWorld) define(p *crashPeer, name string) {
	c.mu.Lock()
	s := c.known.defs[name]
	next := defAsked
	if s == defAsked || s == defThere {
		next = defUnasked
	}
	c.known.defs[name] = next
	c.mu.Unlock()
	if next == defAsked {
		p.define(&amqp091.QueueDeclare{Queue: name, Durable: true}, func() {
			if c.known.defs[name] == defAsked {
				c.known.defs[name] = defThere
			}
		})
	} else {
		p.define(&amqp091.QueueDelete{Queue: name}, func() {
			if c.known.defs[name] == defUnasked {
				c.known.defs[name] = defGone
			}
		})
	}
}

// failures are what a check found. It goes on after the first, so that mutants can be counted.
type failures []string

func (f *failures) add(format string, a ...any) { *f = append(*f, fmt.Sprintf(format, a...)) }

// found is a message in a queue after a power loss.
type found struct {
	n           int
	redelivered bool
}

// check opens a broker on what is left after a power loss and compares.
func (m *moment) check(t *testing.T) (f failures) {
	if err := m.live(); err != nil {
		f.add("%s: %v", m.why, err)
		return f
	}
	opts := crashOptions(m.disk)
	b, err := New(&opts)
	if err != nil {
		f.add("%s: opened again: %v", m.why, err)
		return f
	}
	defer b.Close()
	time.Sleep(time.Second) // what is delayed comes, what has a TTL dies
	synctest.Wait()
	k := m.known
	for name, s := range k.defs {
		q := b.vhost("/").queue(name)
		if q == nil && s == defThere {
			f.add("%s: queue %s is lost", m.why, name)
		}
		if q != nil && s == defGone {
			f.add("%s: queue %s is there again", m.why, name)
		}
	}
	got := map[string]map[string]found{}
	for _, name := range crashQueues {
		got[name] = map[string]found{}
		if b.vhost("/") == nil || b.vhost("/").queue(name) == nil {
			continue
		}
		last := map[string]int{}
		for {
			d, ok, err := b.Get("/", name, true)
			if err != nil {
				f.add("%s: get from %s: %v", m.why, name, err)
			}
			if !ok {
				break
			}
			id := string(d.Body)
			if k.messages[id] == nil {
				f.add("%s: %s has %q", m.why, name, id)
				continue
			}
			is := got[name][id]
			got[name][id] = found{is.n + 1, d.Redelivered}
			from, n := publisherOf(id)
			if n < last[from] && name != "dead" && name != "late" {
				f.add("%s: %s has %s after a later one", m.why, name, id)
			}
			last[from] = n
		}
	}
	happened := k.happened(got)
	for _, id := range k.order {
		k.messages[id].check(&f, m.why, k, got, happened)
	}
	for n, is := range happened {
		if k.txs[n-1].committed && !is {
			f.add("%s: transaction %d is lost", m.why, n)
		}
	}
	return f
}

// live lets a broker live long enough on what is left that its directory is cleaned, and die again.
func (m *moment) live() error {
	opts := crashOptions(m.disk)
	b, err := New(&opts)
	if err != nil {
		return err
	}
	defer b.Close()
	ctx := context.Background()
	if b.vhost("/") == nil {
		return nil
	}
	if _, err := b.DeclareQueue(ctx, "/", Queue{Name: "churn", Durable: true}); err != nil {
		return err
	}
	for range 60 {
		msg := Message{RoutingKey: "churn", Body: make([]byte, 100), Properties: amqp091.Properties{DeliveryMode: amqp091.Persistent}}
		if err := b.Publish(ctx, "/", &msg); err != nil {
			return err
		}
		if _, _, err := b.Get("/", "churn", true); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // the cleaner waits a little
	m.disk = m.disk.DropClone()
	return nil
}

func publisherOf(id string) (name string, n int) {
	parts := strings.Split(id, "-")
	fmt.Sscan(parts[1], &n)
	return parts[0], n
}

// happened tells which transactions with messages are there.
func (k *known) happened(got map[string]map[string]found) map[int]bool {
	is := map[int]bool{}
	for _, id := range k.order {
		if m := k.messages[id]; m.tx > 0 {
			is[m.tx] = is[m.tx] || got["txs"][id].n > 0 || got["late"][id].n > 0
		}
	}
	return is
}

// check looks for a message in all of its queues.
func (m *messageModel) check(f *failures, why string, k *known, got map[string]map[string]found, happened map[int]bool) {
	must, any := m.confirmed, m.confirmed
	if m.tx > 0 {
		must = k.txs[m.tx-1].committed
		any = happened[m.tx]
	}
	for q := range m.queues {
		if got[q][m.id].n+got["dead"][m.id].n > 0 {
			any = true
		}
	}
	for q, p := range m.queues {
		here, dead := got[q][m.id], 0
		if q == "work" || q == "ttl" {
			dead = got["dead"][m.id].n
		}
		total := here.n + dead
		switch {
		case total > 1:
			f.add("%s: %s has %s %d times, %d dead", why, q, m.id, here.n, dead)
		case p.acked:
		case p.tx > 0:
			committed := k.txs[p.tx-1].committed
			is, has := happened[p.tx]
			if total > 0 && (committed || has && is) {
				f.add("%s: %s has %s, which a transaction has acknowledged", why, q, m.id)
			}
			if total == 0 && has && !is && must {
				f.add("%s: %s has lost %s with half a transaction", why, q, m.id)
			}
		case total == 0 && must:
			f.add("%s: %s has lost %s", why, q, m.id)
		case total == 0 && any:
			f.add("%s: %s has not got %s, but others have it", why, q, m.id)
		}
		if here.n > 0 && p.delivered && !here.redelivered {
			f.add("%s: %s has %s as if it were new", why, q, m.id)
		}
		if dead > 0 && q == "work" && !p.rejected {
			f.add("%s: %s is dead without reason", why, m.id)
		}
	}
}

// lives runs a life under a seed and returns the power losses in it, at one of so many promises as rate says.
func lives(t *testing.T, seed uint64, steps, rate int, calm bool, prepare func(disk *vfs.Mem)) []moment {
	disk := vfs.NewMem()
	c := openCrash(t, disk, rand.New(rand.NewPCG(seed, 1)))
	c.calm, c.rate = calm, rate
	if prepare != nil {
		prepare(disk)
	}
	c.load(steps)
	c.mu.Lock()
	end := moment{why: "the end", disk: disk.DropClone(), known: c.known.clone()}
	moments := append(slices.Clone(c.moments), end)
	c.mu.Unlock()
	for _, p := range c.peers {
		p.drop()
	}
	c.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(moments, moment{why: "closed", disk: disk.DropClone(), known: c.known.clone()})
}

func TestPowerLoss(t *testing.T) {
	for i, seed := range []uint64{1, 2, 3, rand.Uint64()} {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				moments := lives(t, seed, 200, 4, i%2 == 1, nil)
				for i := range moments {
					for _, text := range moments[i].check(t) {
						t.Errorf("moment %d: %s", i, text)
					}
					if t.Failed() {
						return
					}
				}
			})
		})
	}
}

// TestPowerLossMutant runs brokers on a disk that leaves out one sync: the test above must find out. It cannot for each of
// them: what a later sync makes good is not missed.
func TestPowerLossMutant(t *testing.T) {
	const from, to = 30, 44
	found := 0
	for skip := from; skip < to; skip++ {
		synctest.Test(t, func(t *testing.T) {
			moments := lives(t, 1, 60, 1, true, func(disk *vfs.Mem) {
				var n atomic.Int64
				disk.SetSkipSync(func(vfs.Op, string) bool {
					return n.Add(1) == int64(skip)
				})
			})
			for i := range moments {
				if len(moments[i].check(t)) > 0 {
					found++
					return
				}
			}
		})
	}
	if t.Logf("%d of %d mutants were found", found, to-from); found < (to-from)/4 {
		t.Error("too few")
	}
}

// TestDiskErrors lets each operation of the file system fail in turn: what was promised is there nevertheless.
func TestDiskErrors(t *testing.T) {
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		t.Run(fault.Error(), func(t *testing.T) {
			for at := 1; at < 80; at += 1 + at/8 {
				synctest.Test(t, func(t *testing.T) {
					moments := lives(t, 7, 60, 4, at%2 == 0, func(disk *vfs.Mem) {
						var n atomic.Int64
						disk.SetFail(func(vfs.Op, string) error {
							if n.Add(1) == int64(at) {
								return fault
							}
							return nil
						})
					})
					for _, m := range moments[len(moments)-2:] {
						for _, text := range m.check(t) {
							t.Errorf("operation %d: %s", at, text)
						}
					}
				})
			}
		})
	}
}
