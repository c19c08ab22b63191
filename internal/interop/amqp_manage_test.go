package interop

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	rabbithole "github.com/michaelklishin/rabbit-hole/v3"
	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// managed is our broker in this process, with the management API.
type managed struct {
	broker     *amqpbroker.Broker
	amqp, http string // addresses
}

func startManaged(t *testing.T) managed {
	t.Helper()
	b, err := amqpbroker.New(&amqpbroker.Options{Definitions: amqpbroker.Guest()})
	if err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	amqp, web := listen(), listen()
	srv := amqpserver.New(b, nil)
	api := &http.Server{Handler: b.ManagementHandler(&amqpbroker.ManagementOptions{
		Listeners: func() []amqpbroker.ManagementListener {
			return []amqpbroker.ManagementListener{{Protocol: "amqp", Addr: amqp.Addr()}, {Protocol: "http", Addr: web.Addr()}}
		},
	})}
	done := make(chan struct{})
	go func() { _ = srv.Serve(amqp, nil); done <- struct{}{} }()
	go func() { _ = api.Serve(web); done <- struct{}{} }()
	t.Cleanup(func() {
		api.Close()
		srv.Close()
		<-done
		<-done
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return managed{b, amqp.Addr().String(), web.Addr().String()}
}

// TestRabbitHole uses a client of the management API next to an AMQP client.
func TestRabbitHole(t *testing.T) {
	m := startManaged(t)
	client, err := rabbithole.NewClient("http://"+m.http, peer.AMQPUser, peer.AMQPPassword)
	if err != nil {
		t.Fatal(err)
	}
	ok := func(res *http.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode > 299 {
			t.Fatal(res.Status)
		}
	}
	ok(client.PutVhost("v/1", rabbithole.VhostSettings{Description: "first"}))
	ok(client.PutUser("u", rabbithole.UserSettings{Password: "p", Tags: rabbithole.UserTags{"management"}}))
	ok(client.UpdatePermissionsIn("v/1", "u", rabbithole.Permissions{Configure: "^q", Write: ".*", Read: ".*"}))
	ok(client.DeclareExchange("v/1", "x", rabbithole.ExchangeSettings{Type: "topic", Durable: true}))
	ok(client.DeclareQueue("v/1", "q", rabbithole.QueueSettings{Durable: true, Arguments: map[string]any{"x-max-length": 10}}))
	ok(client.DeclareBinding("v/1", rabbithole.BindingInfo{Source: "x", Destination: "q", DestinationType: "queue", RoutingKey: "a.#",
		Arguments: map[string]any{"one": "two"}}))
	ok(client.PutPolicy("v/1", "p", rabbithole.Policy{Pattern: "^q", ApplyTo: "queues", Definition: rabbithole.PolicyDefinition{"max-length": 3}}))

	c, err := amqp091.Dial("amqp://u:p@" + m.amqp + "/v%2F1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		d, err := ch.PublishWithDeferredConfirm("x", "a.b", true, false, amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: []byte("hello")})
		if err != nil {
			t.Fatal(err)
		}
		if acked, err := d.WaitContext(t.Context()); !acked || err != nil {
			t.Fatal(acked, err)
		}
	}
	q, err := client.GetQueue("v/1", "q")
	if err != nil || q.Messages != 3 || q.MessagesReady != 3 || q.Policy != "p" || !q.Durable || q.Type != "classic" || q.MessageStats.Publish != 5 {
		t.Errorf("queue: %+v %v", q, err)
	}
	conns, err := client.ListConnections()
	if err != nil || len(conns) != 1 || conns[0].User != "u" || conns[0].Vhost != "v/1" {
		t.Fatalf("connections: %+v %v", conns, err)
	}
	bindings, err := client.ListQueueBindings("v/1", "q")
	if err != nil || len(bindings) != 2 || bindings[1].Arguments["one"] != "two" {
		t.Fatalf("bindings: %+v %v", bindings, err)
	}
	ok(client.DeleteBinding("v/1", bindings[1]))
	if bindings, err = client.ListQueueBindings("v/1", "q"); err != nil || len(bindings) != 1 {
		t.Errorf("bindings: %+v %v", bindings, err)
	}
	closed := c.NotifyClose(make(chan *amqp091.Error, 1))
	ok(client.CloseConnection(conns[0].Name))
	select {
	case e := <-closed:
		if e == nil || e.Code != amqp091.ConnectionForced {
			t.Errorf("closed with %v", e)
		}
	case <-time.After(waitTime):
		t.Error("the connection is still open")
	}
}

// rabbitHoleOther are tests of rabbit-hole for what this broker does not have: federation, shovels, feature flags, and a
// global parameter that only newer versions of RabbitMQ have.
const rabbitHoleOther = "federation|[sS]hovel|feature flags|returns all global parameters"

// TestRabbitHoleSuite runs the tests of rabbit-hole, a client of the management API, in a copy of the module.
func TestRabbitHoleSuite(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	m := startManaged(t)
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/michaelklishin/rabbit-hole/v3").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := copyDir(t, strings.TrimSpace(string(out)))
	_, amqpPort, _ := net.SplitHostPort(m.amqp)
	_, httpPort, _ := net.SplitHostPort(m.http)
	for _, name := range []string{"rabbithole_test.go", "health_checks_test.go"} {
		name = filepath.Join(dir, name)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.ReplaceAll(b, []byte("15672"), []byte(httpPort))
		b = regexp.MustCompile(`\b5672\b`).ReplaceAll(b, []byte(amqpPort))
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// What its script for continuous integration does with rabbitmqctl.
	for _, vhost := range []string{"/", "rabbit/hole"} {
		if err := m.broker.AddVhost(vhost); err != nil {
			t.Fatal(err)
		}
		for _, user := range []string{"guest", "policymaker"} {
			p := amqpbroker.Permission{User: user, Vhost: vhost, Configure: ".*", Write: ".*", Read: ".*"}
			if err := m.broker.SetPermission(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	u := amqpbroker.User{Name: "policymaker", PasswordHash: amqpbroker.HashPassword("policymaker"), Tags: amqpbroker.UserTags{amqpbroker.TagPolicymaker}}
	if err := m.broker.SetUser(u); err != nil {
		t.Fatal(err)
	}
	name := amqpbroker.Definitions{GlobalParameters: []amqpbroker.GlobalParameter{{Name: "cluster_name", Value: []byte(`"rabbitmq@localhost"`)}}}
	if err := m.broker.Import(&name); err != nil {
		t.Fatal(err)
	}
	suite := compileSuite(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), suiteTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, suite, "-test.v", "-test.timeout=0", "-ginkgo.no-color", "-ginkgo.skip="+rabbitHoleOther)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOMEGA_DEFAULT_EVENTUALLY_TIMEOUT="+waitTime.String())
	cmd.WaitDelay = waitTime
	out, err = cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", regexp.MustCompile(`(?m)^.*Passed.*$`).Find(out))
}
