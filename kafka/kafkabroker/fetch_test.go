package kafkabroker

import (
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// waitFor makes a fetch request that waits.
func waitFor(topic string, partition int32, offset int64, wait time.Duration, bytes int32) *kafkawire.FetchRequest {
	m := fetchOf(topic, partition, offset)
	m.MaxWaitMs, m.MinBytes = int32(wait.Milliseconds()), bytes
	return m
}

func TestFetchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, nil)
		reader, writer := connect(t, b), connect(t, b)
		writer.mustCreate("t", 3)
		got := make(chan *kafkawire.FetchResponse, 1)
		fetch := func(m *kafkawire.FetchRequest) {
			id := reader.send(m, 12)
			go func() {
				resp := new(kafkawire.FetchResponse)
				if reader.receive(resp, 12, id) == nil {
					got <- resp
				}
			}()
			synctest.Wait()
		}
		start := time.Now()
		fetch(waitFor("t", 0, 0, time.Second, 1))
		if b.Stats().FetchesWaiting != 1 {
			t.Error("nobody waits")
		}
		if resp := <-got; time.Since(start) != time.Second || len(resp.Responses[0].Partitions[0].Records) != 0 || resp.Responses[0].Partitions[0].Records == nil {
			t.Error("after", time.Since(start), resp)
		}
		// A record ends the wait at once.
		fetch(waitFor("t", 0, 0, time.Hour, 1))
		start = time.Now()
		writer.mustProduce("t", 0, batch("a"))
		if resp := <-got; time.Since(start) > 0 || !slices.Equal(valuesOf(t, resp.Responses[0].Partitions[0].Records), []string{"a"}) {
			t.Error("after", time.Since(start), resp)
		}
		// One in another partition does not.
		m := waitFor("t", 0, 1, time.Hour, 200)
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, fetchOf("t", 1, 0).Topics[0].Partitions...)
		fetch(m)
		writer.mustProduce("t", 2, batch("x"))
		size := len(batch("b"))
		for i := range (200 + size - 1) / size { // in both partitions together there must be enough
			synctest.Wait()
			if len(got) != 0 {
				t.Error("an answer with too little, after", i)
			}
			writer.mustProduce("t", int32(i%2), batch("b"))
		}
		resp := <-got
		if n := len(resp.Responses[0].Partitions[0].Records) + len(resp.Responses[0].Partitions[1].Records); n < 200 || n >= 200+size {
			t.Error("bytes", n)
		}
		// Deletion ends it, too.
		fetch(waitFor("t", 2, 1, time.Hour, 1))
		if err := b.DeleteTopic("t"); err != nil {
			t.Error(err)
		}
		if resp := <-got; resp.Responses[0].Partitions[0].ErrorCode == noError {
			t.Errorf("%+v", resp.Responses[0].Partitions[0])
		}
		if s := b.Stats(); s.FetchesWaiting != 0 || s.FetchBytes != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestFetchWaitEndsWithConnectionAndBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, nil)
		p, q := connect(t, b), connect(t, b)
		p.mustCreate("t", 1)
		p.send(waitFor("t", 0, 0, time.Hour, 1), 12)
		q.send(waitFor("t", 0, 0, time.Hour, 1), 12)
		synctest.Wait()
		if n := b.Stats().FetchesWaiting; n != 2 {
			t.Fatal(n, "wait")
		}
		_ = p.nc.Close()
		synctest.Wait()
		if n := b.Stats().FetchesWaiting; n != 1 {
			t.Error(n, "wait after a connection has ended")
		}
		start := time.Now()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := q.receive(new(kafkawire.FetchResponse), 12, q.id); err != nil || time.Since(start) > 0 {
			t.Error(err, time.Since(start))
		}
	})
}

