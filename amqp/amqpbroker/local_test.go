package amqpbroker

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// open opens a broker for a test.
func open(t testing.TB, o Options) *Broker {
	t.Helper()
	b, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestLocal(t *testing.T) {
	b := open(t, Options{})
	ctx := context.Background()
	name, err := b.DeclareQueue(ctx, "/", Queue{Name: "q", Durable: true})
	if err != nil || name != "q" {
		t.Fatal(name, err)
	}
	if err := b.Bind(ctx, "/", Binding{Source: "amq.topic", Destination: "q", RoutingKey: "a.#"}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		m := Message{Exchange: "amq.topic", RoutingKey: "a.b", Body: []byte(text), Mandatory: true, Properties: amqp091.Properties{DeliveryMode: 2}}
		if err := b.Publish(ctx, "/", &m); err != nil {
			t.Fatal(err)
		}
	}
	d, ok, err := b.Get("/", "q", false)
	if !ok || err != nil || string(d.Body) != "one" {
		t.Fatal(d, ok, err)
	}
	d.Requeue()
	sub, err := b.Consume("/", "q", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"one", "two", "three"} {
		d, err := sub.Next(ctx)
		if err != nil || string(d.Body) != want || d.Redelivered != (i == 0) {
			t.Fatal(d, err)
		}
		d.Ack()
	}
	sub.Close()
	if s := b.Stats(); s.Ready != 0 || s.Unacked != 0 || s.Acked != 3 {
		t.Errorf("%+v", s)
	}
}

func TestLocalDurable(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	b := open(t, Options{Dir: dir})
	if _, err := b.DeclareQueue(ctx, "/", Queue{Name: "q", Durable: true}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		m := Message{RoutingKey: "q", Body: []byte(text), Mandatory: true, Properties: amqp091.Properties{DeliveryMode: 2}}
		if err := b.Publish(ctx, "/", &m); err != nil {
			t.Fatal(err)
		}
	}
	d, ok, err := b.Get("/", "q", false)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	d.Ack()
	if d, ok, err = b.Get("/", "q", false); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, Options{Dir: dir})
	for i, want := range []string{"two", "three"} {
		d, ok, err := b.Get("/", "q", true)
		if !ok || err != nil || string(d.Body) != want || d.Redelivered != (i == 0) {
			t.Fatal(d, ok, err)
		}
	}
}

func TestBackup(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	b := open(t, Options{Dir: dir + "/a"})
	q := declare(t, b, Queue{Name: "q", Durable: true})
	put(t, q, amqp091.Properties{DeliveryMode: amqp091.Persistent}, "1", "2")
	if err := b.Backup(ctx, dir+"/b"); err != nil {
		t.Fatal(err)
	}
	put(t, q, amqp091.Properties{DeliveryMode: amqp091.Persistent}, "3")
	copied := open(t, Options{Dir: dir + "/b"})
	equal(t, "copy", drain(t, copied.vhost("/").queue("q")), "1 2")
	equal(t, "original", drain(t, q), "1 2 3")
	if _, err := New(&Options{Dir: dir + "/a"}); err == nil {
		t.Error("the directory was opened twice")
	}
	if err := b.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func TestLogin(t *testing.T) {
	local, remote := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}
	zero, guest := open(t, Options{}), open(t, Options{Definitions: Guest()})
	for _, c := range []struct {
		b              *Broker
		user, password string
		addr           net.Addr
		ok             bool
	}{
		{zero, "guest", "guest", local, false},
		{guest, "guest", "guest", local, true},
		{guest, "guest", "guest", remote, false},
		{guest, "guest", "wrong", local, false},
		{guest, "nobody", "guest", local, false},
	} {
		if err := c.b.reg.login(c.user, c.password, c.addr); (err == nil) != c.ok {
			t.Errorf("%s %s from %v: %v", c.user, c.password, c.addr, err)
		}
	}
}

// TestUnregistered: whom an Authenticator lets in who is not a user of the broker may do nothing, or what the options say.
func TestUnregistered(t *testing.T) {
	for _, v := range []struct {
		name string
		o    Options
		want map[string]string // by user: what may be done
	}{
		{"nothing", Options{Authenticate: AllowAll}, map[string]string{"anybody": "", "limited": "limited"}},
		{"everything", Options{Authenticate: AllowAll, Unregistered: Everything()}, map[string]string{"anybody": "open all limited", "limited": "limited"}},
		{"some", Options{Authenticate: AllowAll, Unregistered: &Permission{User: "x", Vhost: "x", Write: "^limited$"}},
			map[string]string{"anybody": "open limited", "limited": "limited"}},
		{"without an authenticator", Options{Unregistered: Everything()}, map[string]string{"anybody": "", "limited": "limited"}},
	} {
		v.o.Definitions = &Definitions{
			Vhosts: []VhostDefinition{{Name: "/"}, {Name: "other"}},
			Users:  []User{{Name: "limited", PasswordHash: HashPassword("x"), HashingAlgorithm: HashingSHA256}},
			Permissions: []Permission{
				{User: "limited", Vhost: "/", Write: "^limited$"},
			},
		}
		b := open(t, v.o)
		for user, want := range v.want {
			var got []string
			if b.reg.permit(user, "other").open() == nil {
				got = append(got, "open")
			}
			for _, name := range []string{"all", "limited"} {
				if b.reg.permit(user, "/").check(opWrite, resourceQueue, name) == nil {
					got = append(got, name)
				}
			}
			equal(t, v.name+", "+user, strings.Join(got, " "), want)
		}
	}
	if _, err := New(&Options{Authenticate: AllowAll, Unregistered: &Permission{Read: "("}}); err == nil {
		t.Error("an expression that is none")
	}
}

// TestUnregisteredConnects: no virtual host opens for somebody who may do nothing.
func TestUnregisteredConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for want, permission := range map[string]*Permission{"connection.open-ok": Everything(), "connection.close": nil} {
			w := newWorld(t, &Options{Authenticate: AllowAll, Unregistered: permission}, nil)
			p := w.dial("x").start()
			w.wait()
			var got []string
			for _, c := range p.taken() {
				got = append(got, fmt.Sprint(c.method))
			}
			if all := strings.Join(got, " "); !strings.Contains(all, want+"(") {
				t.Errorf("got %s, want %s", all, want)
			}
			p.drop()
			w.close()
		}
	})
}
