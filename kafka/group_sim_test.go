package kafka

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/sim"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// groupWorld is a coordinator, which crashes, and consumers, some of them static, which talk to it over a network that
// delays, loses, repeats and reorders requests and replies. Records become durable later, in order.
//
// What must hold: every request that reaches the coordinator is answered once at most, and unless it crashes at last; a
// commit is accepted only from the member that the durable assignment of its generation gives the partition to; and when
// the faults end the group gets stable, with every partition at one living consumer.
type groupWorld struct {
	t          *testing.T
	w          *sim.World
	g          *Group
	opt        GroupOptions
	life       int                           // of the coordinator, counts crashes
	pending    []GroupEvent                  // records that are being written
	durable    *kafkawire.GroupMetadataValue // the last record
	history    map[int32][]map[string]string // the assignments written for each generation
	waiting    map[uint64]func(GroupEvent)   // requests that wait
	token      uint64
	calm       bool
	consumers  []*simConsumer
	partitions int
	committed  map[string]int32 // the generation of the last commit of each partition
	commits    int
	ids        int
	alarm      time.Time
}

func (x *groupWorld) delay() time.Duration {
	if x.calm {
		return x.w.Between(time.Millisecond, 5*time.Millisecond)
	}
	if x.w.Chance(0.05) {
		return x.w.Between(0, 12*time.Second)
	}
	return x.w.Between(0, 300*time.Millisecond)
}

// send takes a request to the coordinator, or does not, or does twice. handle is called there and gets a function that
// takes the reply back.
func (x *groupWorld) send(handle func(reply func(do func()))) {
	reply := func(do func()) {
		if !x.calm && x.w.Chance(0.05) {
			return
		}
		x.w.After(x.delay(), do)
	}
	arrive := func() {
		if x.g != nil {
			handle(reply)
		}
	}
	if !x.calm && x.w.Chance(0.05) {
		return
	}
	x.w.After(x.delay(), arrive)
	if !x.calm && x.w.Chance(0.05) {
		x.w.After(x.delay(), arrive)
	}
}

// request gives a request that may wait a token.
func (x *groupWorld) request(done func(GroupEvent)) uint64 {
	x.token++
	x.waiting[x.token] = done
	return x.token
}

// drain does what the group wants.
func (x *groupWorld) drain() {
	for e, ok := x.g.Next(); ok; e, ok = x.g.Next() {
		if e.Kind != GroupPersist {
			done := x.waiting[e.Token]
			if done == nil {
				x.t.Fatalf("request %d answered twice: %+v", e.Token, e)
			}
			delete(x.waiting, e.Token)
			done(e)
			continue
		}
		x.pending = append(x.pending, e)
		if len(x.pending) == 1 {
			x.write()
		}
	}
	if at := x.g.Timeout(); !at.IsZero() && !at.Equal(x.alarm) {
		x.alarm = at
		life := x.life
		x.w.At(at, func() {
			if x.life == life && x.g != nil && x.alarm.Equal(at) {
				x.alarm = time.Time{}
				x.g.Advance(x.w.Now())
				x.drain()
			}
		})
	}
}

// write makes the first record durable after a while.
func (x *groupWorld) write() {
	life := x.life
	most := 2 * time.Second
	if x.calm {
		most = 50 * time.Millisecond
	}
	x.w.After(x.w.Between(0, most), func() {
		if x.life != life {
			return
		}
		if !x.calm && x.w.Crash("before a record is durable") {
			x.crash()
			return
		}
		e := x.pending[0]
		x.pending = x.pending[1:]
		code := kafkawire.ErrorCode(0)
		if !x.calm && x.w.Chance(0.03) {
			code = kafkawire.ErrCoordinatorNotAvailable
		} else {
			x.save(e.Record)
		}
		if !x.calm && x.w.Crash("after a record is durable") {
			x.crash()
			return
		}
		x.g.Persisted(x.w.Now(), e.Token, code)
		x.drain()
		if len(x.pending) > 0 {
			x.write()
		}
	})
}

func (x *groupWorld) save(v *kafkawire.GroupMetadataValue) {
	b, err := v.Append(nil, GroupRecordVersion)
	if err != nil {
		x.t.Fatal(err)
	}
	x.durable = new(kafkawire.GroupMetadataValue)
	if err := x.durable.Decode(b, GroupRecordVersion); err != nil {
		x.t.Fatal(err)
	}
	a := make(map[string]string)
	for _, m := range v.Members {
		a[m.MemberID] = string(m.Assignment)
	}
	x.history[v.Generation] = append(x.history[v.Generation], a)
	x.w.Logf("durable: generation %d %v", v.Generation, a)
}

// crash loses everything that is not durable, and begins again later.
func (x *groupWorld) crash() {
	x.life++
	x.g, x.pending, x.alarm = nil, nil, time.Time{}
	clear(x.waiting)
	x.w.After(x.w.Between(0, 3*time.Second), x.start)
}

