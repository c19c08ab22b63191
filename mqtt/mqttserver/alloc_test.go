//go:build !race

package mqttserver_test

import (
	"io"
	"testing"

	"github.com/quartet-mq/quartet/internal/alloctest"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// TestPublishAllocations: a message of QoS 0 costs no allocation from Publish to the socket.
func TestPublishAllocations(t *testing.T) {
	f := new(fanout)
	_, addr := loopback(t, f)
	for _, id := range []string{"sa", "sa", "sa"} {
		nc := rawClient(t, addr, id)
		go io.Copy(io.Discard, nc)
	}
	conns := (*f.conns.Load())['a']
	b := mqttserver.NewBatch()
	p := &mqtt.Publish{Topic: []byte("a/b"), Payload: make([]byte, 256)}
	publish := func() {
		for _, c := range conns {
			for range 10 {
				c.Publish(b, p, nil)
			}
		}
		b.Flush()
	}
	if n := alloctest.PerRun(1000, 0, publish); n > 0 {
		t.Errorf("%v allocations for 30 messages", n)
	}
}

// TestReadAllocations: a message of QoS 0 or 1 costs the reader no allocation.
func TestReadAllocations(t *testing.T) {
	for _, qos := range []mqtt.QoS{0, 1} {
		_, addr := loopback(t, new(fanout))
		nc := rawClient(t, addr, "p")
		var batch []byte
		for i := range 100 {
			batch, _ = mqtt.Append(batch, &mqtt.Publish{Topic: []byte("t"), Payload: make([]byte, 64), QoS: qos, ID: uint16(i+1) * uint16(qos)}, mqtt.Version311)
		}
		batch = append(batch, 0xc0, 0)
		answer := make([]byte, 2+400*int(qos))
		round := func() {
			nc.Write(batch)
			io.ReadFull(nc, answer)
		}
		if n := alloctest.PerRun(200, 3, round); n > 3 { // a PINGREQ, a packet cut by a read
			t.Errorf("QoS %d: %v allocations for 100 messages", qos, n)
		}
	}
}
