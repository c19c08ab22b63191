package mqttserver_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// TestConcurrentPublishers writes from many goroutines to one slow TCP client: nothing is lost or damaged, and the
// messages of each goroutine come in their order. Payloads are copied or shared, by their size.
func TestConcurrentPublishers(t *testing.T) {
	const publishers, messages = 8, 300
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	r := new(router)
	srv := mqttserver.New(r, &mqttserver.Options{Limits: mqttserver.Limits{HardLimit: -1, MaxQueued: -1, SoftLimit: 64 << 10}})
	defer srv.Close()
	go srv.Serve(l, nil)
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc.(*net.TCPConn).SetReadBuffer(64 << 10)
	p := newPeer(t, nc)
	p.connect(&mqtt.Connect{ClientID: "c", Version: mqtt.Version311})
	c := r.last().c
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			b := mqttserver.NewBatch()
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for n := range messages {
				size := random.IntN(600)
				if n%10 == 0 {
					size = random.IntN(40_000)
				}
				payload := bytes.Repeat([]byte{byte(n)}, size)
				if r := c.Publish(b, &mqtt.Publish{Topic: fmt.Appendf(nil, "%d/%d/%d", i, n, size), Payload: payload}, nil); r != mqttserver.Sent {
					t.Errorf("publisher %d: %v", i, r)
				}
				if random.IntN(5) == 0 {
					b.Flush()
					b.Wait()
				}
			}
			b.Flush()
		})
	}
	var next [publishers]int
	for range publishers * messages {
		m := p.recv().(*mqtt.Publish)
		var i, n, size int
		fmt.Sscanf(string(m.Topic), "%d/%d/%d", &i, &n, &size)
		if n != next[i] || len(m.Payload) != size || len(bytes.Trim(m.Payload, string([]byte{byte(n)}))) > 0 && n != 0 {
			t.Fatalf("message %s with %d bytes, expected %d of publisher %d", m.Topic, len(m.Payload), next[i], i)
		}
		next[i]++
	}
	wg.Wait()
}

// TestChurn has clients come, publish at every QoS and go, in every way, while one subscriber stays: it gets the
// messages of each connection in their order, and in the end nothing is left.
func TestChurn(t *testing.T) {
	t.Run("MQTT-4.6.0-5", func(t *testing.T) {
		for seed := range uint64(5) {
			bubble(t, nil, nil, func(w *world) { churn(w, seed) })
		}
	})
}

func churn(w *world, seed uint64) {
	sub := w.client(&mqtt.Connect{ClientID: "s"})
	sub.subscribe("#", 2)
	last := make(map[string]int)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			pk, err := sub.next()
			if err != nil {
				return
			}
			switch pk := pk.(type) {
			case *mqtt.Publish:
				var n int
				fmt.Sscan(string(pk.Payload), &n)
				key := fmt.Sprintf("%s %d", pk.Topic, pk.QoS)
				if n <= last[key] {
					w.t.Errorf("seed %d: %s: %d after %d", seed, key, n, last[key])
				}
				last[key] = n
				switch pk.QoS {
				case 1:
					sub.send(&mqtt.Puback{ID: pk.ID})
				case 2:
					sub.send(&mqtt.Pubrec{ID: pk.ID})
				}
			case *mqtt.Pubrel:
				sub.send(&mqtt.Pubcomp{ID: pk.ID})
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() { visitor(w, i, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	wg.Wait()
	synctest.Wait()
	sub.nc.Close()
	<-done
	time.Sleep(5 * time.Second) // the lingering ones
	synctest.Wait()
	if st := w.srv.Stats(); st.Connections != 0 || len(w.router.sessions) != 0 {
		w.t.Errorf("seed %d: %d connections and %d sessions are left", seed, st.Connections, len(w.router.sessions))
	}
}

// visitor connects some times, publishes and leaves.
func visitor(w *world, i int, random *rand.Rand) {
	n := 0
	for round := range 10 {
		p := w.dial()
		p.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: fmt.Sprint(i), CleanStart: true})
		if random.IntN(4) > 0 {
			p.next() // none when another visitor was quick to send this one away
		}
		id := uint16(0)
		for range random.IntN(40) {
			n++
			m := publishTo(fmt.Sprintf("%d/%d", i, round), fmt.Sprint(n), mqtt.QoS(random.IntN(3)), 0)
			if m.QoS > 0 {
				id++
				m.ID = id
			}
			b, _ := mqtt.Append(nil, m, mqtt.Version5)
			p.nc.Write(b)
		}
		switch random.IntN(4) {
		case 0:
			p.nc.Write([]byte{0xe0, 0}) // DISCONNECT
		case 1:
			p.nc.Write([]byte{0x20, 0}) // a CONNACK
		case 2:
			if s := w.router.last(); s != nil && s.c.ClientID() != "s" {
				s.c.Disconnect(nil, &mqtt.Disconnect{Reason: mqtt.ReasonAdministrativeAction})
			}
		}
		p.nc.Close()
	}
}
