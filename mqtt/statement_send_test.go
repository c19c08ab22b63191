package mqtt_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

func isCode(err error, code mqtt.ReasonCode) bool {
	return errors.Is(codeOf(err), &mqtt.Error{Code: code})
}

// TestSendStatements has what a sender must not do: Append refuses it, and the decoder refuses it from others.
func TestSendStatements(t *testing.T) {
	long := strings.Repeat("x", 65536)
	pub := func(topic string, qos mqtt.QoS, id uint16) *mqtt.Publish {
		return &mqtt.Publish{Topic: []byte(topic), QoS: qos, ID: id}
	}
	sub := func(filter string) *mqtt.Subscribe {
		return &mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: filter}}}
	}
	unsub := func(filter string) *mqtt.Unsubscribe { return &mqtt.Unsubscribe{ID: 1, Filters: []string{filter}} }
	will := func(w mqtt.Will) *mqtt.Connect { return &mqtt.Connect{CleanStart: true, ClientID: "c", Will: &w} }
	withProps := func(p mqtt.Properties) *mqtt.Publish { return &mqtt.Publish{Topic: []byte("t"), Properties: p} }
	var none mqtt.Properties
	for _, tt := range []struct {
		id5, id311 string // "" when there is none
		p          mqtt.Packet
		code       mqtt.ReasonCode
	}{
		{"MQTT-2.2.1-3", "MQTT311-2.3.1-1", pub("t", 1, 0), protocol},
		{"MQTT-2.2.1-4", "MQTT311-2.3.1-1", pub("t", 2, 0), protocol},
		{"MQTT-2.2.1-3", "MQTT311-2.3.1-1", &mqtt.Subscribe{Filters: sub("a").Filters}, protocol},
		{"MQTT-2.2.1-3", "MQTT311-2.3.1-1", &mqtt.Unsubscribe{Filters: []string{"a"}}, protocol},
		{"MQTT-3.1.2-12", "MQTT311-3.1.2-14", will(mqtt.Will{Topic: "w", QoS: 3}), malformed},
		{"", "MQTT311-3.1.2-22", &mqtt.Connect{ClientID: "c", HasPassword: true}, malformed},
		{"", "MQTT311-3.1.3-7", &mqtt.Connect{}, badClient},
		{"MQTT-3.2.2-6", "MQTT311-3.2.2-4", &mqtt.Connack{SessionPresent: true, Reason: mqtt.ReasonNotAuthorized}, protocol},
		{"MQTT-3.3.1-2", "MQTT311-3.3.1-2", &mqtt.Publish{Topic: []byte("t"), Dup: true}, malformed},
		{"MQTT-3.3.1-4", "MQTT311-3.3.1-4", pub("t", 3, 1), malformed},
		{"MQTT-3.3.2-2", "MQTT311-3.3.2-2", pub("a/+/b", 0, 0), badName},
		{"MQTT-3.3.2-8", "", withProps(none.AppendUint16(mqtt.PropTopicAlias, 0)), mqtt.ReasonTopicAliasInvalid},
		{"MQTT-3.3.2-14", "", withProps(none.AppendString(mqtt.PropResponseTopic, "a/+")), protocol},
		{"MQTT-3.8.3-2", "MQTT311-3.8.3-3", &mqtt.Subscribe{ID: 1}, protocol},
		{"MQTT-3.8.3-4", "", &mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "$share/g/a", NoLocal: true}}}, protocol},
		{"", "MQTT311-3.8.3-4", &mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "a", QoS: 3}}}, malformed},
		{"MQTT-3.10.3-2", "MQTT311-3.10.3-2", &mqtt.Unsubscribe{ID: 1}, protocol},
		{"MQTT-3.8.4-6", "MQTT311-3.8.4-5", &mqtt.Suback{ID: 1}, protocol},
		{"MQTT-4.7.0-1", "MQTT311-4.7.1-1", pub("#", 0, 0), badName},
		{"MQTT-4.7.0-1", "MQTT311-4.7.1-1", will(mqtt.Will{Topic: "a/+"}), badName},
		{"MQTT-4.7.1-1", "MQTT311-4.7.1-2", sub("a/#/b"), badFilter},
		{"MQTT-4.7.1-1", "MQTT311-4.7.1-2", sub("a#"), badFilter},
		{"MQTT-4.7.1-1", "MQTT311-4.7.1-2", unsub("#/"), badFilter},
		{"MQTT-4.7.1-2", "MQTT311-4.7.1-3", sub("a/b+/c"), badFilter},
		{"MQTT-4.7.1-2", "MQTT311-4.7.1-3", unsub("++"), badFilter},
		{"MQTT-4.7.3-1", "MQTT311-4.7.3-1", pub("", 0, 0), protocol},
		{"MQTT-4.7.3-1", "MQTT311-4.7.3-1", sub(""), badFilter},
		{"MQTT-4.7.3-1", "MQTT311-4.7.3-1", unsub(""), badFilter},
		{"MQTT-4.7.3-2", "MQTT311-4.7.3-2", pub("a\x00", 0, 0), malformed},
		{"MQTT-4.7.3-2", "MQTT311-4.7.3-2", sub("a\x00"), malformed},
		{"MQTT-4.7.3-2", "MQTT311-4.7.3-2", unsub("\x00"), malformed},
		{"MQTT-4.7.3-3", "MQTT311-4.7.3-3", pub(long, 0, 0), malformed},
		{"MQTT-4.7.3-3", "MQTT311-4.7.3-3", sub(long), malformed},
		{"MQTT-4.7.3-3", "MQTT311-4.7.3-3", unsub(long), malformed},
		{"MQTT-4.8.2-1", "", sub("$share//a"), badFilter},
		{"MQTT-4.8.2-2", "", sub("$share/g+/a"), badFilter},
		{"MQTT-4.8.2-2", "", sub("$share/g"), badFilter},
		{"MQTT-4.12.0-5", "", &mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication}, protocol},
	} {
		check := func(id string, v mqtt.Version) {
			if id == "" {
				return
			}
			t.Run(id, func(t *testing.T) {
				p := tt.p
				if c, ok := p.(*mqtt.Connect); ok {
					other := *c
					other.Version = v
					p = &other
				}
				if b, err := mqtt.Append(nil, p, v); !isCode(err, tt.code) || len(b) > 0 {
					t.Errorf("Append(%.80s) = %x, %v; want %v", p, b, err, tt.code)
				}
				b, err := mqtt.AppendIllegal(nil, p, v)
				if err != nil {
					t.Fatal(err)
				}
				var d mqtt.Decoder
				if got, _, err := d.Decode(b, v); !isCode(err, tt.code) && len(b) < len(long) {
					t.Errorf("Decode(%x) = %v, %v; want %v", b, got, err, tt.code)
				}
			})
		}
		check(tt.id5, mqtt.Version5)
		check(tt.id311, mqtt.Version311)
	}
}

