package mqtt_test

import (
	"errors"
	"fmt"

	"github.com/quartet-mq/quartet/mqtt"
)

func ExampleAppend() {
	p := &mqtt.Publish{Topic: []byte("site/1/temperature"), Payload: []byte("21.5"), QoS: mqtt.QoS1, ID: 7}
	b, err := mqtt.Append(nil, p, mqtt.Version311)
	fmt.Printf("%x %v\n", b, err)

	// What a strict receiver would refuse is not sent.
	p.Topic = []byte("site/+/temperature")
	_, err = mqtt.Append(b[:0], p, mqtt.Version311)
	fmt.Println(err)
	// Output:
	// 321a0012736974652f312f74656d7065726174757265000732312e35 <nil>
	// mqtt: Topic Name invalid: topic name has a wildcard
}

func ExampleAppendIllegal() {
	// A test of a server builds what no proper client sends.
	p := &mqtt.Subscribe{ID: 0, Filters: []mqtt.Subscription{{Filter: "a/#/b", QoS: 3}}}
	_, err := mqtt.Append(nil, p, mqtt.Version5)
	fmt.Println(err)
	b, err := mqtt.AppendIllegal(nil, p, mqtt.Version5)
	fmt.Printf("%x %v\n", b, err)
	// Output:
	// mqtt: Topic Filter invalid: invalid topic filter: '#' is not the last level
	// 820b0000000005612f232f6203 <nil>
}

func ExampleDecoder() {
	// Three packets arrive in two pieces.
	pieces := []string{"\xc0\x00\x30\x08\x00\x03a", "/bhey\x82\x07\x00\x01\x00\x03a/b"}
	d := mqtt.Decoder{From: mqtt.Client, MaxSize: 1 << 20}
	var held []byte
	for _, piece := range pieces {
		held = append(held, piece...)
		for {
			p, n, err := d.Decode(held, mqtt.Version311)
			if err != nil {
				var e *mqtt.Error
				errors.As(err, &e)
				fmt.Printf("close with 0x%02X: %v\n", uint8(e.Code), err)
				return
			}
			if p == nil {
				break // more input is needed
			}
			fmt.Println(p)
			held = held[n:]
		}
	}
	// Output:
	// PINGREQ
	// PUBLISH qos=0 topic="a/b" payload=3:"hey"
	// close with 0x81: mqtt: Malformed Packet: packet is cut or not well formed: input is too short at offset 7
}

func ExampleProperties() {
	props := mqtt.Properties(nil).
		AppendUint32(mqtt.PropMessageExpiryInterval, 60).
		AppendString(mqtt.PropContentType, "text/plain").
		AppendUser("trace", "7f")

	if seconds, ok := props.Uint32(mqtt.PropMessageExpiryInterval); ok {
		fmt.Println("expires after", seconds, "seconds")
	}
	for p := range props.All() {
		fmt.Println(p)
	}
	// Output:
	// expires after 60 seconds
	// message-expiry-interval=60
	// content-type="text/plain"
	// user-property="trace":"7f"
}

func ExampleAppendPublishHeader() {
	p := &mqtt.Publish{Topic: []byte("a"), Payload: make([]byte, 1000)}
	header, err := mqtt.AppendPublishHeader(nil, p, mqtt.Version5)
	fmt.Printf("%x %v: %d bytes with the payload\n", header, err, mqtt.PublishSize(p, mqtt.Version5))
	// Output:
	// 30ec0700016100 <nil>: 1007 bytes with the payload
}

func ExampleError() {
	// A backend that refuses a client says why; a caller asks for the code.
	err := fmt.Errorf("connect: %w", &mqtt.Error{Code: mqtt.ReasonBanned, Reason: "too many attempts"})
	fmt.Println(err)
	fmt.Println(errors.Is(err, &mqtt.Error{Code: mqtt.ReasonBanned}))
	// Output:
	// connect: mqtt: Banned: too many attempts
	// true
}
