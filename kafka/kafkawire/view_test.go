package kafkawire

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProduceView(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for version := KeyProduce.MinVersion(); version <= KeyProduce.MaxVersion(); version++ {
		for range 50 {
			var m ProduceRequest
			if err := randomize(&m, version, rnd); err != nil {
				t.Fatal(err)
			}
			b, _ := m.Append(nil, version)
			checkProduceView(t, b, version)
			for n := range b {
				checkProduceView(t, b[:n], version)
			}
		}
	}
}

// checkProduceView compares a view with a decoded message.
func checkProduceView(t *testing.T, b []byte, version int16) {
	t.Helper()
	var m, got ProduceRequest
	var v ProduceView
	err, verr := m.Decode(b, version), v.Decode(b, version)
	if (err == nil) != (verr == nil) {
		t.Fatalf("version %d: Decode says %v, the view says %v\n% x", version, err, verr, b)
	}
	if err != nil {
		return
	}
	for range 2 {
		got = ProduceRequest{Acks: v.Acks, TimeoutMs: v.TimeoutMs, TransactionalID: textOf[TransactionalID](v.TransactionalID)}
		got.TopicData = make([]ProduceRequestTopic, v.Topics)
		partitions := 0
		for v.Next() {
			p := &got.TopicData[v.Topic.Index]
			p.Name, p.TopicID = TopicName(v.Topic.Name), v.Topic.ID
			p.PartitionData = append(p.PartitionData, ProduceRequestPartition{Index: v.Index, Records: v.Records})
			partitions++
		}
		if partitions != v.Partitions {
			t.Fatalf("%d partitions, not %d", partitions, v.Partitions)
		}
		v.Rewind()
		m.UnknownTags = nil
		for i := range m.TopicData {
			topic := &m.TopicData[i]
			topic.UnknownTags = nil
			if len(topic.PartitionData) == 0 {
				got.TopicData[i].Name, got.TopicData[i].TopicID = topic.Name, topic.TopicID
			}
			for j := range topic.PartitionData {
				topic.PartitionData[j].UnknownTags = nil
			}
		}
		if d := cmp.Diff(m, got, same); d != "" {
			t.Fatalf("version %d: %s", version, d)
		}
	}
}

func textOf[T ~string](b []byte) *T {
	if b == nil {
		return nil
	}
	return new(T(b))
}

func TestFetchView(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for version := KeyFetch.MinVersion(); version <= KeyFetch.MaxVersion(); version++ {
		for range 50 {
			var m FetchRequest
			if err := randomize(&m, version, rnd); err != nil {
				t.Fatal(err)
			}
			b, _ := m.Append(nil, version)
			checkFetchView(t, b, version)
			for n := range b {
				checkFetchView(t, b[:n], version)
			}
		}
	}
}

func checkFetchView(t *testing.T, b []byte, version int16) {
	t.Helper()
	var m FetchRequest
	var v FetchView
	err, verr := m.Decode(b, version), v.Decode(b, version)
	if (err == nil) != (verr == nil) {
		t.Fatalf("version %d: Decode says %v, the view says %v\n% x", version, err, verr, b)
	}
	if err != nil {
		return
	}
	if m.ReplicaState != nil {
		m.ReplicaID = m.ReplicaState.ReplicaID
		if v.ReplicaEpoch != m.ReplicaState.ReplicaEpoch {
			t.Fatalf("epoch %d", v.ReplicaEpoch)
		}
	}
	if v.ReplicaID != m.ReplicaID || v.MaxWaitMs != m.MaxWaitMs || v.MinBytes != m.MinBytes || v.MaxBytes != m.MaxBytes ||
		v.IsolationLevel != m.IsolationLevel || v.SessionID != m.SessionID || v.SessionEpoch != m.SessionEpoch ||
		string(v.RackID) != m.RackID || v.Topics != len(m.Topics) {
		t.Fatalf("version %d: %+v\n%+v", version, v, m)
	}
	partitions := 0
	for i := range m.Topics {
		for _, p := range m.Topics[i].Partitions {
			partitions++
			if !v.Next() {
				t.Fatal("a partition is missing")
			}
			want := FetchPlace{
				Topic:     Topic{ID: m.Topics[i].TopicID, Index: i},
				Partition: p.Partition, CurrentLeaderEpoch: p.CurrentLeaderEpoch, FetchOffset: p.FetchOffset,
				LastFetchedEpoch: p.LastFetchedEpoch, LogStartOffset: p.LogStartOffset, PartitionMaxBytes: p.PartitionMaxBytes,
				ReplicaDirectoryID: p.ReplicaDirectoryID, HighWatermark: p.HighWatermark,
			}
			if version <= 12 {
				want.Topic.Name = []byte(m.Topics[i].Topic)
			}
			if d := cmp.Diff(want, v.FetchPlace); d != "" {
				t.Fatalf("version %d: %s", version, d)
			}
		}
	}
	if v.Next() || v.Partitions != partitions {
		t.Fatalf("%d partitions, not %d", v.Partitions, partitions)
	}
	for i := range m.ForgottenTopicsData {
		for _, p := range m.ForgottenTopicsData[i].Partitions {
			topic, partition, ok := v.NextForgotten()
			if !ok || topic.Index != i || partition != p || topic.ID != m.ForgottenTopicsData[i].TopicID ||
				string(topic.Name) != string(m.ForgottenTopicsData[i].Topic) {
				t.Fatalf("forgotten: %v %v %v", topic, partition, ok)
			}
		}
	}
	if _, _, ok := v.NextForgotten(); ok {
		t.Fatal("a forgotten partition too many")
	}
}

