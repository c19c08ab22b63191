package mqttclient

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/mqtt"
)

// scramPeer is a server of SCRAM-SHA-256 that a test plays. It knows alice's password, "wonderland".
type scramPeer struct {
	*peer
	server *sasl.SCRAMServer
}

// scramServer returns the server's side of an exchange.
func scramServer(t testing.TB) *sasl.SCRAMServer {
	t.Helper()
	c, err := sasl.NewCredential(sasl.SCRAMSHA256, "wonderland", nil, sasl.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sasl.NewSCRAMServer(&sasl.SCRAMServerOptions{
		Mechanism: sasl.SCRAMSHA256, Secret: make([]byte, 16),
		Lookup: func(context.Context, string) (sasl.Credential, error) { return c, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scramProperties(data string) mqtt.Properties {
	p := mqtt.Properties{}.AppendString(mqtt.PropAuthenticationMethod, sasl.SCRAMSHA256)
	if data != "" {
		p = p.AppendString(mqtt.PropAuthenticationData, data)
	}
	return p
}

// scramConnect accepts a connection and returns the first message of the client.
func (n *network) scramConnect() (p *scramPeer, first string) {
	n.t.Helper()
	p = &scramPeer{peer: n.accept("a"), server: scramServer(n.t)}
	k := p.connect()
	if m, _ := k.Properties.String(mqtt.PropAuthenticationMethod); m != sasl.SCRAMSHA256 {
		n.t.Errorf("method %q", m)
	}
	data, _ := k.Properties.Bytes(mqtt.PropAuthenticationData)
	return p, string(data)
}

// take is a step of the server's machine.
func (p *scramPeer) take(data string) string {
	p.t.Helper()
	out, _, err := p.server.Step(p.t.Context(), []byte(data))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(out)
}

// ask sends an AUTH and returns the data of the answer.
func (p *scramPeer) ask(data string) string {
	p.t.Helper()
	p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: scramProperties(data)})
	auth, ok := p.receive().(*mqtt.Auth)
	if !ok {
		p.t.Fatal("want AUTH")
	}
	answer, _ := auth.Properties.Bytes(mqtt.PropAuthenticationData)
	return string(answer)
}

// scramDial dials in the background.
func scramDial(n *network, o *SCRAMOptions) (wait func() error) {
	options := n.options(&Options{Auth: SCRAM(o), Retry: func(error) bool { return false }})
	return async(func() error {
		c, err := Dial(n.t.Context(), "mem://a", options)
		if err == nil {
			n.t.Cleanup(func() { c.Close() })
		}
		return err
	})
}

var alice = SCRAMOptions{Username: "alice", Password: "wonderland"}

func TestSCRAMFalseServer(t *testing.T) {
	const noncePlaceholder = "NONCE"
	for _, c := range []struct {
		name      string
		challenge string // instead of the right one; "-" for none
		final     string // instead of the right one; "-" for none
		want      SCRAMCode
		remote    bool
	}{
		{name: "wrong signature", final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", want: SCRAMServerUnverified},
		{name: "no signature", final: "-", want: SCRAMServerUnverified},
		{name: "nothing asked", challenge: "-", final: "-", want: SCRAMServerUnverified},
		{name: "signature at once", challenge: "-", final: "v=AAAA", want: SCRAMMalformed},
		{name: "challenge at last", challenge: "-", final: "r=NONCEx,s=AAAA,i=4096", want: SCRAMServerUnverified},
		{name: "says an error and accepts", final: "e=invalid-proof", want: SCRAMInvalidProof, remote: true},
		{name: "garbage", final: "?", want: SCRAMMalformed},
		{name: "garbage challenge", challenge: "?", want: SCRAMMalformed},
		{name: "nonce of somebody else", challenge: "r=xNONCE,s=AAAA,i=4096", want: SCRAMServerUnverified},
		{name: "nonce of the client", challenge: "r=NONCE,s=AAAA,i=4096", want: SCRAMServerUnverified},
		{name: "easy to guess", challenge: "r=NONCEx,s=AAAA,i=4095", want: SCRAMIterations},
		{name: "endless work", challenge: "r=NONCEx,s=AAAA,i=1048577", want: SCRAMIterations},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				wait := scramDial(n, &alice)
				p, first := n.scramConnect()
				challenge, final := p.take(first), "-"
				_, nonce, _ := strings.Cut(first, "r=")
				if c.challenge != "" {
					challenge = strings.ReplaceAll(c.challenge, noncePlaceholder, nonce)
				}
				broken := c.challenge != "" && c.challenge != "-"
				switch {
				case broken:
					p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: scramProperties(challenge)})
				case challenge != "-":
					final = p.take(p.ask(challenge))
				}
				if c.final != "" {
					final = strings.ReplaceAll(c.final, noncePlaceholder, nonce)
				}
				if !broken {
					p.send(&mqtt.Connack{Properties: scramProperties(strings.TrimPrefix(final, "-"))})
				}
				err := wait()
				if e, ok := errors.AsType[*SCRAMError](err); !ok || !errors.Is(err, &SCRAMError{Code: c.want}) || e.Remote != c.remote {
					t.Errorf("error is %v", err)
				}
				p.expect("end")
			})
		})
	}
	t.Run("server without the method", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			wait := scramDial(n, &alice)
			p, _ := n.scramConnect()
			p.send(&mqtt.Connack{})
			if err := wait(); !errors.Is(err, &SCRAMError{Code: SCRAMServerUnverified}) {
				t.Errorf("error is %v", err)
			}
		})
	})
}

