package clientbench

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/quartet-mq/quartet/internal/interop/peer"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

// quartetClient is ours.
type quartetClient struct {
	c *mqttclient.Client
	m mqttclient.Message
}

func openQuartet5(tb testing.TB, addr, id string) client {
	return openQuartet(tb, addr, id, mqtt.Version5)
}
func openQuartet3(tb testing.TB, addr, id string) client {
	return openQuartet(tb, addr, id, mqtt.Version311)
}

func openQuartet(tb testing.TB, addr, id string, v mqtt.Version) client {
	tb.Helper()
	c, err := mqttclient.Dial(context.Background(), "mqtt://"+addr, &mqttclient.Options{
		ClientID: id,
		Version:  v,
		Username: peer.User,
		Password: []byte(peer.Password),
		Limits:   mqttclient.Limits{MaxInflight: window},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return &quartetClient{c: c, m: mqttclient.Message{Payload: payload}}
}

func (c *quartetClient) subscribe(tb testing.TB, filter string, qos byte, got func()) {
	tb.Helper()
	s, err := c.c.Subscribe(context.Background(), nil, mqtt.Subscription{Filter: filter, QoS: mqtt.QoS(qos)})
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		for _, err := range s.Messages(context.Background()) {
			if err != nil {
				return // closed at the end of the benchmark
			}
			got()
		}
	}()
}

func (c *quartetClient) publish(tb testing.TB, topic string) {
	c.m.Topic, c.m.QoS = topic, mqtt.QoS0
	if err := c.c.Publish(context.Background(), &c.m); err != nil {
		tb.Fatal(err)
	}
}

func (c *quartetClient) publishMany(tb testing.TB, topic string, n int) {
	c.m.Topic, c.m.QoS = topic, mqtt.QoS1
	var ring [window]*mqttclient.Publication
	for i := range n + window {
		p := &ring[i%window]
		if *p != nil {
			if err := (*p).Wait(context.Background()); err != nil {
				tb.Fatal(err)
			}
			*p = nil
		}
		if i >= n {
			continue
		}
		var err error
		if *p, err = c.c.PublishAsync(context.Background(), &c.m); err != nil {
			tb.Fatal(err)
		}
	}
}

func (c *quartetClient) close() { c.c.Close() }

// paho3Client is paho.mqtt.golang.
type paho3Client struct{ c paho3.Client }

func openPaho3(tb testing.TB, addr, id string) client {
	tb.Helper()
	c := paho3.NewClient(paho3.NewClientOptions().
		AddBroker("tcp://" + addr).
		SetClientID(id).
		SetProtocolVersion(4).
		SetUsername(peer.User).
		SetPassword(peer.Password).
		SetAutoReconnect(false))
	check3(tb, c.Connect())
	return &paho3Client{c}
}

func check3(tb testing.TB, t paho3.Token) {
	if t.Wait(); t.Error() != nil {
		tb.Fatal(t.Error())
	}
}

func (c *paho3Client) subscribe(tb testing.TB, filter string, qos byte, got func()) {
	tb.Helper()
	check3(tb, c.c.Subscribe(filter, qos, func(paho3.Client, paho3.Message) { got() }))
}

func (c *paho3Client) publish(tb testing.TB, topic string) {
	check3(tb, c.c.Publish(topic, 0, false, payload))
}

func (c *paho3Client) publishMany(tb testing.TB, topic string, n int) {
	var ring [window]paho3.Token
	for i := range n + window {
		t := &ring[i%window]
		if *t != nil {
			check3(tb, *t)
			*t = nil
		}
		if i < n {
			*t = c.c.Publish(topic, 1, false, payload)
		}
	}
}

func (c *paho3Client) close() { c.c.Disconnect(100) }

// paho5Client is paho.golang. Its Publish waits for the acknowledgement, so a window takes as many goroutines.
type paho5Client struct {
	c   *paho.Client
	got func()
}

func openPaho5(tb testing.TB, addr, id string) client {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	c := new(paho5Client)
	c.c = paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(paho.PublishReceived) (bool, error) {
			c.got()
			return true, nil
		}},
	})
	_, err = c.c.Connect(context.Background(), &paho.Connect{
		ClientID:     id,
		KeepAlive:    30,
		CleanStart:   true,
		UsernameFlag: true,
		Username:     peer.User,
		PasswordFlag: true,
		Password:     []byte(peer.Password),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func (c *paho5Client) subscribe(tb testing.TB, filter string, qos byte, got func()) {
	tb.Helper()
	c.got = got
	_, err := c.c.Subscribe(context.Background(), &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}},
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func (c *paho5Client) publish(tb testing.TB, topic string) {
	if _, err := c.c.Publish(context.Background(), &paho.Publish{Topic: topic, Payload: payload}); err != nil {
		tb.Fatal(err)
	}
}

func (c *paho5Client) publishMany(tb testing.TB, topic string, n int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(window, n) {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if _, err := c.c.Publish(context.Background(), &paho.Publish{Topic: topic, QoS: 1, Payload: payload}); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (c *paho5Client) close() { c.c.Disconnect(&paho.Disconnect{}) }
