package mqtt_test

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// carry hands over what a machine wants to send to its peer, and tells what else happens. Between real machines there are a
// connection and a decoder.
func carry(name string, now time.Time, from, to *mqtt.Session) {
	for e, ok := from.Next(); ok; e, ok = from.Next() {
		switch e.Kind {
		case mqtt.EventSend:
			b, err := e.AppendTo(nil, from.Version())
			if err != nil {
				fmt.Println(err)
				return
			}
			p, _, err := new(mqtt.Decoder).Decode(b, from.Version())
			if err == nil {
				err = to.Receive(now, e.Stream, p)
			}
			fmt.Println(name, "sends", p, err)
		case mqtt.EventConnect:
			from.Accept(now, &mqtt.Connack{}, new(mqtt.State))
		case mqtt.EventPublish:
			p := e.Packet.(*mqtt.Publish)
			fmt.Printf("%s gets %s\n", name, p.Payload)
			from.Ack(now, e.ID, mqtt.ReasonSuccess, nil) // the message is safe
		case mqtt.EventSettled:
			fmt.Println(name, "is done with", e.Ref)
		}
	}
}

// A client machine and a server machine, and a message at QoS 2.
func ExampleSession() {
	now := time.Now()
	client := mqtt.NewSession(mqtt.Config{Role: mqtt.Client})
	server := mqtt.NewSession(mqtt.Config{Role: mqtt.Server, ReceiveMaximum: 10})

	connect := &mqtt.Connect{Version: mqtt.Version5, ClientID: "sensor-7", CleanStart: true}
	if err := client.Connect(now, connect, new(mqtt.State)); err != nil {
		fmt.Println(err)
		return
	}
	carry("client", now, client, server)
	carry("server", now, server, client)
	carry("client", now, client, server)

	p := &mqtt.Publish{Topic: []byte("room/3"), Payload: []byte("21.5"), QoS: mqtt.QoS2}
	send, err := client.Publish(now, 0, p, "message 1")
	fmt.Println("client publishes", p.ID, send, err)
	server.Receive(now, 0, p) // the caller encodes and sends a PUBLISH itself
	for range 2 {
		carry("server", now, server, client)
		carry("client", now, client, server)
	}

	// Output:
	// client sends CONNECT version=5.0 clean-start keep-alive=0 client-id="sensor-7" <nil>
	// server sends CONNACK reason=0x00 props={receive-maximum=10} <nil>
	// client publishes 1 true <nil>
	// server gets 21.5
	// server sends PUBREC id=1 <nil>
	// client sends PUBREL id=1 <nil>
	// server sends PUBCOMP id=1 <nil>
	// client is done with message 1
}
