package mqttbroker

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/topic"
)

// Strategy chooses the member of a shared subscription that gets a message (section 4.8.2). Whatever the strategy,
// members that are connected come before those that are away, and a message waits for a member that is away only when no
// other is there.
type Strategy uint8

// The strategies.
const (
	// StrategyRoundRobin takes the members in turn, those with send quota first. It is the default.
	StrategyRoundRobin Strategy = iota
	// StrategyRandom takes any member, those with send quota first.
	StrategyRandom
	// StrategySticky stays with one member while that is connected.
	StrategySticky
	// StrategyHash gives all messages of a publisher to the same member while that is connected and the group unchanged.
	StrategyHash
)

// group is a shared subscription with its members.
//
// When a member unsubscribes, what waits for it goes to another member, and what it has in flight is completed
// [MQTT-3.10.4-3]. When its session ends, what waits and what is in flight at QoS 1 goes to another member, as section
// 4.8.2 recommends; what is in flight at QoS 2 is dropped, because no other client may get it [MQTT-4.8.2-5].
type group struct {
	b     *Broker
	name  string // $share/GROUP/FILTER
	entry *subscription

	mu      sync.Mutex
	members []*subscription
	next    int
	sticky  *subscription
	rand    *rand.Rand
}

// groups are the shared subscriptions by name.
type groups struct {
	mu sync.Mutex
	m  map[string]*group
}

// join adds a member to the group with a name, which is made if need be.
func (b *Broker) join(sub *subscription, filter string) {
	b.groups.mu.Lock()
	defer b.groups.mu.Unlock()
	g := b.groups.m[sub.filter]
	if g == nil {
		g = &group{b: b, name: sub.filter}
		g.rand = rand.New(rand.NewPCG(b.groupSeed, b.ids.Add(1)))
		g.entry = &subscription{group: g, filter: filter}
		b.groups.m[sub.filter] = g
	}
	sub.group = g
	g.mu.Lock()
	g.members = append(g.members, sub)
	first := len(g.members) == 1
	g.mu.Unlock()
	if first {
		b.subs.Insert(filter, g.entry)
	}
}

// leave takes a member out of its group, which ends with its last one.
func (b *Broker) leave(sub *subscription) {
	b.groups.mu.Lock()
	defer b.groups.mu.Unlock()
	g := sub.group
	g.mu.Lock()
	for i, m := range g.members {
		if m == sub {
			g.members = append(g.members[:i], g.members[i+1:]...)
			break
		}
	}
	if g.sticky == sub {
		g.sticky = nil
	}
	empty := len(g.members) == 0
	g.mu.Unlock()
	if empty {
		b.subs.Delete(g.entry.filter, g.entry)
		delete(b.groups.m, g.name)
	}
}

// sharedFilter returns the filter of a shared subscription without the share name.
func sharedFilter(filter string) (rest string, shared bool) {
	_, rest, shared, err := topic.ParseShared(filter)
	return rest, shared && err == nil
}

// start returns the place of the member to begin with, and whether the strategy insists on it while it is connected.
// g.mu is held, there are members.
func (g *group) start(publisher string) (place int, insist bool) {
	n := len(g.members)
	switch g.b.opts.Strategy {
	case StrategyRandom:
		return g.rand.IntN(n), false
	case StrategyHash:
		return int(fnv(publisher) % uint64(n)), true
	case StrategySticky:
		for i, m := range g.members {
			if m == g.sticky && m.online() {
				return i, true
			}
		}
	}
	g.next = (g.next + 1) % n
	return g.next, g.b.opts.Strategy == StrategySticky
}

// fnv is the 64-bit FNV-1a hash.
func fnv(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// online reports whether the receiver is there.
func (s *subscription) online() bool { return s.local != nil || s.s.conn.Load() != nil }

// attempt is how hard a member is tried.
type attempt uint8

const (
	attemptSend  attempt = iota // it is there and takes the message at once
	attemptQueue                // it is there; the message may wait
	attemptAway                 // it may be away
)

// deliver gives the message to one member. It reports whether one took it.
func (g *group) deliver(bt *mqttserver.Batch, sc *scratch, pub *publication) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.members) == 0 || slices.ContainsFunc(pub.got, func(r receiver) bool { return r.group == g.name }) {
		return false
	}
	first, insist := g.start(pub.publisher())
	if insist && g.members[first].online() && g.try(bt, sc, pub, g.members[first], attemptQueue) {
		return true
	}
	for how := attemptSend; how <= attemptAway; how++ {
		for i := range g.members {
			if g.try(bt, sc, pub, g.members[(first+i)%len(g.members)], how) {
				return true
			}
		}
	}
	return false
}

