package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
)

// kafkaClient returns a client of a gateway, which is closed at the end of the test.
func kafkaClient(t *testing.T, url string, o *kafkaclient.Options) *kafkaclient.Client {
	t.Helper()
	o.Addrs, o.APITimeout, o.AutoCreateTopics = []string{url}, time.Minute, true
	c, err := kafkaclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// produce writes a record.
func produce(t *testing.T, c *kafkaclient.Client, topic, value string) error {
	t.Helper()
	p, err := c.NewProducer(&kafkaclient.ProducerOptions{DeliveryTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return p.Produce(ctx, &kafkaclient.Record{Topic: topic, Value: []byte(value)})
}

// consume reads the records of a topic from its beginning, until there are as many as wanted.
func consume(t *testing.T, c *kafkaclient.Client, topic string, want ...string) {
	t.Helper()
	r, err := c.NewConsumer(&kafkaclient.ConsumerOptions{Group: "g-" + topic, Topics: []string{topic}, Reset: kafkaclient.ResetEarliest})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for m, err := range r.All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Value) != want[0] {
			t.Fatalf("got %q, want %q", m.Value, want[0])
		}
		if want = want[1:]; len(want) == 0 {
			return
		}
	}
}

// TestGatewayKafka keeps records through SIGKILL, tells clients what to connect to, and counts.
func TestGatewayKafka(t *testing.T) {
	args := []string{"-mqtt=", "-ws=", "-amqp=", "-kafka=127.0.0.1:0", "-http=127.0.0.1:0", "-data=" + t.TempDir()}
	p := start(t, 2, args...)
	c := kafkaClient(t, p.urls[0], new(kafkaclient.Options))
	if err := produce(t, c, "orders", "one"); err != nil {
		t.Fatal(err)
	}
	m, err := c.Request(t.Context(), &kafkawire.MetadataRequest{AllowAutoTopicCreation: true})
	if err != nil {
		t.Fatal(err)
	}
	b := m.(*kafkawire.MetadataResponse).Brokers
	if len(b) != 1 || "kafka://"+net.JoinHostPort(b[0].Host, strconv.Itoa(int(b[0].Port))) != p.urls[0] {
		t.Errorf("brokers %+v at %s", b, p.urls[0])
	}
	text := get(t, p.urls[1])
	for _, line := range []string{
		"# TYPE kafka_server_brokertopicmetrics_messagesin_total counter",
		"kafka_server_brokertopicmetrics_messagesin_total 1",
		`kafka_server_brokertopicmetrics_messagesin_total{topic="orders"} 1`,
		`kafka_network_requestmetrics_requests_total{request="Produce"} 1`,
		"quartet_kafka_inflight_requests 0",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in the metrics:\n%s", line, text)
		}
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Wait()
	p = start(t, 2, args...)
	c = kafkaClient(t, p.urls[0], new(kafkaclient.Options))
	if err := produce(t, c, "orders", "two"); err != nil {
		t.Fatal(err)
	}
	consume(t, c, "orders", "one", "two")
	p.stop()
}

// TestGatewayKafkaUsers has users of a file, of certificates and of the broker, and access control lists.
func TestGatewayKafkaUsers(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string { return writeFile(t, filepath.Join(dir, name), text) }
	ca := newAuthority(t)
	cert, key := ca.issue(t, "localhost")
	userCert, userKey := ca.issue(t, "cora")
	p := start(t, 2, "-mqtt=", "-ws=", "-amqp=", "-http=", "-kafka=127.0.0.1:0", "-kafkas=127.0.0.1:0", "-kafka-advertise=localhost",
		"-users="+write("users", "ann:"+mqttbroker.HashPassword("secret")+"\nbert:"+mqttbroker.HashPassword("secret")+"\n"), "-kafka-super-users=ann",
		"-tls-cert="+write("cert", cert), "-tls-key="+write("key", key), "-tls-client-ca="+write("ca", ca.pem))
	plain, secure := p.urls[0], p.urls[1]

	as := func(m kafkaclient.Mechanism) *kafkaclient.Client {
		return kafkaClient(t, plain, &kafkaclient.Options{SASL: m})
	}
	ann := as(kafkaclient.Plain("ann", "secret"))
	if err := produce(t, ann, "t", "ann's"); err != nil {
		t.Error("ann:", err)
	}
	for who, m := range map[string]kafkaclient.Mechanism{
		"nobody": nil, "ann with a wrong password": kafkaclient.Plain("ann", "guess"), "a stranger": kafkaclient.SCRAM(kafkaclient.SHA256, "zoe", "secret"),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := as(m).Request(ctx, &kafkawire.MetadataRequest{AllowAutoTopicCreation: true})
		cancel()
		if err == nil {
			t.Errorf("%s got in", who)
		}
	}
	bert := as(kafkaclient.Plain("bert", "secret"))
	if err := produce(t, bert, "t", "bert's"); !errors.Is(err, kafkawire.ErrTopicAuthorizationFailed) {
		t.Errorf("bert without an ACL: %v", err)
	}
	acl := kafkawire.CreateACLsRequestCreation{ResourceType: int8(kafka.ResourceTopic), ResourceName: "t", ResourcePatternType: int8(kafka.PatternLiteral),
		Principal: "User:bert", Host: "*", Operation: int8(kafka.OperationWrite), PermissionType: int8(kafka.PermissionAllow)}
	all := acl
	all.Principal, all.Operation = "User:cora", int8(kafka.OperationAll)
	group := all
	group.ResourceType, group.ResourceName = int8(kafka.ResourceGroup), "*"
	r, err := ann.Request(t.Context(), &kafkawire.CreateACLsRequest{Creations: []kafkawire.CreateACLsRequestCreation{acl, all, group}})
	if err != nil || r.(*kafkawire.CreateACLsResponse).Results[0].ErrorCode != 0 {
		t.Fatal(r, err)
	}
	if err := produce(t, bert, "t", "bert's"); err != nil {
		t.Error("bert with an ACL:", err)
	}

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca.pem))
	pair, err := tls.X509KeyPair([]byte(userCert), []byte(userKey))
	if err != nil {
		t.Fatal(err)
	}
	cora := kafkaClient(t, secure, &kafkaclient.Options{TLS: &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{pair}}})
	consume(t, cora, "t", "ann's", "bert's")
	p.stop()
}
