package kafkabroker

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestProduceAndFetch(t *testing.T) {
	p := connect(t, openBroker(t, nil))
	id := p.mustCreate("one", 2)
	end := int64(0)
	for version := int16(3); version <= 13; version++ {
		req := produceTo("one", 1, batch("a", "b"))
		if version >= 13 {
			req.TopicData[0].Name, req.TopicData[0].TopicID = "", id
		}
		resp := ask[*kafkawire.ProduceResponse](p, req, version)
		a := resp.Responses[0].PartitionResponses[0]
		if a.ErrorCode != noError || a.BaseOffset != end || a.LogAppendTimeMs != -1 {
			t.Fatalf("version %d: %+v", version, a)
		}
		if version < 13 && resp.Responses[0].Name != "one" || version >= 13 && resp.Responses[0].TopicID != id {
			t.Errorf("version %d: %+v", version, resp.Responses[0])
		}
		end += 2
	}
	for version := int16(4); version <= 18; version++ {
		req := fetchOf("one", 1, end-3)
		if version >= 13 {
			req.Topics[0].Topic, req.Topics[0].TopicID = "", id
		}
		f := ask[*kafkawire.FetchResponse](p, req, version).Responses[0].Partitions[0]
		if got := valuesOf(t, f.Records); !slices.Equal(got, []string{"a", "b", "a", "b"}) || f.HighWatermark != end || f.ErrorCode != noError {
			t.Fatalf("version %d: %q %+v", version, got, f)
		}
	}
}