// texts are the string fields of all packets, each in a packet that is good when the string is.
func texts() []textField {
	prop := func(id mqtt.PropertyID, s string) mqtt.Properties { return mqtt.Properties(nil).AppendString(id, s) }
	one := []mqtt.ReasonCode{0}
	const v5, v311 = mqtt.Version5, mqtt.Version311
	fields := []textField{
		{"MQTT-3.1.3-4", v5, func(s string) mqtt.Packet { return &mqtt.Connect{Version: v5, ClientID: s} }},
		{"MQTT-3.1.3-11", v5, func(s string) mqtt.Packet { return &mqtt.Connect{Version: v5, Will: &mqtt.Will{Topic: s}} }},
		{"MQTT-3.1.3-12", v5, func(s string) mqtt.Packet {
			return &mqtt.Connect{Version: v5, HasUsername: true, Username: s}
		}},
		{"MQTT-3.3.2-1", v5, func(s string) mqtt.Packet { return &mqtt.Publish{Topic: []byte(s)} }},
		{"MQTT-3.3.2-13", v5, func(s string) mqtt.Packet {
			return &mqtt.Publish{Topic: []byte("t"), Properties: prop(mqtt.PropResponseTopic, s)}
		}},
		{"MQTT-3.3.2-19", v5, func(s string) mqtt.Packet {
			return &mqtt.Publish{Topic: []byte("t"), Properties: prop(mqtt.PropContentType, s)}
		}},
		{"MQTT-3.8.3-1", v5, func(s string) mqtt.Packet {
			return &mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: s}}}
		}},
		{"MQTT-3.10.3-1", v5, func(s string) mqtt.Packet { return &mqtt.Unsubscribe{ID: 1, Filters: []string{s}} }},
		{"MQTT-1.5.7-1", v5, func(s string) mqtt.Packet {
			return &mqtt.Publish{Topic: []byte("t"), Properties: mqtt.Properties(nil).AppendUser(s, "v")}
		}},
		{"MQTT-1.5.7-1", v5, func(s string) mqtt.Packet {
			return &mqtt.Puback{ID: 1, Properties: mqtt.Properties(nil).AppendUser("k", s)}
		}},
		{"MQTT311-3.1.3-4", v311, func(s string) mqtt.Packet { return &mqtt.Connect{Version: v311, ClientID: s} }},
		{"MQTT311-3.1.3-10", v311, func(s string) mqtt.Packet {
			return &mqtt.Connect{Version: v311, ClientID: "c", Will: &mqtt.Will{Topic: s}}
		}},
		{"MQTT311-3.1.3-11", v311, func(s string) mqtt.Packet {
			return &mqtt.Connect{Version: v311, ClientID: "c", HasUsername: true, Username: s}
		}},
		{"MQTT311-3.3.2-1", v311, func(s string) mqtt.Packet { return &mqtt.Publish{Topic: []byte(s)} }},
		{"MQTT311-3.8.3-1", v311, func(s string) mqtt.Packet {
			return &mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: s}}}
		}},
		{"MQTT311-3.10.3-1", v311, func(s string) mqtt.Packet { return &mqtt.Unsubscribe{ID: 1, Filters: []string{s}} }},
	}
	for id, packet := range map[mqtt.PropertyID]func(p mqtt.Properties) mqtt.Packet{
		mqtt.PropAssignedClientIdentifier: func(p mqtt.Properties) mqtt.Packet { return &mqtt.Connack{Properties: p} },
		mqtt.PropResponseInformation:      func(p mqtt.Properties) mqtt.Packet { return &mqtt.Connack{Properties: p} },
		mqtt.PropServerReference:          func(p mqtt.Properties) mqtt.Packet { return &mqtt.Disconnect{Properties: p} },
		mqtt.PropAuthenticationMethod:     func(p mqtt.Properties) mqtt.Packet { return &mqtt.Connect{Version: v5, Properties: p} },
		mqtt.PropReasonString:             func(p mqtt.Properties) mqtt.Packet { return &mqtt.Suback{ID: 1, Reasons: one, Properties: p} },
	} {
		fields = append(fields, textField{"MQTT-1.5.4-1", v5, func(s string) mqtt.Packet { return packet(prop(id, s)) }})
	}
	return fields
}