func TestFetchBudget(t *testing.T) {
	b := openBroker(t, nil)
	p := connect(t, b)
	p.mustCreate("t", 3)
	var size int32
	for i := range int32(3) {
		for k := range 4 {
			v := batch(fmt.Sprintf("%d-%d", i, k))
			size = int32(len(v))
			p.mustProduce("t", i, v)
		}
	}
	ask3 := func(maxBytes, partitionBytes int32) (n []int) {
		m := fetchOf("t", 0, 0)
		m.MaxBytes = maxBytes
		for i := int32(1); i < 3; i++ {
			m.Topics[0].Partitions = append(m.Topics[0].Partitions, fetchOf("t", i, 0).Topics[0].Partitions...)
		}
		for i := range m.Topics[0].Partitions {
			m.Topics[0].Partitions[i].PartitionMaxBytes = partitionBytes
		}
		for _, a := range ask[*kafkawire.FetchResponse](p, m, 12).Responses[0].Partitions {
			n = append(n, len(valuesOf(t, a.Records)))
			if a.HighWatermark != 4 {
				t.Error(a.HighWatermark)
			}
		}
		return n
	}
	for _, step := range []struct {
		max, partition int32
		want           []int
	}{
		{math.MaxInt32, math.MaxInt32, []int{4, 4, 4}},
		{math.MaxInt32, 2 * size, []int{2, 2, 2}},
		{math.MaxInt32, 2*size + size/2, []int{2, 2, 2}},
		{6 * size, math.MaxInt32, []int{4, 2, 0}},
		{5 * size, 3 * size, []int{3, 2, 0}},
		{1, math.MaxInt32, []int{1, 0, 0}}, // a first batch always
		{math.MaxInt32, 1, []int{1, 0, 0}},
		{0, 0, []int{1, 0, 0}},
	} {
		if got := ask3(step.max, step.partition); !slices.Equal(got, step.want) {
			t.Errorf("max %d, partition %d: %v, want %v", step.max, step.partition, got, step.want)
		}
	}
}