func TestProduceRefusals(t *testing.T) {
	b := openBroker(t, &Options{Config: map[string]string{"message.max.bytes": "10000"}})
	p := connect(t, b)
	p.mustCreate("t", 1)
	p.mustCreate("compacted", 1, "cleanup.policy", "compact")
	p.mustCreate("two", 1, "min.insync.replicas", "2")
	if _, err := b.internalTopic(offsetsTopic); err != nil {
		t.Fatal(err)
	}
	var w kafka.BatchWriter
	add := func(key []byte, at time.Time, value []byte) []byte {
		w.Reset()
		w.Add(at.UnixMilli(), key, value)
		out, err := w.Append(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	changed := func(change func(kafka.Batch)) []byte {
		x := batch("a")
		change(x)
		return x
	}
	now := time.Now()
	for _, step := range []struct {
		what    string
		topic   string
		index   int32
		records []byte
		acks    int16
		want    kafkawire.ErrorCode
	}{
		{"null", "t", 0, nil, -1, kafkawire.ErrInvalidRecord},
		{"empty", "t", 0, []byte{}, -1, kafkawire.ErrInvalidRecord},
		{"short", "t", 0, batch("a")[:40], -1, kafkawire.ErrCorruptMessage},
		{"checksum", "t", 0, changed(func(b kafka.Batch) { b[len(b)-1] ^= 1 }), -1, kafkawire.ErrCorruptMessage},
		{"two batches", "t", 0, append(batch("a"), batch("b")...), -1, kafkawire.ErrInvalidRecord},
		{"old format", "t", 0, changed(func(b kafka.Batch) { b[16] = 1 }), -1, kafkawire.ErrUnsupportedForMessageFormat},
		{"unknown format", "t", 0, changed(func(b kafka.Batch) { b[16] = 3 }), -1, kafkawire.ErrCorruptMessage},
		{"too large", "t", 0, add(nil, now, make([]byte, 10_000)), -1, kafkawire.ErrMessageTooLarge},
		{"future", "t", 0, add(nil, now.Add(2*time.Hour), nil), -1, kafkawire.ErrInvalidTimestamp},
		{"no key", "compacted", 0, add(nil, now, nil), -1, kafkawire.ErrInvalidRecord},
		{"key", "compacted", 0, add([]byte{}, now, nil), -1, noError},
		{"acks 2", "t", 0, batch("a"), 2, kafkawire.ErrInvalidRequiredAcks},
		{"acks 1", "t", 0, batch("a"), 1, noError},
		{"partition", "t", 1, batch("a"), -1, kafkawire.ErrUnknownTopicOrPartition},
		{"negative partition", "t", -1, batch("a"), -1, kafkawire.ErrUnknownTopicOrPartition},
		{"topic", "none", 0, batch("a"), -1, kafkawire.ErrUnknownTopicOrPartition},
		{"internal topic", offsetsTopic, 0, batch("a"), -1, kafkawire.ErrInvalidTopic},
		{"too few replicas", "two", 0, batch("a"), -1, kafkawire.ErrNotEnoughReplicas},
		{"too few replicas, and one is enough", "two", 0, batch("a"), 1, noError},
	} {
		req := produceTo(step.topic, step.index, step.records)
		req.Acks = step.acks
		a := ask[*kafkawire.ProduceResponse](p, req, 9).Responses[0].PartitionResponses[0]
		if a.ErrorCode != step.want || a.Index != step.index || (step.want != noError) != (a.BaseOffset == -1) {
			t.Errorf("%s: %+v", step.what, a)
		}
	}
	req := produceTo("", 0, batch("a"))
	req.TopicData[0].TopicID = kafkawire.UUID{1}
	if a := ask[*kafkawire.ProduceResponse](p, req, 13).Responses[0].PartitionResponses[0]; a.ErrorCode != kafkawire.ErrUnknownTopicID {
		t.Errorf("%+v", a)
	}
	if s := b.Stats().All; s.FailedProduceRequests == 0 || s.MessagesIn != 3 {
		t.Errorf("%+v", s)
	}
}

// TestProduceNamesBadRecords is KIP-467: since version 8 the answer names the records that were refused.
func TestProduceNamesBadRecords(t *testing.T) {
	p := connect(t, openBroker(t, nil))
	p.mustCreate("t", 1, "cleanup.policy", "compact")
	for _, method := range []compress.Method{compress.None, compress.LZ4} {
		var w kafka.BatchWriter
		for i := range 4 {
			key := []byte("k")
			if i%2 == 1 {
				key = nil
			}
			w.Add(time.Now().UnixMilli(), key, []byte("v"))
		}
		records, err := w.Append(nil, &kafka.BatchOptions{Compression: method})
		if err != nil {
			t.Fatal(err)
		}
		for version := int16(7); version <= 9; version++ {
			a := ask[*kafkawire.ProduceResponse](p, produceTo("t", 0, slices.Clone(records)), version).Responses[0].PartitionResponses[0]
			if a.ErrorCode != kafkawire.ErrInvalidRecord {
				t.Errorf("version %d: %+v", version, a)
			}
			var named []int32
			for _, e := range a.RecordErrors {
				named = append(named, e.BatchIndex)
				if e.BatchIndexErrorMessage == nil {
					t.Error("no text")
				}
			}
			if version >= 8 && (!slices.Equal(named, []int32{1, 3}) || a.ErrorMessage == nil) {
				t.Errorf("version %d: %+v", version, a)
			}
		}
	}
	if a := p.produce("t", 0, batch("a")); a.BaseOffset != 0 {
		t.Error("something was appended before", a.BaseOffset)
	}
}

// TestProduceMany has several topics and partitions in one request, good and bad ones.
func TestProduceMany(t *testing.T) {
	p := connect(t, openBroker(t, nil))
	p.mustCreate("a", 2)
	p.mustCreate("b", 1)
	part := func(i int32, v string) kafkawire.ProduceRequestPartition {
		return kafkawire.ProduceRequestPartition{Index: i, Records: batch(v)}
	}
	req := &kafkawire.ProduceRequest{Acks: -1, TopicData: []kafkawire.ProduceRequestTopic{
		{Name: "a", PartitionData: []kafkawire.ProduceRequestPartition{part(1, "1"), part(7, "2"), part(0, "3")}},
		{Name: "x", PartitionData: []kafkawire.ProduceRequestPartition{part(0, "4")}},
		{Name: "none"},
		{Name: "b", PartitionData: []kafkawire.ProduceRequestPartition{part(0, "5")}},
	}}
	for round := range int64(3) {
		resp := ask[*kafkawire.ProduceResponse](p, req, 9)
		if len(resp.Responses) != 3 || resp.Responses[2].Name != "b" {
			t.Errorf("%+v", resp)
		}
		var got []kafkawire.ErrorCode
		for _, topic := range resp.Responses {
			for _, a := range topic.PartitionResponses {
				got = append(got, a.ErrorCode)
				if a.ErrorCode == noError && a.BaseOffset != round {
					t.Error(topic.Name, a)
				}
			}
		}
		unknown := kafkawire.ErrUnknownTopicOrPartition
		if !slices.Equal(got, []kafkawire.ErrorCode{noError, unknown, noError, unknown, noError}) {
			t.Errorf("%+v", resp)
		}
	}
}

func TestProduceWithoutAcknowledgement(t *testing.T) {
	b := openBroker(t, nil)
	p := connect(t, b)
	p.mustCreate("t", 1)
	req := produceTo("t", 0, batch("a"))
	req.Acks = 0
	p.send(req, 9)
	m := ask[*kafkawire.MetadataResponse](p, &kafkawire.MetadataRequest{}, 12) // the next answer is to the next request
	if len(m.Topics) != 1 {
		t.Error(m)
	}
	if o := b.topic("t").partition(0).log.state().end; o != 1 {
		t.Error("end", o)
	}
	// What fails cannot be told: the connection ends.
	req = produceTo("none", 0, batch("a"))
	req.Acks = 0
	if err := p.receive(new(kafkawire.ProduceResponse), 9, p.send(req, 9)); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		t.Error("no end of the connection:", err)
	}
}

// TestOldProduceVersions are advertised, and end the connection.
func TestOldProduceVersions(t *testing.T) {
	b := openBroker(t, nil)
	if v := b.APIs().Versions[0]; v.Key != kafkawire.KeyProduce || v.Min != 0 || v.Max != 13 {
		t.Errorf("%+v", v)
	}
	p := connect(t, b)
	if _, err := p.nc.Write([]byte{0, 0, 0, 14, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 255, 255, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if n, err := p.nc.Read(make([]byte, 1)); err == nil {
		t.Error("an answer", n)
	}
}

// slowFS holds back syncs.
type slowFS struct {
	*vfs.Mem
	gate chan struct{}
	n    atomic.Int32
}

func (f *slowFS) SyncAll(dir string) error {
	f.n.Add(1)
	<-f.gate
	return f.Mem.SyncAll(dir)
}

// TestProduceWaitsForSync has acknowledgements wait for the disk, and nothing else.
func TestProduceWaitsForSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &slowFS{Mem: vfs.NewMem(), gate: make(chan struct{})}
		close(fs.gate)
		b := openBroker(t, &Options{Dir: "d", fs: fs, logs: logDirOptions{syncAllFrom: 1}})
		p, q := connect(t, b), connect(t, b)
		p.mustCreate("t", 2)
		fs.gate = make(chan struct{})
		var ids []int32
		for range 3 {
			ids = append(ids, p.send(produceTo("t", 0, batch("a")), 9))
			ids = append(ids, p.send(produceTo("t", 1, batch("b")), 9))
		}
		got := make(chan error, 1)
		go func() {
			for _, id := range ids {
				resp := new(kafkawire.ProduceResponse)
				err := p.receive(resp, 9, id)
				if err == nil {
					err = resp.Responses[0].PartitionResponses[0].ErrorCode.Err()
				}
				if err != nil {
					got <- err
					return
				}
			}
			got <- nil
		}()
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("acknowledged without a sync:", <-got)
		}
		// Readers see the records, and acks=1 is enough for who says so.
		f := ask[*kafkawire.FetchResponse](q, fetchOf("t", 0, 0), 12).Responses[0].Partitions[0]
		if f.HighWatermark != 3 {
			t.Errorf("%+v", f)
		}
		req := produceTo("t", 0, batch("c"))
		req.Acks = 1
		if a := ask[*kafkawire.ProduceResponse](q, req, 9).Responses[0].PartitionResponses[0]; a.ErrorCode != noError {
			t.Errorf("%+v", a)
		}
		before := fs.n.Load()
		close(fs.gate)
		if err := <-got; err != nil {
			t.Error(err)
		}
		if n := fs.n.Load() - before; n > 3 {
			t.Error("rounds:", n)
		}
	})
}

