package mqttbroker

import (
	"context"
	"testing"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

func TestSCRAMAgain(t *testing.T) {
	alice := sasl.SCRAMClientOptions{Mechanism: "SCRAM-SHA-256", Username: "alice", Password: "wonderland"}
	connected := func(t *testing.T, test func(w *world, p *scramPeer)) {
		withSCRAM(t, SCRAMOptions{}, func(w *world) {
			p := w.scram()
			p.verified(p.login(alice).(*mqtt.Connack).Properties)
			test(w, p)
		})
	}
	t.Run("as oneself", func(t *testing.T) {
		connected(t, func(w *world, p *scramPeer) {
			for range 2 {
				p.step(mqtt.ReasonReauthenticate, p.use(alice))
				p.challenged()
				auth := expect[*mqtt.Auth](p.peer)
				if auth.Reason != mqtt.ReasonSuccess {
					w.t.Fatal(auth)
				}
				p.verified(auth.Properties)
			}
			p.sub(0, "alice/x")
		})
	})
	bob := sasl.SCRAMClientOptions{Mechanism: "SCRAM-SHA-256", Username: "bob", Password: "builder"}
	wrong := alice
	wrong.Password = "queen"
	for name, o := range map[string]sasl.SCRAMClientOptions{"as another": bob, "wrong password": wrong} {
		t.Run(name, func(t *testing.T) {
			connected(t, func(w *world, p *scramPeer) {
				p.step(mqtt.ReasonReauthenticate, p.use(o))
				p.challenged()
				d := expect[*mqtt.Disconnect](p.peer)
				if d.Reason != mqtt.ReasonNotAuthorized || !p.closed() {
					t.Error(d)
				}
			})
		})
	}
	t.Run("malformed", func(t *testing.T) {
		connected(t, func(w *world, p *scramPeer) {
			p.step(mqtt.ReasonReauthenticate, []byte("?"))
			if d := expect[*mqtt.Disconnect](p.peer); d.Reason != mqtt.ReasonProtocolError || !p.closed() {
				t.Error(d)
			}
		})
	})
	t.Run("exchange without a name before", func(t *testing.T) {
		anonymous := false
		scram := SCRAM(&SCRAMOptions{Lookup: scramUsersFile(t).Lookup})
		exchange := func(ctx context.Context, c *mqttserver.Conn, method string) (mqttserver.AuthExchange, error) {
			if anonymous {
				return scram(ctx, c, method)
			}
			anonymous = true
			return nameless{}, nil
		}
		in(t, &Options{Exchange: exchange}, func(w *world) {
			p := &scramPeer{peer: w.dial(mqtt.Version5), method: "SCRAM-SHA-256"}
			p.hello(nil)
			if ack := expect[*mqtt.Connack](p.peer); ack.Reason != 0 {
				w.t.Fatal(ack)
			}
			p.step(mqtt.ReasonReauthenticate, p.use(alice))
			p.challenged()
			if d := expect[*mqtt.Disconnect](p.peer); d.Reason != mqtt.ReasonNotAuthorized {
				t.Error(d)
			}
		})
	})
}

// nameless is an exchange that lets everybody in without a name.
type nameless struct{}

func (nameless) Step(context.Context, []byte) ([]byte, bool, error) { return nil, true, nil }
