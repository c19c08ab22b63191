package mqttbroker

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/mqtt"
)

// scramUsersFile returns a file with alice, who has all methods, and bob with SCRAM-SHA-256 only.
func scramUsersFile(t testing.TB) *SCRAMFile {
	t.Helper()
	text := "# users\n\n"
	for _, method := range []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		text += "alice:" + credentialText(t, method, "wonderland", 4096) + "\n"
	}
	text += "bob:" + credentialText(t, "SCRAM-SHA-256", "builder", 4096) + "\n"
	f := &SCRAMFile{}
	users, err := parseSCRAMUsers(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	f.users.Store(users)
	return f
}

func credentialText(t testing.TB, method, password string, iterations int) string {
	t.Helper()
	c, err := NewSCRAMCredential(method, password, iterations)
	if err != nil {
		t.Fatal(err)
	}
	return c.Text()
}

func authProperties(method string, data []byte) mqtt.Properties {
	p := mqtt.Properties(nil).AppendString(mqtt.PropAuthenticationMethod, method)
	if data != nil {
		p = p.AppendBytes(mqtt.PropAuthenticationData, data)
	}
	return p
}

// scramPeer is a peer with the client's side of SCRAM.
type scramPeer struct {
	*peer
	method string
	client *sasl.SCRAMClient
}

