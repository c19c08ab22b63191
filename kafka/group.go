package kafka

import (
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// GroupState says what a [Group] is doing.
type GroupState uint8

// The states of a group.
const (
	GroupEmpty               GroupState = iota // no members; there may be offsets
	GroupPreparingRebalance                    // waiting for the members to join the next generation
	GroupCompletingRebalance                   // the generation has its members, the leader's assignment is not there yet
	GroupStable                                // every member has, or can get, its assignment
	GroupDead                                  // removed
)

var groupStates = [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}

// String returns the name that DescribeGroups and ListGroups use.
func (s GroupState) String() string {
	if int(s) < len(groupStates) {
		return groupStates[s]
	}
	return "Unknown"
}

// GroupOptions are the bounds of groups. nil and zero fields are Kafka's defaults.
type GroupOptions struct {
	// InitialRebalanceDelay is how long the first member of an empty group waits for others, and again for as long after
	// each that came meanwhile, but no longer than the rebalance timeout. The default is 3 seconds, negative is none.
	// Kafka calls it group.initial.rebalance.delay.ms.
	InitialRebalanceDelay time.Duration

	// MinSessionTimeout and MaxSessionTimeout bound what members may ask for. The defaults are 6 seconds and 30 minutes.
	MinSessionTimeout, MaxSessionTimeout time.Duration

	// NewMemberTimeout is how long a member may wait in its first rebalance: it cannot send heartbeats meanwhile. The
	// default is 5 minutes.
	NewMemberTimeout time.Duration

	// MaxSize bounds the members. The default is no bound, as in Kafka.
	MaxSize int

	// MaxPending bounds the clients that were given a member id and have not come back with it. The default is 10,000.
	MaxPending int
}

func (o *GroupOptions) withDefaults() GroupOptions {
	var v GroupOptions
	if o != nil {
		v = *o
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&v.InitialRebalanceDelay, 3*time.Second)
	v.InitialRebalanceDelay = max(v.InitialRebalanceDelay, 0)
	set(&v.MinSessionTimeout, 6*time.Second)
	set(&v.MaxSessionTimeout, 30*time.Minute)
	set(&v.NewMemberTimeout, 5*time.Minute)
	if v.MaxPending <= 0 {
		v.MaxPending = 10_000
	}
	return v
}

// GroupEventKind says what a [GroupEvent] asks for.
type GroupEventKind uint8

// The kinds of events.
const (
	// GroupJoinReply answers the JoinGroup request of Token.
	GroupJoinReply GroupEventKind = iota + 1
	// GroupSyncReply answers the SyncGroup request of Token.
	GroupSyncReply
	// GroupPersist asks to make Record durable, after those before it, and to call [Group.Persisted] with Token.
	GroupPersist
)

// GroupEvent is what a [Group] wants done. Its slices must not be changed.
type GroupEvent struct {
	Kind  GroupEventKind
	Error kafkawire.ErrorCode // of a reply

	// SkipAssignment tells a leader to compute no assignment: the one that there is stays.
	SkipAssignment bool

	// Generation is -1 in replies with an error.
	Generation int32

	// Token is that of the request, or of the record.
	Token uint64

	MemberID               string
	Leader                 string
	ProtocolType, Protocol string // empty when there is none

	// Members has the members for the leader in a reply to JoinGroup.
	Members []kafkawire.JoinGroupResponseMember

	// Assignment is that of the member in a reply to SyncGroup.
	Assignment []byte

	// Record is the group as it is to be restored by [RestoreGroup].
	Record *kafkawire.GroupMetadataValue
}

// Group is the coordinator of a classic group: the members, their generations and who is alive. What protocols and
// assignments mean is up to the members; committed offsets are not kept here.
//
// It is a machine: methods take the time and change the state, [Group.Next] returns what is to be done about it, and
// [Group.Timeout] says when [Group.Advance] is due. Requests that wait are named by tokens of the caller's, each of which is
// answered exactly once. A group is durable as the last record of [GroupPersist]: members that joined later are told to join
// again after a restart.
//
// Methods keep copies of what they are given. A Group is not safe for concurrent use.
type Group struct {
	id       string
	opt      GroupOptions
	state    GroupState
	previous GroupState
	since    time.Time // of the state
	fresh    bool      // no record was written yet

	generation   int32
	protocolType string
	protocol     string // of the generation
	leader       string

	members   map[string]*groupMember
	order     []*groupMember // in the order in which they joined
	instances map[string]*groupMember
	pending   map[string]time.Time // ids that were given out, and until when they may be used
	support   map[string]int       // how many members know a protocol
	joining   int                  // members that wait for a reply to JoinGroup
	unsynced  int                  // members of the generation without SyncGroup
	topics    map[string]struct{}  // that the members subscribe to
	parsed    bool                 // topics is known

	joinAt    time.Time     // when the members are no longer waited for
	joinDelay time.Duration // of the initial rebalance, since the last time it was extended
	joinLeft  time.Duration // how much longer the initial rebalance may take
	initial   bool          // joinAt is that of the initial rebalance
	joined    bool          // a member came during the initial rebalance
	syncAt    time.Time     // when members without SyncGroup are removed
	next      time.Time     // nothing is due before

	barriers []groupBarrier
	barrier  uint64 // the token of the last one
	events   []GroupEvent
	taken    int
}

// groupMember is a member.
type groupMember struct {
	id, instance     string
	client, host     string
	session          time.Duration
	rebalance        time.Duration
	protocols        []groupProtocol
	assignment       []byte
	isNew            bool
	unsynced         bool
	deadline         time.Time // when it is removed unless it was heard of; zero for never
	join, sync       uint64    // requests that wait
	joining, syncing bool      // whether they do
	skip             bool      // the client of join knows SkipAssignment
}

// groupProtocol is what a member can do.
type groupProtocol struct {
	name     string
	metadata []byte
}

// NewGroup returns a group without members that has no record yet. now is when it came to be.
func NewGroup(now time.Time, id string, o *GroupOptions) *Group {
	g := &Group{
		id: id, opt: o.withDefaults(), previous: GroupDead, since: now, fresh: true,
		members: make(map[string]*groupMember), instances: make(map[string]*groupMember),
		pending: make(map[string]time.Time), support: make(map[string]int),
	}
	return g
}

// Fresh reports whether nothing has happened to a new group that is worth a record.
func (g *Group) Fresh() bool { return g.fresh }

// ID returns the name of the group.
func (g *Group) ID() string { return g.id }

// State returns what the group is doing.
func (g *Group) State() GroupState { return g.state }

// Since returns since when it does that. The zero time is unknown: a record of an old Kafka has no time.
func (g *Group) Since() time.Time { return g.since }

// Generation returns the number of the last generation, 0 before the first.
func (g *Group) Generation() int32 { return g.generation }

// ProtocolType returns what kind of clients the group is for, such as "consumer". It is empty before the first member.
func (g *Group) ProtocolType() string { return g.protocolType }

// Protocol returns the protocol of the generation, empty when there is none.
func (g *Group) Protocol() string { return g.protocol }

// Leader returns the id of the member that computes assignments, empty when there is none.
func (g *Group) Leader() string { return g.leader }

// Len returns the number of members.
func (g *Group) Len() int { return len(g.members) }

// Pending returns how many clients were given a member id and have not come back with it.
func (g *Group) Pending() int { return len(g.pending) }

// Next returns what is to be done next, in order. Replies may be sent at once.
func (g *Group) Next() (GroupEvent, bool) {
	if g.taken == len(g.events) {
		clear(g.events)
		g.events, g.taken = g.events[:0], 0
		return GroupEvent{}, false
	}
	g.taken++
	return g.events[g.taken-1], true
}

func (g *Group) emit(e GroupEvent) { g.events = append(g.events, e) }

func (g *Group) become(now time.Time, s GroupState) {
	g.previous, g.state, g.since = g.state, s, now
}

// Timeout returns when Advance is due. The zero time is never. It may be early.
func (g *Group) Timeout() time.Time { return g.next }

// due notes that something happens at a time.
func (g *Group) due(t time.Time) {
	if g.next.IsZero() || t.Before(g.next) {
		g.next = t
	}
}

// Advance does what is due.
func (g *Group) Advance(now time.Time) {
	if g.next.IsZero() || now.Before(g.next) {
		return
	}
	over := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if over(g.joinAt) {
		g.joinExpired(now)
	}
	if over(g.syncAt) {
		g.syncExpired(now)
	}
	var late []*groupMember
	for _, m := range g.order {
		if over(m.deadline) {
			m.deadline = time.Time{}
			// Who waits for the others is alive. A new member is not trusted for ever, as nobody hears of its connection.
			if m.isNew || !m.joining && !m.syncing {
				late = append(late, m)
			}
		}
	}
	for _, m := range late {
		if g.members[m.id] == m { // the ones before it have not ended a rebalance without it
			g.expel(now, m)
		}
	}
	gone := false
	for id, t := range g.pending {
		if over(t) {
			delete(g.pending, id)
			gone = true
		}
	}
	if gone {
		g.completeIfJoined(now)
	}
	g.schedule()
}

// schedule computes when something is due next.
func (g *Group) schedule() {
	g.next = time.Time{}
	note := func(t time.Time) {
		if !t.IsZero() {
			g.due(t)
		}
	}
	note(g.joinAt)
	note(g.syncAt)
	for _, m := range g.order {
		note(m.deadline)
	}
	for _, t := range g.pending {
		note(t)
	}
}

// Close ends the group: everybody who waits is answered with an error, and so is everybody who comes.
func (g *Group) Close(now time.Time, code kafkawire.ErrorCode) {
	for _, m := range g.order {
		g.answerJoin(m, GroupEvent{Error: code, Generation: -1, MemberID: m.id})
		g.answerSync(m, GroupEvent{Error: code})
	}
	g.become(now, GroupDead)
	g.members, g.order, g.instances = map[string]*groupMember{}, nil, map[string]*groupMember{}
	g.pending, g.support, g.barriers = map[string]time.Time{}, map[string]int{}, nil
	g.joining, g.unsynced, g.leader = 0, 0, ""
	g.joinAt, g.syncAt, g.next = time.Time{}, time.Time{}, time.Time{}
}
