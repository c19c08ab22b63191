// Package codecbench measures the codecs of MQTT and Kafka next to those of others: a PUBLISH with 256 bytes of payload,
// and the larger messages of Kafka, both ways.
//
//	cd internal/interop && go test -bench . ./codecbench
//
// Each codec is used the way its own client or broker uses it: from bytes to a packet that can be read, and from a packet
// to bytes.
package codecbench

import (
	"bytes"
	"io"
	"testing"

	paho5 "github.com/eclipse/paho.golang/packets"
	paho3 "github.com/eclipse/paho.mqtt.golang/packets"
	mochi "github.com/mochi-mqtt/server/v2/packets"

	"github.com/quartet-mq/quartet/mqtt"
)

const topic = "site/12/machine/34/temperature"

var payload = bytes.Repeat([]byte("x"), 256)

// Properties of the messages that have them: one number, two strings, one pair.
const (
	expiry      = 60
	contentType = "application/json"
	response    = "site/12/answers"
	userKey     = "trace"
	userValue   = "0af7651916cd43dd8448eb211c80319c"
)

// ourPublish returns the message at QoS 1.
func ourPublish(properties mqtt.Properties) *mqtt.Publish {
	return &mqtt.Publish{Topic: []byte(topic), Payload: payload, QoS: mqtt.QoS1, ID: 4711, Properties: properties}
}

func ourProperties() mqtt.Properties {
	return mqtt.Properties(nil).
		AppendUint32(mqtt.PropMessageExpiryInterval, expiry).
		AppendString(mqtt.PropContentType, contentType).
		AppendString(mqtt.PropResponseTopic, response).
		AppendUser(userKey, userValue)
}

func mochiPublish(version byte, properties mochi.Properties) *mochi.Packet {
	return &mochi.Packet{
		FixedHeader:     mochi.FixedHeader{Type: mochi.Publish, Qos: 1},
		ProtocolVersion: version,
		TopicName:       topic,
		PacketID:        4711,
		Payload:         payload,
		Properties:      properties,
		Mods:            mochi.Mods{AllowResponseInfo: true},
	}
}

func mochiProperties() mochi.Properties {
	return mochi.Properties{
		MessageExpiryInterval: expiry,
		ContentType:           contentType,
		ResponseTopic:         response,
		User:                  []mochi.UserProperty{{Key: userKey, Val: userValue}},
	}
}

func paho5Publish(properties *paho5.Properties) *paho5.Publish {
	return &paho5.Publish{Topic: topic, Payload: payload, QoS: 1, PacketID: 4711, Properties: properties}
}

func paho5Properties() *paho5.Properties {
	seconds := uint32(expiry)
	return &paho5.Properties{
		MessageExpiry: &seconds,
		ContentType:   contentType,
		ResponseTopic: response,
		User:          []paho5.User{{Key: userKey, Value: userValue}},
	}
}

func paho3Publish() *paho3.PublishPacket {
	p := paho3.NewControlPacket(paho3.Publish).(*paho3.PublishPacket)
	p.Qos, p.MessageID, p.TopicName, p.Payload = 1, 4711, topic, payload
	return p
}

// shapes are the packets: the same bytes for each codec.
var shapes = []struct {
	name    string
	version mqtt.Version
	ours    mqtt.Properties
	mochi   mochi.Properties
	paho    *paho5.Properties
}{
	{"3.1.1", mqtt.Version311, nil, mochi.Properties{}, nil},
	{"5", mqtt.Version5, nil, mochi.Properties{}, &paho5.Properties{}},
	{"5 with properties", mqtt.Version5, ourProperties(), mochiProperties(), paho5Properties()},
}

