package thermostat

import (
	"context"
	"flag"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqtttest"
)

var _ = flag.Bool("update", false, "rewrite golden files")

// run runs the thermostat in the background until the end of the test. It fails the test when Run fails.
func run(t *testing.T, c *mqttclient.Client, below float64) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c, below) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
}

// A real broker in memory. The messages of the test go straight into it, and what the program says is retained in it.
func TestHeating(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := mqtttest.NewBroker(t, nil)
		run(t, b.Client(t, nil), 20)
		synctest.Wait() // until it has subscribed
		for _, tt := range []struct{ temp, heating string }{{"18", "on"}, {"21.5", "off"}, {"?", "off"}, {"-3", "on"}} {
			p := &mqtt.Publish{Topic: []byte("room/temp"), Payload: []byte(tt.temp), QoS: mqtt.QoS1}
			if err := b.Broker.Publish(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // until it has thought about it
			if got := heating(b); got != tt.heating {
				t.Errorf("at %s degrees the heating is %q, want %q", tt.temp, got, tt.heating)
			}
		}
	})
}

// heating returns what the program said last.
func heating(b *mqtttest.Broker) string {
	for m := range b.Broker.Retained("room/heating") {
		return string(m.Payload())
	}
	return ""
}

// The network breaks in the middle of the program's message. The client comes back after a while, which takes no time
// here, and sends it again.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(mqtttest.Faults)
		cuts := faults.Add(mqtttest.Rule{From: mqtt.Client, Type: mqtt.TypePublish, Times: 1, Do: mqtttest.CutAfter(7)})
		b := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Faults: faults})
		run(t, b.Client(t, nil), 20)
		synctest.Wait()
		p := &mqtt.Publish{Topic: []byte("room/temp"), Payload: []byte("18"), QoS: mqtt.QoS1}
		if err := b.Broker.Publish(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := heating(b); got != "on" || cuts() != 1 {
			t.Errorf("after %d cuts the heating is %q, want it on after one", cuts(), got)
		}
	})
}

// A server that is played by hand, packet by packet, to see what the program does when its subscription is refused.
func TestRefused(t *testing.T) {
	near, far := net.Pipe()
	c, err := mqttclient.New(&mqttclient.Options{
		Servers:  []string{"test://server"},
		ClientID: "thermostat",
		Dialers: map[string]mqttclient.DialFunc{
			"test": func(context.Context, *url.URL) (net.Conn, error) { return near, nil },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan error, 1)
	go func() { done <- Run(context.Background(), c, 20) }()

	server := mqtttest.NewPeer(t, far)
	server.Receive(mqtt.TypeConnect)
	server.Send(&mqtt.Connack{})
	s := server.Receive(mqtt.TypeSubscribe).(*mqtt.Subscribe)
	server.Send(&mqtt.Suback{ID: s.ID, Reasons: []mqtt.ReasonCode{mqtt.ReasonNotAuthorized}})
	if err := <-done; err == nil {
		t.Error("Run goes on without its subscription")
	}
}

// The packets of a whole session, compared with testdata/session.txt. Run the test with -update to write it anew.
func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := new(mqtttest.Trace)
		b := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Trace: trace})
		c := b.Client(t, &mqttclient.Options{ClientID: "thermostat"})
		run(t, c, 20)
		synctest.Wait()
		p := &mqtt.Publish{Topic: []byte("room/temp"), Payload: []byte("18"), QoS: mqtt.QoS1}
		if err := b.Broker.Publish(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		trace.Compare(t, "testdata/session.txt")
	})
}
