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
		ids  string // what holds in version 5
		old  string // and in 3.1.1
		hex  string
		code mqtt.ReasonCode
		v    mqtt.Version // 0 is all
	}{
		{"reserved type 0", "MQTT-4.13.1-1", "MQTT311-4.8.0-1", "00 00", malformed, 0},
		{"remaining length of five bytes", "", "", "c0 ff ff ff ff 01", malformed, 0},
		{"CONNECT flags", "MQTT-2.1.3-1", "MQTT311-2.2.2-2", "11 00", malformed, 0},
		{"second CONNECT", "MQTT-3.1.0-2", "MQTT311-3.1.0-2", "10 0d 00 04 4d 51 54 54 05 02 00 00 00 00 00", protocol, 5},
		{"second CONNECT", "MQTT-3.1.0-2", "MQTT311-3.1.0-2", "10 0c 00 04 4d 51 54 54 04 02 00 00 00 00", protocol, 4},
		{"CONNACK", "MQTT-4.13.1-1", "MQTT311-4.8.0-1", "20 03 00 00 00", protocol, 5},
		{"CONNACK", "MQTT-4.13.1-1", "MQTT311-4.8.0-1", "20 02 00 00", protocol, 4},
		{"PUBLISH QoS 3", "MQTT-3.3.1-4", "MQTT311-3.3.1-4", "36 05 00 01 61 00 01", malformed, 0},
		{"PUBLISH DUP at QoS 0", "MQTT-3.3.1-2", "MQTT311-3.3.1-2", "38 04 00 01 61 00", malformed, 0},
		{"PUBLISH cut topic", "MQTT-3.3.2-1", "MQTT311-3.3.2-1", "30 03 00 05 61", malformed, 0},
		{"PUBLISH wildcard +", "MQTT-3.3.2-2", "MQTT311-3.3.2-2", "30 04 00 01 2b 00", mqtt.ReasonTopicNameInvalid, 0},
		{"PUBLISH wildcard #", "MQTT-4.7.0-1", "MQTT311-4.7.1-1", "30 04 00 01 23 00", mqtt.ReasonTopicNameInvalid, 0},
		{"PUBLISH NUL", "MQTT-1.5.4-2", "MQTT311-1.5.3-2", "30 04 00 01 00 00", malformed, 0},
		{"PUBLISH surrogate", "MQTT-1.5.4-1", "MQTT311-1.5.3-1", "30 06 00 03 ed a0 80 00", malformed, 0},
		{"PUBLISH id 0", "MQTT-2.2.1-3", "MQTT311-2.3.1-1", "32 06 00 01 61 00 00 00", protocol, 5},
		{"PUBLISH id 0", "MQTT-2.2.1-3", "MQTT311-2.3.1-1", "32 05 00 01 61 00 00", protocol, 4},
		{"PUBLISH without id", "", "", "32 03 00 01 61", malformed, 0},
		{"PUBLISH no topic", "MQTT-4.7.3-1", "MQTT311-4.7.3-1", "30 03 00 00 00", protocol, 5},
		{"PUBLISH no topic", "MQTT-4.7.3-1", "MQTT311-4.7.3-1", "30 02 00 00", protocol, 4},
		{"PUBLISH alias 0", "MQTT-3.3.2-8", "", "30 07 00 01 61 03 23 00 00", mqtt.ReasonTopicAliasInvalid, 5},
		{"PUBLISH alias too high", "MQTT-3.3.2-9", "", "30 07 00 01 61 03 23 ff ff", mqtt.ReasonTopicAliasInvalid, 5},
		{"PUBLISH unknown alias", "MQTT-4.13.1-1", "", "30 06 00 00 03 23 00 05", protocol, 5},
		{"PUBLISH subscription id", "MQTT-3.3.4-6", "", "30 06 00 01 61 02 0b 05", protocol, 5},
		{"PUBLISH property twice", "", "", "30 08 00 01 61 04 01 00 01 00", protocol, 5},
		{"PUBLISH foreign property", "", "", "30 09 00 01 61 05 11 00 00 00 01", malformed, 5},
		{"PUBACK flags", "MQTT-2.1.3-1", "MQTT311-2.2.2-2", "41 02 00 01", malformed, 0},
		{"PUBACK short", "", "", "40 01 00", malformed, 0},
		{"PUBACK reason", "MQTT-3.4.2-1", "", "40 03 00 01 42", protocol, 5},
		{"PUBREC flags", "MQTT-2.1.3-1", "MQTT311-2.2.2-2", "53 02 00 01", malformed, 0},
		{"PUBREC reason", "MQTT-3.5.2-1", "", "50 03 00 01 42", protocol, 5},
		{"PUBREC short", "", "", "50 00", malformed, 0},
		{"PUBREL flags", "MQTT-3.6.1-1", "MQTT311-3.6.1-1", "60 02 00 01", malformed, 5},
		{"PUBREL flags", "MQTT-3.6.1-1", "MQTT311-3.6.1-1", "60 02 00 01", malformed, 4},
		{"PUBREL reason", "MQTT-3.6.2-1", "", "62 03 00 01 10", protocol, 5},
		{"PUBREL short", "", "", "62 01 01", malformed, 0},
		{"PUBCOMP flags", "MQTT-2.1.3-1", "MQTT311-2.2.2-2", "72 02 00 01", malformed, 0},
		{"PUBCOMP reason", "MQTT-3.7.2-1", "", "70 03 00 01 10", protocol, 5},
		{"PUBCOMP long", "", "", "70 03 00 01 00", malformed, 4},
		{"SUBSCRIBE flags", "MQTT-3.8.1-1", "MQTT311-3.8.1-1", "80 07 00 01 00 00 01 61 00", malformed, 5},
		{"SUBSCRIBE flags", "MQTT-3.8.1-1", "MQTT311-3.8.1-1", "80 06 00 01 00 01 61 00", malformed, 4},
		{"SUBSCRIBE not UTF-8", "MQTT-3.8.3-1", "MQTT311-3.8.3-1", "82 07 00 01 00 00 01 ff 00", malformed, 5},
		{"SUBSCRIBE not UTF-8", "MQTT-3.8.3-1", "MQTT311-3.8.3-1", "82 06 00 01 00 01 ff 00", malformed, 4},
		{"SUBSCRIBE without filters", "MQTT-3.8.3-2", "MQTT311-3.8.3-3", "82 03 00 01 00", protocol, 5},
		{"SUBSCRIBE without filters", "MQTT-3.8.3-2", "MQTT311-3.8.3-3", "82 02 00 01", protocol, 4},
		{"SUBSCRIBE without options", "", "", "82 06 00 01 00 00 01 61", malformed, 5},
		{"SUBSCRIBE reserved option bits", "MQTT-3.8.3-5", "MQTT311-3.8.3-4", "82 07 00 01 00 00 01 61 c0", malformed, 5},
		{"SUBSCRIBE reserved option bits", "MQTT-3.8.3-5", "MQTT311-3.8.3-4", "82 06 00 01 00 01 61 04", malformed, 4},
		{"SUBSCRIBE QoS 3", "MQTT-4.13.1-1", "MQTT311-3.8.3-4", "82 07 00 01 00 00 01 61 03", protocol, 5},
		{"SUBSCRIBE QoS 3", "MQTT-4.13.1-1", "MQTT311-3.8.3-4", "82 06 00 01 00 01 61 03", malformed, 4},
		{"SUBSCRIBE bad filter", "MQTT-4.7.1-2", "MQTT311-4.7.1-3", "82 08 00 01 00 00 02 61 2b 00", mqtt.ReasonTopicFilterInvalid, 5},
		{"SUBSCRIBE bad filter", "MQTT-4.7.1-2", "MQTT311-4.7.1-3", "82 07 00 01 00 02 61 2b 00", mqtt.ReasonTopicFilterInvalid, 4},
		{"SUBSCRIBE misplaced #", "MQTT-4.7.1-1", "MQTT311-4.7.1-2", "82 09 00 01 00 00 03 23 2f 61 00", mqtt.ReasonTopicFilterInvalid, 5},
		{"SUBSCRIBE misplaced #", "MQTT-4.7.1-1", "MQTT311-4.7.1-2", "82 08 00 01 00 03 23 2f 61 00", mqtt.ReasonTopicFilterInvalid, 4},
		{"SUBSCRIBE id 0", "MQTT-2.2.1-3", "MQTT311-2.3.1-1", "82 07 00 00 00 00 01 61 00", protocol, 5},
		{"SUBSCRIBE id 0", "MQTT-2.2.1-3", "MQTT311-2.3.1-1", "82 06 00 00 00 01 61 00", protocol, 4},
		{"SUBSCRIBE no local on a shared one", "MQTT-3.8.3-4", "", "82 10 00 01 00 00 0a 24 73 68 61 72 65 2f 67 2f 61 04", protocol, 5},
		{"SUBACK", "", "", "90 04 00 01 00 00", protocol, 5},
		{"SUBACK", "", "", "90 03 00 01 00", protocol, 4},
		{"UNSUBSCRIBE flags", "MQTT-3.10.1-1", "MQTT311-3.10.1-1", "a0 06 00 01 00 00 01 61", malformed, 5},
		{"UNSUBSCRIBE flags", "MQTT-3.10.1-1", "MQTT311-3.10.1-1", "a0 05 00 01 00 01 61", malformed, 4},
		{"UNSUBSCRIBE not UTF-8", "MQTT-3.10.3-1", "MQTT311-3.10.3-1", "a2 06 00 01 00 00 01 ff", malformed, 5},
		{"UNSUBSCRIBE not UTF-8", "MQTT-3.10.3-1", "MQTT311-3.10.3-1", "a2 05 00 01 00 01 ff", malformed, 4},
		{"UNSUBSCRIBE without filters", "MQTT-3.10.3-2", "MQTT311-3.10.3-2", "a2 03 00 01 00", protocol, 5},
		{"UNSUBSCRIBE without filters", "MQTT-3.10.3-2", "MQTT311-3.10.3-2", "a2 02 00 01", protocol, 4},
		{"UNSUBACK", "", "", "b0 04 00 01 00 00", protocol, 5},
		{"UNSUBACK", "", "", "b0 02 00 01", protocol, 4},
		{"PINGREQ flags", "MQTT-2.1.3-1", "MQTT311-2.2.2-2", "c1 00", malformed, 0},
		{"PINGREQ body", "", "", "c0 01 00", malformed, 0},
		{"PINGRESP", "", "", "d0 00", protocol, 0},
		{"DISCONNECT flags", "MQTT-3.14.1-1", "MQTT311-3.14.1-1", "e1 00", malformed, 0},
		{"DISCONNECT body", "", "", "e0 01 00", malformed, 4},
		{"DISCONNECT reason", "MQTT-3.14.2-1", "", "e0 01 42", protocol, 5},
		{"DISCONNECT raises expiry", "", "", "e0 07 00 05 11 00 00 00 05", protocol, 5},
		{"AUTH before version 5", "", "", "f0 00", malformed, 4},
		{"AUTH without method", "MQTT-4.12.0-7", "", "f0 02 19 00", protocol, 5},
		{"AUTH flags", "MQTT-3.15.1-1", "", "f1 00", malformed, 5},
	}
	for _, tt := range tests {
		for _, v := range versions {
			if tt.v != 0 && tt.v != v && (tt.v != mqtt.Version311 || v == mqtt.Version5) {
				continue
			}
			t.Run(strings.TrimSpace(fmt.Sprintf("%s %s %v", map[mqtt.Version]string{mqtt.Version5: tt.ids, mqtt.Version311: tt.old}[v], tt.name, v)), func(t *testing.T) {
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
		{"MQTT-3.1.0-1", "c0 00", 5, 0},
		{"MQTT311-3.1.0-1", "30 03 00 01 61", 4, 0},
		{"HTTP", "47 45 54 20 2f 20", 5, 0},
		{"garbage", "ff ff ff ff ff", 5, 0},
		{"MQTT-3.1.2-1 protocol name", "10 0d 00 04 4d 51 54 58 05 02 00 00 00 00 00", 5, mqtt.ReasonUnsupportedProtocolVersion},
		{"MQTT-3.1.2-2 version 6", "10 0d 00 04 4d 51 54 54 06 02 00 00 00 00 00", 5, mqtt.ReasonUnsupportedProtocolVersion},
		{"MQTT311-3.1.2-1 protocol name", "10 0c 00 04 4d 51 54 58 04 02 00 00 00 00", 4, mqtt.ReasonUnsupportedProtocolVersion},
		{"MQTT311-3.1.2-2 level 3", "10 0c 00 04 4d 51 54 54 03 02 00 00 00 00", 4, mqtt.ReasonUnsupportedProtocolVersion},
		{"MQTT-3.1.2-3", "10 0d 00 04 4d 51 54 54 05 03 00 00 00 00 00", 5, malformed},
		{"MQTT311-3.1.2-3", "10 0c 00 04 4d 51 54 54 04 03 00 00 00 00", 4, 0},
		{"MQTT-3.1.2-12 MQTT-3.14.0-1 will QoS 3", "10 13 00 04 4d 51 54 54 05 1e 00 00 00 00 00 00 00 01 61 00 00", 5, malformed},
		{"MQTT311-3.1.2-14 will QoS 3", "10 11 00 04 4d 51 54 54 04 1e 00 00 00 00 00 01 61 00 00", 4, 0},
		{"MQTT-3.1.4-1 more than there should be", "10 0e 00 04 4d 51 54 54 05 02 00 00 00 00 00 00", 5, malformed},
		{"MQTT311-3.1.4-1 more than there should be", "10 0d 00 04 4d 51 54 54 04 02 00 00 00 00 00", 4, 0},
		{"receive maximum 0", "10 10 00 04 4d 51 54 54 05 02 00 00 03 21 00 00 00 00", 5, protocol},
		{"MQTT311-3.1.3-8 no client id and no clean session", "10 0c 00 04 4d 51 54 54 04 00 00 00 00 00", 4, mqtt.ReasonClientIdentifierNotValid},
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
