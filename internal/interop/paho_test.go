package interop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// waitTime bounds the wait for one thing in the tests with Go clients. A busy machine may need a while.
const waitTime = time.Minute

// take returns the next n values of ch.
func take[T any](t *testing.T, ch <-chan T, n int) []T {
	t.Helper()
	timeout := time.After(waitTime)
	var got []T
	for len(got) < n {
		select {
		case v := <-ch:
			got = append(got, v)
		case <-timeout:
			t.Fatalf("%d of %d after %v", len(got), n, waitTime)
		}
	}
	return got
}

// caPool returns the certificates of a file.
func caPool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in " + file)
	}
	return pool
}

// transports returns the URLs of a broker with the names of the subtests.
func transports(p *peer.Proc) map[string]string {
	return map[string]string{"TCP": "mqtt://" + p.TCP, "TLS": "ssl://" + p.TLS, "WS": "ws://" + p.WS + "/mqtt"}
}

func TestPahoMQTTGolang(t *testing.T) {
	p := startOurs(t, peer.Listeners{TLS: true, WS: true})
	for _, version := range []uint{3, 4} {
		for name, url := range transports(p) {
			t.Run(fmt.Sprint(name, "/", version), func(t *testing.T) { checkPaho3(t, url, caPool(t, p.CA), version) })
		}
	}
}

// token waits for a token of paho.mqtt.golang.
func token(t *testing.T, k paho3.Token) {
	t.Helper()
	if !k.WaitTimeout(waitTime) || k.Error() != nil {
		t.Fatalf("no answer, or an error: %v", k.Error())
	}
}

func checkPaho3(t *testing.T, url string, roots *x509.CertPool, version uint) {
	messages := make(chan paho3.Message, 1000)
	options := func(id string) *paho3.ClientOptions {
		return paho3.NewClientOptions().AddBroker(url).SetClientID(id).SetProtocolVersion(version).
			SetUsername(peer.User).SetPassword(peer.Password).SetAutoReconnect(false).
			SetConnectTimeout(waitTime).SetPingTimeout(waitTime).
			SetTLSConfig(&tls.Config{RootCAs: roots}).
			SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { messages <- m })
	}
	id := fmt.Sprintf("paho3-%d-%s", version, url[:3])
	open := func(o *paho3.ClientOptions) paho3.Client {
		t.Helper()
		c := paho3.NewClient(o)
		token(t, c.Connect())
		return c
	}
	sub, pub := open(options(id+"-sub")), open(options(id+"-pub"))
	for qos := range byte(3) {
		topic := fmt.Sprintf("%s/q/%d", id, qos)
		token(t, sub.Subscribe(topic, qos, nil))
		for i := range 100 {
			token(t, pub.Publish(topic, qos, false, fmt.Sprint(i)))
		}
		for i, m := range take(t, messages, 100) {
			if m.Topic() != topic || m.Qos() != qos || m.Retained() || m.Duplicate() || string(m.Payload()) != fmt.Sprint(i) {
				t.Fatalf("message %d is %s with QoS %d: %q", i, m.Topic(), m.Qos(), m.Payload())
			}
		}
	}

	token(t, pub.Publish(id+"/kept", 1, true, "kept"))
	token(t, sub.Subscribe(id+"/+", 1, nil))
	if m := take(t, messages, 1)[0]; !m.Retained() || string(m.Payload()) != "kept" {
		t.Errorf("retained message: %v, %q", m.Retained(), m.Payload())
	}
	token(t, pub.Publish(id+"/kept", 1, true, ""))
	take(t, messages, 1)
	token(t, sub.Unsubscribe(id+"/+"))

	// A session that outlives its connection.
	stay := options(id + "-stay").SetCleanSession(false)
	first := open(stay)
	token(t, first.Subscribe(id+"/s", 1, nil))
	first.Disconnect(250)
	for i := range 20 {
		token(t, pub.Publish(id+"/s", 1, false, fmt.Sprint(i)))
	}
	second := open(stay)
	for i := 0; i < 20; {
		switch m := take(t, messages, 1)[0]; {
		case string(m.Payload()) == fmt.Sprint(i):
			i++
		case !m.Duplicate(): // the broker may have sent the first ones before it saw the end of the connection
			t.Fatalf("queued message %d is %q", i, m.Payload())
		}
	}
	second.Disconnect(250)
	open(options(id + "-stay")).Disconnect(250)
	sub.Disconnect(250)
	pub.Disconnect(250)
}

