package mqtt_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quartet-mq/quartet/mqtt"
)

// TestPackets encodes packets built by hand and decodes them again to the same fields.
func TestPackets(t *testing.T) {
	user := mqtt.Properties(nil).AppendUser("k", "v")
	for _, tt := range []struct {
		name string
		p    mqtt.Packet
		v    mqtt.Version
		want []byte
	}{
		{"connect-5", &mqtt.Connect{
			Version: mqtt.Version5, CleanStart: true, KeepAlive: 60, ClientID: "c", Username: "u", HasUsername: true,
			Password: []byte{0xff}, HasPassword: true,
			Properties: mqtt.Properties(nil).AppendUint16(mqtt.PropReceiveMaximum, 20),
			Will: &mqtt.Will{Topic: "w", Payload: []byte("x"), QoS: mqtt.QoS2, Retain: true,
				Properties: mqtt.Properties(nil).AppendUint32(mqtt.PropWillDelayInterval, 5)},
		}, mqtt.Version5, wire(0x10, str("MQTT"), "05 f6 003c 03 21 0014", str("c"), "05 18 00000005", str("w"), str("x"),
			str("u"), "0001 ff")},
		{"connect-3.1.1", &mqtt.Connect{Version: mqtt.Version311, ClientID: "c"}, mqtt.Version311,
			wire(0x10, str("MQTT"), "04 00 0000", str("c"))},
		{"connect-3.1", &mqtt.Connect{Version: mqtt.Version31, ClientID: "c",
			Will: &mqtt.Will{Topic: "w", Payload: []byte{}}}, mqtt.Version31,
			wire(0x10, str("MQIsdp"), "03 04 0000", str("c"), str("w"), "0000")},
		{"connack-5", &mqtt.Connack{SessionPresent: true, Properties: user}, mqtt.Version5,
			wire(0x20, "01 00 07 26", str("k"), str("v"))},
		{"connack-3.1.1", &mqtt.Connack{Reason: mqtt.ReasonBadUserNameOrPassword}, mqtt.Version311, wire(0x20, "00 04")},
		{"publish-5", &mqtt.Publish{Topic: []byte("a"), Payload: []byte("x"), Properties: user, ID: 7, QoS: mqtt.QoS1,
			Dup: true, Retain: true}, mqtt.Version5, wire(0x3b, str("a"), "0007 07 26", str("k"), str("v"), "78")},
		{"publish-3.1.1", &mqtt.Publish{Topic: []byte("a"), Payload: []byte("x")}, mqtt.Version311,
			wire(0x30, str("a"), "78")},
		{"puback-5", &mqtt.Puback{ID: 7, Reason: mqtt.ReasonQuotaExceeded, Properties: user}, mqtt.Version5,
			wire(0x40, "0007 97 07 26", str("k"), str("v"))},
		{"pubrec-5", &mqtt.Pubrec{ID: 7, Reason: mqtt.ReasonNoMatchingSubscribers}, mqtt.Version5, wire(0x50, "0007 10")},
		{"pubrel-3.1", &mqtt.Pubrel{ID: 7}, mqtt.Version31, wire(0x62, "0007")},
		{"pubcomp-5", &mqtt.Pubcomp{ID: 7, Properties: user}, mqtt.Version5,
			wire(0x70, "0007 00 07 26", str("k"), str("v"))},
		{"subscribe-5", &mqtt.Subscribe{ID: 7, Filters: []mqtt.Subscription{
			{Filter: "a/+", QoS: mqtt.QoS2, NoLocal: true, RetainAsPublished: true, RetainHandling: mqtt.RetainDontSend},
			{Filter: "#", RetainHandling: mqtt.RetainSendIfNew},
		}, Properties: mqtt.Properties(nil).AppendUvarint(mqtt.PropSubscriptionIdentifier, 300)}, mqtt.Version5,
			wire(0x82, "0007 03 0b ac02", str("a/+"), "2e", str("#"), "10")},
		{"subscribe-3.1.1", &mqtt.Subscribe{ID: 7, Filters: []mqtt.Subscription{{Filter: "a", QoS: mqtt.QoS1}}},
			mqtt.Version311, wire(0x82, "0007", str("a"), "01")},
		{"suback-5", &mqtt.Suback{ID: 7, Reasons: []mqtt.ReasonCode{2, 0x9e}, Properties: user}, mqtt.Version5,
			wire(0x90, "0007 07 26", str("k"), str("v"), "02 9e")},
		{"unsubscribe-5", &mqtt.Unsubscribe{ID: 7, Filters: []string{"a", "b"}, Properties: user}, mqtt.Version5,
			wire(0xA2, "0007 07 26", str("k"), str("v"), str("a"), str("b"))},
		{"unsuback-5", &mqtt.Unsuback{ID: 7, Reasons: []mqtt.ReasonCode{0, 0x11}}, mqtt.Version5,
			wire(0xB0, "0007 00 00 11")},
		{"unsuback-3.1.1", &mqtt.Unsuback{ID: 7}, mqtt.Version311, wire(0xB0, "0007")},
		{"pingreq", &mqtt.Pingreq{}, mqtt.Version311, wire(0xC0)},
		{"pingresp", &mqtt.Pingresp{}, mqtt.Version5, wire(0xD0)},
		{"disconnect-5", &mqtt.Disconnect{Reason: mqtt.ReasonServerMoved,
			Properties: mqtt.Properties(nil).AppendString(mqtt.PropServerReference, "x")}, mqtt.Version5,
			wire(0xE0, "9d 04 1c", str("x"))},
		{"disconnect-3.1.1", &mqtt.Disconnect{}, mqtt.Version311, wire(0xE0)},
		{"auth-5", &mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication,
			Properties: mqtt.Properties(nil).AppendString(mqtt.PropAuthenticationMethod, "m").
				AppendBytes(mqtt.PropAuthenticationData, []byte{1})}, mqtt.Version5,
			wire(0xF0, "18 08 15", str("m"), "16 0001 01")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := mqtt.Append(nil, tt.p, tt.v)
			if err != nil || !bytes.Equal(b, tt.want) {
				t.Fatalf("Append = %x, %v\nwant     %x", b, err, tt.want)
			}
			var d mqtt.Decoder
			p, n, err := d.Decode(b, tt.v)
			if err != nil || n != len(b) || p.Type() != tt.p.Type() {
				t.Fatalf("Decode = %v, %d, %v", p, n, err)
			}
			if diff := cmp.Diff(tt.p, p); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

// TestConnectVersion checks which version a CONNECT is encoded in.
func TestConnectVersion(t *testing.T) {
	for own, want := range map[mqtt.Version]mqtt.Version{0: mqtt.Version5, mqtt.Version311: mqtt.Version311} {
		b, err := mqtt.Append(nil, &mqtt.Connect{Version: own, CleanStart: true}, mqtt.Version5)
		if err != nil {
			t.Fatal(err)
		}
		var d mqtt.Decoder
		p, _, err := d.Decode(b, 0)
		if err != nil || p.(*mqtt.Connect).Version != want {
			t.Errorf("CONNECT of version %v: %v, %v; want version %v", own, p, err, want)
		}
	}
}

// TestAppendRefuses has for each packet the values that may not be sent. What AppendIllegal makes of them is refused by
// the decoder with the same reason code, where the wire can have it.
func TestAppendRefuses(t *testing.T) {
	long := strings.Repeat("x", 65536)
	none := mqtt.Properties(nil)
	user := none.AppendUser("k", "v")
	data := none.AppendBytes(mqtt.PropAuthenticationData, nil)
	twice := none.AppendString(mqtt.PropReasonString, "a").AppendString(mqtt.PropReasonString, "a")
	cut := mqtt.Properties{byte(mqtt.PropReasonString), 0}
	sub := func(s mqtt.Subscription) *mqtt.Subscribe {
		return &mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{s}}
	}
	const v31, v311, v5 = mqtt.Version31, mqtt.Version311, mqtt.Version5
	for _, tt := range []struct {
		name string
		p    mqtt.Packet
		v    mqtt.Version
		code mqtt.ReasonCode
		gone bool // the wire cannot have it
	}{
		{"version-0", &mqtt.Pingreq{}, 0, noVersion, true},
		{"version-6", &mqtt.Publish{Topic: []byte("a")}, 6, noVersion, true},
		{"connect-version-9", &mqtt.Connect{Version: 9}, v5, noVersion, false},
		{"connect-client-id-long", &mqtt.Connect{Version: v5, ClientID: long}, v5, malformed, true},
		{"connect-client-id-nul", &mqtt.Connect{Version: v5, ClientID: "\x00"}, v5, malformed, false},
		{"connect-client-id-empty", &mqtt.Connect{Version: v311}, v311, badClient, false},
		{"connect-client-id-empty-3.1", &mqtt.Connect{Version: v31, CleanStart: true}, v31, badClient, false},
		{"connect-properties", &mqtt.Connect{Version: v311, ClientID: "c", Properties: user}, v311, protocol, true},
		{"connect-other-property", &mqtt.Connect{Version: v5, Properties: twice}, v5, malformed, false},
		{"connect-data", &mqtt.Connect{Version: v5, Properties: data}, v5, protocol, false},
		{"connect-user-name", &mqtt.Connect{Version: v5, HasUsername: true, Username: "\xff"}, v5, malformed, false},
		{"connect-password-long", &mqtt.Connect{Version: v5, HasPassword: true, Password: []byte(long)}, v5, malformed, true},
		{"connect-password-alone", &mqtt.Connect{Version: v311, ClientID: "c", HasPassword: true}, v311, malformed, false},
		{"will-topic-empty", &mqtt.Connect{Version: v5, Will: &mqtt.Will{}}, v5, badName, false},
		{"will-topic-wildcard", &mqtt.Connect{Version: v5, Will: &mqtt.Will{Topic: "#"}}, v5, badName, false},
		{"will-topic-utf8", &mqtt.Connect{Version: v5, Will: &mqtt.Will{Topic: "\xff"}}, v5, malformed, false},
		{"will-qos-3", &mqtt.Connect{Version: v5, Will: &mqtt.Will{Topic: "w", QoS: 3}}, v5, malformed, false},
		{"will-qos-4", &mqtt.Connect{Version: v5, Will: &mqtt.Will{Topic: "w", QoS: 4}}, v5, malformed, true},
		{"will-payload-long", &mqtt.Connect{Version: v5, Will: &mqtt.Will{Topic: "w", Payload: []byte(long)}}, v5,
			malformed, true},
		{"will-property", &mqtt.Connect{Version: v5, Will: &mqtt.Will{Topic: "w", Properties: twice}}, v5,
			malformed, false},
		{"connack-unmapped", &mqtt.Connack{Reason: mqtt.ReasonQoSNotSupported}, v311, protocol, true},
		{"connack-reason", &mqtt.Connack{Reason: mqtt.ReasonSessionTakenOver}, v5, protocol, false},
		{"connack-session-present", &mqtt.Connack{SessionPresent: true, Reason: mqtt.ReasonBanned}, v5, protocol, false},
		{"connack-properties", &mqtt.Connack{Properties: user}, v311, protocol, true},
		{"connack-property-twice", &mqtt.Connack{Properties: twice}, v5, protocol, false},
		{"publish-qos-3", &mqtt.Publish{Topic: []byte("a"), QoS: 3, ID: 1}, v5, malformed, false},
		{"publish-qos-4", &mqtt.Publish{Topic: []byte("a"), QoS: 4, ID: 1}, v5, malformed, true},
		{"publish-dup", &mqtt.Publish{Topic: []byte("a"), Dup: true}, v5, malformed, false},
		{"publish-id", &mqtt.Publish{Topic: []byte("a"), QoS: mqtt.QoS1}, v311, protocol, false},
		{"publish-no-topic", &mqtt.Publish{}, v311, protocol, false},
		{"publish-no-topic-5", &mqtt.Publish{}, v5, protocol, false},
		{"publish-wildcard", &mqtt.Publish{Topic: []byte("a/+")}, v5, badName, false},
		{"publish-utf8", &mqtt.Publish{Topic: []byte("\xc3")}, v5, malformed, false},
		{"publish-topic-long", &mqtt.Publish{Topic: []byte(long)}, v5, malformed, true},
		{"publish-properties", &mqtt.Publish{Topic: []byte("a"), Properties: user}, v311, protocol, true},
		{"publish-property", &mqtt.Publish{Topic: []byte("a"), Properties: twice}, v5, malformed, false},
		{"publish-broken-property", &mqtt.Publish{Topic: []byte("a"), Properties: mqtt.Properties{2, 0}}, v5,
			malformed, false},
		{"puback-id", &mqtt.Puback{}, v5, protocol, false},
		{"puback-reason", &mqtt.Puback{ID: 1, Reason: mqtt.ReasonBanned}, v5, protocol, false},
		{"pubrec-properties", &mqtt.Pubrec{ID: 1, Properties: user}, v311, protocol, true},
		{"pubrel-property-twice", &mqtt.Pubrel{ID: 1, Properties: twice}, v5, protocol, false},
		{"pubcomp-property-cut", &mqtt.Pubcomp{ID: 1, Properties: cut}, v5, malformed, false},
		{"subscribe-id", &mqtt.Subscribe{Filters: []mqtt.Subscription{{Filter: "a"}}}, v5, protocol, false},
		{"subscribe-nothing", &mqtt.Subscribe{ID: 1}, v5, protocol, false},
		{"subscribe-empty", sub(mqtt.Subscription{}), v5, badFilter, false},
		{"subscribe-long", sub(mqtt.Subscription{Filter: long}), v5, malformed, true},
		{"subscribe-filter", sub(mqtt.Subscription{Filter: "a#"}), v311, badFilter, false},
		{"subscribe-qos-3", sub(mqtt.Subscription{Filter: "a", QoS: 3}), v5, protocol, false},
		{"subscribe-qos-3-3.1", sub(mqtt.Subscription{Filter: "a", QoS: 3}), v31, malformed, false},
		{"subscribe-retain-handling", sub(mqtt.Subscription{Filter: "a", RetainHandling: 3}), v5, protocol, false},
		{"subscribe-no-local", sub(mqtt.Subscription{Filter: "$share/g/a", NoLocal: true}), v5, protocol, false},
		{"suback-nothing", &mqtt.Suback{ID: 1}, v5, protocol, false},
		{"suback-reason", &mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{3}}, v311, protocol, false},
		{"suback-id", &mqtt.Suback{Reasons: []mqtt.ReasonCode{0}}, v311, protocol, false},
		{"suback-properties", &mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{0}, Properties: twice}, v311, protocol, true},
		{"unsubscribe-nothing", &mqtt.Unsubscribe{ID: 1}, v5, protocol, false},
		{"unsubscribe-filter", &mqtt.Unsubscribe{ID: 1, Filters: []string{"#/a"}}, v5, badFilter, false},
		{"unsubscribe-utf8", &mqtt.Unsubscribe{ID: 1, Filters: []string{"\xff"}}, v5, malformed, false},
		{"unsubscribe-property", &mqtt.Unsubscribe{ID: 1, Filters: []string{"a"}, Properties: twice}, v5, malformed, false},
		{"unsuback-nothing", &mqtt.Unsuback{ID: 1}, v5, protocol, false},
		{"unsuback-id", &mqtt.Unsuback{}, v311, protocol, false},
		{"unsuback-reason", &mqtt.Unsuback{ID: 1, Reasons: []mqtt.ReasonCode{1}}, v5, protocol, false},
		{"unsuback-property", &mqtt.Unsuback{ID: 1, Reasons: []mqtt.ReasonCode{0}, Properties: cut}, v5, malformed, false},
		{"disconnect-reason", &mqtt.Disconnect{Reason: mqtt.ReasonBanned}, v5, protocol, false},
		{"disconnect-properties", &mqtt.Disconnect{Properties: twice}, v311, protocol, true},
		{"auth-before-5", &mqtt.Auth{}, v311, protocol, true},
		{"auth-reason", &mqtt.Auth{Reason: mqtt.ReasonBanned}, v5, protocol, false},
		{"auth-no-method", &mqtt.Auth{Reason: mqtt.ReasonReauthenticate}, v5, protocol, false},
		{"auth-property", &mqtt.Auth{Properties: cut}, v5, malformed, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dst := []byte("before")
			b, err := mqtt.Append(dst, tt.p, tt.v)
			if !errors.Is(codeOf(err), &mqtt.Error{Code: tt.code}) || string(b) != "before" {
				t.Errorf("Append = %q, %v; want %v", b, err, tt.code)
			}
			b, err = mqtt.AppendIllegal(nil, tt.p, tt.v)
			if size, _ := mqtt.FrameSize(b); err != nil || size != len(b) {
				t.Fatalf("AppendIllegal = %x, %v of size %d", b, err, size)
			}
			var d mqtt.Decoder
			if _, _, err = d.Decode(b, tt.v); !tt.gone && !errors.Is(codeOf(err), &mqtt.Error{Code: tt.code}) {
				t.Errorf("Decode(%x): %v, want %v", b, err, tt.code)
			}
		})
	}
}

