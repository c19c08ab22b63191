package mqttclient

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/mqtt"
)

// scripted is an Authenticator.
type scripted struct {
	mu  sync.Mutex
	log []string
	err error // of Step
	bad error // of Finish
}

func (a *scripted) note(s string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log = append(a.log, s)
}

func (a *scripted) Method() string { return "M" }

func (a *scripted) Start(context.Context) ([]byte, error) {
	a.note("start")
	return []byte("hello"), nil
}

func (a *scripted) Step(_ context.Context, data []byte) ([]byte, error) {
	a.note("step " + string(data))
	return append([]byte("re "), data...), a.err
}

func (a *scripted) Finish(data []byte) error {
	a.note("finish " + string(data))
	return a.bad
}

func TestEnhancedAuth(t *testing.T) {
	props := func(data string) mqtt.Properties {
		return mqtt.Properties{}.AppendString(mqtt.PropAuthenticationMethod, "M").AppendString(mqtt.PropAuthenticationData, data)
	}
	challenge := func(data string) *mqtt.Auth {
		return &mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: props(data)}
	}
	t.Run("MQTT-4.12.0-3 MQTT-4.12.1-1", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			a := new(scripted)
			c := n.client(&Options{Auth: a}, "a")
			p := n.accept("a")
			k := p.connect()
			if m, _ := k.Properties.String(mqtt.PropAuthenticationMethod); m != "M" {
				t.Errorf("method is %q", m)
			}
			p.send(challenge("1"))
			p.expect("AUTH reason=0x18")
			p.send(challenge("2"))
			p.expect("AUTH reason=0x18")
			p.send(&mqtt.Connack{Properties: props("ok")})
			if err := c.Connected(t.Context()); err != nil {
				t.Fatal(err)
			}
			wait := async(func() error { return c.Reauthenticate(t.Context()) })
			p.expect("AUTH reason=0x19")
			p.send(challenge("3"))
			p.expect("AUTH reason=0x18")
			p.send(&mqtt.Auth{Properties: props("ok again")})
			if err := wait(); err != nil {
				t.Fatal(err)
			}
			want := "start,step 1,step 2,finish ok,start,step 3,finish ok again"
			if got := strings.Join(a.log, ","); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	})
	t.Run("MQTT-4.12.1-2", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			a := &scripted{err: errors.New("wrong challenge")}
			c := n.client(&Options{Auth: a}, "a")
			p := n.connect("a", mqtt.Connack{Properties: props("")})
			synctest.Wait()
			wait := async(func() error { return c.Reauthenticate(t.Context()) })
			p.expect("AUTH reason=0x19")
			p.send(challenge("3"))
			if err := wait(); !errors.Is(err, a.err) {
				t.Errorf("error is %v", err)
			}
			p.expect("DISCONNECT reason=0x80", "end")
			p.nc.Close()
			n.accept("a").connect()
		})
	})
	t.Run("server refuses", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(&Options{Auth: new(scripted)}, "a")
			p := n.connect("a", mqtt.Connack{Properties: props("")})
			synctest.Wait()
			wait := async(func() error { return c.Reauthenticate(t.Context()) })
			p.expect("AUTH reason=0x19")
			p.send(&mqtt.Disconnect{Reason: mqtt.ReasonNotAuthorized})
			p.nc.Close()
			if err := wait(); !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonNotAuthorized}) || !errors.Is(err, net.ErrClosed) {
				t.Errorf("error is %v", err)
			}
			<-c.Done()
		})
	})
	t.Run("false server", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			a := &scripted{bad: errors.New("server does not know the password")}
			c := n.client(&Options{Auth: a}, "a")
			if _, err := c.PublishAsync(t.Context(), &Message{Topic: "secret"}); err != nil {
				t.Fatal(err)
			}
			p := n.connect("a", mqtt.Connack{Properties: props("ok")})
			p.expect("end")
		})
	})
	t.Run("none", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			if err := n.client(nil, "a").Reauthenticate(t.Context()); err == nil {
				t.Error("no error")
			}
		})
	})
}
