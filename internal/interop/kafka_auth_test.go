package interop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/quartet-mq/quartet/internal/interop/peer"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
)

// kafkaLogins is a broker that lets alice in, by a certificate on one listener and by an unsecured token on another, and notes
// how she came.
type kafkaLogins struct {
	dir           string
	ca            string
	certs, tokens string // addresses

	mu   sync.Mutex
	seen map[string]int // mechanism, "" for a certificate
}

var errNotAlice = errors.New("not alice")

func (k *kafkaLogins) authenticate(_ context.Context, _ *kafkaserver.Conn, a *kafkaserver.Auth) (kafkaserver.Login, error) {
	user := a.User
	if a.Mechanism == "OAUTHBEARER" {
		var claims struct{ Sub string }
		parts := strings.Split(a.Token, ".")
		if len(parts) != 3 {
			return kafkaserver.Login{}, errNotAlice
		}
		b, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil {
			err = json.Unmarshal(b, &claims)
		}
		if err != nil {
			return kafkaserver.Login{}, err
		}
		user = claims.Sub
	}
	if user != "alice" {
		return kafkaserver.Login{}, errNotAlice
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[a.Mechanism]++
	return kafkaserver.Login{Principal: kafkaserver.Principal{Type: "User", Name: user}}, nil
}

func startKafkaLogins(t *testing.T) *kafkaLogins {
	t.Helper()
	k := &kafkaLogins{dir: t.TempDir(), seen: make(map[string]int)}
	ca, cert, key, err := peer.WriteCerts(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	k.ca = ca
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	broker, err := kafkabroker.Open(&kafkabroker.Options{Authenticate: k.authenticate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() })
	name := func(c *x509.Certificate) string { return c.Subject.CommonName }
	serve := func(o *kafkaserver.Options, config *tls.Config) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := kafkaserver.New(broker, o)
		t.Cleanup(func() { s.Close() })
		go s.Serve(ln, &kafkaserver.ListenerOptions{TLS: config})
		return ln.Addr().String()
	}
	k.certs = serve(&kafkaserver.Options{CertificateUser: name},
		&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: k.pool(t), ClientAuth: tls.RequireAndVerifyClientCert})
	k.tokens = serve(&kafkaserver.Options{RequireSASL: true}, &tls.Config{Certificates: []tls.Certificate{pair}})
	return k
}

func (k *kafkaLogins) pool(t *testing.T) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(k.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return pool
}

// came checks that alice came with a mechanism since the last call.
func (k *kafkaLogins) came(t *testing.T, mechanism string) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen[mechanism] == 0 || len(k.seen) != 1 {
		t.Errorf("alice came by %v", k.seen)
	}
	clear(k.seen)
}

// TestKafkaLogins lets others' clients log in with a certificate and with OAUTHBEARER, and turns those away who have neither.
func TestKafkaLogins(t *testing.T) {
	need(t, "kcat")
	k := startKafkaLogins(t)
	client := filepath.Join(k.dir, peer.ClientFile)
	t.Run("franz-go", func(t *testing.T) {
		pair, err := tls.LoadX509KeyPair(client, client)
		if err != nil {
			t.Fatal(err)
		}
		config := &tls.Config{RootCAs: k.pool(t), Certificates: []tls.Certificate{pair}}
		if err := franzTrip(t, kafkaPatience, kgo.SeedBrokers(k.certs), kgo.DialTLSConfig(config)); err != nil {
			t.Error(err)
		}
		k.came(t, "")
		config = &tls.Config{RootCAs: k.pool(t)}
		if err := franzTrip(t, 2*time.Second, kgo.SeedBrokers(k.certs), kgo.DialTLSConfig(config)); err == nil {
			t.Error("a client without a certificate got in")
		}
		token := func(name string) kgo.Opt {
			claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":%q}`, name))
			return kgo.SASL(oauth.Auth{Token: base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + claims + "."}.AsMechanism())
		}
		if err := franzTrip(t, kafkaPatience, kgo.SeedBrokers(k.tokens), kgo.DialTLSConfig(config), token("alice")); err != nil {
			t.Error(err)
		}
		k.came(t, "OAUTHBEARER")
		if err := franzTrip(t, 2*time.Second, kgo.SeedBrokers(k.tokens), kgo.DialTLSConfig(config), token("mallory")); err == nil {
			t.Error("mallory got in")
		}
	})
	t.Run("librdkafka", func(t *testing.T) {
		// trip tries for so many seconds.
		trip := func(within, addr string, options ...string) error {
			args := []string{"-b", addr, "-t", "rdkafka", "-X", "ssl.ca.location=" + k.ca, "-m", within}
			for _, o := range options {
				args = append(args, "-X", o)
			}
			ctx, cancel := context.WithTimeout(t.Context(), kafkaPatience)
			defer cancel()
			produce := exec.CommandContext(ctx, "kcat", append(args, "-P")...)
			produce.Stdin = strings.NewReader("one\n")
			if out, err := produce.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			out, err := exec.CommandContext(ctx, "kcat", append(args, "-C", "-e", "-q")...).CombinedOutput()
			if err == nil && !strings.Contains(string(out), "one\n") {
				err = errors.New("no record")
			}
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}
		if err := trip("60", k.certs, "security.protocol=ssl", "ssl.certificate.location="+client, "ssl.key.location="+client); err != nil {
			t.Error(err)
		}
		k.came(t, "")
		jwt := []string{"security.protocol=sasl_ssl", "sasl.mechanism=OAUTHBEARER", "enable.sasl.oauthbearer.unsecure.jwt=true"}
		if err := trip("60", k.tokens, append(jwt, "sasl.oauthbearer.config=principal=alice")...); err != nil {
			t.Error(err)
		}
		k.came(t, "OAUTHBEARER")
		if err := trip("5", k.tokens, append(jwt, "sasl.oauthbearer.config=principal=mallory")...); err == nil {
			t.Error("mallory got in")
		}
	})
	t.Run("Java", func(t *testing.T) {
		need(t, "java", kafkaJars)
		create := func(addr, topic, config string) error {
			file := filepath.Join(t.TempDir(), "client.properties")
			config += "\nssl.truststore.type=PEM\nssl.truststore.location=" + k.ca + "\nrequest.timeout.ms=60000\ndefault.api.timeout.ms=120000\n"
			if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(t.Context(), kafkaPatience)
			defer cancel()
			out, err := javaCommand(ctx, "-cp", kafkaPath, "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", addr,
				"--command-config", file, "--create", "--topic", topic).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "Created topic") {
				return fmt.Errorf("%v: %s", err, out)
			}
			return nil
		}
		if err := create(k.certs, "java-1", "security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.location="+client); err != nil {
			t.Error(err)
		}
		k.came(t, "")
		token := func(name string) string {
			return "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\nsasl.jaas.config=org.apache.kafka.common.security.oauthbearer." +
				"OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"" + name + "\";"
		}
		if err := create(k.tokens, "java-2", token("alice")); err != nil {
			t.Error(err)
		}
		k.came(t, "OAUTHBEARER")
		if err := create(k.tokens, "java-3", token("mallory")); err == nil {
			t.Error("mallory got in")
		}
	})
}

// franzTrip writes a record with franz-go and reads it, within a time.
func franzTrip(t *testing.T, within time.Duration, o ...kgo.Opt) error {
	t.Helper()
	const topic = "franz"
	c, err := kgo.NewClient(append(o, kgo.ConsumeTopics(topic), kgo.AllowAutoTopicCreation())...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
		return err
	}
	for {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil || f.NumRecords() > 0 {
			return err
		}
	}
}