// TestSCRAMProofInAuth: a server may prove itself in a last AUTH instead of CONNACK.
func TestSCRAMProofInAuth(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		wait := scramDial(n, &alice)
		p, first := n.scramConnect()
		final := p.take(p.ask(p.take(first)))
		if answer := p.ask(final); answer != "" {
			t.Errorf("the client answers %q", answer)
		}
		p.send(&mqtt.Connack{Properties: scramProperties("")})
		if err := wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestSCRAMReauthenticate(t *testing.T) {
	for name, forge := range map[string]func(string) string{
		"":             func(final string) string { return final },
		"false server": func(string) string { return "v=AAAA" },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(&Options{Auth: SCRAM(&alice)}, "a")
				p, first := n.scramConnect()
				final := p.take(p.ask(p.take(first)))
				p.send(&mqtt.Connack{Properties: scramProperties(final)})
				synctest.Wait()
				wait := async(func() error { return c.Reauthenticate(t.Context()) })
				auth, ok := p.receive().(*mqtt.Auth)
				if !ok || auth.Reason != mqtt.ReasonReauthenticate {
					t.Fatal(auth)
				}
				data, _ := auth.Properties.Bytes(mqtt.PropAuthenticationData)
				p.server = scramServer(t)
				final = p.take(p.ask(p.take(string(data))))
				p.send(&mqtt.Auth{Properties: scramProperties(forge(final))})
				err := wait()
				if name == "" && err != nil || name != "" && !errors.Is(err, &SCRAMError{Code: SCRAMServerUnverified}) {
					t.Error(err)
				}
				if name != "" {
					p.expect("DISCONNECT reason=0x80", "end")
				}
			})
		})
	}
}

func TestSCRAMOptions(t *testing.T) {
	for name, c := range map[string]struct {
		o    *SCRAMOptions
		want SCRAMCode
	}{
		"none":     {nil, SCRAMUnprepared},
		"method":   {&SCRAMOptions{Method: "SCRAM-MD5", Username: "u", Password: "p"}, SCRAMOther},
		"user":     {&SCRAMOptions{Username: "u\u0301", Password: "p"}, SCRAMUnprepared},
		"password": {&SCRAMOptions{Username: "u", Password: "p\x00"}, SCRAMUnprepared},
	} {
		a := SCRAM(c.o)
		_, err := a.Start(t.Context())
		if !errors.Is(err, &SCRAMError{Code: c.want}) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := a.Step(t.Context(), nil); !errors.Is(err, &SCRAMError{Code: SCRAMOther}) {
			t.Errorf("%s: step without start: %v", name, err)
		}
		if err := a.Finish(nil); !errors.Is(err, &SCRAMError{Code: SCRAMServerUnverified}) {
			t.Errorf("%s: finish without start: %v", name, err)
		}
	}
	// The bounds are those of the options.
	a := SCRAM(&SCRAMOptions{Username: "u", Password: "p", MinIterations: 1, MaxIterations: 10})
	for i, want := range map[string]SCRAMCode{"1": "", "10": "", "11": SCRAMIterations, "0": SCRAMMalformed} {
		first, err := a.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, nonce, _ := strings.Cut(string(first), "r=")
		_, err = a.Step(t.Context(), []byte("r="+nonce+"x,s=AAAA,i="+i))
		if want == "" && err != nil || want != "" && !errors.Is(err, &SCRAMError{Code: want}) {
			t.Errorf("%s iterations: %v", i, err)
		}
	}
	e := &SCRAMError{Code: SCRAMInvalidProof, Reason: "wrong", Remote: true}
	if e.Error() != "mqttclient: SCRAM: peer: invalid-proof: wrong" || errors.Is(e, errors.ErrUnsupported) {
		t.Error(e)
	}
}
