package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

// TestClient runs our client against the brokers of others.
func TestClient(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	for _, b := range []peer.Broker{peer.Mosquitto(), peer.Mochi(), peer.NATS(), peer.HiveMQ(), peer.Moquette(), peer.Quartet()} {
		t.Run(b.Name, func(t *testing.T) {
			var l peer.Listeners
			versions := []mqtt.Version{mqtt.Version31, mqtt.Version311, mqtt.Version5, 0}
			switch b.Name {
			case "nats":
				versions = []mqtt.Version{mqtt.Version311, 0}
			case "moquette":
				versions = []mqtt.Version{mqtt.Version31, mqtt.Version311, 0} // it refuses 5.0 in its own way
			case "mosquitto", "mochi", "quartet":
				l = peer.Listeners{TLS: true, WS: true}
			}
			p := start(t, b, l)
			for _, v := range versions {
				t.Run("TCP/"+v.String(), func(t *testing.T) { checkClient(t, p, "mqtt://"+p.TCP, v) })
				if l.TLS {
					t.Run("TLS/"+v.String(), func(t *testing.T) { checkClient(t, p, "mqtts://"+p.TLS, v) })
				}
				if l.WS {
					t.Run("WS/"+v.String(), func(t *testing.T) { checkClient(t, p, "ws://"+p.WS+"/mqtt", v) })
				}
			}
		})
	}
}

// A tester makes clients of one broker.
type tester struct {
	*testing.T
	broker, server string
	version        mqtt.Version
	tls            *tls.Config
	root           string // of the topics
}

func checkClient(t *testing.T, p *peer.Proc, server string, v mqtt.Version) {
	scheme, _, _ := strings.Cut(server, ":")
	x := &tester{T: t, broker: p.Name, server: server, version: v, root: fmt.Sprintf("ours/%s/%d", scheme, v)}
	if p.CA != "" {
		x.tls = &tls.Config{RootCAs: caPool(t, p.CA)}
	}
	if v == 0 { // the client finds out
		x.run("version", (*tester).findVersion)
		return
	}
	x.run("every QoS", (*tester).everyQoS)
	x.run("large payload", (*tester).largePayload)
	x.run("retained", (*tester).retained)
	x.run("unsubscribe", (*tester).unsubscribe)
	x.run("will", (*tester).will)
	if x.broker != "moquette" { // it may lose a message that comes while it ends the first connection
		x.run("session", (*tester).session)
	}
	if v == mqtt.Version5 {
		x.run("properties", (*tester).properties)
		x.run("request", (*tester).request)
		x.run("shared", (*tester).shared)
	}
}

func (x *tester) run(name string, f func(*tester)) {
	x.T.Run(name, func(t *testing.T) {
		y := *x
		y.T = t
		f(&y)
	})
}

// context returns a context for one test.
func (x *tester) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*waitTime)
	x.Cleanup(cancel)
	return ctx
}

// open connects. It closes the client at the end of the test.
func (x *tester) open(o mqttclient.Options) *mqttclient.Client {
	x.Helper()
	o.Version, o.TLS = x.version, x.tls
	o.Username, o.Password = peer.User, []byte(peer.Password)
	if o.SessionExpiry == 0 {
		o.SessionExpiry = -1
	}
	c, err := mqttclient.Dial(x.context(), x.server, &o)
	if err != nil {
		x.Fatal(err)
	}
	x.Cleanup(func() { c.Close() })
	return c
}

func (x *tester) subscribe(c *mqttclient.Client, s mqtt.Subscription) *mqttclient.Subscription {
	x.Helper()
	sub, err := c.Subscribe(x.context(), nil, s)
	if err != nil {
		x.Fatal(err)
	}
	return sub
}

func (x *tester) publish(c *mqttclient.Client, m *mqttclient.Message) {
	x.Helper()
	if err := c.Publish(x.context(), m); err != nil {
		x.Fatal(err)
	}
}

// take returns the next n messages.
func (x *tester) take(s *mqttclient.Subscription, n int) []*mqttclient.Message {
	x.Helper()
	var got []*mqttclient.Message
	if n == 0 {
		return nil
	}
	for m, err := range s.Messages(x.context()) {
		if err != nil {
			x.Fatalf("%d of %d messages: %v", len(got), n, err)
		}
		if got = append(got, m); len(got) == n {
			break
		}
	}
	return got
}

// findVersion lets the client fall back where the broker does not speak 5.0.
func (x *tester) findVersion() {
	want := mqtt.Version5
	if x.broker == "nats" || x.broker == "moquette" {
		want = mqtt.Version311
	}
	c := x.open(mqttclient.Options{})
	if info, _ := c.Info(); info.Version != want {
		x.Errorf("version %v, want %v", info.Version, want)
	}
	s := x.subscribe(c, mqtt.Subscription{Filter: x.root + "/v", QoS: mqtt.QoS1})
	x.publish(c, &mqttclient.Message{Topic: x.root + "/v", QoS: mqtt.QoS1, Payload: []byte("v")})
	x.take(s, 1)
}

