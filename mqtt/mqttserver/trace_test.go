package mqttserver_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// TestTrace compares the trace of a conversation.
func TestTrace(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, fmt.Sprintf(format, args...))
	}
	o := &mqttserver.Options{
		Limits: mqttserver.Limits{SoftLimit: 1000, HardLimit: 100_000, MaxInflight: -1, TopicAliases: -1, MaxPacketSize: -1},
		Trace: &mqttserver.Trace{
			Open:      func(c *mqttserver.Conn) { note("open %s", c.Listener()) },
			Connected: func(c *mqttserver.Conn) { note("connected %s", c.ClientID()) },
			Closed:    func(c *mqttserver.Conn, cause error) { note("closed %v", cause) },
			Received:  func(_ *mqttserver.Conn, p mqtt.Packet) { note("> %v", p) },
			Sent:      func(_ *mqttserver.Conn, p mqtt.Packet) { note("< %v", p) },
			Dropped:   func(_ *mqttserver.Conn, p *mqtt.Publish, why mqttserver.Drop) { note("dropped %s: %v", p.Topic, why) },
		},
	}
	bubble(t, nil, o, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "c", Version: mqtt.Version311})
		p.subscribe("t", 1)
		p.send(publishTo("t", "x", 1, 7))
		p.recv()
		p.recv()
		p.send(&mqtt.Puback{ID: 1})
		synctest.Wait()
		c := w.router.last().c
		for c.Publish(nil, publishTo("big", strings.Repeat("x", 150_000), 0, 0), nil) == mqttserver.Sent {
			lines = lines[:len(lines)-1]
		}
		p.nc.Close()
	})
	want := []string{
		"open mem",
		`> CONNECT version=3.1.1 clean-start keep-alive=0 client-id="c"`,
		"< CONNACK reason=0x00",
		"connected c",
		`> SUBSCRIBE id=1 filter="t" qos=1`,
		"< SUBACK id=1 reasons=[0x01]",
		`> PUBLISH id=7 qos=1 topic="t" payload=1:"x"`,
		`< PUBLISH id=1 qos=1 topic="t" payload=1:"x"`,
		"< PUBACK id=7",
		"> PUBACK id=1",
		"dropped big: output full",
	}
	for i, l := range lines {
		if strings.HasPrefix(l, "closed ") {
			lines[i] = "closed"
		}
	}
	if want = append(want, "closed"); !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}
