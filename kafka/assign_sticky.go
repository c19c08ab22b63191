package kafka

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// StickyAssignor balances the number of partitions of members and leaves as many as it can where they are, as the Java
// client's "sticky" does. Members tell what they have in the user data of their subscriptions.
type StickyAssignor struct{}

// Name returns "sticky".
func (StickyAssignor) Name() string { return "sticky" }

// Cooperative returns false.
func (StickyAssignor) Cooperative() bool { return false }

// UserData returns what a member had, and the generation.
func (StickyAssignor) UserData(owned []TopicPartition, generation int32) []byte {
	if generation < 0 && len(owned) == 0 {
		return nil
	}
	sorted := slices.SortedFunc(slices.Values(owned), TopicPartition.Compare)
	var topics []kafkawire.TopicName
	for _, p := range sorted {
		topics = append(topics, p.Topic)
	}
	topics = slices.Compact(topics)
	b := binary.BigEndian.AppendUint32(nil, uint32(len(topics)))
	for _, t := range topics {
		b = binary.BigEndian.AppendUint16(b, uint16(len(t)))
		b = append(b, t...)
		at := len(b)
		b = binary.BigEndian.AppendUint32(b, 0)
		n := uint32(0)
		for _, p := range sorted {
			if p.Topic == t {
				b = binary.BigEndian.AppendUint32(b, uint32(p.Partition))
				n++
			}
		}
		binary.BigEndian.PutUint32(b[at:], n)
	}
	return binary.BigEndian.AppendUint32(b, uint32(generation))
}

// Assign implements [Assignor].
func (StickyAssignor) Assign(members []Subscriber, topics []TopicLayout) [][]TopicPartition {
	s := newSticky(members, topics, stickyClaims)
	s.assign()
	return s.result(s.assigned())
}

// CooperativeStickyAssignor is [StickyAssignor] for members that keep their partitions while the group rebalances, as the
// Java client's "cooperative-sticky" is: a partition that moves goes to nobody first, and to its new member in the
// rebalance after that (KIP-429).
type CooperativeStickyAssignor struct{}

// Name returns "cooperative-sticky".
func (CooperativeStickyAssignor) Name() string { return "cooperative-sticky" }

// Cooperative returns true.
func (CooperativeStickyAssignor) Cooperative() bool { return true }

// UserData returns the generation, for leaders that do not find it in the subscription.
func (CooperativeStickyAssignor) UserData(_ []TopicPartition, generation int32) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(generation))
}

// Assign implements [Assignor].
func (CooperativeStickyAssignor) Assign(members []Subscriber, topics []TopicLayout) [][]TopicPartition {
	s := newSticky(members, topics, cooperativeClaims)
	had := s.had()
	s.assign()
	assigned := s.assigned()
	for m := range assigned {
		assigned[m] = slices.DeleteFunc(assigned[m], func(p int) bool { return !had.may(m, p) })
	}
	return s.result(assigned)
}

// holders tells who has a partition, as far as known.
type holders struct {
	contested []bool
	owner     []int32        // when all members subscribe to the same
	members   []map[int]bool // when not: what each says
	count     []int          // of members that say so
}

// had returns who has what before the assignment.
func (s *sticky) had() holders {
	if s.equal {
		return holders{contested: s.contested, owner: slices.Clone(s.owner)}
	}
	h := holders{members: make([]map[int]bool, len(s.members)), count: make([]int, s.total)}
	for m := range s.members {
		h.members[m] = make(map[int]bool)
		for _, name := range s.claims[m].partitions {
			if p, ok := s.number(name); ok && !h.members[m][p] {
				h.members[m][p] = true
				h.count[p]++
			}
		}
	}
	return h
}

// may reports whether a member may get a partition at once: it has it, or nobody has.
func (h *holders) may(member, p int) bool {
	if h.owner != nil {
		return !h.contested[p] && (h.owner[p] < 0 || int(h.owner[p]) == member)
	}
	return h.count[p] == 0 || h.members[member][p]
}

// claims is what a member says that it has.
type claims struct {
	generation int32 // -1: it does not say
	partitions []TopicPartition
}

