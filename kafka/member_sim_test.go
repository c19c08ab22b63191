package kafka

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/sim"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// memberWorld is consumers with their [Member], static ones among them, and the coordinator's [Group]. The network delays,
// and while there are faults it loses, repeats and reorders, consumers stop polling and are killed.
//
// What must hold: a member holds what it was given and what was not taken back; without faults no two members hold a
// partition at the same time; and when faults end everybody holds what the group says, each partition once.
type memberWorld struct {
	t        *testing.T
	w        *sim.World
	g        *Group
	waiting  map[uint64]func(GroupEvent)
	token    uint64
	alarm    time.Time
	faults   bool // now
	ever     bool // at some time
	cases    []Assignor
	apps     []*memberApp
	topics   []TopicLayout
	names    int
	commits  int
	rejected int
	back     bool // a static member came back
}

// memberApp is one consumer.
type memberApp struct {
	x      *memberWorld
	m      *Member
	name   string
	static string
	held   map[TopicPartition]bool
	alarm  time.Time
	dead   bool
	silent bool // it does not poll
	told   bool // that it was too slow
	failed bool
	toSend []MemberEvent // callbacks that wait for the next poll
}

func (x *memberWorld) delay() time.Duration {
	if x.faults && x.w.Chance(0.05) {
		return x.w.Between(0, 12*time.Second)
	}
	return x.w.Between(time.Millisecond, 30*time.Millisecond)
}

func (x *memberWorld) drainGroup() {
	for e, ok := x.g.Next(); ok; e, ok = x.g.Next() {
		if e.Kind == GroupPersist {
			x.g.Persisted(x.w.Now(), e.Token, 0)
			continue
		}
		if done := x.waiting[e.Token]; done != nil {
			delete(x.waiting, e.Token)
			done(e)
		}
	}
	if at := x.g.Timeout(); !at.IsZero() && !at.Equal(x.alarm) {
		x.alarm = at
		x.w.At(at, func() {
			if x.alarm.Equal(at) {
				x.alarm = time.Time{}
				x.g.Advance(x.w.Now())
				x.drainGroup()
			}
		})
	}
}

// arrive handles a request at the coordinator.
func (x *memberWorld) arrive(r kafkawire.Request, reply func(kafkawire.Response)) {
	now := x.w.Now()
	moved := x.faults && x.w.Chance(0.03)
	str := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	x.token++
	switch r := r.(type) {
	case *kafkawire.JoinGroupRequest:
		if moved {
			reply(&kafkawire.JoinGroupResponse{ErrorCode: kafkawire.ErrNotCoordinator, GenerationID: -1})
			return
		}
		x.waiting[x.token] = func(e GroupEvent) {
			reply(&kafkawire.JoinGroupResponse{ErrorCode: e.Error, GenerationID: e.Generation, ProtocolType: &e.ProtocolType, ProtocolName: &e.Protocol,
				Leader: e.Leader, SkipAssignment: e.SkipAssignment, MemberID: e.MemberID, Members: e.Members})
		}
		x.names++
		x.g.Join(now, &GroupJoin{Token: x.token, MemberID: r.MemberID, NewMemberID: fmt.Sprint("id-", x.names), InstanceID: str(r.GroupInstanceID),
			SessionTimeout: time.Duration(r.SessionTimeoutMs) * time.Millisecond, RebalanceTimeout: time.Duration(r.RebalanceTimeoutMs) * time.Millisecond,
			ProtocolType: r.ProtocolType, Protocols: r.Protocols, KnowsIDRequired: true, KnowsSkip: true})
	case *kafkawire.SyncGroupRequest:
		if moved {
			reply(&kafkawire.SyncGroupResponse{ErrorCode: kafkawire.ErrCoordinatorLoadInProgress})
			return
		}
		x.waiting[x.token] = func(e GroupEvent) {
			resp := &kafkawire.SyncGroupResponse{ErrorCode: e.Error, Assignment: e.Assignment}
			if e.Error == 0 {
				resp.ProtocolType, resp.ProtocolName = &e.ProtocolType, &e.Protocol
			}
			reply(resp)
		}
		x.g.Sync(now, &GroupSync{Token: x.token, MemberID: r.MemberID, InstanceID: str(r.GroupInstanceID), Generation: r.GenerationID,
			ProtocolType: r.ProtocolType, Protocol: r.ProtocolName, Assignments: r.Assignments})
	case *kafkawire.HeartbeatRequest:
		reply(&kafkawire.HeartbeatResponse{ErrorCode: x.g.Heartbeat(now, r.MemberID, str(r.GroupInstanceID), r.GenerationID)})
	case *kafkawire.LeaveGroupRequest:
		x.g.Leave(now, r.Members)
		reply(new(kafkawire.LeaveGroupResponse))
	}
	x.drainGroup()
}

