package mqtttest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/mqtt/mqtttest"
)

// perTopic are options of a client with a stream for each topic.
var perTopic = &mqttclient.Options{ClientID: "c", Streams: &mqttclient.Streams{}, KeepAlive: -1}

func publish(t *testing.T, c *mqttclient.Client, topic string, qos mqtt.QoS) (took time.Duration) {
	t.Helper()
	start := time.Now()
	if err := c.Publish(t.Context(), &mqttclient.Message{Topic: topic, QoS: qos}); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// TestBrokerStreams: a broker in memory takes data streams and datagrams, and a trace shows on which they came.
func TestBrokerStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace mqtttest.Trace
		b := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Trace: &trace, Listener: &mqttserver.ListenerOptions{Datagrams: true}})
		c := b.Client(t, &mqttclient.Options{
			ClientID: "c", Streams: &mqttclient.Streams{Keep: true, Datagrams: true}, KeepAlive: -1,
		})
		o := &mqttclient.SubscribeOptions{Stream: true}
		s, err := c.Subscribe(t.Context(), o, mqtt.Subscription{Filter: "#", QoS: 1})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, c, "a", 1)
		publish(t, c, "b", 0)
		for range 2 {
			for _, err := range s.Messages(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		synctest.Wait()
		text := trace.String()
		for _, want := range []string{"C CONNECT", "S CONNACK", "C[4] SUBSCRIBE", "S[4] SUBACK", "C[8] PUBLISH", "S[8] PUBACK",
			"S[4] PUBLISH", "C[4] PUBACK", "C[D] PUBLISH", "S[D] PUBLISH"} {
			if !strings.Contains("\n"+text, "\n"+want) {
				t.Errorf("no line %s", want)
			}
		}
		if t.Failed() {
			t.Log(text)
		}
	})
}

// TestFaultOnStream: a rule hits the stream that it names, others go on.
func TestFaultOnStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults mqtttest.Faults
		b := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Faults: &faults})
		c := b.Client(t, perTopic)
		publish(t, c, "a", 1) // has stream 4
		publish(t, c, "b", 1) // has stream 8

		hits := faults.Add(mqtttest.Rule{Type: mqtt.TypePublish, Stream: 4, Times: 1, Do: mqtttest.Delay(3 * time.Second)})
		slow := make(chan time.Duration)
		go func() { slow <- publish(t, c, "a", 1) }()
		synctest.Wait()
		if d := publish(t, c, "b", 1); d != 0 {
			t.Errorf("another stream took %v", d)
		}
		if d := <-slow; d != 3*time.Second || hits() != 1 {
			t.Errorf("the delayed one took %v, %d hits", d, hits())
		}

		faults.Clear()
		hits = faults.Add(mqtttest.Rule{Stream: mqtttest.ControlStream, Do: mqtttest.Drop})
		publish(t, c, "a", 1)
		if hits() != 0 {
			t.Error("a rule of stream 0 hit another one")
		}
		faults.Clear()
		hits = faults.Add(mqtttest.Rule{Stream: mqtttest.DataStreams, From: mqtt.Client, Times: 1, Do: mqtttest.CutAfter(3)})
		publish(t, c, "b", 1) // again on another stream
		if s := c.Stats(); hits() != 1 || s.StreamsLost != 1 || s.Connects != 1 || s.StreamsOpened != 3 {
			t.Errorf("%d hits, %+v", hits(), s)
		}
	})
}

