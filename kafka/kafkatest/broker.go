package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
)

// BrokerOptions configure [NewBroker].
type BrokerOptions struct {
	// Broker are the options of the broker. Nil lets everybody in, lets groups begin without a delay, and has few
	// partitions of internal topics. Nodes in it are replaced.
	Broker *kafkabroker.Options

	// Server are the options of the servers, with the limits for clients.
	Server *kafkaserver.Options

	// Nodes is how many brokers clients see. They have the ids from 1 on, and leaders are spread over them. Zero is 1.
	Nodes int

	// Racks are those of the nodes, by place. Fewer are fine.
	Racks []string

	// Topics are made at first, with so many partitions.
	Topics map[string]int

	// Loopback makes the broker listen on ports of 127.0.0.1, for programs outside of the test, instead of in memory.
	Loopback bool

	// Streams lets clients have many streams on a connection in memory (kafka-streams/1), as over QUIC.
	Streams bool

	// Faults decide about requests. They may be changed while the broker runs.
	Faults *Faults
}

// Broker is a running broker, or several as clients see it. It is safe for concurrent use.
type Broker struct {
	// Broker is the broker itself.
	Broker *kafkabroker.Broker

	// Servers have the connections, one for each node.
	Servers []*kafkaserver.Server

	addrs []string
	dials map[string]func(ctx context.Context) (net.Conn, error)
}

// NewBroker starts a broker that ends with the test. Nil options are the defaults.
func NewBroker(tb testing.TB, o *BrokerOptions) *Broker {
	tb.Helper()
	if o == nil {
		o = new(BrokerOptions)
	}
	b := &Broker{dials: make(map[string]func(ctx context.Context) (net.Conn, error))}
	options := kafkabroker.Options{
		Authenticate: kafkabroker.AllowAll, OffsetsPartitions: 2, TransactionPartitions: 2,
		Config: map[string]string{"group.initial.rebalance.delay.ms": "0"},
	}
	if o.Broker != nil {
		options = *o.Broker
	}
	options.Nodes = nil
	var listeners []net.Listener
	for i := range max(o.Nodes, 1) {
		l, err := b.listen(i, o)
		if err != nil {
			tb.Fatal(err)
		}
		listeners = append(listeners, l)
		host, port, _ := net.SplitHostPort(b.addrs[i])
		n, _ := strconv.Atoi(port)
		node := kafkabroker.Node{ID: int32(i + 1), Host: host, Port: int32(n)}
		if i < len(o.Racks) {
			node.Rack = o.Racks[i]
		}
		options.Nodes = append(options.Nodes, node)
	}
	broker, err := kafkabroker.Open(&options)
	if err != nil {
		tb.Fatal(err)
	}
	b.Broker = broker
	done := make(chan error, len(listeners))
	for i, l := range listeners {
		server := kafkaserver.New(o.Faults.backend(int32(i+1), broker.Node(int32(i+1))), o.Server)
		b.Servers = append(b.Servers, server)
		go func() { done <- server.Serve(l, nil) }()
	}
	tb.Cleanup(func() {
		for _, s := range b.Servers {
			_ = s.Close()
		}
		for range listeners {
			if err := <-done; !errors.Is(err, kafkaserver.ErrServerClosed) {
				tb.Errorf("kafkatest: %v", err)
			}
		}
		if err := broker.Close(); err != nil {
			tb.Errorf("kafkatest: closing the broker: %v", err)
		}
	})
	for name, partitions := range o.Topics {
		b.CreateTopic(tb, name, partitions, nil)
	}
	return b
}

// listen opens the listener of a node.
func (b *Broker) listen(i int, o *BrokerOptions) (l net.Listener, err error) {
	addr := fmt.Sprintf("broker-%d:9092", i+1)
	if o.Loopback {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		addr = l.Addr().String()
		b.dials[addr] = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	} else {
		mem := memnet.Listen(addr)
		var network memnet.Options
		if o.Streams {
			network.Protocol = kafkaserver.StreamsProtocol
		}
		mem.OnDial(func(int) (*memnet.Options, error) { return &network, o.Faults.refused(int32(i + 1)) })
		b.dials[addr], l = mem.Dial, mem
	}
	b.addrs = append(b.addrs, addr)
	return o.Faults.listener(int32(i+1), l, !o.Loopback), nil
}

// Addrs returns the addresses of the brokers. In memory clients need Dial to reach them.
func (b *Broker) Addrs() []string { return append([]string(nil), b.addrs...) }

var errNoHost = errors.New("kafkatest: no broker has this address")

// Dial connects to the broker of an address. It is what kafkaclient.Options need.
func (b *Broker) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	if dial := b.dials[address]; dial != nil {
		return dial(ctx)
	}
	return nil, fmt.Errorf("%w: %s", errNoHost, address)
}

// Client returns a client of the broker that is closed with the test. Nil options are the defaults; the addresses and the
// dial function are set.
func (b *Broker) Client(tb testing.TB, o *kafkaclient.Options) *kafkaclient.Client {
	tb.Helper()
	options := kafkaclient.Options{}
	if o != nil {
		options = *o
	}
	options.Addrs, options.Dial = b.Addrs(), b.Dial
	c, err := kafkaclient.New(&options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// CreateTopic makes a topic with configs of Kafka's names, nil for none. It fails the test when it can't.
func (b *Broker) CreateTopic(tb testing.TB, name string, partitions int, configs map[string]string) {
	tb.Helper()
	if err := b.Broker.CreateTopic(name, &kafkabroker.TopicOptions{Partitions: int32(partitions), Configs: configs}); err != nil {
		tb.Fatalf("kafkatest: topic %s: %v", name, err)
	}
}

// Rebalance makes the members of a group join again.
func (b *Broker) Rebalance(tb testing.TB, group string) {
	tb.Helper()
	if err := b.Broker.RebalanceGroup(group); err != nil {
		tb.Fatalf("kafkatest: rebalance of %s: %v", group, err)
	}
}

// ForgetProducers makes a partition forget its idempotent producers, as it does with those that were idle for long.
func (b *Broker) ForgetProducers(tb testing.TB, topic string, partition int32) {
	tb.Helper()
	if err := b.Broker.ForgetProducers(topic, partition); err != nil {
		tb.Fatalf("kafkatest: producers of %s-%d: %v", topic, partition, err)
	}
}

// Committed returns the offset that a group has committed for a partition, -1 for none.
func (b *Broker) Committed(tb testing.TB, group, topic string, partition int32) int64 {
	tb.Helper()
	list, err := b.Broker.GroupOffsets(group)
	if err != nil {
		return -1
	}
	for _, o := range list {
		if o.Topic == topic && o.Partition == partition {
			return o.Offset
		}
	}
	return -1
}

// MoveLeader makes a node the leader of a partition.
func (b *Broker) MoveLeader(tb testing.TB, topic string, partition, node int32) {
	tb.Helper()
	if err := b.Broker.MoveLeader(topic, partition, node); err != nil {
		tb.Fatalf("kafkatest: leader of %s-%d: %v", topic, partition, err)
	}
}
