package mqtt_test

import (
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

func TestEarlyData(t *testing.T) {
	scram := mqtt.Properties(nil).AppendString(mqtt.PropAuthenticationMethod, "SCRAM-SHA-256")
	for _, tt := range []struct {
		p    mqtt.Packet
		want mqtt.Early
	}{
		{&mqtt.Connect{ClientID: "c"}, mqtt.EarlyGuarded},
		{&mqtt.Connect{ClientID: "c", HasUsername: true, Username: "u"}, mqtt.EarlyGuarded},
		{&mqtt.Connect{ClientID: "c", HasPassword: true, Password: []byte("x")}, mqtt.EarlyNever},
		{&mqtt.Connect{ClientID: "c", HasPassword: true}, mqtt.EarlyNever},
		{&mqtt.Connect{ClientID: "c", Properties: scram}, mqtt.EarlyNever},
		{&mqtt.Publish{}, mqtt.EarlyOptIn},
		{&mqtt.Publish{QoS: mqtt.QoS1, ID: 1}, mqtt.EarlyOptIn},
		{&mqtt.Publish{QoS: mqtt.QoS2, ID: 1}, mqtt.EarlyNever},
		{&mqtt.Subscribe{ID: 1}, mqtt.EarlySafe},
		{&mqtt.Pingreq{}, mqtt.EarlySafe},
		{&mqtt.Unsubscribe{ID: 1}, mqtt.EarlyGuarded},
		{&mqtt.Puback{ID: 1}, mqtt.EarlyNever},
		{&mqtt.Pubrec{ID: 1}, mqtt.EarlyNever},
		{&mqtt.Pubrel{ID: 1}, mqtt.EarlyNever},
		{&mqtt.Pubcomp{ID: 1}, mqtt.EarlyNever},
		{&mqtt.Disconnect{}, mqtt.EarlyNever},
		{&mqtt.Auth{}, mqtt.EarlyNever},
		{&mqtt.Connack{}, mqtt.EarlyNever},
		{&mqtt.Suback{ID: 1}, mqtt.EarlyNever},
		{&mqtt.Unsuback{ID: 1}, mqtt.EarlyNever},
		{&mqtt.Pingresp{}, mqtt.EarlyNever},
		{nil, mqtt.EarlyNever},
	} {
		if got := mqtt.EarlyData(tt.p); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.p, got, tt.want)
		}
	}
	if got := mqtt.EarlyNever.String() + mqtt.EarlyOptIn.String() + mqtt.EarlyGuarded.String() + mqtt.EarlySafe.String(); got != "neveropt-inguardedsafe" {
		t.Error(got)
	}
}
