package kafkatest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/script"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestTrace records what a client and a broker say to each other, in two runs: the golden file is that of both.
func TestTrace(t *testing.T) {
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Topics: map[string]int{"t": 1}})
			trace := kafkatest.Trace{NoHandshake: true}
			nc, err := b.Dial(context.Background(), "tcp", b.Addrs()[0])
			if err != nil {
				t.Fatal(err)
			}
			p := kafkatest.NewPeer(t, trace.Wrap(nc, kafkatest.Client))
			p.Call(&kafkawire.APIVersionsRequest{ClientSoftwareName: "x", ClientSoftwareVersion: "1"}, 3)
			topic := p.Call(&kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{Name: new(kafkawire.TopicName("t"))}}}, 12).(*kafkawire.MetadataResponse).Topics[0]
			var init kafkawire.InitProducerIDRequest
			init.Reset()
			p.Call(&init, 4)
			p.Call(&kafkawire.ProduceRequest{Acks: -1, TimeoutMs: 1000, TopicData: []kafkawire.ProduceRequestTopic{{Name: "t",
				PartitionData: []kafkawire.ProduceRequestPartition{{Records: batch(t, "one", "two")}}}}}, 9)
			fetch := &kafkawire.FetchRequest{MaxBytes: 1 << 20, Topics: []kafkawire.FetchRequestTopic{{TopicID: topic.TopicID,
				Partitions: []kafkawire.FetchRequestPartition{{PartitionMaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LogStartOffset: -1, LastFetchedEpoch: -1}}}}}
			fetch.ReplicaID = -1
			got := p.Call(fetch, 13).(*kafkawire.FetchResponse)
			fetch.SessionID, fetch.SessionEpoch, fetch.Topics = got.SessionID, 1, nil
			p.Call(fetch, 13)
			p.Call(&kafkawire.FindCoordinatorRequest{CoordinatorKeys: []string{"g"}}, 4)
			join := &kafkawire.JoinGroupRequest{GroupID: "g", SessionTimeoutMs: 10_000, RebalanceTimeoutMs: 10_000, ProtocolType: "consumer",
				Protocols: []kafkawire.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("m")}}}
			join.MemberID = p.Call(join, 5).(*kafkawire.JoinGroupResponse).MemberID
			p.Call(join, 5)
			trace.Compare(t, "testdata/trace.txt")
		})
	}
}

// batch returns a record batch.
func batch(t *testing.T, values ...string) []byte {
	t.Helper()
	b, err := newBatch(time.Now().UnixMilli(), values...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTraceOfBothEnds wraps either end, with things that no version has.
func TestTraceOfBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var traces [2]kafkatest.Trace
		c, s := memnet.Pipe()
		client := kafkatest.NewPeer(t, traces[0].Wrap(c, kafkatest.Client))
		broker := kafkatest.NewPeer(t, traces[1].Wrap(s, kafkatest.Server))
		beat := &kafkawire.HeartbeatRequest{GroupID: "g", MemberID: "random"}
		client.Send(beat, 4)
		client.Send(beat, 4)
		one, two := broker.Next(), broker.Next()
		broker.Answer(one, &kafkawire.HeartbeatResponse{ErrorCode: kafkawire.ErrUnknownMemberID})
		broker.AnswerBytes(two, 1)
		client.ExpectResponse(&kafkawire.HeartbeatResponse{ErrorCode: kafkawire.ErrUnknownMemberID})
		failure(t, func(tb testing.TB) { kafkatest.NewPeer(tb, client.Conn()).Next() })
		client.SendBytes(0, 0, 0, 4, 0, 99, 0, 1)
		failure(t, func(tb testing.TB) { kafkatest.NewPeer(tb, broker.Conn()).Next() })
		broker.SendBytes(0, 0, 0, 1, 7)
		failure(t, func(tb testing.TB) { kafkatest.NewPeer(tb, client.Conn()).Next() })
		want := `C Heartbeat/4 GroupID="g" MemberID=member#1
C Heartbeat/4 GroupID="g" MemberID=member#1
S Heartbeat/4 ErrorCode=UNKNOWN_MEMBER_ID
S 00 00 00 06 00 00 00 02 00 01 (`
		for i := range traces {
			got := traces[i].String()
			if !strings.HasPrefix(got, want) || !strings.Contains(got, "\nC 00 00 00 04 00 63 00 01 (") || !strings.HasSuffix(got, "\nS 00 00 00 01 07 (no request waits)\n") {
				t.Errorf("%d: got\n%s", i, got)
			}
		}
	})
}

// TestTraceHidesTokens has SASL tokens without headers.
func TestTraceHidesTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace kafkatest.Trace
		c, s := memnet.Pipe()
		client, broker := kafkatest.NewPeer(t, trace.Wrap(c, kafkatest.Client)), kafkatest.NewPeer(t, s)
		client.Send(&kafkawire.SASLHandshakeRequest{Mechanism: "PLAIN"}, 0)
		broker.Answer(broker.Receive(kafkawire.KeySASLHandshake), &kafkawire.SASLHandshakeResponse{Mechanisms: []string{"PLAIN"}})
		client.Response()
		token := "\x00user\x00password"
		client.SendBytes(append([]byte{0, 0, 0, byte(len(token))}, token...)...)
		broker.SendBytes(0, 0, 0, 0)
		failure(t, func(tb testing.TB) { kafkatest.NewPeer(tb, client.Conn()).Next() })
		client.Send(&kafkawire.HeartbeatRequest{}, 4)
		want := `C SASLHandshake/0 Mechanism="PLAIN"
S SASLHandshake/0 Mechanisms=["PLAIN"]
C token <14 bytes>
S token <0 bytes>
C Heartbeat/4
`
		if got := trace.String(); got != want {
			t.Errorf("got\n%s", got)
		}
	})
}

