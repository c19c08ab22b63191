package interop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// scramHashes are the mechanisms of xdg-go/scram, an implementation of SCRAM by others.
var scramHashes = map[string]scram.HashGeneratorFcn{
	"SCRAM-SHA-1": scram.SHA1, "SCRAM-SHA-256": scram.SHA256, "SCRAM-SHA-512": scram.SHA512,
}

// scramCases are who logs in. "Grüße,=" is the password of "a=b,ö".
var scramCases = []struct {
	user, password string
	right          bool
}{
	{"alice", "wonderland", true},
	{"alice", "Wonderland", false},
	{"a=b,ö", "Grüße,=", true},
	{"eve", "wonderland", false},
}

// scramPasswords are the right ones.
var scramPasswords = map[string]string{"alice": "wonderland", "a=b,ö": "Grüße,="}

// ourLookup is the credentials of scramPasswords, made by us.
func ourLookup(mechanism string) func(context.Context, string) (sasl.Credential, error) {
	return func(_ context.Context, user string) (sasl.Credential, error) {
		password, ok := scramPasswords[user]
		if !ok {
			return sasl.Credential{}, nil
		}
		return sasl.NewCredential(mechanism, password, nil, sasl.MinIterations)
	}
}

// theirLookup is the same, made by them.
func theirLookup(f scram.HashGeneratorFcn) scram.CredentialLookup {
	return func(user string) (scram.StoredCredentials, error) {
		password, ok := scramPasswords[user]
		if !ok {
			return scram.StoredCredentials{}, errors.New("no such user")
		}
		c, err := f.NewClient(user, password, "")
		if err != nil {
			return scram.StoredCredentials{}, err
		}
		return c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "0123456789abcdef", Iters: 5000})
	}
}

// TestSCRAMMechanisms runs our machines against theirs, with channel binding and without.
func TestSCRAMMechanisms(t *testing.T) {
	data := []byte{1, 0, 255}
	theirs := scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: data}
	ours := sasl.ChannelBinding{Type: sasl.BindingTLSExporter, Data: data}
	for mechanism, f := range scramHashes {
		for _, c := range scramCases {
			for _, plus := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%s/plus=%v/our client", mechanism, c.user, c.password, plus), func(t *testing.T) {
					server, err := f.NewServer(theirLookup(f))
					if err != nil {
						t.Fatal(err)
					}
					o := &sasl.SCRAMClientOptions{Mechanism: mechanism, Username: c.user, Password: c.password, Authzid: c.user}
					conv := server.NewConversation()
					if plus {
						o.Mechanism, o.Binding = mechanism+"-PLUS", &ours
						conv = server.NewConversationWithChannelBindingRequired(theirs)
					}
					client, err := sasl.NewSCRAMClient(o)
					if err != nil {
						t.Fatal(err)
					}
					done := false
					out, _, err := client.Step(nil)
					for !done && err == nil {
						var challenge string
						challenge, err = conv.Step(string(out))
						if challenge != "" {
							out, done, err = client.Step([]byte(challenge))
						}
					}
					if done != c.right || conv.Valid() != c.right || c.right && (conv.Username() != c.user || conv.AuthzID() != c.user) {
						t.Errorf("done %v, valid %v, user %q: %v", done, conv.Valid(), conv.Username(), err)
					}
				})
				t.Run(fmt.Sprintf("%s/%s/%s/plus=%v/our server", mechanism, c.user, c.password, plus), func(t *testing.T) {
					client, err := f.NewClient(c.user, c.password, c.user)
					if err != nil {
						t.Fatal(err)
					}
					o := &sasl.SCRAMServerOptions{Mechanism: mechanism, Lookup: ourLookup(mechanism), Secret: make([]byte, 16)}
					conv := client.NewConversation()
					if plus {
						o.Mechanism, o.Bindings = mechanism+"-PLUS", []sasl.ChannelBinding{ours}
						conv = client.NewConversationWithChannelBinding(theirs)
					}
					server, err := sasl.NewSCRAMServer(o)
					if err != nil {
						t.Fatal(err)
					}
					out, err := conv.Step("")
					for err == nil && !conv.Done() {
						challenge, _, _ := server.Step(t.Context(), []byte(out))
						out, err = conv.Step(string(challenge))
					}
					if conv.Valid() != c.right || (server.User() == c.user) != c.right {
						t.Errorf("valid %v, user %q: %v", conv.Valid(), server.User(), err)
					}
				})
			}
		}
		// The client that was not offered channel binding notices that the server has it.
		client, _ := f.NewClient("alice", "wonderland", "")
		first, _ := client.NewConversationAdvertisingChannelBinding().Step("")
		server, err := sasl.NewSCRAMServer(&sasl.SCRAMServerOptions{
			Mechanism: mechanism, Lookup: ourLookup(mechanism), Secret: make([]byte, 16), Bindings: []sasl.ChannelBinding{ours},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := server.Step(t.Context(), []byte(first)); !errors.Is(err, &sasl.Error{Code: sasl.CodeBindingSupported}) {
			t.Errorf("%s: downgrade: %v", mechanism, err)
		}
	}
}