func (x *tester) everyQoS() {
	const n = 200
	sub, pub := x.open(mqttclient.Options{}), x.open(mqttclient.Options{})
	for qos := range mqtt.QoS(3) {
		topic := fmt.Sprintf("%s/q/%d", x.root, qos)
		s := x.subscribe(sub, mqtt.Subscription{Filter: topic, QoS: qos})
		var sent []*mqttclient.Publication
		for i := range n {
			p, err := pub.PublishAsync(x.context(), &mqttclient.Message{Topic: topic, QoS: qos, Payload: fmt.Append(nil, i)})
			if err != nil {
				x.Fatal(err)
			}
			sent = append(sent, p)
		}
		for _, p := range sent {
			if err := p.Wait(x.context()); err != nil {
				x.Fatal(err)
			}
		}
		got := x.take(s, n)
		for i, m := range got {
			if x.broker == "mochi" && qos > 0 {
				continue // it may change the order
			}
			if m.Topic != topic || m.QoS != qos || m.Retain || m.Dup || string(m.Payload) != fmt.Sprint(i) {
				x.Fatalf("message %d is %+v", i, m)
			}
		}
	}
}

func (x *tester) largePayload() {
	c := x.open(mqttclient.Options{})
	s := x.subscribe(c, mqtt.Subscription{Filter: x.root + "/large", QoS: mqtt.QoS1})
	size := 200_000
	if x.broker == "moquette" {
		size = 5_000 // it takes 8 KiB
	}
	payload := bytes.Repeat([]byte("0123456789"), size/10)
	x.publish(c, &mqttclient.Message{Topic: x.root + "/large", QoS: mqtt.QoS1, Payload: payload})
	if m := x.take(s, 1)[0]; !bytes.Equal(m.Payload, payload) {
		x.Errorf("got %d bytes", len(m.Payload))
	}
}

func (x *tester) retained() {
	c := x.open(mqttclient.Options{})
	topic := x.root + "/kept"
	x.publish(c, &mqttclient.Message{Topic: topic, QoS: mqtt.QoS1, Retain: true, Payload: []byte("kept")})
	s := x.subscribe(c, mqtt.Subscription{Filter: topic, QoS: mqtt.QoS1})
	// Moquette acknowledges before it delivers, so the message may come as a live one there.
	if m := x.take(s, 1)[0]; !m.Retain && x.broker != "moquette" || string(m.Payload) != "kept" {
		x.Errorf("got %+v", m)
	}
	x.publish(c, &mqttclient.Message{Topic: topic, QoS: mqtt.QoS1, Retain: true})
	for begin := time.Now(); ; {
		late := x.open(mqttclient.Options{})
		s = x.subscribe(late, mqtt.Subscription{Filter: x.root + "/+", QoS: mqtt.QoS1})
		x.publish(late, &mqttclient.Message{Topic: x.root + "/end", QoS: mqtt.QoS1, Payload: []byte("end")})
		m := x.take(s, 1)[0]
		if string(m.Payload) == "end" {
			break
		}
		// Moquette may have acknowledged the message before it took the retained one away.
		if x.broker != "moquette" || time.Since(begin) > waitTime {
			x.Fatalf("got %+v", m)
		}
	}
}

func (x *tester) unsubscribe() {
	c := x.open(mqttclient.Options{})
	a := x.subscribe(c, mqtt.Subscription{Filter: x.root + "/a", QoS: mqtt.QoS1})
	b := x.subscribe(c, mqtt.Subscription{Filter: x.root + "/b", QoS: mqtt.QoS1})
	if err := a.Unsubscribe(x.context()); err != nil {
		x.Fatal(err)
	}
	x.publish(c, &mqttclient.Message{Topic: x.root + "/a", QoS: mqtt.QoS1})
	x.publish(c, &mqttclient.Message{Topic: x.root + "/b", QoS: mqtt.QoS1})
	x.take(b, 1)
	for m, err := range a.Messages(x.context()) {
		x.Errorf("after Unsubscribe: %+v, %v", m, err)
	}
}

func (x *tester) will() {
	watcher := x.open(mqttclient.Options{})
	s := x.subscribe(watcher, mqtt.Subscription{Filter: x.root + "/will", QoS: mqtt.QoS1})
	var nc net.Conn
	x.open(mqttclient.Options{
		Will: &mqtt.Will{Topic: x.root + "/will", Payload: []byte("gone"), QoS: mqtt.QoS1},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var err error
			nc, err = new(net.Dialer).DialContext(ctx, network, addr)
			return nc, err
		},
		Retry: func(error) bool { return false },
	})
	nc.Close() // without DISCONNECT
	if m := x.take(s, 1)[0]; string(m.Payload) != "gone" {
		x.Errorf("got %+v", m)
	}
}

