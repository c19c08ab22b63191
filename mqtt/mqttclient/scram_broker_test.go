package mqttclient_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// scramFile returns a file with alice and bob.
func scramFile(t testing.TB) *mqttbroker.SCRAMFile {
	t.Helper()
	var text []byte
	for _, user := range [][3]string{
		{"alice", "SCRAM-SHA-256", "wonderland"}, {"alice", "SCRAM-SHA-512", "wonderland"}, {"alice", "SCRAM-SHA-1", "wonderland"},
		{"bob", "SCRAM-SHA-256", "Grüße"},
	} {
		c, err := mqttbroker.NewSCRAMCredential(user[1], user[2], 4096)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, user[0]+":"+c.Text()+"\n"...)
	}
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := mqttbroker.OpenSCRAMFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// scramWorld is a broker with SCRAM.
type scramWorld struct {
	l    *memnet.Listener
	mu   sync.Mutex
	user string   // of the last client, as the broker has it
	conn net.Conn // the last one
}

// dial connects with some options.
func (w *scramWorld) dial(ctx context.Context, a *mqttclient.SCRAMOptions) (*mqttclient.Client, error) {
	mem := func(ctx context.Context, _ *url.URL) (net.Conn, error) {
		conn, err := w.l.Dial(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.conn = conn
		return conn, err
	}
	return mqttclient.Dial(ctx, "mem://broker", &mqttclient.Options{
		Dialers: map[string]mqttclient.DialFunc{"mem": mem}, Auth: mqttclient.SCRAM(a),
	})
}

// lastUser returns who the broker takes the last client for.
func (w *scramWorld) lastUser() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.user
}

// cut cuts the last connection.
func (w *scramWorld) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn.Close()
}

// scramBroker runs a test in a bubble with a broker.
func scramBroker(t *testing.T, o *mqttbroker.SCRAMOptions, test func(t *testing.T, w *scramWorld)) {
	t.Helper()
	o.Lookup = scramFile(t).Lookup
	synctest.Test(t, func(t *testing.T) {
		w := &scramWorld{l: memnet.Listen("broker")}
		b, err := mqttbroker.New(&mqttbroker.Options{
			Exchange: mqttbroker.SCRAM(o), SysInterval: -1,
			Authorize: func(c *mqttbroker.Client) mqttbroker.Permissions {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.user = c.User
				return func(mqttbroker.Action, string) mqttbroker.Decision { return mqttbroker.Allow }
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		srv := mqttserver.New(b, nil)
		go srv.Serve(w.l, nil)
		defer srv.Close()
		defer time.Sleep(3 * time.Second) // for the connections to end
		test(t, w)
	})
}

func TestSCRAMWithBroker(t *testing.T) {
	for _, c := range []struct {
		name   string
		server mqttbroker.SCRAMOptions
		client mqttclient.SCRAMOptions
		want   mqtt.ReasonCode
	}{
		{name: "default", client: mqttclient.SCRAMOptions{Username: "alice", Password: "wonderland"}},
		{name: "SHA-512", client: mqttclient.SCRAMOptions{Method: "SCRAM-SHA-512", Username: "alice", Password: "wonderland"}},
		{name: "SHA-1", server: mqttbroker.SCRAMOptions{Methods: []string{"SCRAM-SHA-1"}},
			client: mqttclient.SCRAMOptions{Method: "SCRAM-SHA-1", Username: "alice", Password: "wonderland"}},
		{name: "not ASCII", client: mqttclient.SCRAMOptions{Username: "bob", Password: "Grüße"}},
		{name: "wrong password", client: mqttclient.SCRAMOptions{Username: "alice", Password: "Wonderland"}, want: mqtt.ReasonNotAuthorized},
		{name: "unknown user", client: mqttclient.SCRAMOptions{Username: "eve", Password: "wonderland"}, want: mqtt.ReasonNotAuthorized},
		{name: "method not offered", client: mqttclient.SCRAMOptions{Method: "SCRAM-SHA-1", Username: "alice", Password: "wonderland"},
			want: mqtt.ReasonBadAuthenticationMethod},
	} {
		t.Run(c.name, func(t *testing.T) {
			scramBroker(t, &c.server, func(t *testing.T, w *scramWorld) {
				client, err := w.dial(t.Context(), &c.client)
				user := w.lastUser()
				if c.want != 0 {
					e, ok := errors.AsType[*mqtt.Error](err)
					if !ok || e.Code != c.want || !e.Remote || user != "" {
						t.Errorf("user %q, error %v", user, err)
					}
					return
				}
				if err != nil || user != c.client.Username {
					t.Fatalf("user %q, error %v", user, err)
				}
				defer client.Close()
				for range 2 {
					if err := client.Reauthenticate(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if err := client.Publish(t.Context(), &mqttclient.Message{Topic: "t", QoS: mqtt.QoS1}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestSCRAMReconnect: each connection is an exchange of its own.
func TestSCRAMReconnect(t *testing.T) {
	scramBroker(t, new(mqttbroker.SCRAMOptions), func(t *testing.T, w *scramWorld) {
		c, err := w.dial(t.Context(), &mqttclient.SCRAMOptions{Username: "alice", Password: "wonderland"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 3 {
			w.cut()
			synctest.Wait()
			if err := c.Publish(t.Context(), &mqttclient.Message{Topic: "t", QoS: mqtt.QoS2}); err != nil {
				t.Error(err)
			}
		}
		if s := c.Stats(); s.Connects != 4 || w.lastUser() != "alice" {
			t.Errorf("%d connections, user %q", s.Connects, w.lastUser())
		}
	})
}