// stickyClaims reads the user data of [StickyAssignor], with a generation or, from the oldest clients, without.
func stickyClaims(s *kafkawire.ConsumerProtocolSubscription) claims {
	c := claims{generation: -1}
	r := codec.NewReader(s.UserData)
	for range r.Count(int(r.Int32()), 6) {
		topic := kafkawire.TopicName(r.Bytes(int(r.Uint16())))
		for range r.Count(int(r.Int32()), 4) {
			c.partitions = append(c.partitions, TopicPartition{topic, r.Int32()})
		}
	}
	if r.Err() == nil && r.Len() >= 4 {
		c.generation = r.Int32()
	}
	if r.Err() != nil {
		return claims{generation: -1}
	}
	return c
}

// cooperativeClaims takes what the subscription says of itself.
func cooperativeClaims(s *kafkawire.ConsumerProtocolSubscription) claims {
	c := claims{generation: s.GenerationID}
	if c.generation < 0 {
		r := codec.NewReader(s.UserData)
		if c.generation = r.Int32(); r.Err() != nil {
			c.generation = -1
		}
	}
	for _, t := range s.OwnedPartitions {
		for _, p := range t.Partitions {
			c.partitions = append(c.partitions, TopicPartition{t.Topic, p})
		}
	}
	return c
}

// sticky is one run of the assignor.
type sticky struct {
	*layout
	order     []int          // members, in the order in which the Java client goes over them
	byID      []int          // members by name
	rank      []int          // place in byID
	claims    []claims       // of each member
	owner     []int32        // member of each partition, -1 for none
	contested []bool         // partitions that several members of the same generation claimed
	newest    int32          // generation
	racked    bool           // that racks matter
	near      map[string]int // members in each rack
	count     []int          // partitions of each member
}

func newSticky(members []Subscriber, topics []TopicLayout, read func(*kafkawire.ConsumerProtocolSubscription) claims) *sticky {
	s := &sticky{layout: newLayout(members, topics), newest: -1, near: make(map[string]int)}
	ids := make([]string, len(members))
	at := make(map[string]bool)
	for i := range members {
		ids[i] = members[i].MemberID
		s.claims = append(s.claims, read(&members[i].Subscription))
		s.newest = max(s.newest, s.claims[i].generation)
		if rack := s.rack(i); rack != "" {
			at[rack] = true
			s.near[rack]++
		}
	}
	s.order = javaOrder(ids)
	s.byID = slices.Clone(s.order)
	slices.SortStableFunc(s.byID, func(a, b int) int { return strings.Compare(ids[a], ids[b]) })
	s.rank = make([]int, len(members))
	for i, m := range s.byID {
		s.rank[m] = i
	}
	var racks [][]string
	for _, t := range s.topics {
		racks = append(racks, t.Racks...)
	}
	s.racked = useRacks(at, racks)
	s.owner = make([]int32, s.total)
	for p := range s.owner {
		s.owner[p] = -1
	}
	s.contested = make([]bool, s.total)
	s.count = make([]int, len(members))
	s.settleClaims()
	return s
}

// settleClaims finds the owner of each partition. The newer generation wins; in the same generation nobody does.
func (s *sticky) settleClaims() {
	claimant := make([]int32, s.total)
	for p := range claimant {
		claimant[p] = -1
	}
	for _, m := range s.order {
		for _, name := range s.claims[m].partitions {
			p, ok := s.number(name)
			if !ok {
				continue
			}
			if other := claimant[p]; other >= 0 {
				was := max(-1, s.members[other].Subscription.GenerationID)
				switch mine := s.claims[m].generation; {
				case mine < was:
					continue
				case mine == was:
					s.contested[p] = true
					s.owner[p], claimant[p] = -1, int32(m)
					continue
				}
			}
			s.owner[p], claimant[p] = int32(m), int32(m)
		}
	}
}

// mismatch reports whether a member is in a rack without a replica of a partition.
func (s *sticky) mismatch(member, partition int) bool {
	if !s.racked {
		return false
	}
	rack := s.rack(member)
	return rack != "" && !slices.Contains(s.racks(partition), rack)
}

// assign makes everybody's partitions owned by somebody, as evenly as the subscriptions allow.
func (s *sticky) assign() {
	if len(s.members) == 0 || s.total == 0 {
		return
	}
	if s.equal {
		s.assignEqual()
	} else {
		s.assignGeneral()
	}
}

// assigned lists the partitions of each member.
func (s *sticky) assigned() [][]int {
	out := make([][]int, len(s.members))
	for p, m := range s.owner {
		if m >= 0 {
			out[m] = append(out[m], p)
		}
	}
	return out
}

// give makes a member the owner of a partition that has none.
func (s *sticky) give(p, member int) {
	s.owner[p] = int32(member)
	s.count[member]++
}
