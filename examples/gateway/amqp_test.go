package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
)

// amqpClient connects, and closes at the end of the test.
func amqpClient(t *testing.T, o *amqpclient091.Options) (*amqpclient091.Client, error) {
	t.Helper()
	o.Retry = func(error) bool { return false }
	c, err := amqpclient091.New(o)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return c, c.Connected(ctx)
}

// take returns the next message of a queue, whose body must be want.
func take(t *testing.T, c *amqpclient091.Client, queue, want string) *amqpclient091.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := c.Consume(ctx, queue, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for d, err := range s.Deliveries(ctx) {
		if err != nil || string(d.Body) != want {
			t.Fatalf("got %v, %v, want a message %q", d, err, want)
		}
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Fatal("no delivery")
	return nil
}

// TestGatewayAMQP keeps a persistent message through SIGKILL, and shows the queue in the management API.
func TestGatewayAMQP(t *testing.T) {
	args := []string{"-mqtt=", "-ws=", "-kafka=", "-amqp=127.0.0.1:0", "-http=127.0.0.1:0", "-data=" + t.TempDir()}
	p := start(t, 2, args...)
	c, err := amqpClient(t, &amqpclient091.Options{Servers: []string{p.urls[0]}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeclareQueue(t.Context(), amqpclient091.Queue{Name: "orders", Durable: true}); err != nil {
		t.Fatal(err)
	}
	m := &amqpclient091.Message{RoutingKey: "orders", Mandatory: true, Body: []byte("one"),
		Properties: amqp091.Properties{DeliveryMode: amqp091.Persistent}}
	if err := c.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}

	api := strings.TrimSuffix(p.urls[1], "/metrics") + "/api/queues/%2F/orders"
	if r, err := http.Get(api); err != nil || r.StatusCode != http.StatusUnauthorized {
		t.Errorf("the management API without a password: %v, %v", r, err)
	}
	request, err := http.NewRequestWithContext(t.Context(), "GET", api, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("guest", "guest")
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var queue struct {
		Messages int
		Durable  bool
	}
	if err := json.NewDecoder(r.Body).Decode(&queue); err != nil || queue.Messages != 1 || !queue.Durable {
		t.Errorf("the queue in the management API: %+v, %v", queue, err)
	}
	if text := get(t, p.urls[1]); !strings.Contains(text, "quartet_amqp_published_total 1\n") {
		t.Errorf("metrics without the message:\n%s", text)
	}

	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Wait()
	p = start(t, 2, args...)
	if c, err = amqpClient(t, &amqpclient091.Options{Servers: []string{p.urls[0]}}); err != nil {
		t.Fatal(err)
	}
	take(t, c, "orders", "one")
	p.stop()
}

// TestGatewayAMQPUsers has the users of a file of definitions, TLS and WebSocket.
func TestGatewayAMQPUsers(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string { return writeFile(t, filepath.Join(dir, name), text) }
	ca := newAuthority(t)
	cert, key := ca.issue(t, "localhost")
	p := start(t, 3,
		"-mqtt=", "-ws=", "-kafka=", "-http=", "-amqp=127.0.0.1:0", "-amqps=127.0.0.1:0", "-amqp-ws=127.0.0.1:0",
		"-tls-cert="+write("cert", cert), "-tls-key="+write("key", key),
		"-definitions="+write("definitions", `{
			"users": [{"name": "ann", "password_hash": "`+amqpbroker.HashPassword("secret")+`",
				"hashing_algorithm": "rabbit_password_hashing_sha256", "tags": "management"}],
			"vhosts": [{"name": "shop"}],
			"permissions": [{"user": "ann", "vhost": "shop", "configure": "^ann", "write": ".*", "read": ".*"}],
			"queues": [{"name": "orders", "vhost": "shop", "durable": true, "auto_delete": false, "arguments": {}}]
		}`))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca.pem))
	ann := func(url string) *amqpclient091.Options {
		return &amqpclient091.Options{Servers: []string{url}, VirtualHost: "shop", Username: "ann", Password: "secret",
			TLS: &tls.Config{RootCAs: pool, ServerName: "localhost"}}
	}
	for _, url := range p.urls[:2] {
		c, err := amqpClient(t, ann(url))
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		m := &amqpclient091.Message{RoutingKey: "orders", Mandatory: true, Body: []byte("x")}
		if err := c.Publish(t.Context(), m); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		take(t, c, "orders", "x")
		if _, err := c.DeclareQueue(t.Context(), amqpclient091.Queue{Name: "bob"}); !refused(err) {
			t.Errorf("ann declares bob: %v", err)
		}
	}
	if _, err := amqpClient(t, &amqpclient091.Options{Servers: []string{p.urls[0]}}); !refused(err) {
		t.Errorf("guest: %v", err)
	}
	p.stop()
}

// refused reports whether the server said ACCESS_REFUSED.
func refused(err error) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && e.Remote && e.Code == amqp091.AccessRefused
}