// use makes the peer begin an exchange, and returns its first message.
func (p *scramPeer) use(o sasl.SCRAMClientOptions) []byte {
	p.t.Helper()
	if o.Mechanism == "" {
		o.Mechanism = p.method
	}
	client, err := sasl.NewSCRAMClient(&o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.client, p.method = client, o.Mechanism
	first, _, _ := client.Step(nil)
	return first
}

// hello sends CONNECT with the first message.
func (p *scramPeer) hello(first []byte) {
	p.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", CleanStart: true, Properties: authProperties(p.method, first)})
}

// step sends AUTH.
func (p *scramPeer) step(reason mqtt.ReasonCode, data []byte) {
	p.send(&mqtt.Auth{Reason: reason, Properties: authProperties(p.method, data)})
}

// challenged answers the server's AUTH.
func (p *scramPeer) challenged() {
	p.t.Helper()
	auth := expect[*mqtt.Auth](p.peer)
	data, _ := auth.Properties.Bytes(mqtt.PropAuthenticationData)
	out, _, err := p.client.Step(data)
	if err != nil {
		p.t.Fatalf("%v: %v", auth, err)
	}
	p.step(mqtt.ReasonContinueAuthentication, out)
}

// verified checks the server's signature.
func (p *scramPeer) verified(props mqtt.Properties) {
	p.t.Helper()
	data, _ := props.Bytes(mqtt.PropAuthenticationData)
	if _, done, err := p.client.Step(data); !done || err != nil {
		p.t.Fatalf("the server has not proved itself with %q: %v", data, err)
	}
	if m, _ := props.String(mqtt.PropAuthenticationMethod); m != p.method {
		p.t.Errorf("method %q", m)
	}
}

// login logs in, and returns what the client was answered at last.
func (p *scramPeer) login(o sasl.SCRAMClientOptions) mqtt.Packet {
	p.t.Helper()
	p.hello(p.use(o))
	q := p.next()
	if auth, ok := q.(*mqtt.Auth); ok {
		p.got = append([]mqtt.Packet{auth}, p.got...)
		p.challenged()
		q = p.next()
	}
	return q
}

func (w *world) scram() *scramPeer { return &scramPeer{peer: w.dial(mqtt.Version5)} }

// withSCRAM runs a test with a broker that has the users of scramUsersFile. Names of users are noted.
func withSCRAM(t *testing.T, o SCRAMOptions, test func(w *world)) {
	t.Helper()
	if o.Lookup == nil {
		o.Lookup = scramUsersFile(t).Lookup
	}
	permitted := func(c *Client) Permissions {
		return func(_ Action, topic string) Decision {
			if strings.HasPrefix(topic, c.User+"/") {
				return Allow
			}
			return Deny
		}
	}
	in(t, &Options{Exchange: SCRAM(&o), Authorize: permitted}, test)
}

func TestSCRAM(t *testing.T) {
	alice := sasl.SCRAMClientOptions{Username: "alice", Password: "wonderland"}
	for _, method := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(method, func(t *testing.T) {
			withSCRAM(t, SCRAMOptions{}, func(w *world) {
				o := alice
				o.Mechanism = method
				p := w.scram()
				ack, ok := p.login(o).(*mqtt.Connack)
				if !ok || ack.Reason != 0 {
					w.t.Fatal(ack)
				}
				p.verified(ack.Properties)
				if got := p.subscribe(0, mqtt.Subscription{Filter: "alice/x"}, mqtt.Subscription{Filter: "bob/x"}); got[0] != 0 || !got[1].IsError() {
					t.Errorf("the client is not alice: %v", got)
				}
			})
		})
	}
	for _, c := range []struct {
		name   string
		client sasl.SCRAMClientOptions
		reason mqtt.ReasonCode
		text   string
	}{
		{"wrong password", sasl.SCRAMClientOptions{Username: "alice", Password: "Wonderland"}, mqtt.ReasonNotAuthorized, "invalid-proof"},
		{"unknown user", sasl.SCRAMClientOptions{Username: "eve", Password: "wonderland"}, mqtt.ReasonNotAuthorized, "invalid-proof"},
		{"user without the method", sasl.SCRAMClientOptions{Mechanism: "SCRAM-SHA-512", Username: "bob", Password: "builder"},
			mqtt.ReasonNotAuthorized, "invalid-proof"},
		{"for another", sasl.SCRAMClientOptions{Username: "alice", Password: "wonderland", Authzid: "bob"}, mqtt.ReasonNotAuthorized, "other-error"},
		{"method not offered", sasl.SCRAMClientOptions{Mechanism: "SCRAM-SHA-1", Username: "alice", Password: "wonderland"},
			mqtt.ReasonBadAuthenticationMethod, ""},
		{"channel binding not offered", sasl.SCRAMClientOptions{Mechanism: "SCRAM-SHA-256-PLUS", Username: "alice", Password: "wonderland",
			Binding: &sasl.ChannelBinding{Type: "tls-exporter"}}, mqtt.ReasonBadAuthenticationMethod, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			withSCRAM(t, SCRAMOptions{}, func(w *world) {
				if c.client.Mechanism == "" {
					c.client.Mechanism = "SCRAM-SHA-256"
				}
				p := w.scram()
				ack, ok := p.login(c.client).(*mqtt.Connack)
				if !ok || ack.Reason != c.reason || !p.closed() {
					w.t.Fatal(ack)
				}
				if text, _ := ack.Properties.String(mqtt.PropReasonString); text != c.text {
					t.Errorf("reason string %q", text)
				}
			})
		})
	}
	t.Run("SCRAM-SHA-1 when named", func(t *testing.T) {
		withSCRAM(t, SCRAMOptions{Methods: []string{"SCRAM-SHA-1", "unknown"}}, func(w *world) {
			o := alice
			o.Mechanism = "SCRAM-SHA-1"
			p := w.scram()
			p.verified(p.login(o).(*mqtt.Connack).Properties)
			o.Mechanism = "SCRAM-SHA-256"
			if ack, ok := w.scram().login(o).(*mqtt.Connack); !ok || ack.Reason != mqtt.ReasonBadAuthenticationMethod {
				t.Error(ack)
			}
			q := &scramPeer{peer: w.dial(mqtt.Version5), method: "unknown"}
			q.hello(nil)
			if ack := expect[*mqtt.Connack](q.peer); ack.Reason != mqtt.ReasonBadAuthenticationMethod {
				t.Error(ack)
			}
		})
	})
	t.Run("no options", func(t *testing.T) {
		in(t, &Options{Exchange: SCRAM(nil)}, func(w *world) {
			o := alice
			o.Mechanism = "SCRAM-SHA-256"
			p := w.scram()
			first := p.use(o)
			p.hello(first)
			expect[*mqtt.Auth](p.peer)
			p.step(mqtt.ReasonContinueAuthentication, []byte("c=biws,r=x,p=AAAA"))
			if ack := expect[*mqtt.Connack](p.peer); !ack.Reason.IsError() {
				t.Error(ack)
			}
		})
	})
	t.Run("client without initial data", func(t *testing.T) {
		withSCRAM(t, SCRAMOptions{}, func(w *world) {
			p := w.scram()
			o := alice
			o.Mechanism = "SCRAM-SHA-256"
			first := p.use(o)
			p.hello(nil)
			expect[*mqtt.Auth](p.peer)
			p.step(mqtt.ReasonContinueAuthentication, first)
			p.challenged()
			p.verified(expect[*mqtt.Connack](p.peer).Properties)
		})
	})
}

