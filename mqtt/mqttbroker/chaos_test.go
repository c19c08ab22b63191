package mqttbroker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/mqtt"
)

// TestChaos lets clients and the application do what comes to their minds at once. Nothing may get stuck, and when
// everybody has gone nothing may be left.
func TestChaos(t *testing.T) {
	journal := lateJournal{new(*heldJournal)}
	for _, opts := range []Options{
		{QueueMessages: 20, QueuePolicy: DropOldest},
		{Strategy: StrategySticky, QueuePolicy: RejectPublisher, QueueMessages: 30, Journal: journal},
		{Strategy: StrategyHash, QueueQoS0: true, Journal: journal, DeliverAfterSync: true},
		{Dir: "data", SegmentSize: 4 << 10, hotMessages: 4, pageEntries: 5, RetainedMemory: -1},
		{Dir: "data", SegmentSize: 4 << 10, hotMessages: 3, pageEntries: 4, RetainedMemory: 1, QueueMessages: 20, QueuePolicy: DropOldest},
		{Dir: "data", SegmentSize: 4 << 10, hotMessages: 2, pageEntries: 3, RetainedMemory: 1, QueueQoS0: true, DeliverAfterSync: true},
	} {
		deny := false
		opts.Authorize = func(c *Client) Permissions {
			return func(a Action, topic string) Decision {
				switch {
				case a == ActionSubscribe:
					return AllowEach
				case deny && topic == "a/1":
					return Deny
				}
				return Allow
			}
		}
		name := fmt.Sprintf("strategy=%d journal=%t dir=%t after=%t", opts.Strategy, opts.Journal != nil, opts.Dir != "", opts.DeliverAfterSync)
		t.Run(name, func(t *testing.T) {
			seeds(t, 3, func(t *testing.T, rnd *rand.Rand) {
				opts := opts
				if opts.Dir != "" {
					opts.fs = vfs.NewMem()
				}
				in(t, &opts, func(w *world) {
					chaos(w, rnd)
					for opts.Dir != "" && rnd.IntN(3) > 0 {
						if rnd.IntN(2) == 0 {
							w.crash()
						} else {
							w.restart()
						}
						chaos(w, rnd)
					}
					tidy(w)
				})
			})
		})
	}
}

func chaos(w *world, rnd *rand.Rand) {
	var wg sync.WaitGroup
	for i := range 8 {
		rnd := rand.New(rand.NewPCG(rnd.Uint64(), uint64(i)))
		wg.Go(func() {
			c := &actor{w: w, rnd: rnd}
			for range 150 {
				c.act()
				yield(rnd.IntN(30))
			}
		})
	}
	rnd = rand.New(rand.NewPCG(rnd.Uint64(), 99))
	wg.Go(func() {
		for range 60 {
			application(w, rnd)
			w.sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
		}
	})
	wg.Wait()
	w.wait()
}

// tidy lets everybody go. Then nothing may be left.
func tidy(w *world) {
	for s := range w.Sessions() {
		if _, err := w.DeleteSession(w.t.Context(), s.Client); err != nil {
			w.t.Error(err)
		}
	}
	for m := range w.Retained("#") {
		w.DeleteRetained(m.Topic())
	}
	w.pass(time.Minute)
	st := w.Stats()
	if st.Connected+st.Sessions+st.Subscriptions+st.SharedSubscriptions+st.Retained+st.RetainedBytes != 0 {
		w.t.Errorf("%+v", st)
	}
	if w.subs.Len() != 0 || len(w.groups.m) != 0 || len(w.locals) != 0 || w.retained.names.Len() != 0 {
		w.t.Error("the indices are not empty")
	}
	for _, d := range w.deadlines.heap {
		if d.s != nil {
			w.t.Errorf("a deadline of %s", d.s.id)
		}
	}
	if l, ok := w.opts.Journal.(lateJournal); ok && len((*l.j).live) != 0 {
		w.t.Errorf("%d messages are live in the journal", len((*l.j).live))
	}
	if w.opts.Dir != "" {
		if live := st.Journal.LiveBytes; live > 20 || w.rec.refs.Len() > 0 || len(w.rec.open) > 0 || len(w.ending) > 0 {
			w.t.Errorf("%d bytes are live in the journal, refs %v, open %v, ending %v", live, w.rec.refs.Len(), w.rec.open, w.ending)
		}
		if disk := st.Journal.DiskBytes; disk > 32*4096 {
			w.t.Errorf("%d bytes on disk", disk)
		}
	}
}

