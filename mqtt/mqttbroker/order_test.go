package mqttbroker

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// seeds runs a test with a few random seeds, which failures name.
func seeds(t *testing.T, n int, test func(t *testing.T, rnd *rand.Rand)) {
	for range n {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { test(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

// publishers connects n clients.
func (w *world) publishers(n int) (all []*peer) {
	for i := range n {
		all = append(all, w.connect(fmt.Sprint("p", i)).automatic())
	}
	return all
}

// publishCounts publishes the numbers from 0 to n-1.
func (p *peer) publishCounts(topic string, n int, qos mqtt.QoS, pause func(), edit ...func(*mqtt.Publish)) {
	for i := range n {
		p.publish(fmt.Sprint(topic, "=", i), qos, edit...)
		pause()
	}
}

// firsts returns the payloads of a topic, those that came again apart.
func firsts(packets []mqtt.Packet, topic string) (got []int) {
	seen := make(map[int]bool)
	for _, q := range packets {
		m, ok := q.(*mqtt.Publish)
		if !ok || string(m.Topic) != topic {
			continue
		}
		n, _ := strconv.Atoi(string(m.Payload))
		if !seen[n] {
			seen[n] = true
			got = append(got, n)
		}
	}
	return got
}

// TestOrderOfPublishers: the messages of a publisher reach every subscriber in the order of acceptance, whatever the
// subscriber's QoS, speed and connections are. Messages of QoS 1 and 2 are all there.
func TestOrderOfPublishers(t *testing.T) {
	const publishers, count = 4, 150
	for _, opts := range []Options{{}, {Journal: lateJournal{new(*heldJournal)}}, {Journal: lateJournal{new(*heldJournal)}, DeliverAfterSync: true}} {
		name := fmt.Sprintf("journal=%t after=%t", opts.Journal != nil, opts.DeliverAfterSync)
		t.Run(name, func(t *testing.T) {
			seeds(t, 3, func(t *testing.T, rnd *rand.Rand) {
				in(t, &opts, func(w *world) { orderOfPublishers(w, t, rnd, publishers, count) })
			})
		})
	}
}

func orderOfPublishers(w *world, t *testing.T, rnd *rand.Rand, publishers, count int) {
	subscribers := map[string]*peer{
		"fast":   w.connect("fast"),
		"narrow": w.connect("narrow", receiveMaximum(3)),
		"old":    w.connectVersion(mqtt.Version311, "old"),
		"two":    w.connect("two", receiveMaximum(10)),
	}
	for _, s := range subscribers {
		s.sub(2, "p/+")
		s.automatic()
	}
	subscribers["two"].sub(2, "p/#")
	l := w.local(&SubscribeOptions{Queue: 10_000}, mqtt.Subscription{Filter: "p/+", QoS: 2})
	restless := w.connect("restless", expiry(60), receiveMaximum(5))
	restless.sub(2, "p/+")
	restless.automatic()

	var wg sync.WaitGroup
	for i, p := range w.publishers(publishers) {
		pauses := rand.New(rand.NewPCG(rnd.Uint64(), 1))
		wg.Go(func() {
			p.publishCounts(fmt.Sprint("p/", i), count, mqtt.QoS(1+i%2), func() {
				if yield(pauses.IntN(20)); pauses.IntN(20) == 0 {
					w.sleep(time.Duration(pauses.IntN(1000)) * time.Microsecond)
				}
			})
		})
	}
	var all []mqtt.Packet
	for range 5 {
		w.sleep(time.Duration(rnd.IntN(5)) * time.Millisecond)
		restless.drop()
		all = append(all, restless.all()...)
		restless = w.beginAutomatic(mqtt.Version5, "restless", expiry(60), resume, receiveMaximum(5))
	}
	wg.Wait()
	w.pass(time.Second)
	all = append(all, restless.all()...)
	packets := map[string][]mqtt.Packet{"restless": all}
	for name, s := range subscribers {
		packets[name] = s.all()
	}
	for _, d := range l.got {
		packets["local"] = append(packets["local"], &mqtt.Publish{Topic: []byte(d.Message.Topic()), Payload: d.Message.Payload()})
	}
	for name, got := range packets {
		for i := range publishers {
			n := firsts(got, fmt.Sprint("p/", i))
			if len(n) != count {
				t.Errorf("%s: %d of %d messages of publisher %d", name, len(n), count, i)
			}
			for k, v := range n {
				if k != v {
					t.Errorf("%s: publisher %d: %d at place %d", name, i, v, k)
					break
				}
			}
		}
	}
}

// TestOrderOfRetained: a retained message never comes after a newer one of its topic, and every subscriber ends with the
// last one, whenever it subscribes.
func TestOrderOfRetained(t *testing.T) {
	const topics, count, subscribers = 6, 60, 12
	seeds(t, 6, func(t *testing.T, rnd *rand.Rand) {
		in(t, &Options{Hooks: Hooks{OnDeliver: yielding}}, func(w *world) {
			var wg sync.WaitGroup
			for i, p := range w.publishers(topics) {
				pauses := rand.New(rand.NewPCG(rnd.Uint64(), 1))
				wg.Go(func() {
					p.publishCounts(fmt.Sprint("r/", i), count, mqtt.QoS(i%3), func() {
						yield(pauses.IntN(50))
					}, retain)
				})
			}
			var all []*peer
			for i := range subscribers {
				s := w.beginAutomatic(mqtt.Version5, fmt.Sprint("s", i), receiveMaximum(uint16(1+rnd.IntN(3))))
				s.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "r/#", QoS: mqtt.QoS(i % 2)}}})
				all = append(all, s)
				yield(rnd.IntN(500))
			}
			wg.Wait()
			w.pass(time.Second)
			for i, s := range all {
				last := make(map[string]int)
				for _, q := range s.all() {
					m := q.(*mqtt.Publish)
					n, _ := strconv.Atoi(string(m.Payload))
					if n < last[string(m.Topic)] {
						t.Errorf("subscriber %d: %s: %d after %d (retained: %t)", i, m.Topic, n, last[string(m.Topic)], m.Retain)
					}
					last[string(m.Topic)] = n
				}
				for topic, n := range last {
					if n != count-1 {
						t.Errorf("subscriber %d: %s ends with %d", i, topic, n)
					}
				}
				if len(last) != topics {
					t.Errorf("subscriber %d: %d topics", i, len(last))
				}
			}
		})
	})
}

