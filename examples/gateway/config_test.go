package main

import (
	"io"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		args string
		err  string // a part of the error, empty for none
	}{
		{"", ""},
		{"-mqtt=127.0.0.1:0 -ws= -http=", ""},
		{"-mqtt=[::1]:1883", ""},
		{"-mqtt=localhost:1883", ""},
		{"-mqtt=:1883", "-mqtt :1883 can be reached from other machines"},
		{"-mqtt=0.0.0.0:1883", "give -users FILE, or -anonymous"},
		{"-ws=192.0.2.1:8083", "-ws 192.0.2.1:8083"},
		{"-mqtt=broker.example:1883", "-mqtt broker.example:1883"},
		{"-http=:8080", "-http :8080"},
		{"-mqtt=:1883 -anonymous", ""},
		{"-mqtt=:1883 -users=u", ""},
		{"-users=u -anonymous", "exclude each other"},
		{"-mqtts=127.0.0.1:8883", "needs -tls-cert and -tls-key"},
		{"-mqtts=127.0.0.1:8883 -tls-cert=c", "needs -tls-cert and -tls-key"},
		{"-tls-cert=c", "go together"},
		{"-tls-client-ca=c", "needs -mqtts"},
		{"-amqp=:5672", ""}, // nobody gets in from elsewhere without a password
		{"-amqps=127.0.0.1:5671", "-amqps needs -tls-cert and -tls-key"},
		{"-amqps=:5671 -tls-cert=c -tls-key=k -tls-client-ca=a", ""},
		{"-kafka=:9092", "-kafka :9092 can be reached from other machines"},
		{"-kafka=:9092 -users=u -kafka-advertise=broker.example", ""},
		{"-kafka=:9092 -anonymous -kafka-advertise=[2001:db8::1]:9092", ""},
		{"-kafkas=127.0.0.1:9093", "-kafkas needs -tls-cert and -tls-key"},
		{"-kafkas=127.0.0.1:9093 -tls-cert=c -tls-key=k -tls-client-ca=a -kafka-super-users=ann,bob", ""},
		{"-kafka= -kafka-advertise=x", "-kafka-advertise needs -kafka, -kafkas or -quic"},
		{"-kafka-advertise=a:b:c", "neither a host nor host:port"},
		{"-kafka-advertise=a:0", "neither a host nor host:port"},
		{"-kafka-advertise=:9092", "neither a host nor host:port"},
		{"-kafka-super-users=ANONYMOUS", ""},
		{"-kafka-trust-compressed", ""},
		{"-quic=127.0.0.1:14567", "-quic needs -tls-cert and -tls-key"},
		{"-quic=127.0.0.1:14567 -tls-cert=c -tls-key=k -tls-client-ca=a", ""},
		{"-quic=:14567 -tls-cert=c -tls-key=k", "-quic :14567 can be reached from other machines"},
		{"-definitions=d", ""},
		{"-data=d", ""},
		{"-data=d -no-sync -queue-messages=-1", ""},
		{"-no-sync", "needs -data"},
		{"more", `unexpected argument "more"`},
		{"-nosuch", "not defined"},
	} {
		_, err := parse(strings.Fields(tt.args), io.Discard)
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("gateway %s: %v", tt.args, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("gateway %s: error %v, want one with %q", tt.args, err, tt.err)
		}
	}
}