var errSimNetwork = errors.New("the network is down")

// send takes a request to the coordinator and the response back, with faults on the way.
func (a *memberApp) send(e MemberEvent) {
	x := a.x
	back := func(r kafkawire.Response, err error) {
		x.w.After(x.delay(), func() {
			if !a.dead {
				a.m.Receive(x.w.Now(), e.Token, r, err)
				a.drain()
			}
		})
	}
	if x.faults && x.w.Chance(0.04) {
		back(nil, errSimNetwork)
		return
	}
	lost := x.faults && x.w.Chance(0.04)
	times := 1
	if x.faults && x.w.Chance(0.04) {
		times = 2
	}
	for range times {
		x.w.After(x.delay(), func() {
			x.arrive(e.Request, func(r kafkawire.Response) {
				if lost {
					back(nil, errSimNetwork)
				} else {
					back(r, nil)
				}
			})
		})
	}
	if lost {
		x.w.After(40*time.Second, func() { back(nil, errSimNetwork) })
	}
}

// drain does what the member wants. Callbacks wait for the next poll, as in a consumer.
func (a *memberApp) drain() {
	x := a.x
	for e, ok := a.m.Next(); ok; e, ok = a.m.Next() {
		switch e.Kind {
		case MemberSend:
			if r, ok := e.Request.(*kafkawire.JoinGroupRequest); ok && !a.m.Cooperative() && len(a.held) > 0 && len(r.Protocols) > 0 {
				x.t.Errorf("seed %d: %s joins and holds %d partitions", x.w.Seed(), a.name, len(a.held))
			}
			a.send(e)
		case MemberNeedTopics:
			x.w.After(x.delay(), func() {
				if x.faults && x.w.Chance(0.1) {
					a.m.NoTopics(x.w.Now(), errSimNetwork)
				} else {
					a.m.Topics(x.w.Now(), x.topics)
				}
				a.drain()
			})
		default:
			a.toSend = append(a.toSend, e)
		}
	}
	if at := a.m.Timeout(); !at.IsZero() && !at.Equal(a.alarm) {
		a.alarm = at
		x.w.At(at, func() {
			if !a.dead && a.alarm.Equal(at) {
				a.alarm = time.Time{}
				a.m.Advance(x.w.Now())
				a.drain()
			}
		})
	}
}

// poll runs callbacks and comes again.
func (a *memberApp) poll() {
	x := a.x
	if a.dead {
		return
	}
	if !a.silent {
		a.m.Polled(x.w.Now())
		a.drain()
		for len(a.toSend) > 0 {
			e := a.toSend[0]
			a.toSend = a.toSend[1:]
			a.callback(e)
			a.drain()
		}
		a.commit()
	}
	if x.faults && x.w.Chance(0.005) {
		a.silent = true
		x.w.After(x.w.Between(0, 40*time.Second), func() { a.silent = false })
	}
	x.w.After(x.w.Between(50*time.Millisecond, 500*time.Millisecond), a.poll)
}

