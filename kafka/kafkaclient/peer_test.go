package kafkaclient

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// fakeCluster is some scripted brokers in memory. Broker i has the address "broker-i:9092".
type fakeCluster struct {
	t       *testing.T
	brokers []*fakeBroker

	mu        sync.Mutex
	topics    map[kafkawire.TopicName]*fakeTopic
	producers int
	requests  int
	refuse    func(tp kafka.TopicPartition, b kafka.Batch) *kafkawire.ProduceResponsePartition // nil: append
}

type fakeTopic struct {
	logs    map[int32]*fakeLog
	id      kafkawire.UUID
	leaders []kafkawire.BrokerID
	epoch   int32
	err     kafkawire.ErrorCode
}

// fakeBroker is a broker that answers with what its script returns.
type fakeBroker struct {
	c  *fakeCluster
	id kafkawire.BrokerID
	ln *memnet.Listener

	mu     sync.Mutex
	script func(r *fakeRequest) kafkawire.Response // nil: what the cluster knows
	ranges map[kafkawire.APIKey][2]int16           // other than all
	conns  map[net.Conn]struct{}
}

// fakeRequest is a request that came to a fakeBroker.
type fakeRequest struct {
	b       *fakeBroker
	conn    net.Conn
	header  kafkawire.RequestHeader
	req     kafkawire.Request
	body    []byte
	silence bool // no answer
}

func newFakeCluster(t *testing.T, n int) *fakeCluster {
	c := &fakeCluster{t: t, topics: make(map[kafkawire.TopicName]*fakeTopic)}
	for i := range n {
		b := &fakeBroker{c: c, id: kafkawire.BrokerID(i), conns: make(map[net.Conn]struct{}), ranges: make(map[kafkawire.APIKey][2]int16)}
		b.ln = memnet.Listen(fakeAddr(b.id))
		c.brokers = append(c.brokers, b)
		go b.serve()
		t.Cleanup(b.close)
	}
	return c
}

func fakeAddr(id kafkawire.BrokerID) string { return fmt.Sprintf("broker-%d:9092", id) }

// options are those of a client of the cluster.
func (c *fakeCluster) options() *Options {
	return &Options{Addrs: []string{fakeAddr(0)}, Dial: c.dial}
}

func (c *fakeCluster) dial(ctx context.Context, _, address string) (net.Conn, error) {
	for _, b := range c.brokers {
		if fakeAddr(b.id) == address {
			return b.ln.Dial(ctx)
		}
	}
	return nil, fmt.Errorf("no host %s", address)
}

// client returns a client that is closed with the test.
func (c *fakeCluster) client(o *Options) *Client {
	c.t.Helper()
	if o == nil {
		o = c.options()
	}
	cl, err := New(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cl.Close() })
	return cl
}

// topic makes a topic with a leader for each partition.
func (c *fakeCluster) topic(name kafkawire.TopicName, leaders ...kafkawire.BrokerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := kafkawire.UUID{15: byte(len(c.topics) + 1)}
	c.topics[name] = &fakeTopic{id: id, leaders: leaders, logs: make(map[int32]*fakeLog)}
}

// move changes a leader.
func (c *fakeCluster) move(name kafkawire.TopicName, partition int32, to kafkawire.BrokerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.topics[name].leaders[partition] = to
	c.topics[name].epoch++
}

// scripted sets the script of all brokers.
func (c *fakeCluster) scripted(f func(r *fakeRequest) kafkawire.Response) {
	for _, b := range c.brokers {
		b.mu.Lock()
		b.script = f
		b.mu.Unlock()
	}
}

func (b *fakeBroker) close() {
	b.ln.Close()
	b.cut()
}

// cut ends all connections.
func (b *fakeBroker) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for nc := range b.conns {
		nc.Close()
	}
}

func (b *fakeBroker) serve() {
	for {
		nc, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns[nc] = struct{}{}
		b.mu.Unlock()
		go func() {
			for {
				s, err := nc.(*memnet.Conn).AcceptStream(context.Background())
				if err != nil {
					return
				}
				go func() {
					b.serveConn(&streamConn{s, nc})
					s.Close()
				}()
			}
		}()
		go func() {
			b.serveConn(nc)
			nc.Close()
			b.mu.Lock()
			delete(b.conns, nc)
			b.mu.Unlock()
		}()
	}
}