// sameBytes fails unless two codecs have written packets of the same size; the order of properties may differ.
func sameBytes(tb testing.TB, a, b []byte) {
	tb.Helper()
	if len(a) != len(b) {
		tb.Fatalf("the codecs do not write the same packet:\n%x\n%x", a, b)
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, s := range shapes {
		want, err := mqtt.AppendPublish(nil, ourPublish(s.ours), s.version)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(s.name+"/quartet", func(b *testing.B) {
			p := ourPublish(s.ours)
			dst := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				if dst, err = mqtt.AppendPublish(dst[:0], p, s.version); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(s.name+"/mochi", func(b *testing.B) {
			p := mochiPublish(byte(s.version), s.mochi)
			var dst *bytes.Buffer
			b.ReportAllocs()
			for b.Loop() {
				dst = new(bytes.Buffer) // as its broker does for each packet
				if err := p.PublishEncode(dst); err != nil {
					b.Fatal(err)
				}
			}
			sameBytes(b, want, dst.Bytes())
		})
		b.Run(s.name+"/mochi, buffer reused", func(b *testing.B) {
			p := mochiPublish(byte(s.version), s.mochi)
			var dst bytes.Buffer
			b.ReportAllocs()
			for b.Loop() {
				dst.Reset()
				if err := p.PublishEncode(&dst); err != nil {
					b.Fatal(err)
				}
			}
			sameBytes(b, want, dst.Bytes())
		})
		b.Run(s.name+"/paho", func(b *testing.B) {
			var dst bytes.Buffer
			write := paho3Publish().Write
			if s.paho != nil {
				p := paho5Publish(s.paho)
				write = func(w io.Writer) error {
					_, err := p.WriteTo(w)
					return err
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				dst.Reset()
				if err := write(&dst); err != nil {
					b.Fatal(err)
				}
			}
			sameBytes(b, want, dst.Bytes())
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, s := range shapes {
		in, err := mqtt.AppendPublish(nil, ourPublish(s.ours), s.version)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(s.name+"/quartet", func(b *testing.B) { decodeOurs(b, in, s.version, false) })
		if s.ours != nil {
			b.Run(s.name+"/quartet, all properties read", func(b *testing.B) { decodeOurs(b, in, s.version, true) })
		}
		b.Run(s.name+"/mochi", func(b *testing.B) { decodeMochi(b, in, byte(s.version)) })
		b.Run(s.name+"/paho", func(b *testing.B) {
			if s.paho == nil {
				decodePaho(b, in, paho3.ReadPacket)
			} else {
				decodePaho(b, in, paho5.ReadPacket)
			}
		})
	}
}

// decodeOurs decodes in; read makes it read every property too, which the others do while they decode.
func decodeOurs(b *testing.B, in []byte, v mqtt.Version, read bool) {
	d := mqtt.Decoder{From: mqtt.Client}
	b.ReportAllocs()
	for b.Loop() {
		p, n, err := d.Decode(in, v)
		if err != nil || n != len(in) {
			b.Fatal(n, err)
		}
		if !read {
			continue
		}
		props := p.(*mqtt.Publish).Properties
		seconds, _ := props.Uint32(mqtt.PropMessageExpiryInterval)
		content, _ := props.String(mqtt.PropContentType)
		answer, _ := props.String(mqtt.PropResponseTopic)
		pairs := 0
		for range props.UserProperties() {
			pairs++
		}
		if seconds != expiry || len(content) != len(contentType) || len(answer) != len(response) || pairs != 1 {
			b.Fatal("wrong properties")
		}
	}
}

// decodeMochi does what the broker's reader does with one packet, without the socket.
func decodeMochi(b *testing.B, in []byte, version byte) {
	b.ReportAllocs()
	for b.Loop() {
		r := bytes.NewReader(in)
		var fh mochi.FixedHeader
		first, err := r.ReadByte()
		if err != nil {
			b.Fatal(err)
		}
		if err := fh.Decode(first); err != nil {
			b.Fatal(err)
		}
		if fh.Remaining, _, err = mochi.DecodeLength(r); err != nil {
			b.Fatal(err)
		}
		body := make([]byte, fh.Remaining)
		if _, err := r.Read(body); err != nil {
			b.Fatal(err)
		}
		p := mochi.Packet{FixedHeader: fh, ProtocolVersion: version}
		if err := p.PublishDecode(body); err != nil || len(p.Payload) != len(payload) {
			b.Fatal(err)
		}
	}
}

// decodePaho reads one packet; T is the packet type of the version.
func decodePaho[T any](b *testing.B, in []byte, read func(io.Reader) (T, error)) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read(bytes.NewReader(in)); err != nil {
			b.Fatal(err)
		}
	}
}
