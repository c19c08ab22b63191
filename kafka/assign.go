package kafka

import (
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Subscriber is a member of a group for whom partitions are to be found.
type Subscriber struct {
	// MemberID is the name that the coordinator gave.
	MemberID string

	// InstanceID is the name of a static member, empty for others.
	InstanceID string

	// Subscription is what the member said when it joined.
	Subscription kafkawire.ConsumerProtocolSubscription
}

// TopicLayout is what an assignor needs to know of a topic.
type TopicLayout struct {
	Name kafkawire.TopicName

	// Racks are those of the replicas of each partition, by number. A partition without replicas whose rack is known has
	// none.
	Racks [][]string
}

// Assignor divides the partitions of topics among the members of a group. The leader of a group does so for all of them.
// Implementations hold no state: what they need to know of the past is in the subscriptions.
type Assignor interface {
	// Name is what members agree on, such as "range".
	Name() string

	// Cooperative tells that members may keep their partitions while the group rebalances. Then Assign must not give a
	// partition to a member while another has it: that one loses it in this round, and the next round gives it away.
	Cooperative() bool

	// UserData is what a member that got partitions in a generation tells in its next subscription. Without any it is nil.
	// The generation is -1 before the first.
	UserData(owned []TopicPartition, generation int32) []byte

	// Assign returns what each member gets, in the order of the members. Topics that no member subscribes to do not
	// matter; subscriptions to topics that are not there neither.
	Assign(members []Subscriber, topics []TopicLayout) [][]TopicPartition
}

// layout is the input of an assignor with numbers in place of names.
type layout struct {
	members []Subscriber
	topics  []TopicLayout // those that somebody subscribes to, by name, with partitions
	wants   [][]int       // topics of each member, sorted
	wanted  [][]int       // members of each topic, in the order of members
	base    []int         // number of a topic's first partition
	total   int           // of partitions
	equal   bool          // all members subscribe to the same topics
}

func newLayout(members []Subscriber, topics []TopicLayout) *layout {
	l := &layout{members: members, wants: make([][]int, len(members)), equal: true}
	known := make(map[kafkawire.TopicName]int, len(topics))
	sorted := slices.Clone(topics)
	slices.SortStableFunc(sorted, func(a, b TopicLayout) int { return strings.Compare(string(a.Name), string(b.Name)) })
	subscribed := make(map[kafkawire.TopicName]bool)
	var first []string
	for i := range members {
		names := slices.Clone(members[i].Subscription.Topics)
		slices.Sort(names)
		names = slices.Compact(names)
		if i == 0 {
			first = names
		} else if l.equal && !slices.Equal(first, names) {
			l.equal = false
		}
		for _, name := range names {
			subscribed[kafkawire.TopicName(name)] = true
		}
	}
	for _, t := range sorted {
		if _, twice := known[t.Name]; twice || len(t.Racks) == 0 || !subscribed[t.Name] {
			continue
		}
		known[t.Name] = len(l.topics)
		l.topics = append(l.topics, t)
		l.base = append(l.base, l.total)
		l.total += len(t.Racks)
	}
	l.wanted = make([][]int, len(l.topics))
	for i := range members {
		for _, name := range members[i].Subscription.Topics {
			if t, ok := known[kafkawire.TopicName(name)]; ok {
				l.wants[i] = append(l.wants[i], t)
			}
		}
		slices.Sort(l.wants[i])
		l.wants[i] = slices.Compact(l.wants[i])
		for _, t := range l.wants[i] {
			l.wanted[t] = append(l.wanted[t], i)
		}
	}
	return l
}

// topicOf returns the topic to which a partition belongs.
func (l *layout) topicOf(p int) int {
	t, found := slices.BinarySearch(l.base, p)
	if !found {
		t--
	}
	return t
}

func (l *layout) name(p int) TopicPartition {
	t := l.topicOf(p)
	return TopicPartition{l.topics[t].Name, int32(p - l.base[t])}
}

// number is the reverse of name; false when there is no such partition.
func (l *layout) number(p TopicPartition) (int, bool) {
	t, found := slices.BinarySearchFunc(l.topics, p.Topic, func(t TopicLayout, name kafkawire.TopicName) int {
		return strings.Compare(string(t.Name), string(name))
	})
	if !found || p.Partition < 0 || int(p.Partition) >= len(l.topics[t].Racks) {
		return 0, false
	}
	return l.base[t] + int(p.Partition), true
}

func (l *layout) racks(p int) []string {
	t := l.topicOf(p)
	return l.topics[t].Racks[p-l.base[t]]
}

// rack is where a member is, empty when it did not say so.
func (l *layout) rack(member int) string {
	if r := l.members[member].Subscription.RackID; r != nil {
		return *r
	}
	return ""
}

// byInstance orders members as the Java client does: static ones first, by their names, then the others by theirs.
func (l *layout) byInstance(a, b int) int {
	x, y := &l.members[a], &l.members[b]
	switch {
	case x.InstanceID != "" && y.InstanceID != "":
		return strings.Compare(x.InstanceID, y.InstanceID)
	case x.InstanceID != "":
		return -1
	case y.InstanceID != "":
		return 1
	}
	return strings.Compare(x.MemberID, y.MemberID)
}

// result turns the numbers of partitions into names.
func (l *layout) result(assigned [][]int) [][]TopicPartition {
	all := make([]TopicPartition, 0, l.total)
	out := make([][]TopicPartition, len(assigned))
	for i, list := range assigned {
		slices.Sort(list)
		from := len(all)
		for _, p := range list {
			all = append(all, l.name(p))
		}
		out[i] = all[from:len(all):len(all)]
	}
	return out
}

// useRacks reports whether the racks of members and partitions make a difference: some rack has both, and not every
// partition has a replica in every rack.
func useRacks(members map[string]bool, partitions [][]string) bool {
	all := make(map[string]bool)
	for _, racks := range partitions {
		for _, r := range racks {
			all[r] = true
		}
	}
	shared := false
	for r := range members {
		shared = shared || all[r]
	}
	return shared && slices.ContainsFunc(partitions, func(racks []string) bool {
		for r := range all {
			if !slices.Contains(racks, r) {
				return true
			}
		}
		return false
	})
}
