package kafka_test

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Two members and a topic of three partitions.
func ExampleRangeAssignor() {
	members := []kafka.Subscriber{{MemberID: "b"}, {MemberID: "a"}}
	for i := range members {
		members[i].Subscription.Topics = []string{"orders"}
	}
	topics := []kafka.TopicLayout{{Name: "orders", Racks: make([][]string, 3)}}
	for i, partitions := range (kafka.RangeAssignor{}).Assign(members, topics) {
		fmt.Println(members[i].MemberID, partitions)
	}
	// Output:
	// b [orders-2]
	// a [orders-0 orders-1]
}

// A member joins a group. Here the coordinator's answers are made up; the caller of a Member sends what it wants sent.
func ExampleMember() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := kafka.NewMember(&kafka.MemberOptions{GroupID: "billing"})
	m.Subscribe(now, []string{"orders"})
	m.Polled(now)
	for e, ok := m.Next(); ok; e, ok = m.Next() {
		switch e.Kind {
		case kafka.MemberSend:
			fmt.Println("send", e.Request.Key())
			switch r := e.Request.(type) {
			case *kafkawire.JoinGroupRequest:
				name := r.Protocols[0].Name
				m.Receive(now, e.Token, &kafkawire.JoinGroupResponse{GenerationID: 1, ProtocolName: &name, Leader: "me", MemberID: "me",
					Members: []kafkawire.JoinGroupResponseMember{{MemberID: "me", Metadata: r.Protocols[0].Metadata}}}, nil)
			case *kafkawire.SyncGroupRequest:
				m.Receive(now, e.Token, &kafkawire.SyncGroupResponse{Assignment: r.Assignments[0].Assignment}, nil)
			}
		case kafka.MemberNeedTopics:
			fmt.Println("topics", e.Topics)
			m.Topics(now, []kafka.TopicLayout{{Name: "orders", Racks: make([][]string, 2)}})
		case kafka.MemberAssigned:
			fmt.Println("assigned", e.Partitions)
			m.Resume(now)
		}
	}
	fmt.Println("next heartbeat after", m.Timeout().Sub(now))
	// Output:
	// send JoinGroup
	// topics [orders]
	// send SyncGroup
	// assigned [orders-0 orders-1]
	// next heartbeat after 3s
}

// The second request of a session names only what has changed.
func ExampleFetchSession() {
	var s kafka.FetchSession
	var r kafkawire.FetchRequest
	for _, offset := range []int64{0, 10} {
		s.Want(kafka.FetchPartition{Topic: "orders", Partition: 0, Offset: offset, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1})
		s.Want(kafka.FetchPartition{Topic: "orders", Partition: 1, Offset: 5, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1})
		s.Request(&r, false)
		fmt.Println("session", r.SessionID, "epoch", r.SessionEpoch, "partitions", len(r.Topics[0].Partitions))
		s.Receive(0, 77)
	}
	// Output:
	// session 0 epoch 0 partitions 2
	// session 77 epoch 1 partitions 1
}
