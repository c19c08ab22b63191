package mqtt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// TestReasonCodeStatements tries each of the 256 codes in each packet that has one, in both directions.
func TestReasonCodeStatements(t *testing.T) {
	server := []mqtt.Role{mqtt.Server}
	both := []mqtt.Role{mqtt.Client, mqtt.Server}
	puback := "00 10 80 83 87 90 91 97 99"
	method := mqtt.Properties(nil).AppendString(mqtt.PropAuthenticationMethod, "m")
	for _, tt := range []struct {
		id      string
		allowed string
		from    []mqtt.Role
		v       mqtt.Version
		packet  func(c mqtt.ReasonCode) mqtt.Packet
	}{
		{"MQTT-3.2.2-8", "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f", server, 5,
			func(c mqtt.ReasonCode) mqtt.Packet { return &mqtt.Connack{Reason: c} }},
		{"MQTT-3.4.2-1", puback, both, 5, func(c mqtt.ReasonCode) mqtt.Packet { return &mqtt.Puback{ID: 1, Reason: c} }},
		{"MQTT-3.5.2-1", puback, both, 5, func(c mqtt.ReasonCode) mqtt.Packet { return &mqtt.Pubrec{ID: 1, Reason: c} }},
		{"MQTT-3.6.2-1", "00 92", both, 5, func(c mqtt.ReasonCode) mqtt.Packet { return &mqtt.Pubrel{ID: 1, Reason: c} }},
		{"MQTT-3.7.2-1", "00 92", both, 5, func(c mqtt.ReasonCode) mqtt.Packet { return &mqtt.Pubcomp{ID: 1, Reason: c} }},
		{"MQTT-3.9.3-2", "00 01 02 80 83 87 8f 91 97 9e a1 a2", server, 5,
			func(c mqtt.ReasonCode) mqtt.Packet { return &mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{0, c}} }},
		{"MQTT-3.11.3-2", "00 11 80 83 87 8f 91", server, 5,
			func(c mqtt.ReasonCode) mqtt.Packet { return &mqtt.Unsuback{ID: 1, Reasons: []mqtt.ReasonCode{0, c}} }},
		{"MQTT-3.14.2-1", "00 04 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2", both, 5,
			func(c mqtt.ReasonCode) mqtt.Packet { return &mqtt.Disconnect{Reason: c} }},
		{"MQTT-3.15.2-1", "00 18 19", both, 5,
			func(c mqtt.ReasonCode) mqtt.Packet { return &mqtt.Auth{Reason: c, Properties: method} }},
		{"MQTT311-3.9.3-2", "00 01 02 80", server, 4,
			func(c mqtt.ReasonCode) mqtt.Packet { return &mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{0, c}} }},
	} {
		t.Run(tt.id, func(t *testing.T) {
			allowed := strings.Fields(tt.allowed)
			for i := range 256 {
				c := mqtt.ReasonCode(i)
				p, want := tt.packet(c), slices.Contains(allowed, fmt.Sprintf("%02x", i))
				// Before version 5 each failure of SUBACK is sent as 0x80.
				translated := tt.v < mqtt.Version5 && c.IsError()
				if _, err := mqtt.Append(nil, p, tt.v); (err == nil) != want && !translated {
					t.Errorf("Append(%v): %v", p, err)
				}
				b, err := mqtt.AppendIllegal(nil, p, tt.v)
				if err != nil {
					t.Fatal(err)
				}
				if translated {
					b[len(b)-1] = byte(c)
				}
				for _, from := range tt.from {
					d := mqtt.Decoder{From: from}
					if got, _, err := d.Decode(b, tt.v); (err == nil) != want {
						t.Errorf("Decode(%x) from the %v = %v, %v", b, from, got, err)
					}
				}
			}
		})
	}
}

// TestDisconnectCodes: whatever code the caller has, each side sends only those that the standard gives to it.
func TestDisconnectCodes(t *testing.T) {
	allowed := map[mqtt.Role]string{
		mqtt.Client: "00 04 80 81 82 83 90 93 94 95 96 97 98 99",
		mqtt.Server: "00 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2",
	}
	now := time.Now()
	t.Run("MQTT-3.14.2-1", func(t *testing.T) {
		for role, codes := range allowed {
			for i := range 256 {
				c := mqtt.NewSession(mqtt.Config{Role: mqtt.Client})
				if err := c.Connect(now, &mqtt.Connect{Version: mqtt.Version5, ClientID: "c", CleanStart: true}, new(mqtt.State)); err != nil {
					t.Fatal(err)
				}
				s := mqtt.NewSession(mqtt.Config{Role: mqtt.Server})
				deliver(now, c, s)
				s.Accept(now, &mqtt.Connack{}, new(mqtt.State))
				deliver(now, s, c)
				side := map[mqtt.Role]*mqtt.Session{mqtt.Client: c, mqtt.Server: s}[role]
				if err := side.Disconnect(now, &mqtt.Disconnect{Reason: mqtt.ReasonCode(i)}); err != nil {
					t.Fatal(err)
				}
				d, ok := deliver(now, side, nil).(*mqtt.Disconnect)
				if !ok || !slices.Contains(strings.Fields(codes), fmt.Sprintf("%02x", byte(d.Reason))) {
					t.Errorf("role %d, code %#x: %v", role, i, d)
				} else if slices.Contains(strings.Fields(codes), fmt.Sprintf("%02x", i)) && d.Reason != mqtt.ReasonCode(i) {
					t.Errorf("role %d, code %#x: has become %v", role, i, d)
				}
			}
		}
	})
}