// TestSCRAMCredentials: both derive the same keys.
func TestSCRAMCredentials(t *testing.T) {
	for mechanism, f := range scramHashes {
		for user, password := range scramPasswords {
			theirs, err := theirLookup(f)(user)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := sasl.NewCredential(mechanism, password, []byte(theirs.Salt), theirs.Iters)
			if err != nil || string(ours.StoredKey) != string(theirs.StoredKey) || string(ours.ServerKey) != string(theirs.ServerKey) {
				t.Errorf("%s, %s: %+v, %+v, %v", mechanism, user, ours, theirs, err)
			}
		}
	}
}

// TestSASLprep: what Prepare takes SASLprep leaves as it is, each character alone and many of them together.
func TestSASLprep(t *testing.T) {
	var taken []rune
	for r := rune(0); r <= 0x10FFFF; r++ {
		if s, err := sasl.Prepare(string(r)); err != nil || r == '\uFFFD' {
			continue
		} else if want, err := stringprep.SASLprep.Prepare(string(r)); s != want || err != nil {
			t.Errorf("%U: %q; SASLprep: %q, %v", r, s, want, err)
		}
		if stringprep.TableA1.Contains(r) {
			t.Errorf("%U is unassigned in Unicode 3.2", r)
		}
		taken = append(taken, r)
	}
	if len(taken) < 30_000 {
		t.Errorf("only %d characters are taken", len(taken))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		var b strings.Builder
		for range 2 + rnd.IntN(8) {
			// Half of them from the scripts with few characters.
			b.WriteRune(taken[rnd.IntN([]int{900, len(taken)}[rnd.IntN(2)])])
		}
		s, err := sasl.Prepare(b.String())
		if want, wantErr := stringprep.SASLprep.Prepare(b.String()); err != nil || wantErr != nil || s != want {
			t.Fatalf("%q: %q, %v; SASLprep: %q, %v", b.String(), s, err, want, wantErr)
		}
	}
}