// TestProduceSyncFails has no acknowledgement after a sync that failed, and takes nothing any more.
func TestProduceSyncFails(t *testing.T) {
	fs := vfs.NewMem()
	var failed atomic.Bool
	b, err := Open(&Options{Dir: "d", fs: fs, Authenticate: AllowAll, Events: Events{Failed: func(error) { failed.Store(true) }}})
	if err != nil {
		t.Fatal(err)
	}
	p := connect(t, b)
	p.mustCreate("t", 1)
	p.mustProduce("t", 0, batch("a"))
	fs.SetFail(func(op vfs.Op, name string) error {
		if op == vfs.OpSync {
			return errors.New("the disk is broken")
		}
		return nil
	})
	for range 2 {
		if a := p.produce("t", 0, batch("a")); a.ErrorCode != kafkawire.ErrKafkaStorageError || a.BaseOffset != -1 {
			t.Errorf("%+v", a)
		}
	}
	if !failed.Load() || !b.Stats().Failed {
		t.Error("the failure is not told")
	}
	if err := b.Close(); err == nil {
		t.Error("Close is content")
	}
}

func TestDiskReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		fs.SetCapacity(64 << 20)
		b := openBroker(t, &Options{Dir: "d", fs: fs, DiskReserve: 32 << 20})
		p := connect(t, b)
		p.mustCreate("t", 1)
		if a := p.produce("t", 0, batch("a")); a.ErrorCode != noError {
			t.Fatalf("%+v", a)
		}
		fs.SetCapacity(16 << 20)
		time.Sleep(2 * diskEvery)
		if a := p.produce("t", 0, batch("a")); a.ErrorCode != kafkawire.ErrKafkaStorageError || !b.Stats().DiskFull {
			t.Errorf("%+v", a)
		}
		fs.SetCapacity(64 << 20)
		time.Sleep(2 * diskEvery)
		if a := p.produce("t", 0, batch("a")); a.ErrorCode != noError || a.BaseOffset != 1 {
			t.Errorf("%+v", a)
		}
	})
}