func TestSCRAMMalformed(t *testing.T) {
	connack := func(p *scramPeer, want mqtt.ReasonCode, text string) {
		p.t.Helper()
		ack := expect[*mqtt.Connack](p.peer)
		if got, _ := ack.Properties.String(mqtt.PropReasonString); ack.Reason != want || got != text || !p.closed() {
			p.t.Errorf("got %v, closed %v", ack, p.closed())
		}
	}
	for m, text := range map[string]string{
		"":                  "invalid-encoding",
		"garbage":           "invalid-encoding",
		"n,,n=a\x7f,r=abc":  "invalid-username-encoding",
		"n,,n=\xff,r=abc":   "invalid-encoding",
		"n,,n=alice,r=a,,,": "invalid-encoding",
	} {
		withSCRAM(t, SCRAMOptions{}, func(w *world) {
			p := &scramPeer{peer: w.dial(mqtt.Version5), method: "SCRAM-SHA-256"}
			p.hello([]byte(m))
			connack(p, mqtt.ReasonProtocolError, text)
		})
	}
	withSCRAM(t, SCRAMOptions{}, func(w *world) {
		p := &scramPeer{peer: w.dial(mqtt.Version5), method: "SCRAM-SHA-256"}
		p.hello([]byte("n,,m=ext,n=alice,r=abc"))
		connack(p, mqtt.ReasonNotAuthorized, "extensions-not-supported")
	})
	// The final message of another exchange.
	withSCRAM(t, SCRAMOptions{}, func(w *world) {
		p := w.scram()
		o := sasl.SCRAMClientOptions{Mechanism: "SCRAM-SHA-256", Username: "alice", Password: "wonderland", Nonce: "always-the-same"}
		first := p.use(o)
		p.hello(first)
		auth := expect[*mqtt.Auth](p.peer)
		data, _ := auth.Properties.Bytes(mqtt.PropAuthenticationData)
		final, _, err := p.client.Step(data)
		if err != nil {
			w.t.Fatal(err)
		}
		p.step(mqtt.ReasonContinueAuthentication, final)
		expect[*mqtt.Connack](p.peer)
		thief := &scramPeer{peer: w.dial(mqtt.Version5), method: "SCRAM-SHA-256"}
		thief.hello(first)
		expect[*mqtt.Auth](thief.peer)
		thief.step(mqtt.ReasonContinueAuthentication, final)
		connack(thief, mqtt.ReasonNotAuthorized, "other-error")
	})
}

// TestSCRAMUnknownUser: the answer to the first message is always the same for a user who does not exist, and looks like
// that for others.
func TestSCRAMUnknownUser(t *testing.T) {
	answer := func(w *world, user string) string {
		p := &scramPeer{peer: w.dial(mqtt.Version5), method: "SCRAM-SHA-256"}
		p.hello([]byte("n,,n=" + user + ",r=abc"))
		data, _ := expect[*mqtt.Auth](p.peer).Properties.Bytes(mqtt.PropAuthenticationData)
		_, rest, _ := strings.Cut(string(data), ",")
		return rest
	}
	secret := []byte("x")
	var before string
	withSCRAM(t, SCRAMOptions{Secret: secret}, func(w *world) {
		before = answer(w, "eve")
		known := answer(w, "bob")
		if before != answer(w, "eve") || before == answer(w, "eva") {
			t.Error("the salt does not depend on the name alone")
		}
		if len(before) != len(known) || before[strings.Index(before, ","):] != known[strings.Index(known, ","):] {
			t.Errorf("looks different: %s, %s", before, known)
		}
	})
	withSCRAM(t, SCRAMOptions{Secret: secret}, func(w *world) {
		if answer(w, "eve") != before {
			t.Error("another broker with the same secret says something else")
		}
	})
	withSCRAM(t, SCRAMOptions{}, func(w *world) {
		if answer(w, "eve") == before {
			t.Error("a broker with another secret says the same")
		}
	})
}

func TestSCRAMLookupError(t *testing.T) {
	for err, want := range map[error]mqtt.ReasonCode{
		errors.New("database is down"):                  mqtt.ReasonUnspecifiedError,
		&mqtt.Error{Code: mqtt.ReasonServerUnavailable}: mqtt.ReasonServerUnavailable,
	} {
		o := SCRAMOptions{Lookup: func(context.Context, string, string) (SCRAMCredential, error) { return SCRAMCredential{}, err }}
		withSCRAM(t, o, func(w *world) {
			o := sasl.SCRAMClientOptions{Mechanism: "SCRAM-SHA-256", Username: "alice", Password: "wonderland"}
			if ack, ok := w.scram().login(o).(*mqtt.Connack); !ok || ack.Reason != want {
				t.Error(ack)
			}
		})
	}
}