// TestAppendTooLarge checks the limit of the remaining length without memory for it.
func TestAppendTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("needs 256 MiB")
	}
	payload := make([]byte, 268_435_455-3)
	p := &mqtt.Publish{Topic: []byte("a"), Payload: payload}
	if size := mqtt.PublishSize(p, mqtt.Version311); size != mqtt.MaxPacketSize {
		t.Errorf("PublishSize = %d, want %d", size, mqtt.MaxPacketSize)
	}
	b, err := mqtt.AppendPublishHeader(nil, p, mqtt.Version311)
	if size, _ := mqtt.FrameSize(b); err != nil || size != mqtt.MaxPacketSize {
		t.Errorf("header %x, %v says %d bytes", b, err, size)
	}
	want := &mqtt.Error{Code: mqtt.ReasonPacketTooLarge}
	if b, err = mqtt.AppendPublishHeader([]byte{1}, p, mqtt.Version5); !errors.Is(codeOf(err), want) || len(b) != 1 {
		t.Errorf("AppendPublishHeader = %d bytes, %v; want %v", len(b), err, want)
	}
	if b, err = mqtt.AppendIllegal([]byte{1}, p, mqtt.Version5); !errors.Is(codeOf(err), want) || len(b) != 1 {
		t.Errorf("AppendIllegal = %d bytes, %v; want %v", len(b), err, want)
	}
}

func TestPublishHeader(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.Version31, mqtt.Version311, mqtt.Version5} {
		for size := range 300 {
			p := &mqtt.Publish{Topic: []byte("a/b"), Payload: make([]byte, size), QoS: mqtt.QoS(size % 3), ID: 9}
			whole, err := mqtt.AppendPublish(nil, p, v)
			if err != nil || len(whole) != mqtt.PublishSize(p, v) {
				t.Fatalf("AppendPublish = %d bytes, %v; PublishSize = %d", len(whole), err, mqtt.PublishSize(p, v))
			}
			header, err := mqtt.AppendPublishHeader(nil, p, v)
			if err != nil || !bytes.Equal(append(header, p.Payload...), whole) {
				t.Fatalf("AppendPublishHeader = %x, %v; AppendPublish = %x", header, err, whole)
			}
		}
	}
}
