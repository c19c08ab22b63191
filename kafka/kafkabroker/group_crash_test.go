package kafkabroker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// groupKnown is what a client knows of its group. What it has asked for and was not answered may have happened or not.
type groupKnown struct {
	asked, acked int64 // offsets
	member       string
	generation   int32
	assignment   string
	unsure       bool // a request about the members, or to delete the group, is under way
	exists       bool
}

// groupCrash is a broker whose clients use a group each, and the losses of power that were set aside.
type groupCrash struct {
	g       *groupTest
	rnd     *rand.Rand
	stop    atomic.Bool
	mu      sync.Mutex
	known   map[string]*groupKnown
	moments []groupMoment
}

type groupMoment struct {
	disk  *vfs.Mem
	known map[string]groupKnown
}

// change changes what is known, and sets a loss of power aside now and then.
func (c *groupCrash) change(group string, f func(k *groupKnown)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.known[group])
	if c.rnd.IntN(8) != 0 || len(c.moments) >= 60 {
		return
	}
	m := groupMoment{disk: c.g.fs.DropClone(), known: make(map[string]groupKnown)}
	if c.rnd.IntN(2) == 0 {
		m.disk = c.g.fs.CrashClone(c.rnd.Uint64())
	}
	for name, k := range c.known {
		m.known[name] = *k
	}
	c.moments = append(c.moments, m)
}

// client commits offsets, is restarted as a static member, leaves and deletes its group, at random.
func (c *groupCrash) client(group string, seed uint64) {
	p := c.g.dial()
	rnd := rand.New(rand.NewPCG(seed, 1))
	var k groupKnown
	for !c.stop.Load() {
		switch n := rnd.IntN(20); {
		case n < 12:
			k.asked++
			c.change(group, func(w *groupKnown) { w.asked = k.asked })
			generation := int32(-1)
			if k.member != "" {
				generation = k.generation
			}
			if code := p.commit(group, k.member, generation, "topic", 0, k.asked); code != 0 {
				c.g.t.Errorf("commit: %v", code)
				return
			}
			k.acked, k.exists = k.asked, true
		case n < 17:
			c.change(group, func(w *groupKnown) { w.unsure = true })
			var ok bool
			if k.member, k.generation, ok = c.join(p, group, &k); !ok {
				return
			}
			k.exists = true
		case n < 19 && k.member != "":
			c.change(group, func(w *groupKnown) { w.unsure = true })
			r := ask[*kafkawire.LeaveGroupResponse](p.peer, &kafkawire.LeaveGroupRequest{GroupID: kafkawire.GroupID(group),
				Members: []kafkawire.LeaveGroupRequestMember{{GroupInstanceID: new("static")}}}, 5)
			if r.Members[0].ErrorCode != 0 {
				c.g.t.Errorf("leave: %v", r.Members[0].ErrorCode)
			}
			k.member, k.generation = "", k.generation+1
		case k.member == "" && k.exists:
			c.change(group, func(w *groupKnown) { w.unsure = true })
			r := ask[*kafkawire.DeleteGroupsResponse](p.peer, &kafkawire.DeleteGroupsRequest{GroupsNames: []kafkawire.GroupID{kafkawire.GroupID(group)}}, 2)
			if r.Results[0].ErrorCode != 0 {
				c.g.t.Errorf("delete: %v", r.Results[0].ErrorCode)
			}
			k = groupKnown{}
		default:
			time.Sleep(time.Millisecond)
		}
		k.unsure = false
		c.change(group, func(w *groupKnown) { *w = k })
	}
}

// join joins as the static member, and assigns something to itself when it is asked to.
func (c *groupCrash) join(p groupPeer, group string, k *groupKnown) (member string, generation int32, ok bool) {
	req := joinRequest(group, "")
	req.GroupInstanceID = new("static")
	r := ask[*kafkawire.JoinGroupResponse](p.peer, req, 9)
	if r.ErrorCode != 0 {
		c.g.t.Errorf("join: %v", r.ErrorCode)
		return "", 0, false
	}
	s := &kafkawire.SyncGroupRequest{
		GroupID: req.GroupID, MemberID: r.MemberID, GenerationID: r.GenerationID, GroupInstanceID: req.GroupInstanceID,
		ProtocolType: r.ProtocolType, ProtocolName: r.ProtocolName,
	}
	if !r.SkipAssignment {
		k.assignment = fmt.Sprintf("%s in %d", r.MemberID, r.GenerationID)
		s.Assignments = []kafkawire.SyncGroupRequestAssignment{{MemberID: r.MemberID, Assignment: []byte(k.assignment)}}
	}
	a := ask[*kafkawire.SyncGroupResponse](p.peer, s, 5)
	if a.ErrorCode != 0 || string(a.Assignment) != k.assignment {
		c.g.t.Errorf("sync: %v %q, want %q", a.ErrorCode, a.Assignment, k.assignment)
		return "", 0, false
	}
	return r.MemberID, r.GenerationID, true
}