// exchangeBroker starts a broker of ours with an exchange, and returns its address.
func exchangeBroker(t *testing.T, exchange func(context.Context, *mqttserver.Conn, string) (mqttserver.AuthExchange, error)) string {
	t.Helper()
	b, err := mqttbroker.New(&mqttbroker.Options{Exchange: exchange, SysInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := mqttserver.New(b, nil)
	go s.Serve(l, nil)
	t.Cleanup(func() {
		s.Close()
		b.Close()
	})
	return l.Addr().String()
}

// pahoSCRAM is the AuthHandler of Paho with their SCRAM.
type pahoSCRAM struct {
	method string
	client *scram.Client
	conv   *scram.ClientConversation
}

// begin begins an exchange.
func (a *pahoSCRAM) begin() []byte {
	a.conv = a.client.NewConversation()
	first, _ := a.conv.Step("")
	return []byte(first)
}

// Authenticate answers the broker's AUTH.
func (a *pahoSCRAM) Authenticate(p *paho.Auth) *paho.Auth {
	out, _ := a.conv.Step(string(p.Properties.AuthData))
	return &paho.Auth{ReasonCode: 0x18, Properties: &paho.AuthProperties{AuthMethod: a.method, AuthData: []byte(out)}}
}

// Authenticated is called after CONNACK.
func (a *pahoSCRAM) Authenticated() {}

// TestSCRAMPahoGolang logs in at our broker with the client of Paho and their SCRAM.
func TestSCRAMPahoGolang(t *testing.T) {
	address := exchangeBroker(t, mqttbroker.SCRAM(&mqttbroker.SCRAMOptions{
		Lookup: func(_ context.Context, method, user string) (mqttbroker.SCRAMCredential, error) {
			if user != "alice" {
				return mqttbroker.SCRAMCredential{}, nil
			}
			return mqttbroker.NewSCRAMCredential(method, "wonderland", 0)
		},
	}))
	for _, method := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-1"} {
		for password, want := range map[string]byte{"wonderland": 0, "Wonderland": 0x87} {
			if method == "SCRAM-SHA-1" {
				want = 0x8C // not offered
			}
			t.Run(method+"/"+password, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), waitTime)
				defer cancel()
				nc, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				client, err := scramHashes[method].NewClient("alice", password, "")
				if err != nil {
					t.Fatal(err)
				}
				a := &pahoSCRAM{method: method, client: client}
				c := paho.NewClient(paho.ClientConfig{Conn: nc, AuthHandler: a, PacketTimeout: waitTime})
				ack, err := c.Connect(ctx, &paho.Connect{ClientID: "c", CleanStart: true, KeepAlive: 30,
					Properties: &paho.ConnectProperties{AuthMethod: method, AuthData: a.begin()}})
				if want != 0 {
					if ack == nil || ack.ReasonCode != want {
						t.Fatalf("%+v, %v", ack, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := a.conv.Step(string(ack.Properties.AuthData)); err != nil || !a.conv.Valid() {
					t.Errorf("the broker has not proved itself: %v", err)
				}
				r, err := c.Authenticate(ctx, &paho.Auth{ReasonCode: 0x19,
					Properties: &paho.AuthProperties{AuthMethod: method, AuthData: a.begin()}})
				if err != nil || !r.Success { // Paho does not hand out the authentication data that come with it
					t.Fatalf("%+v, %v", r, err)
				}
				c.Disconnect(&paho.Disconnect{})
			})
		}
	}
}

// theirExchange is an exchange with their server's side.
type theirExchange struct{ conv *scram.ServerConversation }

func (x theirExchange) User() string { return x.conv.Username() }

func (x theirExchange) Step(_ context.Context, data []byte) ([]byte, bool, error) {
	out, err := x.conv.Step(string(data))
	if err != nil {
		return nil, false, &mqtt.Error{Code: mqtt.ReasonNotAuthorized, Err: err}
	}
	return []byte(out), x.conv.Done(), nil
}

// TestSCRAMServerOfOthers logs in with our client at a server with their SCRAM.
func TestSCRAMServerOfOthers(t *testing.T) {
	address := exchangeBroker(t, func(_ context.Context, _ *mqttserver.Conn, method string) (mqttserver.AuthExchange, error) {
		server, err := scramHashes[method].NewServer(theirLookup(scramHashes[method]))
		if err != nil {
			return nil, err
		}
		return theirExchange{server.NewConversation()}, nil
	})
	for method := range scramHashes {
		for _, c := range scramCases {
			t.Run(method+"/"+c.user+"/"+c.password, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), waitTime)
				defer cancel()
				client, err := mqttclient.Dial(ctx, "mqtt://"+address, &mqttclient.Options{
					Auth: mqttclient.SCRAM(&mqttclient.SCRAMOptions{Method: method, Username: c.user, Password: c.password}),
				})
				if !c.right {
					if !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonNotAuthorized}) {
						t.Errorf("error %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				if err := client.Reauthenticate(ctx); err != nil {
					t.Error(err)
				}
				if err := client.Publish(ctx, &mqttclient.Message{Topic: "t", QoS: mqtt.QoS1}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