func TestViewsAllocateNothing(t *testing.T) {
	produce, _ := produce(10, 10).Append(nil, 9)
	var pv ProduceView
	if n := testing.AllocsPerRun(100, func() {
		if pv.Decode(produce, 9) != nil {
			t.Fatal()
		}
		for pv.Next() {
		}
	}); n != 0 {
		t.Errorf("produce: %v allocations", n)
	}
	var m FetchRequest
	m.Reset()
	m.ReplicaState = &FetchRequestReplicaState{ReplicaID: 3, ReplicaEpoch: 9}
	m.Topics = []FetchRequestTopic{{Partitions: make([]FetchRequestPartition, 100)}}
	fetch, err := m.Append(nil, 18)
	if err != nil {
		t.Fatal(err)
	}
	var fv FetchView
	if n := testing.AllocsPerRun(100, func() {
		if fv.Decode(fetch, 18) != nil {
			t.Fatal()
		}
		for fv.Next() {
		}
	}); n != 0 {
		t.Errorf("fetch: %v allocations", n)
	}
}

// TestFetchWriter: what the writer writes around records is what Append writes.
func TestFetchWriter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for version := KeyFetch.MinVersion(); version <= KeyFetch.MaxVersion(); version++ {
		for range 50 {
			var m FetchResponse
			if err := randomize(&m, version, rnd); err != nil {
				t.Fatal(err)
			}
			var w FetchWriter
			var parts [][]byte // records, with the places where they belong
			var places []int
			w.Begin([]byte("head"), version, &m, len(m.Responses))
			for i := range m.Responses {
				topic := &m.Responses[i]
				topic.UnknownTags = nil
				w.Topic(topic.Topic, topic.TopicID, len(topic.Partitions))
				for j := range topic.Partitions {
					p := &topic.Partitions[j]
					if p.Records == nil {
						p.Records = []byte{}
					}
					w.Partition(p, len(p.Records))
					parts, places = append(parts, p.Records), append(places, w.Len())
					w.PartitionEnd(p)
				}
				w.TopicEnd()
			}
			got, err := w.End(&m)
			if err != nil {
				t.Fatal(err)
			}
			for i, place := range slices.Backward(places) {
				got = slices.Insert(got, place, parts[i]...)
			}
			want, err := m.Append([]byte("head"), version)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("version %d: %v\n% x\n% x", version, err, got, want)
			}
		}
	}
	var w FetchWriter
	w.Begin([]byte("ab"), 3, new(FetchResponse), 0)
	w.Topic("t", UUID{}, 1)
	if b, err := w.End(new(FetchResponse)); err == nil || string(b) != "ab" {
		t.Errorf("version 3: %q, %v", b, err)
	}
}

func TestFetchWriterAllocatesNothing(t *testing.T) {
	var w FetchWriter
	r := FetchResponse{SessionID: 5}
	p := FetchResponsePartition{HighWatermark: 10, PreferredReadReplica: -1, AbortedTransactions: []FetchResponseAbortedTransaction{{}}}
	buf := make([]byte, 0, 1000)
	if n := testing.AllocsPerRun(100, func() {
		w.Begin(buf, 13, &r, 1)
		w.Topic("", UUID{1}, 1)
		w.Partition(&p, 1000)
		w.PartitionEnd(&p)
		w.TopicEnd()
		if _, err := w.End(&r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