func (x *groupWorld) start() {
	if x.durable == nil {
		x.g = NewGroup(x.w.Now(), "g", &x.opt)
	} else {
		x.g = RestoreGroup(x.w.Now(), "g", x.durable, &x.opt)
	}
	x.drain()
}

// simConsumer is a client as they come: it joins, syncs, sends heartbeats, commits, and joins again when told to.
type simConsumer struct {
	x          *groupWorld
	name       string
	instance   string
	id         string
	generation int32
	owned      []string
	up         bool
	round      int // everything of earlier rounds is stale
	leader     bool
}

func (c *simConsumer) protocols() []kafkawire.JoinGroupRequestProtocol {
	return []kafkawire.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte(c.name)}}
}

// later calls do unless the consumer has begun something else.
func (c *simConsumer) later(d time.Duration, do func()) {
	round := c.round
	c.x.w.After(d, func() {
		if c.up && c.round == round {
			do()
		}
	})
}

// ask sends a request; without a reply in time it is sent again by calling again.
func (c *simConsumer) ask(timeout time.Duration, again func(), handle func(reply func(func()))) {
	round := c.round
	answered := false
	c.x.send(func(reply func(func())) {
		handle(func(do func()) {
			reply(func() {
				if c.up && c.round == round && !answered {
					answered = true
					do()
				}
			})
		})
	})
	c.later(timeout, func() {
		if !answered {
			again()
		}
	})
}

func (c *simConsumer) join() {
	c.round++
	c.owned = nil
	x := c.x
	r := GroupJoin{
		MemberID: c.id, InstanceID: c.instance, ClientID: c.name, SessionTimeout: 6 * time.Second, RebalanceTimeout: 10 * time.Second,
		ProtocolType: "consumer", Protocols: c.protocols(), KnowsIDRequired: true, KnowsSkip: true,
	}
	c.ask(15*time.Second, c.join, func(reply func(func())) {
		r := r
		x.ids++
		r.NewMemberID = fmt.Sprintf("%s-%d", c.name, x.ids)
		r.Token = x.request(func(e GroupEvent) { reply(func() { c.joined(e) }) })
		x.g.Join(x.w.Now(), &r)
		x.drain()
	})
}

func (c *simConsumer) joined(e GroupEvent) {
	switch e.Error {
	case 0:
	case kafkawire.ErrMemberIDRequired:
		c.id = e.MemberID
		c.join()
		return
	case kafkawire.ErrFencedInstanceID:
		c.up = false // another one has its name
		return
	case kafkawire.ErrUnknownMemberID:
		c.id = ""
		fallthrough
	default:
		c.round++
		c.later(100*time.Millisecond, c.join)
		return
	}
	c.id, c.generation = e.MemberID, e.Generation
	c.leader = e.Leader == e.MemberID
	var list []kafkawire.SyncGroupRequestAssignment
	if c.leader && !e.SkipAssignment {
		list = c.assign(e.Members)
	}
	c.sync(list)
}

// assign deals the partitions out.
func (c *simConsumer) assign(members []kafkawire.JoinGroupResponseMember) []kafkawire.SyncGroupRequestAssignment {
	list := make([]kafkawire.SyncGroupRequestAssignment, len(members))
	parts := make([][]string, len(members))
	for i := range c.x.partitions {
		parts[i%len(members)] = append(parts[i%len(members)], fmt.Sprint(i))
	}
	for i := range members {
		list[i] = kafkawire.SyncGroupRequestAssignment{MemberID: members[i].MemberID, Assignment: []byte(strings.Join(parts[i], " "))}
	}
	return list
}

func (c *simConsumer) sync(list []kafkawire.SyncGroupRequestAssignment) {
	c.round++
	x := c.x
	r := GroupSync{MemberID: c.id, InstanceID: c.instance, Generation: c.generation, Assignments: list}
	c.ask(12*time.Second, c.join, func(reply func(func())) {
		r := r
		r.Token = x.request(func(e GroupEvent) { reply(func() { c.synced(e) }) })
		x.g.Sync(x.w.Now(), &r)
		x.drain()
	})
	c.later(2*time.Second, c.heartbeat)
}

func (c *simConsumer) synced(e GroupEvent) {
	if e.Error != 0 {
		c.failed(e.Error)
		return
	}
	c.round++
	c.owned = strings.Fields(string(e.Assignment))
	c.later(0, c.heartbeat)
	c.later(500*time.Millisecond, c.commit)
}

// failed begins anew after an error.
func (c *simConsumer) failed(code kafkawire.ErrorCode) {
	c.owned = nil
	switch code {
	case kafkawire.ErrFencedInstanceID:
		c.up = false
		return
	case kafkawire.ErrUnknownMemberID:
		c.id = ""
	}
	c.join()
}