// actor is a client under changing names.
type actor struct {
	w   *world
	rnd *rand.Rand
	p   *peer
}

func (a *actor) one(list ...string) string { return list[a.rnd.IntN(len(list))] }

func (a *actor) act() {
	if a.p == nil || a.rnd.IntN(12) == 0 {
		a.connect()
		return
	}
	filter := a.one("a/+", "a/#", "#", "a/1", "$share/g/a/+", "$share/g/a/1", "$share/h/#")
	switch a.rnd.IntN(10) {
	case 0:
		a.p.conn.Close()
		a.p = nil
	case 1:
		a.p.send(&mqtt.Disconnect{})
		a.p = nil
	case 2, 3:
		a.p.send(&mqtt.Subscribe{ID: a.p.nextID(), Filters: []mqtt.Subscription{{Filter: filter, QoS: mqtt.QoS(a.rnd.IntN(3))}}})
	case 4:
		a.p.send(&mqtt.Unsubscribe{ID: a.p.nextID(), Filters: []string{filter}})
	default:
		a.p.publish(a.one("a/1=x", "a/2=y", "a/1=", "b=z"), mqtt.QoS(a.rnd.IntN(3)), func(m *mqtt.Publish) {
			m.Retain = a.rnd.IntN(4) == 0
			if a.rnd.IntN(4) == 0 {
				messageExpiry(uint32(1 + a.rnd.IntN(5)))(m)
			}
		})
	}
}

func (a *actor) connect() {
	a.p = a.w.beginAutomatic(mqtt.Version5, a.one("one", "two", "three", "four", "five", "six"),
		expiry(uint32(a.rnd.IntN(3))), receiveMaximum(uint16(1+a.rnd.IntN(5))), func(c *mqtt.Connect) {
			c.CleanStart = a.rnd.IntN(3) == 0
			if a.rnd.IntN(2) == 0 {
				c.Will = &mqtt.Will{Topic: "a/2", QoS: mqtt.QoS(a.rnd.IntN(3)), Properties: willDelay(uint32(a.rnd.IntN(3)))}
			}
		})
}

// application does what the application might.
func application(w *world, rnd *rand.Rand) {
	client := []string{"one", "two", "three", "four", "five", "six"}[rnd.IntN(6)]
	switch rnd.IntN(6) {
	case 0:
		w.Kick(client, 0)
	case 1:
		w.DeleteSession(w.t.Context(), client)
	case 2:
		w.Reauthorize()
	case 3:
		w.Publish(w.t.Context(), &mqtt.Publish{Topic: []byte("a/1"), QoS: mqtt.QoS(rnd.IntN(3)), Retain: rnd.IntN(2) == 0, Payload: []byte("p")})
	case 4:
		o := &SubscribeOptions{Queue: 5, ManualAck: rnd.IntN(2) == 0}
		s, err := w.Subscribe([]mqtt.Subscription{{Filter: "a/#", QoS: 2}, {Filter: "$share/g/a/+", QoS: 1}}, o)
		if err != nil {
			w.t.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second) // the others may have ended
		defer cancel()
		var got []*Delivery
		for d := range s.Messages(ctx) {
			if d == nil {
				break
			}
			_ = d.Message.Payload()
			if got = append(got, d); len(got) > rnd.IntN(5) {
				break
			}
		}
		s.Close()
		for _, d := range got { // too late
			d.Ack()
		}
	case 5:
		for s := range w.Sessions() {
			_ = s.Queued
		}
		w.Stats()
	}
}