func (a *memberApp) callback(e MemberEvent) {
	x := a.x
	switch e.Kind {
	case MemberTakeBack:
		for _, p := range e.Partitions {
			if !a.held[p] {
				x.t.Errorf("seed %d: %v is taken from %s, who has not got it", x.w.Seed(), p, a.name)
			}
			delete(a.held, p)
		}
		a.told = a.told || errors.Is(e.Err, ErrPollInterval)
		a.m.Resume(x.w.Now())
	case MemberAssigned:
		for _, p := range e.Partitions {
			if a.held[p] {
				x.t.Errorf("seed %d: %v is given to %s twice", x.w.Seed(), p, a.name)
			}
			a.held[p] = true
			for _, b := range x.apps {
				if b != a && !b.dead && b.held[p] && !x.ever {
					x.t.Errorf("seed %d: %s and %s have %v", x.w.Seed(), a.name, b.name, p)
				}
			}
		}
		a.m.Resume(x.w.Now())
	case MemberFailed:
		if errors.Is(e.Err, kafkawire.ErrFencedInstanceID) {
			a.dead = true
			return
		}
		a.failed = true
		if !x.ever {
			x.t.Errorf("seed %d: %s: %v", x.w.Seed(), a.name, e.Err)
		}
		a.m.Retry(x.w.Now())
	}
}

// commit commits for what is held, as the group allows.
func (a *memberApp) commit() {
	x := a.x
	id, err := a.m.Identity()
	if err != nil || len(a.held) == 0 || !x.w.Chance(0.3) {
		return
	}
	x.w.After(x.delay(), func() {
		code := x.g.CheckCommit(x.w.Now(), id.MemberID, id.InstanceID, id.Generation, false)
		x.drainGroup()
		x.w.After(x.delay(), func() {
			if a.dead {
				return
			}
			x.commits++
			if err := a.m.Committed(x.w.Now(), id, code); err != nil {
				x.rejected++
			}
			a.drain()
		})
	})
}

func (x *memberWorld) start(static string) *memberApp {
	x.names++
	a := &memberApp{x: x, name: fmt.Sprint("app-", x.names), static: static, held: make(map[TopicPartition]bool)}
	rack := string(rune('a' + x.names%3))
	a.m = NewMember(&MemberOptions{GroupID: "g", InstanceID: static, Assignors: x.cases, Rack: rack, SessionTimeout: 10 * time.Second,
		MaxPollInterval: 20 * time.Second, Matches: func(string) bool { return true }})
	x.apps = append(x.apps, a)
	a.m.Subscribe(x.w.Now(), x.subscription())
	a.poll()
	return a
}

func (x *memberWorld) subscription() (topics []string) {
	for i, t := range x.topics {
		if i == 0 || x.w.Chance(0.7) {
			topics = append(topics, string(t.Name))
		}
	}
	return topics
}

// stop ends a consumer, in order or not.
func (a *memberApp) stop(kill bool) {
	if a.dead {
		return
	}
	if !kill {
		a.m.Leave(a.x.w.Now(), "the consumer is being closed", false)
		for e, ok := a.m.Next(); ok; e, ok = a.m.Next() {
			if e.Kind == MemberSend {
				a.send(e)
			}
		}
	}
	a.dead = true
	clear(a.held)
}

// change does something to the group.
func (x *memberWorld) change() {
	alive := slices.DeleteFunc(slices.Clone(x.apps), func(a *memberApp) bool { return a.dead })
	switch n := x.w.Rand.IntN(7); {
	case n < 2 && len(alive) < 7:
		static := ""
		if x.w.Chance(0.3) {
			static = fmt.Sprint("static-", x.names)
		}
		x.start(static)
	case n == 2 && len(alive) > 1:
		a := alive[x.w.Rand.IntN(len(alive))]
		a.stop(x.ever && x.w.Chance(0.5))
		if a.static != "" {
			x.back = true
			x.w.After(x.w.Between(0, 3*time.Second), func() { x.start(a.static) })
		}
	case n == 3 && len(alive) > 0:
		a := alive[x.w.Rand.IntN(len(alive))]
		a.m.Subscribe(x.w.Now(), x.subscription())
		a.drain()
	case n == 4 && len(x.topics) < 6:
		x.topics = append(x.topics, TopicLayout{Name: kafkawire.TopicName(fmt.Sprint("t", len(x.topics))), Racks: make([][]string, 3)})
		x.told()
	case n == 5:
		t := &x.topics[x.w.Rand.IntN(len(x.topics))]
		t.Racks = append(slices.Clone(t.Racks), []string{"a"})
		x.told()
	case len(alive) > 0:
		a := alive[x.w.Rand.IntN(len(alive))]
		a.m.Rejoin(x.w.Now(), "for a change")
		a.drain()
	}
}