// yielding is a hook that lets others run in the middle of a delivery.
func yielding(string, *mqtt.Publish) bool {
	yield(rand.IntN(4) * rand.IntN(20))
	return true
}

// yield lets others run; unlike sleep in a bubble it does not wait for them.
func yield(n int) {
	for range n {
		runtime.Gosched()
	}
}

// TestReplacedWhileWaiting: a retained message that waits for send quota is left out when another replaces it.
func TestReplacedWhileWaiting(t *testing.T) {
	for _, qos := range []mqtt.QoS{1, 2} {
		run(t, fmt.Sprint("QoS ", qos), nil, func(w *world) {
			for i := range 4 {
				w.publish(fmt.Sprint("r/", i, "=old"), 2, true)
			}
			s := w.connect("s", receiveMaximum(1))
			s.sub(qos, "r/+")
			first := expect[*mqtt.Publish](s)
			s.want("")
			for i := range 4 {
				w.publish(fmt.Sprint("r/", i, "=new"), 2, true)
			}
			s.automatic().answer(first)
			w.wait()
			words := strings.Fields(s.messages())
			slices.Sort(words)
			if got := strings.Join(words, " "); got != "r/0=new r/1=new r/2=new r/3=new" {
				t.Error(got)
			}
		})
	}
}

// TestOrderOfStoreAndFanOut: what is retained at the end is what everybody got last, when several clients publish to the
// same topic at once.
func TestOrderOfStoreAndFanOut(t *testing.T) {
	seeds(t, 5, func(t *testing.T, rnd *rand.Rand) {
		in(t, &Options{Hooks: Hooks{OnDeliver: yielding}}, func(w *world) {
			var all []*peer
			for i := range 4 {
				s := w.connect(fmt.Sprint("s", i)).automatic()
				s.sub(mqtt.QoS(i%2), "t")
				all = append(all, s)
			}
			var wg sync.WaitGroup
			for i, p := range w.publishers(6) {
				wg.Go(func() {
					for k := range 50 {
						p.publish(fmt.Sprint("t=", i, ".", k), 1, retain)
					}
				})
			}
			wg.Wait()
			w.wait()
			kept := ""
			for m := range w.Retained("t") {
				kept = string(m.Payload())
			}
			sequences := make(map[string]bool)
			for i, s := range all {
				words := strings.Fields(s.messages())
				if got := words[len(words)-1]; got != "t="+kept {
					t.Errorf("subscriber %d ends with %s, %s is retained", i, got, kept)
				}
				sequences[strings.Join(words, " ")] = true
			}
			if len(sequences) != 1 {
				t.Error("subscribers have seen different orders of one topic")
			}
		})
	})
}

// TestOrderBehindTheQueue: messages that come while the queue is sent go behind it.
func TestOrderBehindTheQueue(t *testing.T) {
	seeds(t, 5, func(t *testing.T, rnd *rand.Rand) {
		in(t, nil, func(w *world) {
			s := w.connect("s", expiry(60))
			s.sub(1, "t")
			s.drop()
			p := w.connect("p").automatic()
			p.publishCounts("t", 2000, 1, func() {})
			w.wait()
			rest := make([]byte, 0, 256<<10)
			for i := range 1000 {
				m := &mqtt.Publish{Topic: []byte("t"), Payload: strconv.AppendInt(nil, int64(2000+i), 10), QoS: 1, ID: uint16(3000 + i)}
				rest, _ = mqtt.AppendPublish(rest, m, mqtt.Version5)
			}
			s = w.beginAutomatic(mqtt.Version5, "s", resume)
			yield(rnd.IntN(200))
			p.conn.Write(rest)
			w.wait()
			checkOrder(t, s, 3000)
		})
	})
}

// TestOrderOfPacketIdentifiers: they go round robin.
func TestOrderOfPacketIdentifiers(t *testing.T) {
	in(t, nil, func(w *world) {
		s, p := w.connect("s", receiveMaximum(2)).automatic(), w.connect("p").automatic()
		s.sub(1, "t")
		for range 100 {
			p.publish("t=x", 1)
		}
		for i, q := range s.all() {
			if id := q.(*mqtt.Publish).ID; int(id) != i+1 {
				t.Fatalf("message %d has identifier %d", i, id)
			}
		}
	})
}
