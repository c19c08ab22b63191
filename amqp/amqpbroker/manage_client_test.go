package amqpbroker

import (
	"context"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// serve serves AMQP in memory and returns what dials.
func (m *manageTester) serve(t testing.TB) func(user string) *amqpclient091.Client {
	t.Helper()
	srv := amqpserver.New(m.b, nil)
	t.Cleanup(func() { srv.Close() })
	return func(user string) *amqpclient091.Client {
		c, err := amqpclient091.New(&amqpclient091.Options{
			Servers: []string{"mem://broker"}, Username: user, Password: user,
			Dialers: map[string]amqpclient091.DialFunc{"mem": func(context.Context, *url.URL) (net.Conn, error) {
				near, far := memnet.Pipe()
				srv.ServeConn(far, nil)
				return near, nil
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

func TestManageClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := newManageTester(t, Options{})
		m.must(t, "PUT", "/users/other", `{"password":"other","tags":"management"}`, nil)
		m.must(t, "PUT", "/permissions/%2f/other", `{"configure":".*","write":".*","read":".*"}`, nil)
		c := m.serve(t)("guest")
		if _, err := c.DeclareQueue(ctx, amqpclient091.Queue{Name: "q", Durable: true}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := c.Publish(ctx, &amqpclient091.Message{RoutingKey: "q", Body: []byte("hello")}); err != nil {
				t.Fatal(err)
			}
		}
		s, err := c.Consume(ctx, "q", &amqpclient091.ConsumeOptions{Prefetch: 2, Tag: "tag"})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()

		var conns []connView
		m.must(t, "GET", "/connections", "", &conns)
		if len(conns) != 1 || conns[0].User != "guest" || conns[0].Vhost != "/" || conns[0].State != "running" || conns[0].Recv == 0 ||
			conns[0].Send == 0 || conns[0].Auth != "PLAIN" || conns[0].ChannelMax != 2047 || conns[0].Node != "node@test" {
			t.Errorf("connections: %+v", conns)
		}
		name := url.PathEscape(conns[0].Name)
		var conn connView
		m.must(t, "GET", "/connections/"+name, "", &conn)
		var channels []channelView
		m.must(t, "GET", "/connections/"+name+"/channels", "", &channels)
		consuming := ""
		for _, ch := range channels {
			if ch.Consumers == 1 {
				consuming = ch.Name
				if ch.Unacked != 2 || ch.Prefetch != 2 {
					t.Errorf("channel: %+v", ch)
				}
			}
		}
		if consuming == "" {
			t.Fatalf("channels: %+v", channels)
		}
		var channel channelView
		m.must(t, "GET", "/channels/"+url.PathEscape(consuming), "", &channel)
		if len(channel.ConsumerList) != 1 || channel.ConsumerList[0].Tag != "tag" {
			t.Errorf("channel: %+v", channel)
		}
		var consumers []consumerView
		m.must(t, "GET", "/consumers/%2f", "", &consumers)
		if len(consumers) != 1 || consumers[0].Queue.Name != "q" || !consumers[0].AckRequired || consumers[0].Channel.Name != consuming ||
			consumers[0].Prefetch != 2 {
			t.Errorf("consumers: %+v", consumers)
		}
		var q queueView
		m.must(t, "GET", "/queues/%2f/q", "", &q)
		if q.Messages != 3 || q.Ready != 1 || q.Unacked != 2 || q.Bytes != 15 || q.BytesReady != 5 || q.Consumers != 1 ||
			len(q.ConsumerList) != 1 || q.Stats.Publish != 3 || q.Stats.Deliver != 2 || !q.Durable {
			t.Errorf("queue: %+v", q)
		}
		var over struct {
			Objects map[string]int `json:"object_totals"`
			Totals  queueTotals    `json:"queue_totals"`
		}
		m.must(t, "GET", "/overview", "", &over)
		if over.Objects["connections"] != 1 || over.Objects["consumers"] != 1 || over.Objects["queues"] != 1 || over.Totals.Messages != 3 {
			t.Errorf("overview: %+v", over)
		}
		// Rates are those since somebody asked before.
		time.Sleep(10 * time.Second)
		for range 10 {
			if err := c.Publish(ctx, &amqpclient091.Message{RoutingKey: "q"}); err != nil {
				t.Fatal(err)
			}
		}
		m.must(t, "GET", "/queues/%2f/q", "", &q)
		if q.Stats.PublishRate.Rate != 1 {
			t.Errorf("rate %v", q.Stats.PublishRate)
		}
		var nodes []nodeView
		m.must(t, "GET", "/nodes", "", &nodes)
		if len(nodes) != 1 || nodes[0].Name != "node@test" || !nodes[0].Running || nodes[0].Uptime != 10_000 || nodes[0].SocketsUsed != 1 {
			t.Errorf("nodes: %+v", nodes)
		}

		// Others see nothing of it and cannot close it.
		if w := m.do("GET", "/connections", "other:other", ""); w.Body.String() != "[]" {
			t.Errorf("other sees %s", w.Body)
		}
		if w := m.do("GET", "/consumers", "other:other", ""); w.Body.String() != "[]" {
			t.Errorf("other sees %s", w.Body)
		}
		if w := m.do("DELETE", "/connections/"+name, "other:other", ""); w.Code != 404 {
			t.Errorf("other closes: %d", w.Code)
		}
		m.must(t, "DELETE", "/connections/"+name, "", nil)
		synctest.Wait()
		if w := m.do("GET", "/connections/"+name, "guest:guest", ""); w.Code != 404 {
			t.Errorf("after it was closed: %d %s", w.Code, w.Body)
		}
		s.Close()
		c.Close()
	})
}

// A user who is deleted loses the connections.
func TestManageDeleteUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManageTester(t, Options{})
		m.must(t, "PUT", "/users/u", `{"password":"u","tags":""}`, nil)
		m.must(t, "PUT", "/permissions/%2f/u", `{"configure":"^u","write":".*","read":"^u"}`, nil)
		c := m.serve(t)("u")
		if _, err := c.DeclareQueue(t.Context(), amqpclient091.Queue{Name: "uq"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.DeclareQueue(t.Context(), amqpclient091.Queue{Name: "q"}); err == nil || !strings.Contains(err.Error(), "ACCESS_REFUSED") {
			t.Errorf("declare: %v", err)
		}
		m.must(t, "DELETE", "/users/u", "", nil)
		synctest.Wait()
		var conns []connView
		m.must(t, "GET", "/connections", "", &conns)
		if len(conns) != 0 {
			t.Errorf("%+v", conns)
		}
		c.Close()
	})
}