// told lets everybody know what topics look like.
func (x *memberWorld) told() {
	for _, a := range x.apps {
		if !a.dead {
			x.w.After(x.delay(), func() {
				a.m.Topics(x.w.Now(), x.topics)
				a.drain()
			})
		}
	}
}

func TestMembersInAGroup(t *testing.T) {
	total, rejected := 0, 0
	sim.Run(t, 150, func(t *testing.T, w *sim.World) {
		x := &memberWorld{t: t, w: w, waiting: make(map[uint64]func(GroupEvent)), ever: w.Seed()%2 == 1}
		x.cases = [][]Assignor{nil, {CooperativeStickyAssignor{}}, {StickyAssignor{}}, {RoundRobinAssignor{}, RangeAssignor{}}}[w.Seed()/2%4]
		x.g = NewGroup(w.Now(), "g", &GroupOptions{InitialRebalanceDelay: time.Second})
		x.topics = []TopicLayout{{Name: "t0", Racks: [][]string{{"a"}, {"b"}, {"a", "c"}}}, {Name: "t1", Racks: make([][]string, 5)}}
		for range 1 + w.Rand.IntN(4) {
			x.start("")
		}
		x.faults = x.ever
		end := w.Now().Add(3 * time.Minute)
		for at := w.Now(); at.Before(end); at = at.Add(w.Between(0, 20*time.Second)) {
			w.At(at, x.change)
		}
		w.Run(1_000_000, func() bool { return w.Now().After(end) })
		x.faults = false
		for _, a := range x.apps {
			a.silent = false
		}
		x.told()
		if x.back {
			// A static leader that comes back does not learn what topics looked like before, here as in the Java client.
			for _, a := range x.apps {
				a.m.Rejoin(w.Now(), "to be sure")
				a.drain()
			}
		}
		settled := w.Now().Add(3 * time.Minute)
		w.Run(1_000_000, func() bool { return w.Now().After(settled) })
		x.check()
		total += x.commits
		rejected += x.rejected
	})
	t.Logf("%d commits, %d of them rejected", total, rejected)
}

// check looks whether everything is in order in the end.
func (x *memberWorld) check() {
	seed := x.w.Seed()
	owner := make(map[TopicPartition]string)
	wanted := make(map[string]bool)
	for _, a := range x.apps {
		if a.dead {
			continue
		}
		if !a.m.Stable() || a.m.Generation() != x.g.Generation() {
			x.t.Errorf("seed %d: %s is in state %d of generation %d, the group is %v in %d", seed, a.name, a.m.state, a.m.Generation(), x.g.State(), x.g.Generation())
		}
		if held := slices.SortedFunc(maps.Keys(a.held), TopicPartition.Compare); !slices.Equal(held, a.m.Owned()) {
			x.t.Errorf("seed %d: %s holds %v and owns %v", seed, a.name, held, a.m.Owned())
		}
		for _, t := range a.m.Subscription() {
			wanted[t] = true
		}
		for p := range a.held {
			if other := owner[p]; other != "" {
				x.t.Errorf("seed %d: %v has two owners, %s and %s", seed, p, a.name, other)
			}
			owner[p] = a.name
		}
		if !x.ever && (a.failed || a.told) {
			x.t.Errorf("seed %d: %s failed: %v, too slow: %v", seed, a.name, a.failed, a.told)
		}
	}
	for _, t := range x.topics {
		for i := range t.Racks {
			if p := (TopicPartition{t.Name, int32(i)}); wanted[string(t.Name)] != (owner[p] != "") {
				x.t.Errorf("seed %d: %v has the owner %q", seed, p, owner[p])
			}
		}
	}
}
