package mqttserver_test

import (
	"context"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// challenger is a backend with an authentication method in two steps.
type challenger struct{ router }

func (*challenger) Auth(_ context.Context, _ *mqttserver.Conn, method string) (mqttserver.AuthExchange, error) {
	if method != "riddle" {
		return nil, &mqtt.Error{Code: mqtt.ReasonBadAuthenticationMethod}
	}
	return &riddle{}, nil
}

type riddle struct{ asked bool }

func (x *riddle) Step(_ context.Context, data []byte) ([]byte, bool, error) {
	switch {
	case !x.asked:
		x.asked = true
		return []byte("what?"), false, nil
	case string(data) == "42":
		return []byte("right"), true, nil
	}
	return nil, false, &mqtt.Error{Code: mqtt.ReasonNotAuthorized}
}

func authProps(data string) mqtt.Properties {
	p := mqtt.Properties(nil).AppendString(mqtt.PropAuthenticationMethod, "riddle")
	if data != "" {
		p = p.AppendBytes(mqtt.PropAuthenticationData, []byte(data))
	}
	return p
}

// challenged runs f with a server of a challenger and a client that has got the first question.
func challenged(t *testing.T, f func(w *world, p *peer)) {
	t.Helper()
	bubbleWith(t, new(challenger), nil, func(w *world) {
		p := w.dial()
		p.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", CleanStart: true, Properties: authProps("")})
		p.expectAuth(mqtt.ReasonContinueAuthentication, "what?")
		f(w, p)
	})
}

func (p *peer) expectAuth(reason mqtt.ReasonCode, data string) {
	p.t.Helper()
	a, ok := p.recv().(*mqtt.Auth)
	if !ok || a.Reason != reason {
		p.t.Fatalf("got %v", a)
	}
	if got, _ := a.Properties.Bytes(mqtt.PropAuthenticationData); string(got) != data {
		p.t.Fatalf("got %q, want %q", got, data)
	}
	if m, _ := a.Properties.String(mqtt.PropAuthenticationMethod); m != "riddle" {
		p.t.Fatalf("method %q", m)
	}
}

func TestEnhancedAuthentication(t *testing.T) {
	t.Run("MQTT-4.12.0-5", func(t *testing.T) {
		challenged(t, func(w *world, p *peer) {
			p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: authProps("42")})
			ack := p.recv().(*mqtt.Connack)
			if d, _ := ack.Properties.Bytes(mqtt.PropAuthenticationData); ack.Reason != 0 || string(d) != "right" {
				t.Fatal(ack)
			}
			// Again, on the open connection.
			p.send(&mqtt.Auth{Reason: mqtt.ReasonReauthenticate, Properties: authProps("")})
			p.expectAuth(mqtt.ReasonContinueAuthentication, "what?")
			p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: authProps("42")})
			p.expectAuth(mqtt.ReasonSuccess, "right")
			p.send(&mqtt.Auth{Reason: mqtt.ReasonReauthenticate, Properties: authProps("")})
			p.expectAuth(mqtt.ReasonContinueAuthentication, "what?")
			p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: authProps("41")})
			p.expectDisconnect(mqtt.ReasonNotAuthorized)
		})
	})
	t.Run("MQTT-4.12.0-4", func(t *testing.T) {
		challenged(t, func(w *world, p *peer) {
			p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: authProps("41")})
			p.expect(&mqtt.Connack{Reason: mqtt.ReasonNotAuthorized})
			p.expectEnd()
		})
	})
	t.Run("MQTT-3.1.2-30", func(t *testing.T) {
		challenged(t, func(w *world, p *peer) {
			p.send(&mqtt.Pingreq{})
			if ack, ok := p.recv().(*mqtt.Connack); !ok || ack.Reason != mqtt.ReasonProtocolError {
				t.Fatal(ack)
			}
			p.expectEnd()
		})
	})
	t.Run("client leaves", func(t *testing.T) {
		challenged(t, func(w *world, p *peer) { p.nc.Close() })
		challenged(t, func(w *world, p *peer) { p.send(&mqtt.Disconnect{}); p.expectEnd() })
	})
	t.Run("MQTT-4.12.0-1", func(t *testing.T) { // a server without the method
		bubble(t, nil, nil, func(w *world) {
			p := w.dial()
			p.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", CleanStart: true, Properties: authProps("")})
			p.expect(&mqtt.Connack{Reason: mqtt.ReasonBadAuthenticationMethod})
			p.expectEnd()
		})
	})
}