func TestPahoGolang(t *testing.T) {
	p := startOurs(t, peer.Listeners{TLS: true, WS: true})
	for name, url := range transports(p) {
		t.Run(name, func(t *testing.T) { checkPaho5(t, url, caPool(t, p.CA)) })
	}
}

// openPaho5 connects with autopaho. Messages go to the channel.
func openPaho5(t *testing.T, server, id string, roots *x509.CertPool, expiry uint32, messages chan<- *paho.Publish) *autopaho.ConnectionManager {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	c, err := autopaho.NewConnection(t.Context(), autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{u},
		TlsCfg:                        &tls.Config{RootCAs: roots},
		KeepAlive:                     30,
		ConnectTimeout:                waitTime,
		CleanStartOnInitialConnection: expiry == 0,
		SessionExpiryInterval:         expiry,
		ConnectUsername:               peer.User,
		ConnectPassword:               []byte(peer.Password),
		ClientConfig: paho.ClientConfig{
			ClientID:      id,
			PacketTimeout: waitTime,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				messages <- r.Packet
				return true, nil
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	if err := c.AwaitConnection(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

func checkPaho5(t *testing.T, server string, roots *x509.CertPool) {
	messages := make(chan *paho.Publish, 1000)
	id := "paho5-" + server[:3]
	sub := openPaho5(t, server, id+"-sub", roots, 0, messages)
	pub := openPaho5(t, server, id+"-pub", roots, 0, messages)
	publish := func(p *paho.Publish) {
		t.Helper()
		if _, err := pub.Publish(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	subscribe := func(c *autopaho.ConnectionManager, o paho.SubscribeOptions, p *paho.SubscribeProperties) {
		t.Helper()
		if _, err := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{o}, Properties: p}); err != nil {
			t.Fatal(err)
		}
	}
	number := 9
	for qos := range byte(3) {
		topic := fmt.Sprintf("%s/q/%d", id, qos)
		subscribe(sub, paho.SubscribeOptions{Topic: topic, QoS: qos}, &paho.SubscribeProperties{SubscriptionIdentifier: &number})
		for i := range 100 {
			publish(&paho.Publish{Topic: topic, QoS: qos, Payload: []byte(fmt.Sprint(i)), Properties: &paho.PublishProperties{
				ContentType:     "text/plain",
				CorrelationData: []byte{1, 2},
				ResponseTopic:   "answers",
				User:            paho.UserProperties{{Key: "i", Value: fmt.Sprint(i)}},
			}})
		}
		for i, m := range take(t, messages, 100) {
			p := m.Properties
			if m.Topic != topic || m.QoS != qos || string(m.Payload) != fmt.Sprint(i) || p.ContentType != "text/plain" ||
				string(p.CorrelationData) != "\x01\x02" || p.ResponseTopic != "answers" || p.User.Get("i") != fmt.Sprint(i) ||
				p.SubscriptionIdentifier == nil || *p.SubscriptionIdentifier != number {
				t.Fatalf("message %d is %v", i, m)
			}
		}
	}

	// Retained as published and retain handling.
	publish(&paho.Publish{Topic: id + "/kept", QoS: 1, Retain: true, Payload: []byte("kept")})
	subscribe(sub, paho.SubscribeOptions{Topic: id + "/kept", QoS: 1, RetainHandling: 2, RetainAsPublished: true}, nil)
	publish(&paho.Publish{Topic: id + "/kept", QoS: 1, Retain: true})
	if m := take(t, messages, 1)[0]; !m.Retain || len(m.Payload) != 0 {
		t.Errorf("got %v, not the message that clears the retained one", m)
	}

	// A session that outlives its connection.
	first := openPaho5(t, server, id+"-stay", roots, 60, messages)
	subscribe(first, paho.SubscribeOptions{Topic: id + "/s", QoS: 1}, nil)
	if err := first.Disconnect(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		publish(&paho.Publish{Topic: id + "/s", QoS: 1, Payload: []byte(fmt.Sprint(i))})
	}
	second := openPaho5(t, server, id+"-stay", roots, 60, messages)
	for i, m := range take(t, messages, 20) {
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("queued message %d is %v", i, m)
		}
	}
	for _, c := range []*autopaho.ConnectionManager{second, sub, pub} {
		if err := c.Disconnect(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
