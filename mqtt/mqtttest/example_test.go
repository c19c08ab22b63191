package mqtttest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqtttest"
)

// exampleT stands for the *testing.T that an example does not have.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper() {}

func (t *exampleT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *exampleT) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *exampleT) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (t *exampleT) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// A server is played by hand, to see what a client does when its message is not acknowledged but answered with an
// error.
func ExampleNewPeer() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	near, far := memnet.Pipe() // in a test the client under test dials

	client := mqtttest.NewPeer(t, near)
	server := mqtttest.NewPeer(t, far)
	client.Send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "sensor", CleanStart: true})
	fmt.Println(server.Receive(mqtt.TypeConnect))
	server.Send(&mqtt.Connack{})
	client.Expect(&mqtt.Connack{})

	client.Send(&mqtt.Publish{Topic: []byte("a/b"), Payload: []byte("21.5"), QoS: mqtt.QoS1, ID: 1})
	fmt.Println(server.Receive(mqtt.TypePublish))
	server.Send(&mqtt.Puback{ID: 1, Reason: mqtt.ReasonQuotaExceeded})
	fmt.Println(client.Receive(mqtt.TypePuback))
	// Output:
	// CONNECT version=5.0 clean-start keep-alive=0 client-id="sensor"
	// PUBLISH id=1 qos=1 topic="a/b" payload=4:"21.5"
	// PUBACK id=1 reason=0x97
}

// The first acknowledgement is lost.
func ExampleFaults() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	near, far := memnet.Pipe()

	var faults mqtttest.Faults
	lost := faults.Add(mqtttest.Rule{From: mqtt.Server, Type: mqtt.TypePuback, Times: 1, Do: mqtttest.Drop})
	client := mqtttest.NewPeer(t, faults.Wrap(near, mqtt.Client))
	server := mqtttest.NewPeer(t, far)
	server.Send(&mqtt.Puback{ID: 1}, &mqtt.Puback{ID: 2})
	fmt.Println(client.Receive(mqtt.TypePuback), lost())
	// Output: PUBACK id=2 1
}

// The packets of a connection as text, which Compare compares with a golden file.
func ExampleTrace() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	near, far := memnet.Pipe()

	var trace mqtttest.Trace
	client := mqtttest.NewPeer(t, trace.Wrap(near, mqtt.Client))
	server := mqtttest.NewPeer(t, far)
	client.Send(&mqtt.Connect{Version: mqtt.Version311, ClientID: "c", CleanStart: true})
	server.Receive(mqtt.TypeConnect)
	server.Send(&mqtt.Connack{Reason: mqtt.ReasonNotAuthorized})
	client.Receive(mqtt.TypeConnack)
	fmt.Print(&trace)
	// Output:
	// C CONNECT version=3.1.1 clean-start keep-alive=0 client-id="c"
	// S CONNACK reason=0x87
}

// A broker for one test, and a client of it.
func ExampleNewBroker() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	ctx := context.Background()

	b := mqtttest.NewBroker(t, nil)
	sub, err := b.Client(t, nil).Subscribe(ctx, nil, mqtt.Subscription{Filter: "sensors/+/temperature"})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := b.Client(t, nil)
	if err := client.Publish(ctx, &mqttclient.Message{Topic: "sensors/7/temperature", Payload: []byte("21.5")}); err != nil {
		fmt.Println(err)
		return
	}
	for m, err := range sub.Messages(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %s\n", m.Topic, m.Payload)
		break
	}
	// Output: sensors/7/temperature 21.5
}
