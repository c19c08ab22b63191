package kafka

import (
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// MemberOptions configure a [Member].
type MemberOptions struct {
	GroupID kafkawire.GroupID

	// InstanceID makes the member a static one: the group keeps its place while it is away, for the session timeout
	// (KIP-345). Empty is none.
	InstanceID string

	// Assignors are what the member can do, best first. It takes part in cooperative rebalances when all of them are
	// cooperative. None is [RangeAssignor] and [CooperativeStickyAssignor], as the Java client has it.
	Assignors []Assignor

	// Rack is where the member is, empty when that is not known.
	Rack string

	// Matches tells whether the member would subscribe to a topic if it knew that there is one: a leader may know more.
	// Nil is never.
	Matches func(topic string) bool

	// SessionTimeout is how long the group waits for a sign of life. Zero is 45 seconds.
	SessionTimeout time.Duration

	// HeartbeatInterval is how often the member gives one. Zero is 3 seconds.
	HeartbeatInterval time.Duration

	// MaxPollInterval is how long a member may go without [Member.Polled] and still be one, and how long the group waits for
	// it in a rebalance. Zero is 5 minutes.
	MaxPollInterval time.Duration

	// Backoff is the time before a failed request is sent again. Zero is 100 milliseconds.
	Backoff time.Duration
}

// MemberEventKind says what a [MemberEvent] asks for.
type MemberEventKind uint8

// The kinds of events.
const (
	// MemberSend asks to send Request to the coordinator, and to call [Member.Receive] with Token and what came of it.
	MemberSend MemberEventKind = iota + 1

	// MemberTakeBack tells that Partitions are not the member's any more. With Lost set they have been somebody else's, or
	// may have been; without it this is the last moment to commit their offsets. [Member.Resume] says that this is done.
	MemberTakeBack

	// MemberNeedTopics asks the leader of a group for what Topics look like: [Member.Topics] tells, or [Member.NoTopics].
	MemberNeedTopics

	// MemberAssigned tells that a rebalance has ended, and that Partitions are the member's beside those that it kept.
	// [Member.Resume] says that the application knows.
	MemberAssigned

	// MemberFailed tells that the group does not take the member, for the reason in Err. [Member.Retry] tries again.
	MemberFailed
)

// MemberEvent is what a [Member] wants done.
type MemberEvent struct {
	Kind       MemberEventKind
	Lost       bool
	Token      uint64
	Request    kafkawire.Request
	Partitions []TopicPartition
	Topics     []string
	Err        error
}

// memberState says where a member is.
type memberState uint8

const (
	memberOut      memberState = iota // not in the group: it waits for Subscribe, Polled, Retry or the end of a backoff
	memberYielding                    // partitions are being taken back before JoinGroup
	memberJoining                     // JoinGroup is under way
	memberLeading                     // the leader waits for topics
	memberSyncing                     // SyncGroup is under way
	memberStable
	memberGone // it left for good, or was fenced
)

// Member is a member of a classic consumer group: it joins, computes the assignment when it is the leader, keeps its place
// with heartbeats, and follows rebalances, eager or cooperative ones (KIP-429).
//
// It is a machine: methods take the time and change the state, [Member.Next] returns what is to be done about it, and
// [Member.Timeout] says when [Member.Advance] is due. Connections, metadata, offsets and callbacks belong to the caller. A
// Member is not safe for concurrent use.
type Member struct {
	o           MemberOptions
	cooperative bool
	state       memberState
	events      []MemberEvent
	head        int // of events
	token       uint64
	current     uint64 // token of the JoinGroup, SyncGroup or LeaveGroup request that counts

	id         string
	generation int32 // -1: none
	protocol   string
	leader     bool

	topics         []string // subscribed, sorted
	joined         []string // subscribed in the JoinGroup request
	owned          []TopicPartition
	last           []TopicPartition // what the last assignment was, for the sticky assignor
	lastGeneration int32            // and its generation
	group          []Subscriber     // for the leader
	layouts        []TopicLayout    // on which the leader based the assignment
	asked          []string         // topics of which the leader asked, sorted
	rejoin         bool
	reason         string
	named          bool      // Subscribe was called
	wanted         bool      // somebody polled, since it was sent away
	yielded        bool      // that partitions were taken back for the JoinGroup request to come
	waiting        int       // for so many calls of Resume
	failed         bool      // for Retry
	retryAt        time.Time // zero: no backoff
	polled         time.Time // zero: not yet
	beatAt         time.Time
	beating        uint64 // token of a heartbeat under way
	beatFrom       int32  // its generation
	failures       int    // one after another
}

// NewMember returns a member that does nothing until [Member.Subscribe] and [Member.Polled].
func NewMember(o *MemberOptions) *Member {
	m := &Member{o: *o, generation: -1, lastGeneration: -1}
	if len(m.o.Assignors) == 0 {
		m.o.Assignors = []Assignor{RangeAssignor{}, CooperativeStickyAssignor{}}
	}
	m.cooperative = !slices.ContainsFunc(m.o.Assignors, func(a Assignor) bool { return !a.Cooperative() })
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&m.o.SessionTimeout, 45*time.Second)
	def(&m.o.HeartbeatInterval, 3*time.Second)
	def(&m.o.MaxPollInterval, 5*time.Minute)
	def(&m.o.Backoff, 100*time.Millisecond)
	return m
}

