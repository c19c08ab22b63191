package mqtttest_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqtttest"
)

func connect(id string) *mqtt.Connect {
	return &mqtt.Connect{Version: mqtt.Version5, ClientID: id, CleanStart: true}
}

// roundTrip lets two peers exchange a message of each QoS through a broker.
func roundTrip(t *testing.T, b *mqtttest.Broker) {
	t.Helper()
	sub, pub := b.Peer(t), b.Peer(t)
	sub.Connect(connect("sub"))
	pub.Connect(connect("pub"))
	sub.Send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "a/#", QoS: mqtt.QoS2}}})
	sub.Expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{mqtt.ReasonGrantedQoS2}})
	for qos := range mqtt.QoS(3) {
		m := hello("hi")
		m.QoS, m.ID = qos, uint16(min(qos, 1))
		pub.Send(m)
		switch qos {
		case mqtt.QoS1:
			pub.Expect(&mqtt.Puback{ID: 1})
		case mqtt.QoS2:
			pub.Expect(&mqtt.Pubrec{ID: 1})
			pub.Send(&mqtt.Pubrel{ID: 1})
			pub.Expect(&mqtt.Pubcomp{ID: 1})
		}
		if got := sub.Receive(mqtt.TypePublish).(*mqtt.Publish); got.QoS != qos || string(got.Payload) != "hi" {
			t.Errorf("got %v", got)
		}
	}
}

func TestBrokerInMemory(t *testing.T) {
	roundTrip(t, mqtttest.NewBroker(t, nil))
}

func TestBrokerInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { roundTrip(t, mqtttest.NewBroker(t, nil)) })
}

func TestBrokerOnLoopback(t *testing.T) {
	b := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Loopback: true, Trace: new(mqtttest.Trace)})
	if !strings.HasPrefix(b.URL(), "mqtt://127.0.0.1:") {
		t.Errorf("URL %s", b.URL())
	}
	roundTrip(t, b)
}

func TestBrokerOptionsCount(t *testing.T) {
	b := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Broker: &mqttbroker.Options{}}) // refuses everybody
	p := b.Peer(t)
	p.Send(connect("c"))
	if got := p.Receive(mqtt.TypeConnack).(*mqtt.Connack); got.Reason != mqtt.ReasonNotAuthorized {
		t.Errorf("got %v", got)
	}
	p.ExpectClose()
}

func TestClientAndBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := mqtttest.NewBroker(t, nil)
		sub, err := b.Client(t, nil).Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "a/+", QoS: mqtt.QoS1})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Client(t, nil).Publish(t.Context(), &mqttclient.Message{Topic: "a/b", Payload: []byte("x"), QoS: mqtt.QoS1}); err != nil {
			t.Fatal(err)
		}
		for m, err := range sub.Messages(t.Context()) {
			if err != nil || m.Topic != "a/b" {
				t.Fatalf("%v, %v", m, err)
			}
			break
		}
	})
}

// TestLostAcknowledgement cuts the connection on the way of a PUBACK: the client connects again and the message arrives
// twice at most, once at least.
func TestLostAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults mqtttest.Faults
		b := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Faults: &faults})
		hits := faults.Add(mqtttest.Rule{From: mqtt.Server, Type: mqtt.TypePuback, Times: 1, Do: mqtttest.CutAfter(1)})
		c := b.Client(t, nil)
		faults.Refuse(1)
		if err := c.Publish(t.Context(), &mqttclient.Message{Topic: "a", QoS: mqtt.QoS1}); err != nil {
			t.Fatal(err)
		}
		if n := hits(); n != 1 {
			t.Errorf("%d acknowledgements cut", n)
		}
	})
}

func TestBrokerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults mqtttest.Faults
		b := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Faults: &faults})
		faults.Refuse(-1)
		if _, err := b.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
		faults.Clear()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		conn, err := b.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
}

func TestBrokerTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace mqtttest.Trace
		b := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Trace: &trace})
		p := b.Peer(t)
		p.Connect(&mqtt.Connect{Version: mqtt.Version311, ClientID: "c", CleanStart: true})
		p.Send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "a", QoS: mqtt.QoS1}}})
		p.Expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{mqtt.ReasonGrantedQoS1}})
		p.Send(&mqtt.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: mqtt.QoS1, ID: 2})
		synctest.Wait()
		p.Send(&mqtt.Disconnect{})
		synctest.Wait()
		trace.Compare(t, "testdata/broker.txt")
	})
}

func BenchmarkNewBroker(b *testing.B) {
	for b.Loop() {
		t := new(exampleT)
		mqtttest.NewBroker(t, nil)
		t.end()
	}
}