func (x *tester) session() {
	const n = 20
	topic := x.root + "/s"
	o := mqttclient.Options{ClientID: "stay" + strings.ReplaceAll(x.root, "/", ""), SessionExpiry: waitTime * 6}
	if x.broker == "mochi" {
		o.Limits.TopicAliases = -1 // it repeats messages with the aliases of the last connection
	}
	first := x.open(o)
	x.subscribe(first, mqtt.Subscription{Filter: topic, QoS: mqtt.QoS1})
	if err := first.Disconnect(x.context(), nil); err != nil {
		x.Fatal(err)
	}
	pub := x.open(mqttclient.Options{})
	for i := range n {
		x.publish(pub, &mqttclient.Message{Topic: topic, QoS: mqtt.QoS1, Payload: fmt.Append(nil, i)})
	}
	o.Resume, o.Unrouted = true, new(mqttclient.SubscribeOptions)
	second := x.open(o)
	if info, _ := second.Info(); x.version != mqtt.Version31 && !info.SessionPresent {
		x.Error("the session is gone")
	}
	for i, m := range x.take(second.Unrouted(), n) {
		if string(m.Payload) != fmt.Sprint(i) && x.broker != "mochi" { // it changes the order
			x.Fatalf("queued message %d is %q", i, m.Payload)
		}
	}
}

func (x *tester) properties() {
	c := x.open(mqttclient.Options{})
	topic := x.root + "/p"
	s := x.subscribe(c, mqtt.Subscription{Filter: topic, QoS: mqtt.QoS2})
	x.publish(c, &mqttclient.Message{Topic: topic, QoS: mqtt.QoS2, Payload: []byte("with"), Properties: mqtt.Properties(nil).
		AppendUint32(mqtt.PropMessageExpiryInterval, 60).
		AppendString(mqtt.PropContentType, "text/plain").
		AppendString(mqtt.PropResponseTopic, "answers").
		AppendBytes(mqtt.PropCorrelationData, []byte{1, 2}).
		AppendUser("k", "1").
		AppendUser("k", "2")})
	p := x.take(s, 1)[0].Properties
	if v, _ := p.String(mqtt.PropContentType); v != "text/plain" {
		x.Errorf("content type %q", v)
	}
	if v, _ := p.String(mqtt.PropResponseTopic); v != "answers" {
		x.Errorf("response topic %q", v)
	}
	if v, _ := p.Bytes(mqtt.PropCorrelationData); !bytes.Equal(v, []byte{1, 2}) {
		x.Errorf("correlation data %x", v)
	}
	if v, _ := p.Uint32(mqtt.PropMessageExpiryInterval); v == 0 || v > 60 {
		x.Errorf("message expiry interval %d", v)
	}
	var users []string
	for k, v := range p.UserProperties() {
		users = append(users, k+v)
	}
	if strings.Join(users, " ") != "k1 k2" {
		x.Errorf("user properties %q", users)
	}
}

func (x *tester) request() {
	server, c := x.open(mqttclient.Options{}), x.open(mqttclient.Options{})
	s := x.subscribe(server, mqtt.Subscription{Filter: x.root + "/service", QoS: mqtt.QoS1})
	done := make(chan error, 1)
	ctx := x.context()
	go func() {
		done <- func() error {
			for m, err := range s.Messages(ctx) {
				if err != nil {
					return err
				}
				to, _ := m.Properties.String(mqtt.PropResponseTopic)
				data, _ := m.Properties.Bytes(mqtt.PropCorrelationData)
				return server.Publish(ctx, &mqttclient.Message{
					Topic:      to,
					QoS:        mqtt.QoS1,
					Payload:    append([]byte("answer to "), m.Payload...),
					Properties: mqtt.Properties(nil).AppendBytes(mqtt.PropCorrelationData, data),
				})
			}
			return errors.New("no message")
		}()
	}()
	m, err := c.Request(ctx, &mqttclient.Message{Topic: x.root + "/service", QoS: mqtt.QoS1, Payload: []byte("question")})
	if err := errors.Join(err, <-done); err != nil {
		x.Fatal(err)
	}
	if string(m.Payload) != "answer to question" {
		x.Errorf("got %q", m.Payload)
	}
}

func (x *tester) shared() {
	const n = 20
	pub := x.open(mqttclient.Options{})
	got := make(chan *mqttclient.Message, n)
	for range 2 {
		s := x.subscribe(x.open(mqttclient.Options{}), mqtt.Subscription{Filter: "$share/g/" + x.root + "/shared", QoS: mqtt.QoS1})
		ctx := x.context()
		go func() {
			for m, err := range s.Messages(ctx) {
				if err != nil {
					return
				}
				got <- m
			}
		}()
	}
	for i := range n {
		x.publish(pub, &mqttclient.Message{Topic: x.root + "/shared", QoS: mqtt.QoS1, Payload: fmt.Append(nil, i)})
	}
	seen := make(map[string]bool)
	for _, m := range take(x.T, got, n) {
		seen[string(m.Payload)] = true
	}
	if len(seen) != n {
		x.Errorf("%d of %d different messages", len(seen), n)
	}
}
