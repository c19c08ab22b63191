package mqttserver_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

const (
	malformed = mqtt.ReasonMalformedPacket
	protocol  = mqtt.ReasonProtocolError
)

// TestMalformed sends what no client may send, of every packet type, to a connected server: version 5 gets DISCONNECT
// with the exact reason code, earlier versions a close.
func TestMalformed(t *testing.T) {
	tests := []struct {
		name string
		hex  string
		code mqtt.ReasonCode
		v    mqtt.Version // 0 is all
	}{
		{"reserved type 0", "00 00", malformed, 0},
		{"remaining length of five bytes", "c0 ff ff ff ff 01", malformed, 0},
		{"CONNECT flags", "11 00", malformed, 0},
		{"second CONNECT", "10 0d 00 04 4d 51 54 54 05 02 00 00 00 00 00", protocol, 5}, // MQTT-3.1.0-2
		{"second CONNECT", "10 0c 00 04 4d 51 54 54 04 02 00 00 00 00", protocol, 4},
		{"CONNACK", "20 03 00 00 00", protocol, 5},
		{"CONNACK", "20 02 00 00", protocol, 4},
		{"PUBLISH QoS 3", "36 05 00 01 61 00 01", malformed, 0},                     // MQTT-3.3.1-4
		{"PUBLISH DUP at QoS 0", "38 04 00 01 61 00", malformed, 0},                 // MQTT-3.3.1-2
		{"PUBLISH cut topic", "30 03 00 05 61", malformed, 0},                       // MQTT-3.3.2-1
		{"PUBLISH wildcard +", "30 04 00 01 2b 00", mqtt.ReasonTopicNameInvalid, 0}, // MQTT-3.3.2-2
		{"PUBLISH wildcard #", "30 04 00 01 23 00", mqtt.ReasonTopicNameInvalid, 0},
		{"PUBLISH NUL", "30 04 00 01 00 00", malformed, 0},             // MQTT-1.5.4-2
		{"PUBLISH surrogate", "30 06 00 03 ed a0 80 00", malformed, 0}, // MQTT-1.5.4-1
		{"PUBLISH id 0", "32 06 00 01 61 00 00 00", protocol, 5},       // MQTT-2.2.1-3
		{"PUBLISH without id", "32 03 00 01 61", malformed, 0},
		{"PUBLISH no topic", "30 03 00 00 00", protocol, 5},
		{"PUBLISH alias 0", "30 07 00 01 61 03 23 00 00", mqtt.ReasonTopicAliasInvalid, 5},        // MQTT-3.3.2-8
		{"PUBLISH alias too high", "30 07 00 01 61 03 23 ff ff", mqtt.ReasonTopicAliasInvalid, 5}, // MQTT-3.3.2-9
		{"PUBLISH unknown alias", "30 06 00 00 03 23 00 05", protocol, 5},
		{"PUBLISH subscription id", "30 06 00 01 61 02 0b 05", protocol, 5}, // MQTT-3.3.4-6
		{"PUBLISH property twice", "30 08 00 01 61 04 01 00 01 00", protocol, 5},
		{"PUBLISH foreign property", "30 09 00 01 61 05 11 00 00 00 01", malformed, 5},
		{"PUBACK flags", "41 02 00 01", malformed, 0},
		{"PUBACK short", "40 01 00", malformed, 0},
		{"PUBACK reason", "40 03 00 01 42", protocol, 5},
		{"PUBREC flags", "53 02 00 01", malformed, 0},
		{"PUBREC short", "50 00", malformed, 0},
		{"PUBREL flags", "60 02 00 01", malformed, 5}, // MQTT-3.6.1-1
		{"PUBREL short", "62 01 01", malformed, 0},
		{"PUBCOMP flags", "72 02 00 01", malformed, 0},
		{"PUBCOMP long", "70 03 00 01 00", malformed, 4},
		{"SUBSCRIBE flags", "80 07 00 01 00 00 01 61 00", malformed, 5}, // MQTT-3.8.1-1
		{"SUBSCRIBE without filters", "82 03 00 01 00", protocol, 5},    // MQTT-3.8.3-2
		{"SUBSCRIBE without filters", "82 02 00 01", protocol, 4},
		{"SUBSCRIBE without options", "82 06 00 01 00 00 01 61", malformed, 5},
		{"SUBSCRIBE reserved option bits", "82 07 00 01 00 00 01 61 c0", malformed, 5}, // MQTT-3.8.3-5
		{"SUBSCRIBE QoS 3", "82 07 00 01 00 00 01 61 03", protocol, 5},
		{"SUBSCRIBE bad filter", "82 08 00 01 00 00 02 61 2b 00", mqtt.ReasonTopicFilterInvalid, 5},
		{"SUBSCRIBE id 0", "82 07 00 00 00 00 01 61 00", protocol, 5},
		{"SUBSCRIBE no local on a shared one", "82 10 00 01 00 00 0a 24 73 68 61 72 65 2f 67 2f 61 04", protocol, 5}, // MQTT-3.8.3-4
		{"SUBACK", "90 04 00 01 00 00", protocol, 5},
		{"SUBACK", "90 03 00 01 00", protocol, 4},
		{"UNSUBSCRIBE flags", "a0 06 00 01 00 00 01 61", malformed, 5}, // MQTT-3.10.1-1
		{"UNSUBSCRIBE without filters", "a2 03 00 01 00", protocol, 5}, // MQTT-3.10.3-2
		{"UNSUBACK", "b0 04 00 01 00 00", protocol, 5},
		{"UNSUBACK", "b0 02 00 01", protocol, 4},
		{"PINGREQ flags", "c1 00", malformed, 0},
		{"PINGREQ body", "c0 01 00", malformed, 0},
		{"PINGRESP", "d0 00", protocol, 0},
		{"DISCONNECT flags", "e1 00", malformed, 0}, // MQTT-3.14.1-1
		{"DISCONNECT body", "e0 01 00", malformed, 4},
		{"DISCONNECT reason", "e0 01 42", protocol, 5},
		{"DISCONNECT raises expiry", "e0 07 00 05 11 00 00 00 05", protocol, 5},
		{"AUTH before version 5", "f0 00", malformed, 4},
		{"AUTH without method", "f0 02 19 00", protocol, 5}, // MQTT-4.12.0-7
		{"AUTH flags", "f1 00", malformed, 5},
	}
	for _, tt := range tests {
		for _, v := range versions {
			if tt.v != 0 && tt.v != v && (tt.v != mqtt.Version311 || v == mqtt.Version5) {
				continue
			}
			t.Run(fmt.Sprintf("%s %v", tt.name, v), func(t *testing.T) {
				b, err := hex.DecodeString(strings.ReplaceAll(tt.hex, " ", ""))
				if err != nil {
					t.Fatal(err)
				}
				bubble(t, nil, nil, func(w *world) {
					p := w.client(&mqtt.Connect{ClientID: "c", Version: v})
					p.write(b)
					p.expectDisconnect(tt.code)
					other := w.client(&mqtt.Connect{ClientID: "d", Version: v})
					other.send(&mqtt.Pingreq{})
					other.expect(&mqtt.Pingresp{})
				})
			})
		}
	}
}

