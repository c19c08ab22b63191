package interop

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestKafkaAssignors: our assignors give what those of the Java client give, over groups that come, go and change.
func TestKafkaAssignors(t *testing.T) {
	need(t, "java", "java/kafka/target/dependency")
	var lines, want []string
	strays := 0
	for seed := range uint64(500) {
		g := &assignedGroup{rnd: rand.New(rand.NewPCG(seed, 1)), generation: 3, wild: seed%5 == 4}
		g.assignor = []kafka.Assignor{kafka.RangeAssignor{}, kafka.RoundRobinAssignor{}, kafka.StickyAssignor{}, kafka.CooperativeStickyAssignor{}}[seed%4]
		if seed%3 == 0 {
			g.racks = []string{"a", "b", "c"}
		}
		g.equal = seed%2 == seed/8%2
		for range 4 + g.rnd.IntN(8) {
			g.change()
			if g.strays() {
				strays++
				g.step()
				continue
			}
			lines = append(lines, g.line(t))
			want = append(want, fmt.Sprintf("seed %d: %s", seed, g.step()))
		}
	}
	cmd := javaCommand(t.Context(), "-cp", kafkaPath, "interop.KafkaAssign")
	cmd.Stdin, cmd.Stderr = strings.NewReader(strings.Join(lines, "\n")), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	failures, short := 0, 0
	golden := strings.Builder{}
	golden.WriteString("# What the assignors of the Java client 4.4.0 give: a case, and the partitions of each member. TestKafkaAssignors has the form.\n")
	for i, got := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		if len(lines[i]) < 1200 && short < 120 {
			short++
			fmt.Fprintf(&golden, "%s\n%s\n", lines[i], got)
		}
		if _, ours, _ := strings.Cut(want[i], ": "); got != ours {
			if failures++; failures > 3 {
				continue
			}
			t.Errorf("%s\nJava: %s\nours: %s", lines[i], got, want[i])
		}
	}
	if *updateVectors && failures == 0 {
		if err := os.WriteFile("../../kafka/testdata/assign.txt", []byte(golden.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d cases, %d differ, %d left out", len(lines), failures, strays)
}

// assignedGroup is a group over some rebalances.
type assignedGroup struct {
	rnd        *rand.Rand
	assignor   kafka.Assignor
	racks      []string
	topics     []kafka.TopicLayout
	members    []kafka.Subscriber
	owned      map[string][]kafka.TopicPartition
	claimed    map[string][]kafka.TopicPartition // what each says it owns
	joined     map[string]int32                  // generation in which each got what it owns
	names      int
	generation int32
	equal      bool
	wild       bool // members may claim what they do not have
}

// change lets members and topics come and go.
func (g *assignedGroup) change() {
	if g.owned == nil {
		g.owned, g.joined = make(map[string][]kafka.TopicPartition), make(map[string]int32)
		g.claimed = make(map[string][]kafka.TopicPartition)
	}
	for len(g.topics) == 0 || g.rnd.IntN(4) == 0 {
		t := kafka.TopicLayout{Name: kafkawire.TopicName(fmt.Sprintf("topic%d", g.rnd.IntN(100))), Racks: make([][]string, 1+g.rnd.IntN(20))}
		for p := range t.Racks {
			t.Racks[p] = g.replicas()
		}
		if !slices.ContainsFunc(g.topics, func(o kafka.TopicLayout) bool { return o.Name == t.Name }) {
			g.topics = append(g.topics, t)
		}
	}
	if t := &g.topics[g.rnd.IntN(len(g.topics))]; g.rnd.IntN(4) == 0 {
		t.Racks = append(t.Racks, g.replicas())
	}
	for len(g.members) == 0 || g.rnd.IntN(3) > 0 && len(g.members) < 30 {
		g.names++
		m := kafka.Subscriber{MemberID: fmt.Sprintf("consumer-%d-%x", g.names, g.rnd.Uint64())}
		if g.rnd.IntN(4) == 0 {
			m.InstanceID = fmt.Sprintf("static-%x", g.rnd.Uint32())
		}
		if len(g.racks) > 0 && g.rnd.IntN(8) > 0 {
			rack := g.racks[g.rnd.IntN(len(g.racks))]
			m.Subscription.RackID = &rack
		}
		g.members = append(g.members, m)
	}
	for len(g.members) > 1 && g.rnd.IntN(3) == 0 {
		i := g.rnd.IntN(len(g.members))
		g.members = slices.Delete(g.members, i, i+1)
	}
	for i := range g.members {
		m := &g.members[i]
		if s := &m.Subscription; g.equal || len(s.Topics) == 0 || g.rnd.IntN(4) == 0 {
			s.Topics = nil
			for _, t := range g.topics {
				if g.equal || g.rnd.IntN(2) == 0 || len(s.Topics) == 0 {
					s.Topics = append(s.Topics, string(t.Name))
				}
			}
		}
		owned, generation := g.owned[m.MemberID], int32(-1)
		if n, ok := g.joined[m.MemberID]; ok {
			generation = n
		}
		if g.wild && g.rnd.IntN(4) == 0 {
			generation = max(-1, generation-int32(g.rnd.IntN(3)))
			t := g.topics[g.rnd.IntN(len(g.topics))]
			if p := (kafka.TopicPartition{Topic: t.Name, Partition: int32(g.rnd.IntN(len(t.Racks)))}); !slices.Contains(owned, p) {
				owned = append(owned, p)
			}
		}
		g.claimed[m.MemberID] = owned
		m.Subscription.GenerationID = generation
		m.Subscription.UserData = g.assignor.UserData(owned, generation)
		m.Subscription.OwnedPartitions = nil
		if g.assignor.Cooperative() {
			for _, p := range owned {
				m.Subscription.OwnedPartitions = append(m.Subscription.OwnedPartitions,
					kafkawire.ConsumerProtocolSubscriptionOwnedPartition{Topic: p.Topic, Partitions: []int32{p.Partition}})
			}
		}
	}
}

// strays reports whether a member of an older generation claims what it does not want any more. The Java client's sticky
// assignors may give that back to it, ours do not.
func (g *assignedGroup) strays() bool {
	newest := int32(-1)
	for _, m := range g.members {
		newest = max(newest, m.Subscription.GenerationID)
	}
	return slices.ContainsFunc(g.members, func(m kafka.Subscriber) bool {
		return m.Subscription.GenerationID < newest && slices.ContainsFunc(g.claimed[m.MemberID], func(p kafka.TopicPartition) bool {
			return !slices.Contains(m.Subscription.Topics, string(p.Topic))
		})
	})
}

func (g *assignedGroup) replicas() (racks []string) {
	for _, r := range g.racks {
		if g.rnd.IntN(2) == 0 {
			racks = append(racks, r)
		}
	}
	return racks
}

func (g *assignedGroup) line(t *testing.T) string {
	t.Helper()
	words := []string{g.assignor.Name()}
	for _, topic := range g.topics {
		word := "t/" + string(topic.Name)
		for _, r := range topic.Racks {
			if r == nil {
				r = []string{"-"}
			}
			word += "/" + strings.Join(r, "+")
		}
		words = append(words, word)
	}
	for _, m := range g.members {
		b, err := kafkawire.AppendVersioned(nil, &m.Subscription, 3)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, "m/"+m.MemberID+"/"+m.InstanceID+"/"+hex.EncodeToString(b))
	}
	return strings.Join(words, " ")
}

// step assigns, and returns the result as text.
func (g *assignedGroup) step() string {
	result := g.assignor.Assign(g.members, g.topics)
	var words []string
	g.generation++
	for i, m := range g.members {
		if g.rnd.IntN(5) > 0 { // some hear nothing of it
			g.owned[m.MemberID], g.joined[m.MemberID] = result[i], g.generation
		}
		var names []string
		for _, p := range result[i] {
			names = append(names, fmt.Sprintf("%s-%d", p.Topic, p.Partition))
		}
		slices.Sort(names)
		words = append(words, m.MemberID+"="+strings.Join(names, ","))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
