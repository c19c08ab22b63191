package kafkabroker

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// openBroker opens a broker that lets everybody in and closes it with the test.
func openBroker(t testing.TB, o *Options) *Broker {
	t.Helper()
	if o == nil {
		o = &Options{}
	}
	if o.Authenticate == nil {
		o.Authenticate = AllowAll
	}
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error("close:", err)
		}
	})
	return b
}

// peer is a connection to a broker whose requests are written by a test.
type peer struct {
	t      testing.TB
	nc     net.Conn
	id     int32
	client string
}

// connect connects to a backend in memory.
func connect(t testing.TB, b kafkaserver.Backend) *peer {
	t.Helper()
	return serve(t, b, "mem", nil)()
}

// serve serves a backend with the test and returns what connects to it: in memory, or over a socket if network is "tcp" or
// "unix". What a test does before its first request may take long on a busy machine.
func serve(t testing.TB, b kafkaserver.Backend, network string, o *kafkaserver.Options) (connect func() *peer) {
	t.Helper()
	l, dial := listen(t, network)
	var opt kafkaserver.Options
	if o != nil {
		opt = *o
	}
	opt.Limits.HandshakeTimeout = time.Hour
	srv := kafkaserver.New(b, &opt)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, nil) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	return func() *peer {
		t.Helper()
		nc, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		return &peer{t: t, nc: nc, client: "test"}
	}
}

// listen returns a listener and what dials it.
func listen(t testing.TB, network string) (net.Listener, func() (net.Conn, error)) {
	t.Helper()
	addr := "127.0.0.1:0"
	switch network {
	case "mem":
		l := memnet.Listen("mem:9092")
		return l, func() (net.Conn, error) { return l.Dial(context.Background()) }
	case "unix":
		addr = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Skip(err)
	}
	return l, func() (net.Conn, error) { return net.Dial(network, l.Addr().String()) }
}

// send sends a request and returns its number.
func (p *peer) send(m kafkawire.Request, version int16) int32 {
	p.t.Helper()
	p.id++
	b, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: version, CorrelationID: p.id, ClientID: []byte(p.client)}, m)
	if err == nil {
		_, err = p.nc.Write(b)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return p.id
}

// receive reads the response to a request.
func (p *peer) receive(m kafkawire.Response, version int16, id int32) error {
	p.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(p.nc, size[:]); err != nil {
		return err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(p.nc, b); err != nil {
		return err
	}
	got, body, err := kafkawire.DecodeResponseHeader(b, m.Key(), version)
	if err == nil && got != id {
		err = errors.New("the response is to another request")
	}
	if err == nil {
		err = m.Decode(body, version)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return nil
}

// ask sends a request and returns the response.
func ask[T kafkawire.Response](p *peer, m kafkawire.Request, version int16) T {
	p.t.Helper()
	resp := m.NewResponse()
	if err := p.receive(resp, version, p.send(m, version)); err != nil {
		p.t.Fatal(err)
	}
	return resp.(T)
}

// create makes a topic.
func (p *peer) create(name string, partitions int32, configs ...string) kafkawire.CreateTopicsResponseTopic {
	p.t.Helper()
	topic := kafkawire.CreateTopicsRequestTopic{Name: kafkawire.TopicName(name), NumPartitions: partitions, ReplicationFactor: -1}
	for i := 0; i+1 < len(configs); i += 2 {
		topic.Configs = append(topic.Configs, kafkawire.CreateTopicsRequestConfig{Name: configs[i], Value: &configs[i+1]})
	}
	resp := ask[*kafkawire.CreateTopicsResponse](p, &kafkawire.CreateTopicsRequest{Topics: []kafkawire.CreateTopicsRequestTopic{topic}}, 7)
	return resp.Topics[0]
}

// mustCreate makes a topic and returns its id.
func (p *peer) mustCreate(name string, partitions int32, configs ...string) kafkawire.UUID {
	p.t.Helper()
	a := p.create(name, partitions, configs...)
	if a.ErrorCode != noError {
		p.t.Fatal(name, a.ErrorCode, *a.ErrorMessage)
	}
	return a.TopicID
}

// batch returns a record batch with values.
func batch(values ...string) []byte {
	var w kafka.BatchWriter
	for _, v := range values {
		w.Add(time.Now().UnixMilli(), []byte("k"), []byte(v))
	}
	b, err := w.Append(nil, nil)
	if err != nil {
		panic(err)
	}
	return b
}

// produceTo makes a produce request for one partition.
func produceTo(topic string, partition int32, records []byte) *kafkawire.ProduceRequest {
	return &kafkawire.ProduceRequest{Acks: -1, TimeoutMs: 1000, TopicData: []kafkawire.ProduceRequestTopic{{
		Name: kafkawire.TopicName(topic), PartitionData: []kafkawire.ProduceRequestPartition{{Index: partition, Records: records}},
	}}}
}

// mustProduce appends to a partition.
func (p *peer) mustProduce(topic string, partition int32, records []byte) {
	p.t.Helper()
	if a := p.produce(topic, partition, records); a.ErrorCode != noError {
		p.t.Fatal(a.ErrorCode, *a.ErrorMessage)
	}
}

// produce appends to a partition and returns the answer.
func (p *peer) produce(topic string, partition int32, records []byte) kafkawire.ProduceResponsePartition {
	p.t.Helper()
	return ask[*kafkawire.ProduceResponse](p, produceTo(topic, partition, records), 9).Responses[0].PartitionResponses[0]
}

// fetchOf makes a fetch request for one partition that does not wait.
func fetchOf(topic string, partition int32, offset int64) *kafkawire.FetchRequest {
	m := new(kafkawire.FetchRequest)
	m.Reset()
	m.MinBytes, m.MaxBytes = 1, 1<<20
	m.Topics = []kafkawire.FetchRequestTopic{{Topic: kafkawire.TopicName(topic), Partitions: []kafkawire.FetchRequestPartition{{
		Partition: partition, FetchOffset: offset, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, LogStartOffset: -1, PartitionMaxBytes: 1 << 20,
	}}}}
	return m
}

// valuesOf returns the values of the records in batches.
func valuesOf(t testing.TB, records []byte) (list []string) {
	t.Helper()
	for len(records) > 0 {
		entry, rest, err := kafka.Split(records)
		if err != nil || entry == nil {
			t.Fatal("records that are cut off", err)
		}
		records = rest
		recs, err := kafka.Open(entry, nil, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var rec kafka.Record
		for recs.Next(&rec) {
			list = append(list, string(rec.Value))
		}
		if err := recs.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return list
}
