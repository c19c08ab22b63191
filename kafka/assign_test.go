package kafka

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestAssignorsAsJava: the results are those of the Java client.
func TestAssignorsAsJava(t *testing.T) {
	file, err := os.ReadFile("testdata/assign.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(file)), "\n")[1:]
	for i := 0; i+1 < len(lines); i += 2 {
		if got := assignLine(t, lines[i]); got != lines[i+1] {
			t.Errorf("line %d: %s\ngot  %s\nwant %s", i+2, lines[i], got, lines[i+1])
		}
	}
	if len(lines) < 200 {
		t.Errorf("%d lines", len(lines))
	}
}

// assignLine runs a case of the file and returns the result in its form.
func assignLine(t *testing.T, line string) string {
	t.Helper()
	words := strings.Split(line, " ")
	var topics []TopicLayout
	var members []Subscriber
	for _, w := range words[1:] {
		parts := strings.Split(w, "/")
		if parts[0] == "t" {
			layout := TopicLayout{Name: kafkawire.TopicName(parts[1])}
			for _, racks := range parts[2:] {
				var list []string
				if racks != "-" {
					list = strings.Split(racks, "+")
				}
				layout.Racks = append(layout.Racks, list)
			}
			topics = append(topics, layout)
			continue
		}
		m := Subscriber{MemberID: parts[1], InstanceID: parts[2]}
		b, err := hex.DecodeString(parts[3])
		if err == nil {
			_, err = kafkawire.DecodeVersioned(b, &m.Subscription)
		}
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, m)
	}
	var out []string
	for i, list := range assignorNamed(words[0]).Assign(members, topics) {
		var names []string
		for _, p := range list {
			names = append(names, fmt.Sprintf("%s-%d", p.Topic, p.Partition))
		}
		slices.Sort(names)
		out = append(out, members[i].MemberID+"="+strings.Join(names, ","))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

var allAssignors = []Assignor{RangeAssignor{}, RoundRobinAssignor{}, StickyAssignor{}, CooperativeStickyAssignor{}}

func assignorNamed(name string) Assignor {
	return allAssignors[slices.IndexFunc(allAssignors, func(a Assignor) bool { return a.Name() == name })]
}

// TestAssignorsOnAnything: whatever members say, each partition that somebody wants goes to one of those who want it, and
// a cooperative assignor gives none to a member while another has it.
func TestAssignorsOnAnything(t *testing.T) {
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		topics := make([]TopicLayout, 1+rnd.IntN(4))
		for i := range topics {
			topics[i] = TopicLayout{Name: kafkawire.TopicName(fmt.Sprint("t", i)), Racks: make([][]string, rnd.IntN(9))}
			for p := range topics[i].Racks {
				for range rnd.IntN(3) {
					topics[i].Racks[p] = append(topics[i].Racks[p], string(rune('a'+rnd.IntN(3))))
				}
			}
		}
		members := make([]Subscriber, rnd.IntN(7))
		for i := range members {
			m := &members[i]
			m.MemberID = fmt.Sprint("m", i)
			s := &m.Subscription
			if s.GenerationID = int32(rnd.IntN(4)) - 1; rnd.IntN(2) == 0 {
				rack := string(rune('a' + rnd.IntN(4)))
				s.RackID = &rack
			}
			for range rnd.IntN(5) {
				s.Topics = append(s.Topics, fmt.Sprint("t", rnd.IntN(5)))
			}
			var owned []TopicPartition
			for range rnd.IntN(6) {
				p := TopicPartition{kafkawire.TopicName(fmt.Sprint("t", rnd.IntN(5))), int32(rnd.IntN(12)) - 1}
				owned = append(owned, p)
				s.OwnedPartitions = append(s.OwnedPartitions, kafkawire.ConsumerProtocolSubscriptionOwnedPartition{Topic: p.Topic, Partitions: []int32{p.Partition}})
			}
			s.UserData = allAssignors[2+rnd.IntN(2)].UserData(owned, s.GenerationID)
			if rnd.IntN(4) == 0 && len(s.UserData) > 0 {
				s.UserData = s.UserData[:rnd.IntN(len(s.UserData))]
			}
		}
		for _, a := range allAssignors {
			checkAssignment(t, seed, a, members, topics)
		}
	}
}

func checkAssignment(t *testing.T, seed uint64, a Assignor, members []Subscriber, topics []TopicLayout) {
	t.Helper()
	owner := make(map[TopicPartition]int)
	for i, list := range a.Assign(members, topics) {
		for _, p := range list {
			if _, twice := owner[p]; twice || !slices.Contains(members[i].Subscription.Topics, string(p.Topic)) {
				t.Errorf("seed %d, %s: %v goes to %d", seed, a.Name(), p, i)
			}
			owner[p] = i
		}
	}
	if a.Cooperative() {
		return
	}
	for _, topic := range topics {
		wanted := slices.ContainsFunc(members, func(m Subscriber) bool { return slices.Contains(m.Subscription.Topics, string(topic.Name)) })
		for p := range topic.Racks {
			if _, ok := owner[TopicPartition{topic.Name, int32(p)}]; ok != wanted {
				t.Errorf("seed %d, %s: %s-%d is assigned: %v", seed, a.Name(), topic.Name, p, ok)
			}
		}
	}
}

// TestStickyAssignorTakesTheOldForm reads user data without a generation.
func TestStickyAssignorTakesTheOldForm(t *testing.T) {
	data := StickyAssignor{}.UserData([]TopicPartition{{"b", 1}, {"a", 2}, {"b", 0}}, 7)
	c := stickyClaims(&kafkawire.ConsumerProtocolSubscription{UserData: data})
	want := []TopicPartition{{"a", 2}, {"b", 0}, {"b", 1}}
	if c.generation != 7 || !slices.Equal(c.partitions, want) {
		t.Errorf("%+v", c)
	}
	c = stickyClaims(&kafkawire.ConsumerProtocolSubscription{UserData: data[:len(data)-4]})
	if c.generation != -1 || !slices.Equal(c.partitions, want) {
		t.Errorf("%+v", c)
	}
	for n := range len(data) - 4 {
		if c := stickyClaims(&kafkawire.ConsumerProtocolSubscription{UserData: data[:n]}); n > 0 && len(c.partitions) > 0 {
			t.Errorf("%d bytes: %+v", n, c)
		}
	}
}

// BenchmarkAssignors is a rebalance of a large group.
func BenchmarkAssignors(b *testing.B) {
	topics := make([]TopicLayout, 20)
	for i := range topics {
		topics[i] = TopicLayout{Name: kafkawire.TopicName(fmt.Sprint("topic", i)), Racks: make([][]string, 500)}
	}
	for _, equal := range []bool{true, false} {
		members := make([]Subscriber, 200)
		for i := range members {
			members[i].MemberID = fmt.Sprint("member-", i)
			for t := range topics {
				if equal || (i+t)%3 != 0 {
					members[i].Subscription.Topics = append(members[i].Subscription.Topics, string(topics[t].Name))
				}
			}
		}
		for _, a := range allAssignors {
			b.Run(fmt.Sprintf("%s/equal=%v", a.Name(), equal), func(b *testing.B) {
				for b.Loop() {
					a.Assign(members, topics)
				}
			})
		}
	}
}
