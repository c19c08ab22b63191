package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/interop/peer"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

const kafkaFrames = "../../kafka/kafkawire/testdata/traffic.txt"

// TestKafkaTraffic lets the Java clients use Apache Kafka in many ways and looks at everything that travels: each header
// and message must decode, and encode to the same bytes, and so must the records in it.
func TestKafkaTraffic(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	need(t, "java", "java/kafka/target/dependency")
	proxy := newKafkaProxy(t)
	startKafka(t, proxy.broker, proxy.ln.Addr().String())
	go proxy.serve()
	cmd := javaCommand(t.Context(), "-cp", kafkaPath, "interop.KafkaTraffic", proxy.ln.Addr().String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	proxy.close()

	names := slices.Sorted(maps.Keys(proxy.frames))
	t.Logf("%d messages of %d kinds, %d record batches", proxy.total, len(names), proxy.batches)
	if len(names) < 80 || proxy.batches < 50 {
		t.Errorf("%d kinds of messages, %d record batches", len(names), proxy.batches)
	}
	if *updateVectors && !t.Failed() {
		b := bytes.NewBufferString("# What the Java clients 4.4.0 and Apache Kafka 4.4.0 said to each other: one message of each kind, with its header.\n")
		for _, name := range names {
			fmt.Fprintf(b, "%s 0x%x\n", name, proxy.frames[name])
		}
		if err := os.WriteFile(kafkaFrames, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// startKafka starts Apache Kafka, one broker that is its own controller, which clients reach at an address of a proxy.
func startKafka(t *testing.T, address, advertised string) {
	t.Helper()
	newApacheKafka(t, address, advertised, "").start()
}

// apacheKafka is Apache Kafka with a directory. It can be stopped and started again.
type apacheKafka struct {
	t       *testing.T
	address string
	file    string // its configuration
	data    string // its directory of logs
	server  *exec.Cmd
	ended   chan struct{} // closed when the server's process has ended
	log     bytes.Buffer
}

// apacheKafkas limits how many run at a time. When all that tests want start at once, each takes minutes to do so.
var apacheKafkas = make(chan struct{}, 3)

// newApacheKafka makes the configuration and the directory. more are further lines.
//
// The broker has a minute until its controller takes it for dead: one that did not get the processor for nine seconds, as is
// usual, has no leaders for a moment. Whoever kills it must set the usual time, which the next start then waits for.
func newApacheKafka(t *testing.T, address, advertised, more string) *apacheKafka {
	t.Helper()
	apacheKafkas <- struct{}{}
	t.Cleanup(func() { <-apacheKafkas })
	dir := t.TempDir()
	k := &apacheKafka{t: t, address: address, file: filepath.Join(dir, "server.properties"), data: filepath.Join(dir, "data")}
	controller := freeAddress(t)
	config := strings.NewReplacer("BROKER", address, "ADVERTISED", advertised, "CONTROLLER_ADDRESS", controller, "DIR", k.data).
		Replace(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@CONTROLLER_ADDRESS
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://BROKER,CONTROLLER://CONTROLLER_ADDRESS
advertised.listeners=PLAINTEXT://ADVERTISED
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=DIR
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=60000
initial.broker.registration.timeout.ms=300000
` + more)
	if err := os.WriteFile(k.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	format := javaCommand(t.Context(), "-cp", kafkaPath, "kafka.tools.StorageTool", "format",
		"-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", k.file)
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		k.stop(os.Kill)
		if t.Failed() {
			t.Logf("Kafka: %s", k.log.String())
		}
	})
	return k
}

func (k *apacheKafka) start() {
	k.t.Helper()
	k.server = javaCommand(context.Background(), "-Xmx512m", "-cp", kafkaPath, "kafka.Kafka", k.file)
	k.server.Stdout, k.server.Stderr = &k.log, &k.log
	if err := k.server.Start(); err != nil {
		k.t.Fatal(err)
	}
	server, ended := k.server, make(chan struct{})
	k.ended = ended
	go func() {
		server.Wait()
		close(ended)
	}()
	for end := time.Now().Add(kafkaPatience); time.Now().Before(end); {
		if conn, err := net.Dial("tcp", k.address); err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			k.t.Fatalf("Apache Kafka has ended: %v", server.ProcessState)
		case <-time.After(100 * time.Millisecond):
		}
	}
	k.t.Fatal("Apache Kafka does not listen")
}

// stop sends a signal and waits until the process has ended.
func (k *apacheKafka) stop(signal os.Signal) {
	if k.server == nil {
		return
	}
	k.server.Process.Signal(signal)
	select {
	case <-k.ended:
	case <-time.After(kafkaPatience):
		k.t.Errorf("Apache Kafka does not end after %v", signal)
		k.server.Process.Kill()
		<-k.ended
	}
	k.server = nil
}

// freeAddress returns an address that is the test's alone until it ends.
func freeAddress(t *testing.T) string {
	t.Helper()
	addrs, release, err := peer.Ports("tcp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return addrs[0]
}

// kafkaProxy passes everything on and looks at it.
type kafkaProxy struct {
	t      *testing.T
	ln     net.Listener
	broker string
	conns  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	open    []net.Conn
	total   int
	batches int
	frames  map[string][]byte // a message of each kind
}

func newKafkaProxy(t *testing.T) *kafkaProxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return &kafkaProxy{t: t, ln: ln, broker: freeAddress(t), frames: make(map[string][]byte)}
}

// close ends all connections: the broker has some to itself that stay open.
func (p *kafkaProxy) close() {
	p.ln.Close()
	p.mu.Lock()
	p.closed = true
	for _, c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.conns.Wait()
}

func (p *kafkaProxy) serve() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", p.broker)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		if p.closed { // it was accepted just before
			p.mu.Unlock()
			client.Close()
			broker.Close()
			return
		}
		p.open = append(p.open, client, broker)
		p.conns.Add(2)
		p.mu.Unlock()
		var waiting sync.Map // correlation id → kafkawire.RequestHeader
		copyFrames := func(dst, src net.Conn, look func([]byte)) {
			defer dst.Close()
			for {
				var size [4]byte
				if _, err := io.ReadFull(src, size[:]); err != nil {
					return
				}
				frame := make([]byte, binary.BigEndian.Uint32(size[:]))
				if _, err := io.ReadFull(src, frame); err != nil {
					return
				}
				look(frame)
				if _, err := dst.Write(append(size[:], frame...)); err != nil {
					return
				}
			}
		}
		go func() {
			defer p.conns.Done()
			copyFrames(broker, client, func(b []byte) {
				var h kafkawire.RequestHeader
				body, err := h.Decode(b)
				if err != nil {
					p.t.Errorf("%v\n% x", err, b)
					return
				}
				waiting.Store(h.CorrelationID, h)
				p.look(b, body, kafkawire.NewRequest(h.Key), "request", h.Key, h.Version)
			})
		}()
		go func() {
			defer p.conns.Done()
			copyFrames(client, broker, func(b []byte) {
				value, ok := waiting.LoadAndDelete(int32(binary.BigEndian.Uint32(b)))
				if !ok {
					p.t.Errorf("a response to nothing: % x", b)
					return
				}
				h := value.(kafkawire.RequestHeader)
				_, body, err := kafkawire.DecodeResponseHeader(b, h.Key, h.Version)
				if err != nil {
					p.t.Errorf("%v: %v\n% x", h.Key, err, b)
					return
				}
				p.look(b, body, kafkawire.NewResponse(h.Key), "response", h.Key, h.Version)
			})
		}()
	}
}

// look checks a message and keeps it when it is the longest of its kind that is not long.
func (p *kafkaProxy) look(frame, body []byte, m kafkawire.Message, what string, key kafkawire.APIKey, version int16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := fmt.Sprintf("%s %v %d", what, key, version)
	if err := m.Decode(body, version); err != nil {
		p.t.Errorf("%s: %v\n% x", name, err, body)
		return
	}
	again, err := m.Append(nil, version)
	if err != nil || !bytes.Equal(again, body) {
		p.t.Errorf("%s: %v\n% x\n% x", name, err, again, body)
	}
	p.total++
	if old := p.frames[name]; old == nil || len(frame) > len(old) && len(frame) <= 1000 || len(old) > 1000 && len(frame) < len(old) {
		p.frames[name] = bytes.Clone(frame)
	}
	switch m := m.(type) {
	case *kafkawire.ProduceRequest:
		for _, topic := range m.TopicData {
			for _, part := range topic.PartitionData {
				batch, err := kafka.SplitProduced(part.Records)
				if err == nil {
					err = batch.CheckProduced()
				}
				if err != nil {
					p.t.Errorf("%s: %v", name, err)
				}
				p.records(name, part.Records)
			}
		}
	case *kafkawire.FetchResponse:
		for _, topic := range m.Responses {
			for _, part := range topic.Partitions {
				p.records(name, part.Records)
			}
		}
	}
}

// records checks record batches: each can be read, and written again.
func (p *kafkaProxy) records(name string, b []byte) {
	for len(b) > 0 {
		entry, rest, err := kafka.Split(b)
		if err != nil || entry == nil {
			p.t.Errorf("%s: %v, %d bytes of an entry", name, err, len(b))
			return
		}
		b = rest
		batch := kafka.Batch(entry)
		if err := batch.Check(); err != nil {
			p.t.Errorf("%s: %v", name, err)
		}
		recs, err := kafka.Open(entry, nil, 1<<20)
		if err != nil {
			p.t.Errorf("%s: %v", name, err)
			return
		}
		var w kafka.BatchWriter
		for r := (kafka.Record{}); recs.Next(&r); {
			w.Add(r.Timestamp, r.Key, r.Value, slices.Collect(r.Headers.All())...)
		}
		if err := recs.Err(); err != nil {
			p.t.Errorf("%s: %v", name, err)
		}
		p.batches++
		if a := batch.Attributes(); a.Compression() != compress.None || a.Control() || a.LogAppendTime() {
			continue
		}
		o := kafka.BatchOptions{BaseOffset: batch.BaseOffset(), Transactional: batch.Attributes().Transactional()}
		if batch.ProducerID() >= 0 {
			o.Producer = &kafka.Producer{ID: batch.ProducerID(), Epoch: batch.ProducerEpoch(), Sequence: batch.BaseSequence()}
		}
		again, err := w.Append(nil, &o)
		if err != nil {
			p.t.Errorf("%s: %v", name, err)
			return
		}
		kafka.Batch(again).SetLeaderEpoch(batch.LeaderEpoch())
		if !bytes.Equal(again, entry) {
			p.t.Errorf("%s\n% x\n% x", name, again, entry)
		}
	}
}

// javaCommand is a program in Java that starts soon and runs for a short time.
func javaCommand(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "java", append([]string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"}, args...)...)
}