func TestTraceDiffers(t *testing.T) {
	if script.Updating() {
		t.Skip("-update accepts every trace")
	}
	golden := filepath.Join(t.TempDir(), "trace.txt")
	if err := os.WriteFile(golden, []byte("C Heartbeat/4\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	var trace kafkatest.Trace
	c, s := memnet.Pipe()
	kafkatest.NewPeer(t, trace.Wrap(c, kafkatest.Client)).Send(&kafkawire.HeartbeatRequest{GroupID: "g"}, 4)
	kafkatest.NewPeer(t, s).Next()
	if message := failure(t, func(tb testing.TB) { trace.Compare(tb, golden) }); !strings.Contains(message, `+ C Heartbeat/4 GroupID="g"`) {
		t.Errorf("%s", message)
	}
}

// TestBrokerWithStreams has a broker whose connections have streams, with faults on them.
func TestBrokerWithStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults kafkatest.Faults
		b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Streams: true, Topics: map[string]int{"t": 1}, Faults: &faults})
		b.Produce(t, kafkatest.Numbered("t", 0, 0, 3)...)
		dial := func() (*memnet.Conn, *kafkatest.Peer) {
			nc, err := b.Dial(context.Background(), "tcp", b.Addrs()[0])
			if err != nil {
				t.Fatal(err)
			}
			p := kafkatest.NewPeer(t, nc)
			p.Call(&kafkawire.APIVersionsRequest{ClientSoftwareName: "x", ClientSoftwareVersion: "1"}, 3)
			return nc.(*memnet.Conn), p
		}
		open := func(nc *memnet.Conn) *kafkatest.Peer {
			s, err := nc.OpenStream(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			return kafkatest.NewPeer(t, netStream{s, nc})
		}
		nc, main := dial()
		one, two := open(nc), open(nc)
		faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyHeartbeat}, Times: 1, Do: kafkatest.ChangeReply(func(m kafkawire.Response) {
			m.(*kafkawire.HeartbeatResponse).ErrorCode = kafkawire.ErrUnknownServerError
		})})
		faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyMetadata}, Times: 1, Do: kafkatest.CutReply})
		main.Call(&kafkawire.FindCoordinatorRequest{CoordinatorKeys: []string{"g"}}, 4)
		beat := &kafkawire.HeartbeatRequest{GroupID: "g"}
		one.Send(beat, 4)
		one.ExpectResponse(&kafkawire.HeartbeatResponse{ErrorCode: kafkawire.ErrUnknownServerError})
		two.Send(beat, 4)
		two.ExpectResponse(&kafkawire.HeartbeatResponse{ErrorCode: kafkawire.ErrUnknownMemberID})
		two.Send(&kafkawire.MetadataRequest{}, 12)
		main.ExpectClose()
		synctest.Wait() // until the broker has counted it out

		// Fetch sessions are those of their stream.
		nc, main = dial()
		one, two = open(nc), open(nc)
		fetch := &kafkawire.FetchRequest{MaxBytes: 1 << 20, Topics: []kafkawire.FetchRequestTopic{{Topic: "t",
			Partitions: []kafkawire.FetchRequestPartition{{PartitionMaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LogStartOffset: -1, LastFetchedEpoch: -1}}}}}
		fetch.ReplicaID = -1
		got := one.Call(fetch, 11).(*kafkawire.FetchResponse)
		if got.SessionID == 0 || len(got.Responses) != 1 {
			t.Fatalf("%+v", got)
		}
		next := *fetch
		next.SessionID, next.SessionEpoch, next.Topics = got.SessionID, 1, nil
		for _, p := range []*kafkatest.Peer{main, two} {
			if got := p.Call(&next, 11).(*kafkawire.FetchResponse); got.ErrorCode != kafkawire.ErrFetchSessionIDNotFound {
				t.Errorf("%+v", got)
			}
			end := next // nor can they end it
			end.SessionEpoch = -1
			p.Call(&end, 11)
		}
		if got := one.Call(&next, 11).(*kafkawire.FetchResponse); got.ErrorCode != 0 {
			t.Errorf("%+v", got)
		}
		two.Call(fetch, 11)
		if got := b.Broker.Stats(); got.FetchSessions != 2 || got.Connections != 1 {
			t.Errorf("%+v", got)
		}
		one.Close()
		two.Call(fetch, 11) // a stream has one at a time
		synctest.Wait()
		if got := b.Broker.Stats(); got.FetchSessions != 1 {
			t.Errorf("%+v", got)
		}
		main.Close()
		synctest.Wait()
		if got := b.Broker.Stats(); got.FetchSessions != 0 || got.Connections != 0 {
			t.Errorf("%+v", got)
		}

		// A client that opens no streams is served as ever.
		c := b.Client(t, &kafkaclient.Options{})
		if cluster, err := c.Admin().Cluster(context.Background()); err != nil || len(cluster.Brokers) != 1 {
			t.Errorf("%+v, %v", cluster, err)
		}
	})
}