// deliver hands what one machine sends to another and returns the last packet.
func deliver(now time.Time, from, to *mqtt.Session) (last mqtt.Packet) {
	for e, ok := from.Next(); ok; e, ok = from.Next() {
		if e.Kind != mqtt.EventSend {
			continue
		}
		b, _ := e.AppendTo(nil, mqtt.Version5)
		last, _, _ = new(mqtt.Decoder).Decode(b, mqtt.Version5)
		if to != nil {
			to.Receive(now, 0, last)
		}
	}
	return last
}

// TestFlagStatements tries all flags of the packets that have fixed ones.
func TestFlagStatements(t *testing.T) {
	filter5, filter := wire(0, "0001 00", str("a"), "00")[2:], wire(0, "0001", str("a"), "00")[2:]
	for _, tt := range []struct {
		id, id311     string
		kind          mqtt.PacketType
		flags         byte
		from          mqtt.Role
		body, body311 []byte
	}{
		{"MQTT-2.1.3-1", "MQTT311-2.2.2-1", mqtt.TypePuback, 0, byServer, []byte{0, 1}, []byte{0, 1}},
		{"MQTT-2.1.3-1", "MQTT311-2.2.2-1", mqtt.TypePubrec, 0, byServer, []byte{0, 1}, []byte{0, 1}},
		{"MQTT-2.1.3-1", "MQTT311-2.2.2-1", mqtt.TypePubcomp, 0, byServer, []byte{0, 1}, []byte{0, 1}},
		{"MQTT-2.1.3-1", "MQTT311-2.2.2-2", mqtt.TypeConnack, 0, byServer, []byte{0, 0, 0}, []byte{0, 0}},
		{"MQTT-2.1.3-1", "MQTT311-2.2.2-2", mqtt.TypeSuback, 0, byServer, []byte{0, 1, 0, 0}, []byte{0, 1, 0}},
		{"MQTT-2.1.3-1", "MQTT311-2.2.2-2", mqtt.TypeUnsuback, 0, byServer, []byte{0, 1, 0, 0}, []byte{0, 1}},
		{"MQTT-2.1.3-1", "MQTT311-2.2.2-2", mqtt.TypePingreq, 0, byClient, nil, nil},
		{"MQTT-2.1.3-1", "MQTT311-2.2.2-2", mqtt.TypePingresp, 0, byServer, nil, nil},
		{"MQTT-3.6.1-1", "MQTT311-3.6.1-1", mqtt.TypePubrel, 2, byClient, []byte{0, 1}, []byte{0, 1}},
		{"MQTT-3.8.1-1", "MQTT311-3.8.1-1", mqtt.TypeSubscribe, 2, byClient, filter5, filter},
		{"MQTT-3.10.1-1", "MQTT311-3.10.1-1", mqtt.TypeUnsubscribe, 2, byClient, filter5[:len(filter5)-1], filter[:len(filter)-1]},
		{"MQTT-3.14.1-1", "MQTT311-3.14.1-1", mqtt.TypeDisconnect, 0, byClient, nil, nil},
		{"MQTT-3.15.1-1", "", mqtt.TypeAuth, 0, byClient, wire(0, "18 04 15", str("m"))[2:], nil},
	} {
		check := func(id string, v mqtt.Version, body []byte) {
			t.Run(id, func(t *testing.T) {
				for flags := range byte(16) {
					in := append([]byte{byte(tt.kind)<<4 | flags, byte(len(body))}, body...)
					d := mqtt.Decoder{From: tt.from}
					p, _, err := d.Decode(in, v)
					if flags != tt.flags {
						if codeOf(err) == nil || !isCode(err, malformed) {
							t.Errorf("Decode(%x) = %v, %v", in, p, err)
						}
						continue
					}
					if err != nil {
						t.Fatalf("Decode(%x): %v", in, err)
					}
					if again, err := mqtt.Append(nil, p, v); err != nil || again[0] != in[0] {
						t.Errorf("Append(%v) = %x, %v", p, again, err)
					}
				}
			})
		}
		check(tt.id, mqtt.Version5, tt.body)
		if tt.id311 != "" {
			check(tt.id311, mqtt.Version311, tt.body311)
		}
	}
}
