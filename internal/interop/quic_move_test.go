package interop

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/quic/quicnet"
)

// TestQUICMigration moves a client that publishes and receives at QoS 1 and 2 from one loopback address to another and back:
// nothing is lost, nothing comes twice, and the connection stays the same.
func TestQUICMigration(t *testing.T) {
	k := newQUICKeys(t)
	addr := quicBroker(t, k)
	var conn atomic.Pointer[quicnet.Conn]
	var dials atomic.Int64
	d := &quicnet.Dialer{
		Config:        quicConfig(k.client),
		FallbackDelay: -1,
		ListenPacket: func(context.Context, net.Addr) (net.PacketConn, error) {
			return net.ListenPacket("udp4", "127.0.0.1:0")
		},
	}
	ctx := quicContext(t)
	c, err := mqttclient.New(&mqttclient.Options{
		Servers:  []string{fmt.Sprintf("mqtt+quic://%s", addr)},
		ClientID: "moves",
		Streams:  &mqttclient.Streams{},
		Dialers: map[string]mqttclient.DialFunc{"mqtt+quic": func(ctx context.Context, to *url.URL) (net.Conn, error) {
			nc, err := d.DialURL(ctx, to)
			if qc, ok := nc.(*quicnet.Conn); ok {
				conn.Store(qc)
				dials.Add(1)
			}
			return nc, err
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Shutdown(ctx)
	defer c.Close()
	sub, err := c.Subscribe(ctx, nil, mqtt.Subscription{Filter: "move/#", QoS: 2})
	if err != nil {
		t.Fatal(err)
	}
	const n = 300 // of each QoS
	received := make(chan map[string]int, 1)
	go func() {
		got := make(map[string]int)
		total := 0
		for m, err := range sub.Messages(ctx) {
			if err != nil {
				break
			}
			got[m.Topic+" "+string(m.Payload)]++
			if total++; total == 2*n+2 { // the last ones follow everything else of their topics
				break
			}
		}
		received <- got
	}()
	var acks []*mqttclient.Publication
	publish := func(qos mqtt.QoS, what string) {
		t.Helper()
		p, err := c.PublishAsync(ctx, &mqttclient.Message{Topic: fmt.Sprintf("move/%d", qos), Payload: []byte(what), QoS: qos})
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, p)
	}
	moves := map[int]string{n / 3: "127.0.0.2", 2 * n / 3: "127.0.0.1"}
	moved := make(chan error, len(moves))
	for i := range n {
		if to, ok := moves[i]; ok {
			pc, err := net.ListenPacket("udp4", net.JoinHostPort(to, "0"))
			if err != nil {
				t.Fatal(err)
			}
			go func() { moved <- conn.Load().Migrate(ctx, pc) }() // in the midst of the traffic
		}
		publish(1, fmt.Sprint(i))
		publish(2, fmt.Sprint(i))
		if i == 2*n/3-1 {
			if err := <-moved; err != nil {
				t.Fatal(err)
			}
			if a := conn.Load().LocalAddr().String(); !strings.HasPrefix(a, "127.0.0.2:") {
				t.Errorf("the client is at %s", a)
			}
		}
	}
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	publish(1, "end")
	publish(2, "end")
	for _, p := range acks {
		if err := p.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// What would come twice comes soon: the acknowledgements are there.
	var got map[string]int
	select {
	case got = <-received:
	case <-time.After(quicTimeout):
		t.Fatal("messages are missing")
	}
	for _, qos := range []int{1, 2} {
		for i := range n {
			if k := fmt.Sprintf("move/%d %d", qos, i); got[k] != 1 {
				t.Errorf("%s came %d times", k, got[k])
			}
		}
	}
	if dials.Load() != 1 || conn.Load().Stats().Migrations != 2 {
		t.Errorf("%d connections, %d moves", dials.Load(), conn.Load().Stats().Migrations)
	}
}