func (c *simConsumer) heartbeat() {
	x := c.x
	id, generation := c.id, c.generation
	c.ask(4*time.Second, func() {}, func(reply func(func())) {
		code := x.g.Heartbeat(x.w.Now(), id, c.instance, generation)
		x.drain()
		reply(func() {
			if code != 0 {
				c.failed(code)
			}
		})
	})
	c.later(2*time.Second, c.heartbeat)
}

// commit commits what the consumer believes to own, and checks who may.
func (c *simConsumer) commit() {
	x := c.x
	id, generation, owned := c.id, c.generation, slices.Clone(c.owned)
	x.send(func(reply func(func())) {
		if x.g.CheckCommit(x.w.Now(), id, c.instance, generation, false) != 0 {
			return
		}
		x.drain()
		ok := slices.ContainsFunc(x.history[generation], func(a map[string]string) bool {
			return subset(owned, strings.Fields(a[id]))
		})
		if !ok {
			x.t.Fatalf("%s commits %v in generation %d, of which the assignments are %v", id, owned, generation, x.history[generation])
		}
		for _, p := range owned {
			if generation < x.committed[p] {
				x.t.Fatalf("%s commits partition %s in generation %d after one of %d", id, p, generation, x.committed[p])
			}
			x.committed[p] = generation
		}
		x.commits++
	})
	c.later(500*time.Millisecond, c.commit)
}

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// stop ends a consumer: with LeaveGroup, or without a word.
func (c *simConsumer) stop() {
	if !c.up {
		return
	}
	c.up = false
	x, id := c.x, c.id
	if c.instance == "" && x.w.Chance(0.5) {
		x.send(func(func(func())) {
			x.g.Leave(x.w.Now(), []kafkawire.LeaveGroupRequestMember{{MemberID: id}})
			x.drain()
		})
	}
	x.w.Logf("%s stops", c.name)
}

func (c *simConsumer) start() {
	c.up, c.id = true, ""
	c.x.w.Logf("%s starts", c.name)
	c.join()
}

func TestGroupSimulation(t *testing.T) {
	rebalances, crashes, commits := 0, 0, 0
	sim.Run(t, 300, func(t *testing.T, w *sim.World) {
		w.CrashRate = 0.08
		x := &groupWorld{
			t: t, w: w, waiting: make(map[uint64]func(GroupEvent)), history: make(map[int32][]map[string]string), partitions: 7,
			committed: make(map[string]int32),
		}
		x.opt.InitialRebalanceDelay = time.Second
		x.start()
		for i := range 7 {
			c := &simConsumer{x: x, name: fmt.Sprintf("c%d", i)}
			if i%2 == 1 {
				c.instance = fmt.Sprintf("static%d", i%4) // two of them have the same name, and fence each other
			}
			x.consumers = append(x.consumers, c)
			w.After(w.Between(0, 5*time.Second), c.start)
		}
		for range 40 { // trouble for two minutes
			c := x.consumers[w.Rand.IntN(len(x.consumers))]
			w.After(w.Between(5*time.Second, 2*time.Minute), func() {
				c.stop()
				if w.Chance(0.8) {
					w.After(w.Between(0, 15*time.Second), func() {
						if !c.up {
							c.start()
						}
					})
				}
			})
		}
		end := w.Now().Add(130 * time.Second)
		w.At(end, func() { x.calm = true })
		w.Run(1_000_000, func() bool { return !w.Now().Before(end) })
		if !slices.ContainsFunc(x.consumers, func(c *simConsumer) bool { return c.up }) {
			x.consumers[0].start()
		}
		w.Run(1_000_000, func() bool { return w.Now().After(end.Add(2 * time.Minute)) })
		x.settled()
		crashes += x.life
		rebalances += int(x.g.Generation())
		commits += x.commits
	})
	t.Logf("%d generations, %d crashes, %d commits", rebalances, crashes, commits)
}

// settled checks that the group has come to rest.
func (x *groupWorld) settled() {
	x.t.Helper()
	if x.g == nil || x.g.State() != GroupStable {
		x.t.Fatalf("the group is not stable: %+v", x.g)
	}
	owner := make(map[string]string)
	for _, c := range x.consumers {
		if !c.up {
			continue
		}
		if x.g.members[c.id] == nil {
			x.t.Errorf("%s is up and not a member", c.name)
		}
		for _, p := range c.owned {
			if o := owner[p]; o != "" {
				x.t.Errorf("%s and %s both have partition %s", o, c.name, p)
			}
			owner[p] = c.name
		}
	}
	if len(owner) != x.partitions {
		x.t.Errorf("partitions %v have an owner", slices.Sorted(maps.Keys(owner)))
	}
	if len(x.waiting) > 0 {
		x.t.Errorf("%d requests were never answered", len(x.waiting))
	}
	if n := len(x.g.instances); n > len(x.g.members) || x.g.joining != 0 || len(x.g.events) != 0 {
		x.t.Errorf("%d instances, %d members, %d joining", n, len(x.g.members), x.g.joining)
	}
}