// TestMalformedConnect: what is wrong in CONNECT gets a CONNACK in version 5, and in earlier versions one of the few
// that they have, or a close.
func TestMalformedConnect(t *testing.T) {
	tests := []struct {
		name string
		hex  string
		v    mqtt.Version
		code mqtt.ReasonCode // 0 is only a close
	}{
		{"not CONNECT first", "c0 00", 5, 0}, // MQTT-3.1.0-1
		{"HTTP", "47 45 54 20 2f 20", 5, 0},
		{"garbage", "ff ff ff ff ff", 5, 0},
		{"protocol name (MQTT-3.1.2-1)", "10 0d 00 04 4d 51 54 58 05 02 00 00 00 00 00", 5, mqtt.ReasonUnsupportedProtocolVersion},
		{"version 6", "10 0d 00 04 4d 51 54 54 06 02 00 00 00 00 00", 5, mqtt.ReasonUnsupportedProtocolVersion}, // MQTT-3.1.2-2
		{"reserved flag", "10 0d 00 04 4d 51 54 54 05 03 00 00 00 00 00", 5, malformed},                         // MQTT-3.1.2-3
		{"reserved flag", "10 0c 00 04 4d 51 54 54 04 03 00 00 00 00", 4, 0},
		{"will QoS 3", "10 13 00 04 4d 51 54 54 05 1e 00 00 00 00 00 00 00 01 61 00 00", 5, malformed}, // MQTT-3.1.2-12
		{"receive maximum 0", "10 10 00 04 4d 51 54 54 05 02 00 00 03 21 00 00 00 00", 5, protocol},
		{"no client id and no clean session", "10 0c 00 04 4d 51 54 54 04 00 00 00 00 00", 4, mqtt.ReasonClientIdentifierNotValid},
		{"authentication data without method", "10 11 00 04 4d 51 54 54 05 02 00 00 04 16 00 01 61 00 00", 5, protocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := hex.DecodeString(strings.ReplaceAll(tt.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			bubble(t, nil, nil, func(w *world) {
				p := w.dial()
				p.v = tt.v
				p.write(b)
				if tt.code != 0 {
					if ack, ok := p.recv().(*mqtt.Connack); !ok || ack.Reason != tt.code {
						t.Fatalf("got %v, want CONNACK with %v", ack, tt.code)
					}
				}
				p.expectEnd()
			})
		})
	}
}

// TestCutEverywhere ends the connection after each byte of a conversation.
func TestCutEverywhere(t *testing.T) {
	var b []byte
	for _, pk := range []mqtt.Packet{
		&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", CleanStart: true},
		&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "t", QoS: 2}}},
		publishTo("t", "x", 2, 9), &mqtt.Pubrel{ID: 9}, &mqtt.Pubrec{ID: 1}, &mqtt.Pubcomp{ID: 1},
		&mqtt.Unsubscribe{ID: 2, Filters: []string{"t"}}, &mqtt.Disconnect{},
	} {
		b, _ = mqtt.Append(b, pk, mqtt.Version5)
	}
	bubble(t, nil, &mqttserver.Options{}, func(w *world) {
		for n := range b {
			p := w.dial()
			p.write(b[:n])
			p.nc.(interface{ CloseWrite() error }).CloseWrite()
			for {
				if _, err := p.next(); err != nil {
					break
				}
			}
			p.nc.Close()
		}
	})
}