// check opens what a loss of power has left and returns what is wrong with it.
func (m *groupMoment) check(o Options) (wrong []string) {
	o.fs = m.disk
	b, err := Open(&o)
	if err != nil {
		return []string{err.Error()}
	}
	defer b.Close()
	say := func(group, format string, args ...any) {
		wrong = append(wrong, group+": "+fmt.Sprintf(format, args...))
	}
	for name, k := range m.known {
		offset := int64(0)
		list, err := b.GroupOffsets(name)
		if err != nil {
			say(name, "%v", err)
		}
		for _, o := range list {
			offset = o.Offset
		}
		g, ok := b.Group(name)
		if k.unsure {
			if ok && len(g.Members) > 0 && !strings.HasSuffix(string(g.Members[0].Assignment), fmt.Sprintf("in %d", g.Generation)) {
				say(name, "generation %d with the assignment %q", g.Generation, g.Members[0].Assignment)
			}
			continue
		}
		if offset < k.acked || offset > k.asked {
			say(name, "offset %d, and %d was acknowledged, %d asked for", offset, k.acked, k.asked)
		}
		switch {
		case k.member != "" && (!ok || g.State != kafka.GroupStable || g.Generation != k.generation || g.Members[0].ID != k.member ||
			string(g.Members[0].Assignment) != k.assignment):
			say(name, "%+v, want %+v", g, k)
		case k.member == "" && ok && len(g.Members) > 0:
			say(name, "%+v, and everybody has left", g)
		case !k.exists && k.asked == 0 && ok:
			say(name, "%+v, and it was deleted", g)
		}
	}
	return wrong
}

// runGroupCrash lets clients work for a while and returns what the losses of power have left behind.
func runGroupCrash(t *testing.T, seed uint64, prepare func(*vfs.Mem)) (moments int, wrong []string) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		g.topic("topic", 1)
		g.dial().find("g")
		c := &groupCrash{g: g, rnd: rand.New(rand.NewPCG(seed, 2)), known: make(map[string]*groupKnown)}
		prepare(g.fs)
		var wg sync.WaitGroup
		for i := range uint64(6) {
			group := fmt.Sprint("group", i)
			c.known[group] = new(groupKnown)
		}
		for i := range uint64(6) {
			wg.Go(func() { c.client(fmt.Sprint("group", i), seed*100+i) })
		}
		synctest.Wait()
		for i := 0; i < 2000 && !t.Failed(); i++ {
			c.mu.Lock()
			n := len(c.moments)
			c.mu.Unlock()
			if n >= 60 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		c.stop.Store(true)
		wg.Wait()
		for i := range c.moments {
			wrong = append(wrong, c.moments[i].check(g.opt)...)
		}
		moments = len(c.moments)
	})
	return moments, wrong
}

func TestGroupsSurviveLossesOfPower(t *testing.T) {
	for seed := range uint64(4) {
		moments, wrong := runGroupCrash(t, seed, func(*vfs.Mem) {})
		if len(wrong) > 0 {
			t.Fatalf("seed %d: %s", seed, strings.Join(wrong, "\n"))
		}
		if moments < 20 {
			t.Errorf("seed %d: only %d losses of power", seed, moments)
		}
	}
	// Without the syncs of the offsets topic something must be missing.
	_, wrong := runGroupCrash(t, 1, func(m *vfs.Mem) {
		m.SetSkipSync(func(_ vfs.Op, name string) bool { return strings.Contains(name, offsetsTopic) })
	})
	if len(wrong) == 0 {
		t.Error("a broker that does not sync the offsets topic loses nothing: the test is blind")
	}
}