func (b *fakeBroker) serveConn(nc net.Conn) {
	for {
		var size [4]byte
		if _, err := io.ReadFull(nc, size[:]); err != nil {
			return
		}
		buf := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(nc, buf); err != nil {
			return
		}
		r := &fakeRequest{b: b, conn: nc}
		body, err := r.header.Decode(buf)
		if err != nil {
			b.c.t.Errorf("header: %v", err)
			return
		}
		r.body = body
		r.req = kafkawire.NewRequest(r.header.Key)
		if r.header.Key.Supports(r.header.Version) {
			if err := r.req.Decode(body, r.header.Version); err != nil {
				b.c.t.Errorf("%v %d: %v", r.header.Key, r.header.Version, err)
				return
			}
		}
		b.mu.Lock()
		script := b.script
		b.mu.Unlock()
		var resp kafkawire.Response
		if script != nil {
			resp = script(r)
		}
		if resp == nil && !r.silence {
			resp = b.answer(r)
			if p, ok := r.req.(*kafkawire.ProduceRequest); ok && p.Acks == 0 {
				continue
			}
		}
		if resp == nil {
			if r.silence {
				continue
			}
			return
		}
		version := r.header.Version
		out, err := kafkawire.AppendResponse(nil, r.header.CorrelationID, resp, version)
		if err != nil {
			b.c.t.Errorf("%v %d: %v", r.header.Key, version, err)
			return
		}
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

// answer answers what every broker does; nil hangs up.
func (b *fakeBroker) answer(r *fakeRequest) kafkawire.Response {
	switch req := r.req.(type) {
	case *kafkawire.APIVersionsRequest:
		m := new(kafkawire.APIVersionsResponse)
		m.Reset()
		b.mu.Lock()
		defer b.mu.Unlock()
		for k := range kafkawire.APIKey(kafkawire.Keys) {
			low, high := k.MinVersion(), k.MaxVersion()
			if limit, ok := b.ranges[k]; ok {
				low, high = limit[0], limit[1]
			}
			if high >= low {
				m.APIKeys = append(m.APIKeys, kafkawire.APIVersionsResponseAPIKey{APIKey: int16(k), MinVersion: low, MaxVersion: high})
			}
		}
		return m
	case *kafkawire.MetadataRequest:
		return b.c.metadata(req, r.header.Version)
	case *kafkawire.InitProducerIDRequest:
		m := new(kafkawire.InitProducerIDResponse)
		b.c.mu.Lock()
		defer b.c.mu.Unlock()
		b.c.producers++
		m.ProducerID = kafkawire.ProducerID(b.c.producers)
		return m
	case *kafkawire.ProduceRequest:
		return b.produce(req, r.header.Version)
	case *kafkawire.FindCoordinatorRequest:
		m := new(kafkawire.FindCoordinatorResponse)
		for _, k := range req.CoordinatorKeys {
			m.Coordinators = append(m.Coordinators, kafkawire.FindCoordinatorResponseCoordinator{Key: k, NodeID: b.id, Host: "broker-" + b.id.String(), Port: 9092})
		}
		if r.header.Version < 4 {
			m.NodeID, m.Host, m.Port = b.id, "broker-"+b.id.String(), 9092
		}
		return m
	}
	return nil
}

func (c *fakeCluster) metadata(req *kafkawire.MetadataRequest, version int16) kafkawire.Response {
	m := new(kafkawire.MetadataResponse)
	m.Reset()
	m.ClusterID = new("fake")
	m.ControllerID = 0
	for _, b := range c.brokers {
		host, port, _ := net.SplitHostPort(fakeAddr(b.id))
		n, _ := strconv.Atoi(port)
		m.Brokers = append(m.Brokers, kafkawire.MetadataResponseBroker{NodeID: b.id, Host: host, Port: int32(n)})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	add := func(name kafkawire.TopicName) {
		t := c.topics[name]
		x := kafkawire.MetadataResponseTopic{Name: &name, TopicAuthorizedOperations: -2147483648}
		if t == nil {
			x.ErrorCode = kafkawire.ErrUnknownTopicOrPartition
		} else {
			x.ErrorCode = t.err
			if version >= 10 {
				x.TopicID = t.id
			}
			for i, l := range t.leaders {
				p := kafkawire.MetadataResponsePartition{PartitionIndex: int32(i), LeaderID: l, LeaderEpoch: -1, ReplicaNodes: []kafkawire.BrokerID{l}, ISRNodes: []kafkawire.BrokerID{l}}
				if version >= 7 {
					p.LeaderEpoch = t.epoch
				}
				if l < 0 {
					p.ErrorCode = kafkawire.ErrLeaderNotAvailable
				}
				x.Partitions = append(x.Partitions, p)
			}
		}
		m.Topics = append(m.Topics, x)
	}
	if req.Topics == nil {
		for name := range c.topics {
			add(name)
		}
	}
	for _, t := range req.Topics {
		add(*t.Name)
	}
	return m
}

// fakeLog is the log of a partition.
type fakeLog struct {
	values    []string
	batches   int
	producers map[kafkawire.ProducerID]*fakeProducer
}

type fakeProducer struct {
	epoch int16
	next  int32
	last  []fakeRange
}

type fakeRange struct {
	sequence int32
	offset   int64
}

// produce appends as a broker does.
func (b *fakeBroker) produce(req *kafkawire.ProduceRequest, version int16) kafkawire.Response {
	m := new(kafkawire.ProduceResponse)
	c := b.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	for _, t := range req.TopicData {
		name := t.Name
		if version >= 13 {
			for n, x := range c.topics {
				if x.id == t.TopicID {
					name = n
				}
			}
		}
		x := kafkawire.ProduceResponseTopic{Name: t.Name, TopicID: t.TopicID}
		for _, p := range t.PartitionData {
			r := kafkawire.ProduceResponsePartition{}
			r.Reset()
			r.Index, r.BaseOffset = p.Index, -1
			b.append(name, p, &r)
			x.PartitionResponses = append(x.PartitionResponses, r)
		}
		m.Responses = append(m.Responses, x)
	}
	if req.Acks == 0 {
		return nil
	}
	return m
}

func (b *fakeBroker) append(name kafkawire.TopicName, p kafkawire.ProduceRequestPartition, r *kafkawire.ProduceResponsePartition) {
	c := b.c
	t := c.topics[name]
	if t == nil || int(p.Index) >= len(t.leaders) {
		r.ErrorCode = kafkawire.ErrUnknownTopicOrPartition
		return
	}
	batch, err := kafka.SplitProduced(p.Records)
	if err == nil {
		err = batch.CheckProduced()
	}
	if err != nil {
		c.t.Errorf("batch: %v", err)
		r.ErrorCode = kafkawire.ErrCorruptMessage
		return
	}
	if t.leaders[p.Index] != b.id {
		r.ErrorCode = kafkawire.ErrNotLeaderOrFollower
		return
	}
	if c.refuse != nil {
		if x := c.refuse(kafka.TopicPartition{Topic: name, Partition: p.Index}, batch); x != nil {
			x.Index = p.Index
			*r = *x
			return
		}
	}
	l := t.logs[p.Index]
	if l == nil {
		l = &fakeLog{producers: make(map[kafkawire.ProducerID]*fakeProducer)}
		t.logs[p.Index] = l
	}
	if id := batch.ProducerID(); id >= 0 {
		st := l.producers[id]
		first := kafka.Producer{ID: id, Epoch: batch.ProducerEpoch(), Sequence: batch.BaseSequence()}
		switch {
		case st == nil:
			st = &fakeProducer{epoch: first.Epoch}
			l.producers[id] = st
		case first.Epoch < st.epoch:
			r.ErrorCode = kafkawire.ErrInvalidProducerEpoch
			return
		case first.Epoch > st.epoch && first.Sequence != 0:
			r.ErrorCode = kafkawire.ErrOutOfOrderSequenceNumber
			return
		case first.Epoch > st.epoch:
			*st = fakeProducer{epoch: first.Epoch}
		default:
			for _, x := range st.last {
				if x.sequence == first.Sequence {
					r.BaseOffset = x.offset
					return
				}
			}
		}
		if len(st.last) > 0 && first.Sequence != st.next {
			r.ErrorCode = kafkawire.ErrOutOfOrderSequenceNumber
			return
		}
		st.next = kafka.AddSequence(first.Sequence, batch.Count())
		st.last = append(st.last, fakeRange{first.Sequence, int64(len(l.values))})
		if len(st.last) > kafka.MaxInFlight {
			st.last = st.last[1:]
		}
	}
	r.BaseOffset = int64(len(l.values))
	recs, err := kafka.Open(batch, nil, 64<<20)
	for rec := (kafka.Record{}); err == nil && recs.Next(&rec); {
		l.values = append(l.values, string(rec.Value))
	}
	l.batches++
}

// log returns the values in a partition.
func (c *fakeCluster) log(name kafkawire.TopicName, partition int32) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.topics[name].logs[partition]; l != nil {
		return append([]string(nil), l.values...)
	}
	return nil
}