func TestFaultOnDatagrams(t *testing.T) {
	for _, near := range []mqtt.Role{mqtt.Client, mqtt.Server} {
		synctest.Test(t, func(t *testing.T) {
			c, s := memnet.Pipe()
			var faults mqtttest.Faults
			if near == mqtt.Client {
				c = faults.Wrap(c, near)
			} else {
				s = faults.Wrap(s, near)
			}
			client, server := mqtttest.NewPeer(t, c), mqtttest.NewPeer(t, s)
			faults.Add(mqtttest.Rule{Stream: mqtttest.Datagrams, From: mqtt.Client, Times: 1, Do: mqtttest.Drop})
			faults.Add(mqtttest.Rule{Stream: mqtttest.Datagrams, From: mqtt.Client, Times: 1, Do: mqtttest.Delay(time.Second)})
			start := time.Now()
			for _, text := range []string{"lost", "late"} {
				client.SendDatagram(hello(text))
			}
			client.Send(hello("stream"))
			server.Expect(hello("stream"))
			if m := server.ReceiveDatagram(); string(m.Payload) != "late" || time.Since(start) != time.Second {
				t.Errorf("%v after %v", m, time.Since(start))
			}
			server.SendDatagram(hello("back"))
			if m := client.ReceiveDatagram(); string(m.Payload) != "back" {
				t.Errorf("%v", m)
			}
			faults.Add(mqtttest.Rule{Stream: mqtttest.Datagrams, Do: func(b []byte) mqtttest.Result { return mqtttest.Result{Data: b, Cut: true} }})
			client.SendDatagram(hello("last"))
			if near == mqtt.Server {
				server.ReceiveDatagram()
			}
			if near == mqtt.Client {
				server.ExpectClose()
			} else {
				client.ExpectClose()
			}
		})
	}
}

func TestPeerStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := memnet.Pipe()
		client, server := mqtttest.NewPeer(t, c), mqtttest.NewPeer(t, s)
		client.Send(&mqtt.Connect{Version: mqtt.Version311, ClientID: "c", CleanStart: true})
		server.Receive(mqtt.TypeConnect)
		data := client.OpenStream()
		data.Send(hello("data"))
		far := server.AcceptStream()
		far.Expect(hello("data"))
		if data.Stream() != 4 || far.Stream() != 4 || client.Stream() != 0 {
			t.Errorf("streams %d, %d and %d", data.Stream(), far.Stream(), client.Stream())
		}
		far.Send(&mqtt.Puback{ID: 1, Reason: mqtt.ReasonSuccess})
		data.Expect(&mqtt.Puback{ID: 1})
		client.Send(hello("control"))
		server.Expect(hello("control"))
		far.Close()
		data.ExpectClose()
		server.ExpectSilence(time.Second)
		if got := failure(t, func(tb testing.TB) { mqtttest.NewPeer(tb, c).AcceptStream() }); !strings.Contains(got, "no stream") {
			t.Errorf("failure %q", got)
		}
		if got := failure(t, func(tb testing.TB) { mqtttest.NewPeer(tb, data.Conn()).OpenStream() }); !strings.Contains(got, "no streams") {
			t.Errorf("failure %q", got)
		}
		server.SendDatagram(&mqtt.Pingresp{})
		if got := failure(t, func(tb testing.TB) { mqtttest.NewPeer(tb, c).ReceiveDatagram() }); !strings.Contains(got, "no PUBLISH") {
			t.Errorf("failure %q", got)
		}
	})
}

// A broker in memory has streams, as over QUIC. Here the messages of one stream are slow, and those of another are not.
func ExampleRule_stream() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	ctx := context.Background()

	var faults mqtttest.Faults
	b := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Faults: &faults})
	c := b.Client(t, &mqttclient.Options{Streams: &mqttclient.Streams{}})
	publish := func(topic string) *mqttclient.Publication {
		p, err := c.PublishAsync(ctx, &mqttclient.Message{Topic: topic, QoS: mqtt.QoS1})
		if err != nil {
			panic(err)
		}
		return p
	}
	if err := publish("firmware").Wait(ctx); err != nil { // opens the first data stream, number 4
		panic(err)
	}
	faults.Add(mqtttest.Rule{Stream: 4, Do: mqtttest.Delay(time.Hour)})
	slow, quick := publish("firmware"), publish("alarm")
	fmt.Println(quick.Wait(ctx), "quick")
	select {
	case <-slow.Done():
	default:
		fmt.Println("slow is under way")
	}
	// Output:
	// <nil> quick
	// slow is under way
}
