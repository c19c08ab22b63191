package mqtt_test

import (
	"bytes"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// benchPublish is a message as they are in the field: a short topic and 256 bytes.
func benchPublish(qos mqtt.QoS) *mqtt.Publish {
	p := &mqtt.Publish{Topic: []byte("site/12/machine/34/cmd"), Payload: bytes.Repeat([]byte("x"), 256), QoS: qos}
	if qos > mqtt.QoS0 {
		p.ID = 4711
	}
	return p
}

func benchPublish5() *mqtt.Publish {
	p := benchPublish(mqtt.QoS1)
	p.Properties = p.Properties.AppendUint32(mqtt.PropMessageExpiryInterval, 60).
		AppendString(mqtt.PropContentType, "application/json").
		AppendUser("trace", "0af7651916cd43dd8448eb211c80319c")
	return p
}

// flow are the packets that are to be fast, and of no allocation.
func flow() []struct {
	name    string
	packet  mqtt.Packet
	version mqtt.Version
} {
	type row = struct {
		name    string
		packet  mqtt.Packet
		version mqtt.Version
	}
	return []row{
		{"publish-qos0-3.1.1", benchPublish(mqtt.QoS0), mqtt.Version311},
		{"publish-qos1-3.1.1", benchPublish(mqtt.QoS1), mqtt.Version311},
		{"publish-qos1-5.0", benchPublish(mqtt.QoS1), mqtt.Version5},
		{"publish-properties-5.0", benchPublish5(), mqtt.Version5},
		{"puback-3.1.1", &mqtt.Puback{ID: 4711}, mqtt.Version311},
		{"pubrel-5.0", &mqtt.Pubrel{ID: 4711}, mqtt.Version5},
		{"puback-reason-5.0", &mqtt.Puback{ID: 4711, Reason: mqtt.ReasonQuotaExceeded}, mqtt.Version5},
		{"pingreq", &mqtt.Pingreq{}, mqtt.Version5},
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, f := range flow() {
		b.Run(f.name, func(b *testing.B) {
			in, err := mqtt.Append(nil, f.packet, f.version)
			if err != nil {
				b.Fatal(err)
			}
			d := mqtt.Decoder{From: mqtt.Client}
			b.ReportAllocs()
			for b.Loop() {
				if _, n, err := d.Decode(in, f.version); n != len(in) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, f := range flow() {
		b.Run(f.name, func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if dst, err = mqtt.Append(dst[:0], f.packet, f.version); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	p := benchPublish(mqtt.QoS0)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = mqtt.AppendPublish(dst[:0], p, mqtt.Version311); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProperties(b *testing.B) {
	props := benchPublish5().Properties
	b.Run("uint32", func(b *testing.B) {
		for b.Loop() {
			if _, ok := props.Uint32(mqtt.PropMessageExpiryInterval); !ok {
				b.Fatal("absent")
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for range props.All() {
				n++
			}
			if n != 3 {
				b.Fatal(n)
			}
		}
	})
}