// Next returns the next event.
func (m *Member) Next() (MemberEvent, bool) {
	if m.head == len(m.events) {
		m.events, m.head = m.events[:0], 0
		return MemberEvent{}, false
	}
	e := m.events[m.head]
	m.events[m.head] = MemberEvent{}
	m.head++
	return e, true
}

func (m *Member) emit(e MemberEvent) { m.events = append(m.events, e) }

// send asks for a request to be sent.
func (m *Member) send(r kafkawire.Request) uint64 {
	m.token++
	m.emit(MemberEvent{Kind: MemberSend, Token: m.token, Request: r})
	return m.token
}

// ID is the name that the coordinator gave, empty before that.
func (m *Member) ID() string { return m.id }

// Generation is that of the group of which this is a member, -1 when it is none.
func (m *Member) Generation() int32 { return m.generation }

// Stable reports whether the member has an assignment and knows of no rebalance that it has joined.
func (m *Member) Stable() bool {
	return m.state == memberStable || m.state == memberYielding && m.generation >= 0
}

// Rebalancing reports whether the member waits for others, or for the coordinator.
func (m *Member) Rebalancing() bool {
	return m.state == memberJoining || m.state == memberLeading || m.state == memberSyncing
}

// Cooperative reports whether the member keeps its partitions while the group rebalances.
func (m *Member) Cooperative() bool { return m.cooperative }

// Leader reports whether the member computed the assignment of its generation.
func (m *Member) Leader() bool { return m.leader }

// Owned are the partitions of the member, sorted. They must not be changed.
func (m *Member) Owned() []TopicPartition { return m.owned }

// Subscribe says to which topics the member subscribes from now on. A change makes the group rebalance.
func (m *Member) Subscribe(now time.Time, topics []string) {
	topics = slices.Clone(topics)
	slices.Sort(topics)
	m.topics, m.named = slices.Compact(topics), true
	if m.joined != nil && !slices.Equal(m.joined, m.topics) {
		m.wantRejoin("subscription has changed")
	}
	m.step(now)
}

// Subscription are the topics of the member, sorted. They must not be changed.
func (m *Member) Subscription() []string { return m.topics }

// Polled says that the application is alive and asks for records. The first call joins the group.
func (m *Member) Polled(now time.Time) {
	m.polled = now
	m.wanted = true
	m.step(now)
}

// Busy says that the application is alive, without asking for records.
func (m *Member) Busy(now time.Time) {
	if !m.polled.IsZero() {
		m.polled = now
	}
}

// Rejoin makes the group rebalance. The reason is for people who look into the log of the broker.
func (m *Member) Rejoin(now time.Time, reason string) {
	m.wantRejoin(reason)
	m.step(now)
}

// Retry goes on after [MemberFailed].
func (m *Member) Retry(now time.Time) {
	if m.failed && m.state != memberGone {
		m.failed, m.rejoin = false, true
		m.step(now)
	}
}

// Leave ends the membership. A dynamic member leaves the group at once; a static one only if always is set, and keeps its
// place for the session timeout otherwise. The caller has taken the partitions back.
func (m *Member) Leave(now time.Time, reason string, always bool) {
	if m.state == memberGone {
		return
	}
	m.sendLeave(reason, always)
	m.reset(true)
	m.owned, m.wanted, m.waiting = nil, false, 0
	m.state = memberGone
}