// TestFetchFromFiles reads batches that are sent from the files they are in, and small ones that are not, over a socket, in
// all portions; then records are aborted, and a file is deleted while it is on its way.
func TestFetchFromFiles(t *testing.T) {
	b := openBroker(t, &Options{Dir: t.TempDir()})
	dial := serve(t, b, "unix", nil)
	p := dial()
	p.mustCreate("t", 2, "segment.bytes", "2000000", "index.interval.bytes", "1000")
	var want [2][]string
	for i := range 400 {
		n := i % 2
		v := fmt.Sprintf("%d %s", i, strings.Repeat("x", i*i%40000))
		want[n] = append(want[n], v)
		p.mustProduce("t", int32(n), batch(v))
	}
	for _, max := range []int32{1, 30_000, 100_000, 1 << 20, 50 << 20} {
		var got [2][]string
		for len(got[0]) < len(want[0]) || len(got[1]) < len(want[1]) {
			m := fetchOf("t", 0, int64(len(got[0])))
			m.IsolationLevel = 1
			m.Topics[0].Partitions = append(m.Topics[0].Partitions, fetchOf("t", 1, int64(len(got[1]))).Topics[0].Partitions...)
			m.MaxBytes = 50 << 20
			some := false
			for i := range m.Topics[0].Partitions {
				m.Topics[0].Partitions[i].PartitionMaxBytes = max
			}
			for i, a := range ask[*kafkawire.FetchResponse](p, m, 12).Responses[0].Partitions {
				if a.ErrorCode != noError {
					t.Fatal(a.ErrorCode)
				}
				if list := valuesOf(t, a.Records); len(list) > 0 {
					some = true
					got[i] = append(got[i], list...)
				}
				if len(a.Records) > int(max) && len(valuesOf(t, a.Records)) > 1 {
					t.Errorf("%d bytes, and %d are the most", len(a.Records), max)
				}
			}
			if !some {
				t.Fatalf("max %d: nothing at %d and %d", max, len(got[0]), len(got[1]))
			}
		}
		if !slices.Equal(got[0], want[0]) || !slices.Equal(got[1], want[1]) {
			t.Errorf("max %d: other records came", max)
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	// Nobody reads what is deleted meanwhile, and then it comes even so.
	big := fetchOf("t", 0, 0)
	big.MaxBytes, big.Topics[0].Partitions[0].PartitionMaxBytes = 50<<20, 50<<20
	slow := dial()
	released(b)
	id := slow.send(big, 12)
	head := make([]byte, 1)
	if _, err := io.ReadFull(slow.nc, head); err != nil {
		t.Fatal(err)
	}
	if n := b.Stats().FetchBytes; n != 0 {
		t.Errorf("%d bytes of records in memory", n)
	}
	if err := b.DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	slow.nc = &unread{slow.nc, head}
	resp := new(kafkawire.FetchResponse)
	if err := slow.receive(resp, 12, id); err != nil {
		t.Fatal(err)
	}
	if got := valuesOf(t, resp.Responses[0].Partitions[0].Records); len(got) == 0 || !slices.Equal(got, want[0][:len(got)]) {
		t.Errorf("%d records, or other ones", len(got))
	}
}

// unread is a conn of which something was read already.
type unread struct {
	net.Conn
	first []byte
}

func (u *unread) Read(b []byte) (int, error) {
	if n := copy(b, u.first); n > 0 {
		u.first = u.first[n:]
		return n, nil
	}
	return u.Conn.Read(b)
}

func TestFetchErrors(t *testing.T) {
	b := openBroker(t, nil)
	p := connect(t, b)
	id := p.mustCreate("t", 1)
	p.mustProduce("t", 0, batch("a", "b"))
	if _, err := b.DeleteRecords("t", 0, 1); err != nil {
		t.Fatal(err)
	}
	part := func(change func(*kafkawire.FetchRequestPartition)) *kafkawire.FetchRequest {
		m := fetchOf("t", 0, 1)
		m.MaxWaitMs = 3_600_000 // errors do not wait
		m.MinBytes = 1 << 20
		change(&m.Topics[0].Partitions[0])
		return m
	}
	for _, step := range []struct {
		what string
		m    *kafkawire.FetchRequest
		want kafkawire.ErrorCode
	}{
		{"before the start", part(func(f *kafkawire.FetchRequestPartition) { f.FetchOffset = 0 }), kafkawire.ErrOffsetOutOfRange},
		{"negative", part(func(f *kafkawire.FetchRequestPartition) { f.FetchOffset = -1 }), kafkawire.ErrOffsetOutOfRange},
		{"behind the end", part(func(f *kafkawire.FetchRequestPartition) { f.FetchOffset = 3 }), kafkawire.ErrOffsetOutOfRange},
		{"old leader epoch", part(func(f *kafkawire.FetchRequestPartition) { f.CurrentLeaderEpoch = 0 }), kafkawire.ErrFencedLeaderEpoch},
		{"new leader epoch", part(func(f *kafkawire.FetchRequestPartition) { f.CurrentLeaderEpoch = 2 }), kafkawire.ErrUnknownLeaderEpoch},
		{"unknown partition", part(func(f *kafkawire.FetchRequestPartition) { f.Partition = 1 }), kafkawire.ErrUnknownTopicOrPartition},
		{"negative partition", part(func(f *kafkawire.FetchRequestPartition) { f.Partition = -1 }), kafkawire.ErrUnknownTopicOrPartition},
	} {
		if step.what == "old leader epoch" {
			if err := b.MoveLeader("t", 0, 1); err != nil {
				t.Fatal(err)
			}
		}
		for _, byID := range []bool{false, true} {
			m, version := step.m, int16(12)
			if byID {
				version, m.Topics[0].Topic, m.Topics[0].TopicID = 18, "", id
			}
			a := ask[*kafkawire.FetchResponse](p, m, version).Responses[0].Partitions[0]
			if a.ErrorCode != step.want || a.Records == nil {
				t.Errorf("%s: %+v", step.what, a)
			}
		}
	}
	m := fetchOf("x", 0, 0)
	if a := ask[*kafkawire.FetchResponse](p, m, 12).Responses[0].Partitions[0]; a.ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
		t.Errorf("%+v", a)
	}
	if a := ask[*kafkawire.FetchResponse](p, part(func(f *kafkawire.FetchRequestPartition) { f.LastFetchedEpoch = 9 }), 12).Responses[0].Partitions[0]; a.ErrorCode != kafkawire.ErrOffsetOutOfRange {
		t.Errorf("an epoch that there never was: %+v", a)
	}
}

func TestFetchSessions(t *testing.T) {
	b := openBroker(t, nil)
	p := connect(t, b)
	id := p.mustCreate("t", 3)
	ask := func(session, epoch int32, change func(m *kafkawire.FetchRequest)) *kafkawire.FetchResponse {
		t.Helper()
		m := new(kafkawire.FetchRequest)
		m.Reset()
		m.SessionID, m.SessionEpoch, m.MinBytes = session, epoch, 1
		if change != nil {
			change(m)
		}
		return ask[*kafkawire.FetchResponse](p, m, 16)
	}
	want := func(offsets ...int64) func(m *kafkawire.FetchRequest) {
		return func(m *kafkawire.FetchRequest) {
			topic := kafkawire.FetchRequestTopic{TopicID: id}
			for i, o := range offsets {
				if o >= 0 {
					f := fetchOf("t", int32(i), o).Topics[0].Partitions[0]
					topic.Partitions = append(topic.Partitions, f)
				}
			}
			m.Topics = []kafkawire.FetchRequestTopic{topic}
		}
	}
	told := func(resp *kafkawire.FetchResponse) (list []int32) {
		for _, topic := range resp.Responses {
			for _, part := range topic.Partitions {
				list = append(list, part.PartitionIndex)
			}
		}
		return list
	}
	resp := ask(0, 0, want(0, 0, 0))
	s := resp.SessionID
	if s == 0 || !slices.Equal(told(resp), []int32{0, 1, 2}) {
		t.Fatalf("%+v", resp)
	}
	if resp = ask(s, 1, nil); len(told(resp)) != 0 || resp.SessionID != s {
		t.Errorf("nothing is new: %+v", resp)
	}
	p.mustProduce("t", 1, batch("a"))
	if resp = ask(s, 2, nil); !slices.Equal(told(resp), []int32{1}) {
		t.Errorf("a record: %+v", resp)
	}
	if resp = ask(s, 3, want(-1, 1, -1)); len(told(resp)) != 0 {
		t.Errorf("the record was read: %+v", resp)
	}
	for i := range int32(3) {
		p.mustProduce("t", i, batch("b"))
	}
	if resp = ask(s, 4, nil); !slices.Equal(told(resp), []int32{0, 2, 1}) {
		t.Error("who had records last is not at the end:", told(resp))
	}
	forget := func(m *kafkawire.FetchRequest) {
		m.ForgottenTopicsData = []kafkawire.FetchRequestForgottenTopic{{TopicID: id, Partitions: []int32{0, 1}}}
	}
	if resp = ask(s, 5, forget); !slices.Equal(told(resp), []int32{2}) {
		t.Error("forgotten:", told(resp))
	}
	if resp = ask(s, 5, nil); resp.ErrorCode != kafkawire.ErrInvalidFetchSessionEpoch || len(resp.Responses) != 0 {
		t.Errorf("an epoch again: %+v", resp)
	}
	if resp = ask(s+1, 1, nil); resp.ErrorCode != kafkawire.ErrFetchSessionIDNotFound {
		t.Errorf("an unknown session: %+v", resp)
	}
	// A topic that goes is an error, in its place.
	if err := b.DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	if resp = ask(s, 6, nil); !slices.Equal(told(resp), []int32{2}) || resp.Responses[0].Partitions[0].ErrorCode != kafkawire.ErrUnknownTopicID {
		t.Errorf("%+v", resp)
	}
	if resp = ask(s, -1, nil); resp.ErrorCode != noError || resp.SessionID != 0 {
		t.Errorf("the end of a session: %+v", resp)
	}
	if resp = ask(s, 7, nil); resp.ErrorCode != kafkawire.ErrFetchSessionIDNotFound {
		t.Errorf("a session that has ended: %+v", resp)
	}
	if st := b.Stats(); st.FetchSessions != 0 || st.SessionParts != 0 {
		t.Errorf("%+v", st)
	}
}

// TestWaitingRequestsHoldNoMemory: requests that wait for long leave the memory for requests to others.
func TestWaitingRequestsHoldNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, smallOptions())
		dial := serve(t, b, "mem", &kafkaserver.Options{Limits: kafkaserver.Limits{MemoryLimit: 20 << 10}})
		p, waits, joins := dial(), dial(), dial()
		for _, name := range []string{"a", "b"} {
			p.mustCreate(name, 1)
		}
		m := fetchOf("a", 0, 0)
		m.MaxWaitMs, m.RackID = 3_600_000, strings.Repeat("r", 30<<10)
		waits.send(m, 11)
		ask[*kafkawire.FindCoordinatorResponse](joins, &kafkawire.FindCoordinatorRequest{CoordinatorKeys: []string{"g"}}, 6)
		j := joinRequest("g", "")
		j.SessionTimeoutMs, j.RebalanceTimeoutMs, j.Protocols[0].Metadata = 300_000, 3_600_000, make([]byte, 80<<10)
		joins.send(j, 3)
		synctest.Wait()
		start := time.Now()
		p.mustProduce("b", 0, batch(strings.Repeat("v", 50<<10)))
		if d := time.Since(start); d > time.Second {
			t.Error("a producer was answered after", d)
		}
	})
}