func TestCompressionType(t *testing.T) {
	b := openBroker(t, nil)
	p := connect(t, b)
	value := strings.Repeat("x", 1000)
	for _, name := range []string{"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"} {
		p.mustCreate(name, 1, "compression.type", name)
		p.mustProduce(name, 0, batch(value, value))
		lz4, _, err := kafka.Batch(batch(value, value)).Recompress(nil, nil, compress.LZ4, 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		p.mustProduce(name, 0, lz4)
		records := ask[*kafkawire.FetchResponse](p, fetchOf(name, 0, 0), 12).Responses[0].Partitions[0].Records
		if got := valuesOf(t, records); len(got) != 4 || got[3] != value {
			t.Errorf("%s: %d records", name, len(got))
		}
		first, rest, _ := kafka.Split(records)
		second, _, _ := kafka.Split(rest)
		got := []compress.Method{kafka.Batch(first).Attributes().Compression(), kafka.Batch(second).Attributes().Compression()}
		want := []compress.Method{compress.None, compress.LZ4}
		if m, err := compress.Parse(name); err == nil {
			want = []compress.Method{m, m}
		} else if name == "uncompressed" {
			want = []compress.Method{compress.None, compress.None}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestBytesAfterRequest are ignored, as Apache Kafka does.
func TestBytesAfterRequest(t *testing.T) {
	p := connect(t, openBroker(t, nil))
	p.mustCreate("t", 1)
	for _, m := range []kafkawire.Request{produceTo("t", 0, batch("a")), fetchOf("t", 0, 0)} {
		p.id++
		frame, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: 9, CorrelationID: p.id}, m)
		if err != nil {
			t.Fatal(err)
		}
		frame = append(frame, 0, 0, 0)
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		if _, err := p.nc.Write(frame); err != nil {
			t.Fatal(err)
		}
		if err := p.receive(m.NewResponse(), 9, p.id); err != nil {
			t.Error(m.Key(), err)
		}
	}
}

// TestTooManyPartitions ends a connection whose requests name more topics and partitions than the server's Limits.MaxElements.
func TestTooManyPartitions(t *testing.T) {
	b := openBroker(t, nil)
	for _, c := range []struct {
		limit, n int
		refused  bool
	}{{0, 199_999, false}, {0, 200_000, true}, {10, 9, false}, {10, 10, true}, {-1, 200_000, false}} {
		produce, fetch := produceTo("t", 0, nil), fetchOf("t", 0, 0)
		produce.TopicData[0].PartitionData = make([]kafkawire.ProduceRequestPartition, c.n)
		fetch.Topics[0].Partitions = slices.Repeat(fetch.Topics[0].Partitions, c.n)
		for _, m := range []kafkawire.Request{produce, fetch} {
			p := serve(t, b, "mem", &kafkaserver.Options{Limits: kafkaserver.Limits{MaxElements: c.limit}})()
			frame, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: 9, CorrelationID: 1}, m)
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = p.nc.Write(frame) }()
			if err := p.receive(m.NewResponse(), 9, 1); (err != nil) != c.refused {
				t.Error(m.Key(), c, err)
			}
		}
	}
}
