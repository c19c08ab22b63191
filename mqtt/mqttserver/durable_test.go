package mqttserver_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// keeper is a router whose sessions outlive their connections. With hold set its sessions are Persisters and nothing is
// durable before release is called.
type keeper struct {
	router
	durable bool
	state   *mqtt.State

	mu     sync.Mutex
	deltas []mqttserver.Delta
	held   []mqttserver.Delta
}

func (k *keeper) Connect(_ context.Context, c *mqttserver.Conn) (*mqttserver.Accepted, error) {
	a := k.accept(c)
	present := k.state != nil && !c.Connect().CleanStart
	if !present {
		k.state = new(mqtt.State)
	}
	a.State, a.Present = k.state, present
	if k.durable {
		a.Session = &keptSession{a.Session.(*session), k}
	}
	return a, nil
}

type keptSession struct {
	*session
	k *keeper
}

func (s *keptSession) Persist(b *mqttserver.Batch, d mqttserver.Delta) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.deltas = append(s.k.deltas, d)
	if d.Token != 0 {
		s.k.held = append(s.k.held, d)
	}
}

// release makes everything durable.
func (k *keeper) release(c *mqttserver.Conn) {
	synctest.Wait()
	k.mu.Lock()
	held := k.held
	k.held = nil
	k.mu.Unlock()
	if len(held) > 0 {
		c.Persisted(nil, held[len(held)-1].Token)
	}
	synctest.Wait()
}

func (p *peer) quiet() {
	p.t.Helper()
	synctest.Wait()
	p.send(&mqtt.Pingreq{})
	p.expect(&mqtt.Pingresp{})
}

// TestBarriers: each step of QoS 2 waits until it is durable, in both directions.
func TestBarriers(t *testing.T) {
	k := &keeper{durable: true}
	bubbleWith(t, k, nil, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "c"})
		c := k.last().c
		p.send(publishTo("t", "in", 2, 5))
		p.expect(&mqtt.Pubrec{ID: 5})
		p.send(&mqtt.Pubrel{ID: 5})
		p.quiet()
		k.release(c)
		p.expect(&mqtt.Pubcomp{ID: 5})

		for i := range 3 {
			m := publishTo("t", fmt.Sprint(i), 2, 0)
			if r := c.Publish(nil, m, m); r != mqttserver.Sent {
				t.Fatal(r)
			}
		}
		p.quiet()
		k.release(c)
		for i := range 3 {
			p.expect(publishTo("t", fmt.Sprint(i), 2, uint16(i+1)))
		}
		p.send(&mqtt.Pubrec{ID: 1})
		p.quiet()
		k.release(c)
		p.expect(&mqtt.Pubrel{ID: 1})
		p.send(&mqtt.Pubcomp{ID: 1})
		synctest.Wait()
		var kinds []mqtt.Delta
		for i, d := range k.deltas {
			kinds = append(kinds, d.Delta)
			if d.Token != 0 && d.Token != uint64(i+1) {
				t.Errorf("delta %d has token %d", i, d.Token)
			}
		}
		want := []mqtt.Delta{mqtt.DeltaReleased, mqtt.DeltaAssigned, mqtt.DeltaAssigned, mqtt.DeltaAssigned, mqtt.DeltaPubrec, mqtt.DeltaSettled}
		if !slices.Equal(kinds, want) {
			t.Errorf("deltas %v, want %v", kinds, want)
		}
	})
}

// TestResume: what was in flight comes again, in order, before anything new.
func TestResume(t *testing.T) {
	t.Run("MQTT-4.4.0-1", func(t *testing.T) {
		for _, durable := range []bool{false, true} {
			k := &keeper{durable: durable}
			bubbleWith(t, k, nil, func(w *world) {
				props := mqtt.Properties(nil).AppendUint32(mqtt.PropSessionExpiryInterval, 100)
				p := w.client(&mqtt.Connect{ClientID: "c", Properties: props})
				s := k.last()
				for i := range 50 {
					m := publishTo("t", fmt.Sprint(i), mqtt.QoS(i%2+1), 0)
					s.c.Publish(nil, m, m)
				}
				k.release(s.c)
				for range 10 {
					p.recv()
				}
				p.send(&mqtt.Puback{ID: 1}, &mqtt.Pubrec{ID: 2})
				k.release(s.c)
				p.nc.Close()
				<-s.done

				p = w.dial()
				p.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", Properties: props})
				if ack := p.recv().(*mqtt.Connack); !ack.SessionPresent {
					t.Fatal(ack)
				}
				synctest.Wait()
				k.release(k.last().c)
				p.expect(&mqtt.Pubrel{ID: 2})
				for i := 2; i < 50; i++ {
					m := publishTo("t", fmt.Sprint(i), mqtt.QoS(i%2+1), uint16(i+1))
					m.Dup = true
					p.expect(m)
				}
			})
		}
	})
}

// TestResumeBeyondTheQuota: a redelivery goes on as the client acknowledges.
func TestResumeBeyondTheQuota(t *testing.T) {
	k := new(keeper)
	bubbleWith(t, k, nil, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "c"})
		s := k.last()
		for i := range 20 {
			m := publishTo("t", fmt.Sprint(i), 1, 0)
			s.c.Publish(nil, m, m)
		}
		p.nc.Close()
		<-s.done
		p = w.dial()
		p.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", Properties: mqtt.Properties(nil).AppendUint16(mqtt.PropReceiveMaximum, 3)})
		p.recv()
		s = k.last()
		next := publishTo("t", "20", 1, 0)
		if r := s.send(nil, next); r != mqttserver.Refused {
			t.Errorf("a new message before the old ones: %v", r)
		}
		for i := range 21 {
			m := p.recv().(*mqtt.Publish)
			if string(m.Payload) != fmt.Sprint(i) || m.Dup != (i < 20) {
				t.Fatalf("message %d is %v", i, m)
			}
			p.send(&mqtt.Puback{ID: m.ID})
		}
	})
}

// TestLateAcks: acknowledgements leave in the order of the messages, and may come after the end.
func TestLateAcks(t *testing.T) {
	t.Run("MQTT-4.6.0-2", func(t *testing.T) {
		r := &router{late: true}
		bubble(t, r, nil, func(w *world) {
			p := w.client(&mqtt.Connect{ClientID: "c"})
			for id := range uint16(4) {
				p.send(publishTo("t", "x", 1, id+1))
			}
			synctest.Wait()
			b := mqttserver.NewBatch()
			for _, i := range []int{2, 1, 0} {
				r.acks[i].Done(b, 0, nil)
			}
			b.Flush()
			p.expect(&mqtt.Puback{ID: 1}, &mqtt.Puback{ID: 2}, &mqtt.Puback{ID: 3})
			s := r.last()
			p.nc.Close()
			<-s.done
			r.acks[3].Done(nil, 0, nil)
			mqttserver.Ack{}.Done(nil, 0, nil)
		})
	})
}