func (m *Member) wantRejoin(reason string) {
	m.rejoin, m.reason = true, reason
}

// reset forgets the generation, and the name if the coordinator does not know it.
func (m *Member) reset(name bool) {
	m.generation, m.protocol, m.leader = -1, "", false
	if name {
		m.id = ""
	}
	m.current, m.beating, m.group, m.layouts = 0, 0, nil, nil
	m.yielded = false
	if m.state != memberGone {
		m.state = memberOut
	}
}

// Timeout returns when [Member.Advance] is to be called. It is zero when there is nothing to wait for.
func (m *Member) Timeout() (t time.Time) {
	if m.state == memberGone {
		return t
	}
	sooner := func(at time.Time) {
		if !at.IsZero() && (t.IsZero() || at.Before(t)) {
			t = at
		}
	}
	sooner(m.retryAt)
	if m.beats() && m.beating == 0 {
		sooner(m.beatAt)
	}
	if m.inGroup() {
		sooner(m.polled.Add(m.o.MaxPollInterval))
	}
	return t
}

// Advance does what is due.
func (m *Member) Advance(now time.Time) {
	if m.state == memberGone {
		return
	}
	if m.inGroup() && !now.Before(m.polled.Add(m.o.MaxPollInterval)) {
		m.pollTooLate()
		return
	}
	if !m.retryAt.IsZero() && !now.Before(m.retryAt) {
		m.retryAt = time.Time{}
		m.step(now)
	}
	if m.beats() && m.beating == 0 && !now.Before(m.beatAt) {
		r := &kafkawire.HeartbeatRequest{GroupID: m.o.GroupID, GenerationID: m.generation, MemberID: m.id, GroupInstanceID: m.instance()}
		m.beating, m.beatFrom = m.send(r), m.generation
	}
}

// inGroup reports whether the group counts with this member, or will.
func (m *Member) inGroup() bool {
	return m.state != memberGone && m.wanted && (m.id != "" || m.state != memberOut)
}

// beats reports whether heartbeats are to be sent.
func (m *Member) beats() bool {
	switch m.state {
	case memberYielding, memberLeading, memberSyncing, memberStable:
		return m.generation >= 0
	}
	return false
}

func (m *Member) instance() *string {
	if m.o.InstanceID == "" {
		return nil
	}
	return &m.o.InstanceID
}

// pollTooLate leaves the group, since the application does not come for its records. Polled joins again.
func (m *Member) pollTooLate() {
	m.sendLeave("consumer poll timeout has expired", false)
	m.reset(true)
	m.wanted, m.retryAt = false, time.Time{}
	m.rejoin = true
	m.takeBack(m.owned, true, ErrPollInterval)
}

// sendLeave leaves the group, unless there is none that knows this member.
func (m *Member) sendLeave(reason string, always bool) {
	if m.id == "" || m.o.InstanceID != "" && !always {
		return
	}
	member := kafkawire.LeaveGroupRequestMember{MemberID: m.id, GroupInstanceID: m.instance(), Reason: &reason}
	m.current = m.send(&kafkawire.LeaveGroupRequest{GroupID: m.o.GroupID, Members: []kafkawire.LeaveGroupRequestMember{member}})
}

// takeBack makes partitions no longer the member's. Without any there is nothing to wait for.
func (m *Member) takeBack(partitions []TopicPartition, lost bool, reason error) {
	if len(partitions) == 0 {
		if reason != nil {
			m.emit(MemberEvent{Kind: MemberTakeBack, Lost: lost, Err: reason})
			m.waiting++
		}
		return
	}
	gone := slices.Clone(partitions)
	m.owned = slices.DeleteFunc(slices.Clone(m.owned), func(p TopicPartition) bool {
		_, found := slices.BinarySearchFunc(gone, p, TopicPartition.Compare)
		return found
	})
	m.emit(MemberEvent{Kind: MemberTakeBack, Lost: lost, Partitions: gone, Err: reason})
	m.waiting++
}

// Resume says that what one [MemberTakeBack] or [MemberAssigned] asked for is done. Meanwhile the member joins no rebalance.
func (m *Member) Resume(now time.Time) {
	m.waiting = max(0, m.waiting-1)
	m.step(now)
}
