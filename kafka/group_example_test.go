package kafka_test

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// A group whose first member joins, and gets its assignment when that is durable.
func ExampleGroup() {
	now := time.Unix(0, 0)
	g := kafka.NewGroup(now, "orders", nil)
	g.Join(now, &kafka.GroupJoin{
		Token: 1, NewMemberID: "client-1", ClientID: "client", SessionTimeout: 45 * time.Second, RebalanceTimeout: time.Minute,
		ProtocolType: "consumer", Protocols: []kafkawire.JoinGroupRequestProtocol{{Name: "range"}},
	})
	now = g.Timeout() // others may come until then
	g.Advance(now)
	for e, ok := g.Next(); ok; e, ok = g.Next() {
		switch e.Kind {
		case kafka.GroupJoinReply:
			fmt.Println("joined generation", e.Generation, "leader", e.Leader)
			g.Sync(now, &kafka.GroupSync{Token: 2, MemberID: e.MemberID, Generation: e.Generation, Assignments: []kafkawire.SyncGroupRequestAssignment{
				{MemberID: e.MemberID, Assignment: []byte("partition 0")}}})
		case kafka.GroupPersist:
			g.Persisted(now, e.Token, 0) // what is in e.Record is durable
		case kafka.GroupSyncReply:
			fmt.Printf("assigned %s\n", e.Assignment)
		}
	}
	fmt.Println(g.State())
	// Output:
	// joined generation 1 leader client-1
	// assigned partition 0
	// Stable
}