type textField struct {
	id     string
	v      mqtt.Version
	packet func(s string) mqtt.Packet
}

// TestTextStatements tries good and bad strings in every field that is one: bad ones are neither sent nor taken, good ones
// come out as they went in.
func TestTextStatements(t *testing.T) {
	all := map[mqtt.Version][3]string{
		mqtt.Version5:   {"MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-1.5.4-3"},
		mqtt.Version311: {"MQTT311-1.5.3-1", "MQTT311-1.5.3-2", "MQTT311-1.5.3-3"},
	}
	for _, f := range texts() {
		ids := all[f.v]
		try := func(id, s string, good bool) {
			t.Run(id, func(t *testing.T) {
				p := f.packet(s)
				sent, err := mqtt.Append(nil, p, f.v)
				if good != (err == nil) || !good && !isCode(err, malformed) {
					t.Errorf("Append(%v): %v", p, err)
				}
				b, err := mqtt.AppendIllegal(nil, p, f.v)
				if err != nil {
					t.Fatal(err)
				}
				var d mqtt.Decoder
				got, _, err := d.Decode(b, f.v)
				if !good {
					if !isCode(err, malformed) {
						t.Errorf("Decode(%x) = %v, %v", b, got, err)
					}
					return
				}
				if err != nil {
					t.Fatalf("Decode(%x): %v", b, err)
				}
				if again, err := mqtt.Append(nil, got, f.v); err != nil || string(again) != string(sent) || !strings.Contains(string(again), s) {
					t.Errorf("%q has become %v", s, got)
				}
			})
		}
		for _, s := range []string{"\xff", "a\xc3", "\xc0\x80", "\xe2\x82", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80", "\x80"} {
			try(f.id, s, false)
			try(ids[0], s, false)
		}
		try(f.id, "a\x00b", false)
		try(ids[1], "\x00", false)
		try(ids[1], "long enough for eight bytes at a time\x00", false)
		for _, s := range []string{"\ufeff", "a\ufeffb", "\ufeffa"} {
			try(ids[2], s, true)
		}
		try(ids[0], "ÿ\ud7ff\ue000\U0010ffff", true)
		try(f.id, "ÿ", true)
	}
}