// TestFetchSessionGrows: a session has no more partitions than a request may have.
func TestFetchSessionGrows(t *testing.T) {
	b := openBroker(t, nil)
	p := serve(t, b, "mem", &kafkaserver.Options{Limits: kafkaserver.Limits{MaxElements: 200}})()
	m := fetchOf("t", 0, 0)
	id, next := int32(0), int32(0)
	for epoch := int32(0); epoch < 3; epoch++ {
		m.SessionID, m.SessionEpoch = id, epoch
		list := make([]kafkawire.FetchRequestPartition, 90)
		for i := range list {
			list[i] = kafkawire.FetchRequestPartition{Partition: next, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, LogStartOffset: -1}
			next++
		}
		m.Topics[0].Partitions = list
		resp := ask[*kafkawire.FetchResponse](p, m, 12)
		want := noError
		if epoch == 2 {
			want = kafkawire.ErrFetchSessionIDNotFound
		}
		if resp.ErrorCode != want {
			t.Fatal(epoch, resp.ErrorCode)
		}
		id = resp.SessionID
	}
	if st := b.Stats(); st.FetchSessions != 0 || st.SessionParts != 0 {
		t.Errorf("%+v", st)
	}
}

func TestFetchSessionCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, nil)
		p := connect(t, b)
		p.mustCreate("t", 1)
		fresh := func() int32 {
			m := fetchOf("t", 0, 0)
			m.SessionEpoch = 0
			return ask[*kafkawire.FetchResponse](p, m, 12).SessionID
		}
		first := fresh()
		for range maxFetchSessions - 1 {
			if fresh() == 0 {
				t.Fatal("no session, and there is room")
			}
		}
		if fresh() != 0 {
			t.Error("a session, and there is no room")
		}
		time.Sleep(minFetchSessionAge)
		if fresh() == 0 {
			t.Error("no session, and others are old")
		}
		m := fetchOf("t", 0, 0)
		m.SessionID, m.SessionEpoch = first, 1
		if code := ask[*kafkawire.FetchResponse](p, m, 12).ErrorCode; code != kafkawire.ErrFetchSessionIDNotFound {
			t.Error("the oldest is still there:", code)
		}
	})
}