// try gives the message to a member and reports whether that took it.
func (g *group) try(bt *mqttserver.Batch, sc *scratch, pub *publication, sub *subscription, how attempt) bool {
	b, o := g.b, sub.options()
	if (how == attemptAway) == sub.online() || !b.concerns(pub, sub, o) {
		return false
	}
	ids := sc.ids[:0]
	if o.id() != 0 {
		ids = append(ids, o.id())
	}
	sc.ids = ids
	if b.prepare(sc, pub, o, ids); sub.local != nil {
		return sub.local.take(b, sc, pub, ids, sub) && g.took(sub)
	}
	if f := b.opts.Hooks.OnDeliver; f != nil && !f(sub.s.id, &sc.out) {
		return false
	}
	s := sub.s
	if o.has(optEphemeral) {
		done, moved := b.deliverLane(bt, sc, pub, s, o, ids, sub, how)
		if !moved {
			return done && g.took(sub)
		}
		o &^= optWhere
	}
	if c := s.conn.Load(); sc.out.QoS == mqtt.QoS0 && how == attemptSend && c != nil {
		return c.offerOn(bt, sc, o.stream()) == mqttserver.Sent && g.took(sub)
	}
	if sc.out.QoS == mqtt.QoS0 {
		return b.deliver0(bt, sc, pub, s, o, ids) && g.took(sub)
	}
	ref := refTo(b.messageFor(pub, s), sc.out.QoS, sc.out.Retain, ids, sub, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if how != attemptAway && s.conn.Load() == nil || s.ended {
		return false
	}
	if how == attemptSend {
		if s.waits() {
			return false
		}
		return b.sendNow(bt, sc, s, ref) == mqttserver.Sent && g.took(sub)
	}
	return b.sendOrQueue(bt, sc, s, ref) && g.took(sub)
}

// took remembers the member for StrategySticky.
func (g *group) took(sub *subscription) bool {
	g.sticky = sub
	return true
}

// redispatch gives deliveries of members that have left to other members of their groups. Those that were recorded are
// reopened, and still held.
func (b *Broker) redispatch(refs []any) {
	if len(refs) == 0 {
		return
	}
	bt := mqttserver.NewBatch()
	defer bt.Flush()
	sc := b.scratch(bt)
	now := time.Now().UnixMilli()
	for _, ref := range refs {
		o := ref.(*outgoing)
		b.groups.mu.Lock()
		g := b.groups.m[o.member.filter]
		b.groups.mu.Unlock()
		s, m := o.member.s, o.m
		mine := s != nil && s.recordsOf(ref) // it was held and reopened
		if s != nil && !mine && !b.rec.tryHold(m) {
			m = m.copied() // the journal has it no more
			m.flags &^= flagJournaled
		}
		pub := sc.publication(m, publisher{stripe: &b.counters[0]}, now)
		if g == nil || o.m.expired(now) || !g.deliver(bt, sc, pub) {
			b.noMember(o)
		}
		if pub.open {
			b.rec.accepted(pub.m, "", Token{})
		}
		if mine {
			b.rec.accepted(m, o.member.filter, Token{})
		} else {
			b.rec.release(m)
		}
	}
}

// noMember counts a delivery for which there is no other member.
func (b *Broker) noMember(o *outgoing) {
	if o.member.s != nil {
		b.lost(o.member.s, o, DropEnded)
		return
	}
	b.drops[DropEnded].Add(1)
}

// takeShared takes out of the queue, as far as that is in memory, what came by a shared subscription, by one member or
// (nil) by any. The caller records that. s.mu is held.
func (b *Broker) takeShared(s *session, member *subscription) []any {
	if s.backlog == nil {
		return nil
	}
	defer s.trim()
	refs := s.backlog.queue.filter(func(ref any) bool {
		o, ok := ref.(*outgoing)
		return !ok || o.member == nil || member != nil && o.member != member
	})
	return refs
}
