package mqttbroker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// streamConn is a stream as a net.Conn.
type streamConn struct {
	netio.Stream
	nc net.Conn
}

func (s streamConn) LocalAddr() net.Addr  { return s.nc.LocalAddr() }
func (s streamConn) RemoteAddr() net.Addr { return s.nc.RemoteAddr() }

// open opens a data stream of the connection. As a peer it sends and collects what goes there.
func (p *peer) open() *peer {
	p.t.Helper()
	s, err := p.conn.(netio.Streams).OpenStream(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	d := &peer{w: p.w, t: p.t, v: p.v, id: fmt.Sprintf("%s/%d", p.id, s.ID()), conn: streamConn{s, p.conn}, last: uint16(s.ID()) * 1000}
	p.w.mu.Lock()
	p.w.peers = append(p.w.peers, d)
	p.w.mu.Unlock()
	go d.read()
	return d
}

func (p *peer) reset() {
	p.conn.(streamConn).Stream.(interface{ Reset() }).Reset()
	p.w.wait()
}

// describe returns the session of a client.
func (w *world) describe(id string) Session {
	s, ok := w.Session(id)
	if !ok {
		w.t.Fatalf("%s has no session", id)
	}
	return s
}

func keepStreams(c *mqtt.Connect) { c.Properties = c.Properties.AppendUser("quartet-streams", "keep") }

// texts returns the payloads of the messages of a topic that came, in their order.
func texts(got []mqtt.Packet, topic string) (list []string) {
	for _, q := range got {
		if m, ok := q.(*mqtt.Publish); ok && string(m.Topic) == topic {
			list = append(list, string(m.Payload))
		}
	}
	return list
}

func numbers(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// kinds runs a test with the state of data streams ending with them and outliving them, in memory and with a journal.
func kinds(t *testing.T, name string, opts Options, test func(w *world, connect func(id string, edit ...func(*mqtt.Connect)) *peer, keeps bool)) {
	t.Helper()
	for _, keeps := range []bool{false, true} {
		part := func(w *world) {
			test(w, func(id string, edit ...func(*mqtt.Connect)) *peer {
				edit = append(edit, expiry(3600))
				if keeps {
					edit = append(edit, keepStreams)
				}
				return w.connect(id, edit...)
			}, keeps)
		}
		run(t, fmt.Sprintf("%s, kept %t, memory", name, keeps), &opts, part)
		lasting(t, fmt.Sprintf("%s, kept %t, directory", name, keeps), opts, part)
	}
}

// A message goes on the stream of its subscription, a retained one before live ones, and answers on that of the request.
func TestStreamOfSubscription(t *testing.T) {
	kinds(t, "", Options{}, func(w *world, connect func(string, ...func(*mqtt.Connect)) *peer, _ bool) {
		p := w.connect("p")
		p.pub("a/1=old", 1, retain)
		p.pub("a/2=old", 0, retain)
		c := connect("c")
		a, b := c.open(), c.open()
		a.sub(2, "a/+")
		b.sub(1, "b")
		c.sub(0, "c")
		got := a.all()
		if x, y := texts(got, "a/1"), texts(got, "a/2"); len(got) != 2 || len(x) != 1 || len(y) != 1 {
			t.Errorf("retained: %v", got)
		}
		for qos := range mqtt.QoS(3) {
			for _, name := range []string{"a/1", "b", "c", "a/2"} {
				p.pub(fmt.Sprintf("%s=%d", name, qos), qos)
			}
		}
		a.want("a/1=0 a/2=0 a/1=1 a/2=1 a/1=2 a/2=2")
		b.want("b=0 b=1 b=2")
		c.want("c=0 c=1 c=2")
		b.pub("a/1=own", 2)
		a.want("a/1=own")
		c.sub(1, "b") // moves the subscription
		p.pub("b=moved", 1)
		b.want("")
		c.want("b=moved")
		if r := a.unsub("a/+"); r[0] != mqtt.ReasonSuccess {
			t.Error(r)
		}
		p.pub("a/1=x", 1)
		a.want("")
	})
}

// With subscriptions that overlap a message comes once: on stream 0 if one of them is there.
func TestOverlappingStreams(t *testing.T) {
	kinds(t, "", Options{}, func(w *world, connect func(string, ...func(*mqtt.Connect)) *peer, _ bool) {
		c := connect("c")
		a, b := c.open(), c.open()
		b.sub(1, "x/#")
		a.sub(0, "x/+")
		p := w.connect("p")
		p.pub("x/1=one", 1)
		a.want("x/1=one")
		c.sub(0, "x/1")
		p.pub("x/1=two", 1)
		c.want("x/1=two")
		a.want("")
		b.want("")
		p.pub("x/2/3=three", 1)
		b.want("x/2/3=three")
	})
}

// A subscription ends with its stream, or goes on on stream 0.
func TestSubscriptionOfEndedStream(t *testing.T) {
	kinds(t, "", Options{}, func(w *world, connect func(string, ...func(*mqtt.Connect)) *peer, keeps bool) {
		c, p := connect("c"), w.connect("p")
		a, b := c.open(), c.open()
		a.sub(1, "a")
		a.sub(1, "other")
		b.sub(1, "b")
		a.reset()
		p.pub("a=1", 1)
		p.pub("a=2", 0)
		p.pub("b=3", 1)
		b.want("b=3")
		subs := w.describe("c").Subscriptions
		if keeps {
			c.want("a=1 a=2")
			if len(subs) != 3 {
				t.Errorf("subscriptions %v", subs)
			}
		} else {
			c.want("")
			if len(subs) != 1 || w.Stats().Subscriptions != 1 {
				t.Errorf("subscriptions %v, counted %d", subs, w.Stats().Subscriptions)
			}
		}
		// All streams end with the connection.
		c.drop()
		p.pub("b=4", 1)
		p.pub("a=5", 1)
		c = connect("c", resume)
		if !c.ack.SessionPresent {
			t.Fatal("no session")
		}
		if c.automatic(); keeps {
			got := c.all()
			if !slices.Equal(texts(got, "b"), []string{"3", "4"}) || !slices.Equal(texts(got, "a"), []string{"1", "5"}) {
				t.Errorf("got %v", got)
			}
		} else {
			c.want("")
			if n := w.Stats().Subscriptions; n != 0 {
				t.Errorf("%d subscriptions", n)
			}
		}
	})
}

// A client that does not acknowledge on one stream gets what is on others all the same, as far as its receive maximum
// leaves room; messages wait by stream, in order.
func TestStreamsWaitApart(t *testing.T) {
	kinds(t, "", Options{}, func(w *world, connect func(string, ...func(*mqtt.Connect)) *peer, keeps bool) {
		if keeps && w.rec != nil {
			return // there is one queue
		}
		c := connect("c", receiveMaximum(20))
		a, b := c.open(), c.open()
		a.sub(1, "a")
		b.sub(2, "b")
		c.sub(1, "c")
		b.automatic()
		p := w.connect("p").automatic()
		for i := range 500 {
			p.publish(fmt.Sprint("a=", i), 1)
			p.publish(fmt.Sprint("b=", i), 2)
			p.publish(fmt.Sprint("b=", i), 0)
			w.wait()
		}
		first := a.all()
		if got := texts(first, "a"); len(got) != 10 {
			t.Errorf("%d messages in flight on the stream without acknowledgements", len(got))
		}
		var twice []string
		for _, n := range numbers(0, 500) {
			twice = append(twice, n, n)
		}
		if got := texts(b.all(), "b"); !slices.Equal(got, twice) {
			t.Errorf("%d messages came on the other stream", len(got))
		}
		if n := w.describe("c").Queued; n != 490 {
			t.Errorf("%d messages wait", n)
		}
		c.automatic()
		a.reset()
		if got := texts(c.all(), "a"); keeps && !slices.Equal(got, numbers(0, 500)) || !keeps && len(got) > 0 {
			t.Errorf("%d messages came on stream 0", len(got))
		}
		if n := w.describe("c").Queued; n != 0 {
			t.Errorf("%d messages wait", n)
		}
	})
}

// What the queue of a session has for a stream that does not go on goes on when that stream ends.
func TestKeptQueueGoesOn(t *testing.T) {
	lasting(t, "", Options{}, func(w *world) {
		c := w.connect("c", expiry(3600), keepStreams, receiveMaximum(20)).automatic()
		a := c.open()
		a.sub(1, "a")
		p := w.connect("p").automatic()
		for i := range 100 {
			p.publish(fmt.Sprint("a=", i), 1)
			w.wait()
		}
		if n := len(a.all()); n != 10 {
			t.Errorf("%d messages in flight", n)
		}
		a.reset()
		if got := texts(c.all(), "a"); !slices.Equal(got, numbers(0, 100)) {
			t.Errorf("got %v", got)
		}
	})
}

// What waits for a stream goes out in order when the client goes on, and the bounds of a session hold for all its streams.
func TestStreamQueue(t *testing.T) {
	in(t, &Options{QueueMessages: 100}, func(w *world) {
		c := w.connect("c", receiveMaximum(8))
		a, b := c.open(), c.open()
		a.sub(1, "a")
		b.sub(1, "b")
		p := w.connect("p").automatic()
		for i := range 300 {
			p.publish(fmt.Sprint("a=", i), 1)
			w.wait()
		}
		for i := range 300 {
			p.publish(fmt.Sprint("b=", i), 1)
			w.wait()
		}
		// 4 and 2 in flight; of 100 places 50 and then 25
		if d := w.describe("c"); d.Queued != 75 || w.Stats().DroppedQueueFull != 600-6-75 {
			t.Fatalf("%d wait, %d dropped", d.Queued, w.Stats().DroppedQueueFull)
		}
		for _, s := range []*peer{a, b} {
			first := s.all()
			s.automatic()
			for _, q := range first {
				s.answer(q)
			}
			w.wait()
			n := len(first)
			got := texts(append(first, s.all()...), map[*peer]string{a: "a", b: "b"}[s])
			if want := map[*peer]int{a: 54, b: 27}[s]; len(got) != want || !slices.Equal(got, numbers(0, want)) {
				t.Errorf("stream %s: %d first, then %v", s.id, n, got)
			}
		}
	})
}

// A stalled stream does not keep a subscriber's others from their retained messages.
func TestRetainedOnStreams(t *testing.T) {
	for _, dir := range []bool{false, true} {
		f := func(w *world) {
			p := w.connect("p")
			for i := range 300 {
				p.pub(fmt.Sprintf("r/%d=x", i), 1, retain)
			}
			c := w.connect("c", receiveMaximum(10))
			a, b := c.open(), c.open()
			a.sub(1, "r/#")
			b.automatic()
			b.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "r/#", QoS: mqtt.QoS1}}}) // replaces the subscription: what waits for the first stream comes there
			w.wait()
			p.pub("r/5=live", 1)
			w.wait()
			got := b.all()
			if n := len(texts(got, "r/5")); n != 2 || len(got) != 301 {
				t.Errorf("%d messages, of one topic %d", len(got), n)
			}
			if l := texts(got, "r/5"); l[len(l)-1] != "live" {
				t.Errorf("order of a topic: %v", l)
			}
			if n := len(a.all()); n != 5 {
				t.Errorf("%d messages in flight on the stalled stream", n)
			}
		}
		if dir {
			lasting(t, "directory", Options{RetainedMemory: 1000}, f)
		} else {
			run(t, "memory", nil, f)
		}
	}
}

// Messages of a shared subscription that wait for a stream go to other members when it ends.
func TestSharedSubscriptionOfStream(t *testing.T) {
	for _, dir := range []bool{false, true} {
		f := func(w *world) {
			c := w.connect("c", expiry(3600), receiveMaximum(2))
			a := c.open()
			a.sub(1, "$share/g/t")
			p := w.connect("p").automatic()
			for i := range 20 {
				p.publish(fmt.Sprint("t=", i), 1)
				w.wait()
			}
			other := w.connect("other").automatic()
			other.sub(1, "$share/g/t")
			if n := len(a.all()); n != 1 {
				t.Fatalf("%d messages in flight", n)
			}
			a.reset()
			if got := texts(other.all(), "t"); len(got) < 19 {
				t.Errorf("the other member got %v", got)
			}
			p.publish("t=last", 1)
			other.want("t=last")
		}
		if dir {
			lasting(t, "directory", Options{}, f)
		} else {
			run(t, "memory", nil, f)
		}
	}
}

// QoS 2 across the death of streams: exactly once where the state outlives them. Where it does not, nothing comes twice by
// itself: what was in flight is gone, and identifiers are new.
func TestExactlyOnceAcrossStreams(t *testing.T) {
	kinds(t, "inbound", Options{}, func(w *world, connect func(string, ...func(*mqtt.Connect)) *peer, keeps bool) {
		s := w.connect("s").automatic()
		s.sub(2, "t")
		c := connect("c")
		for i := range 40 {
			a := c.open()
			id := uint16(i + 1)
			a.send(&mqtt.Publish{Topic: []byte("t"), Payload: fmt.Append(nil, i), QoS: mqtt.QoS2, ID: id})
			at := i % 4
			if at > 0 {
				w.wait() // PUBREC
			}
			if at > 1 {
				a.send(&mqtt.Pubrel{ID: id})
			}
			if at > 2 {
				w.wait() // PUBCOMP
			}
			a.reset()
			if !keeps {
				continue
			}
			back := c
			if i%8 > 3 {
				back = c.open()
			}
			if at < 2 {
				back.send(&mqtt.Publish{Topic: []byte("t"), Payload: fmt.Append(nil, i), QoS: mqtt.QoS2, ID: id, Dup: true})
				expect[*mqtt.Pubrec](back)
			}
			back.send(&mqtt.Pubrel{ID: id})
			expect[*mqtt.Pubcomp](back)
		}
		got := texts(s.all(), "t")
		if keeps && !slices.Equal(got, numbers(0, 40)) {
			t.Errorf("got %v", got)
		}
		if slices.Sort(got); len(slices.Compact(got)) != len(got) {
			t.Errorf("messages came twice: %v", got)
		}
	})
	kinds(t, "outbound", Options{}, func(w *world, connect func(string, ...func(*mqtt.Connect)) *peer, keeps bool) {
		p, c := w.connect("p"), connect("c")
		got := make(map[string]int)
		for i := range 40 {
			a := c.open()
			a.sub(2, "t")
			p.pub(fmt.Sprint("t=", i), 2)
			m := expect[*mqtt.Publish](a)
			at := i % 4
			if at > 0 {
				got[string(m.Payload)]++
				a.send(&mqtt.Pubrec{ID: m.ID})
				expect[*mqtt.Pubrel](a)
			}
			if at > 1 {
				a.send(&mqtt.Pubcomp{ID: m.ID})
				w.wait()
			}
			a.reset()
			for _, q := range c.all() {
				switch q := q.(type) {
				case *mqtt.Publish:
					if !keeps || !q.Dup || q.ID != m.ID || at > 0 {
						t.Errorf("message %d came again on stream 0: %v", i, q)
					}
					got[string(q.Payload)]++
					c.send(&mqtt.Pubrec{ID: q.ID})
					expect[*mqtt.Pubrel](c)
					c.send(&mqtt.Pubcomp{ID: q.ID})
				case *mqtt.Pubrel:
					if !keeps || at != 1 {
						t.Errorf("PUBREL for message %d", i)
					}
					c.send(&mqtt.Pubcomp{ID: q.ID})
				}
			}
		}
		for i := range 40 {
			if n := got[fmt.Sprint(i)]; keeps && n != 1 || n > 1 {
				t.Errorf("message %d came %d times", i, n)
			}
		}
		w.wait()
		if d := w.describe("c"); d.Queued != 0 || !w.sessions["c"].state.Empty() {
			t.Errorf("something is left: %+v", d)
		}
	})
}

// A new connection takes a session over from one with streams: what was kept comes on its stream 0.
func TestTakeoverWithStreams(t *testing.T) {
	kinds(t, "", Options{}, func(w *world, connect func(string, ...func(*mqtt.Connect)) *peer, keeps bool) {
		c, p := connect("c"), w.connect("p")
		a := c.open()
		a.sub(2, "t")
		c.sub(2, "0")
		p.pub("t=1", 2)
		p.pub("t=2", 1)
		p.pub("0=3", 2)
		a.send(&mqtt.Publish{Topic: []byte("x"), QoS: mqtt.QoS2, ID: 77})
		expect[*mqtt.Publish](a)
		next := connect("c", resume).automatic()
		if !c.closed() || !a.closed() {
			t.Error("the old connection goes on")
		}
		if got := next.messages(); keeps && got != "t=1 t=2 0=3" || !keeps && got != "0=3" {
			t.Errorf("kept %t: got %q", keeps, got)
		}
		s := w.connect("s").automatic()
		s.sub(2, "x")
		next.send(&mqtt.Publish{Topic: []byte("x"), Payload: []byte("new"), QoS: mqtt.QoS2, ID: 77, Dup: keeps})
		if w.wait(); keeps {
			s.want("")
		} else {
			s.want("x=new")
		}
	})
}

// After a restart the state of streams is as after the end of the connection: nothing that ended with them comes back.
func TestStreamsAfterRestart(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		both(t, fmt.Sprintf("kept %t", keeps), Options{}, func(w *world, again func()) {
			edit := []func(*mqtt.Connect){expiry(3600)}
			if keeps {
				edit = append(edit, keepStreams)
			}
			c, p := w.connect("c", edit...), w.connect("p")
			a, b := c.open(), c.open()
			a.sub(2, "t")
			c.sub(1, "0", "moved")
			b.sub(1, "moved")
			b.sub(1, "$share/g/s")
			p.pub("t=1", 2)
			p.pub("t=2", 2)
			p.pub("t=3", 1)
			p.pub("0=4", 1)
			p.pub("s=5", 1)
			m := expect[*mqtt.Publish](a)
			a.send(&mqtt.Pubrec{ID: m.ID})
			w.wait()
			s := w.sessions["c"]
			s.mu.Lock()
			w.rewrite(s) // a checkpoint in the midst of it
			s.mu.Unlock()
			a.all()
			a.pub("x=9", 2)
			a.send(&mqtt.Publish{Topic: []byte("x"), QoS: mqtt.QoS2, ID: 99})
			w.wait()
			again()
			p = w.connect("p")
			p.pub("t=6", 1)
			p.pub("moved=7", 1)
			p.pub("0=8", 1)
			c = w.beginAutomatic(mqtt.Version5, "c", append(edit, resume)...)
			got := strings.TrimPrefix(c.messages(), "CONNACK ")
			want := "0=4 0=8"
			if keeps {
				want = "t=2 t=3 0=4 s=5 t=6 moved=7 0=8"
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			// The identifier is that of a new message if it went with its stream.
			o := w.connect("o").automatic()
			o.sub(2, "x")
			c.send(&mqtt.Publish{Topic: []byte("x"), Payload: []byte("new"), QoS: mqtt.QoS2, ID: 99, Dup: keeps})
			if w.wait(); keeps {
				o.want("")
			} else {
				o.want("x=new")
			}
			c.drop()
			w.pass(2 * time.Second)
			if n := w.describe("c").Queued; n != 0 {
				t.Errorf("%d messages wait", n)
			}
		})
	}
}

// The journal is not asked to hold what ends with a stream.
func TestStreamsAndJournal(t *testing.T) {
	journaled(t, "", Options{}, func(w *world, j *heldJournal) {
		c, p := w.connect("c", expiry(3600)), w.connect("p")
		w.wait()
		j.take()
		a := c.open()
		a.sub(2, "t")
		p.pub("t=1", 1)
		m := expect[*mqtt.Publish](a)
		a.send(&mqtt.Puback{ID: m.ID})
		w.wait()
		if r := j.take(); len(r) != 0 {
			t.Errorf("records: %v", r)
		}
		c.sub(1, "t") // the session's own now
		w.wait()
		if r := j.take(); len(r) != 1 || r[0].kind != recordSubscribed {
			t.Errorf("records: %v", r)
		}
		a.sub(1, "t")
		w.wait()
		if r := j.take(); len(r) != 1 || r[0].kind != recordUnsubscribed {
			t.Errorf("records: %v", r)
		}
	})
}

// Permissions hold on streams too, and messages that wait there are dropped when they are taken away.
func TestPermissionsOnStreams(t *testing.T) {
	var denied bool
	o := &Options{Authorize: func(*Client) Permissions {
		d := denied
		return func(a Action, topic string) Decision {
			if topic == "never" || d && a == ActionReceive {
				return Deny
			}
			if d && a == ActionSubscribe {
				return AllowEach
			}
			return Allow
		}
	}}
	in(t, o, func(w *world) {
		c, p := w.connect("c", receiveMaximum(2)), w.connect("p").automatic()
		a := c.open()
		if r := a.subscribe(0, mqtt.Subscription{Filter: "never"}, mqtt.Subscription{Filter: "t", QoS: 1}); r[0] != mqtt.ReasonNotAuthorized || r[1] != 1 {
			t.Fatalf("reasons %v", r)
		}
		for i := range 10 {
			p.publish(fmt.Sprint("t=", i), 1)
		}
		w.wait()
		denied = true
		w.Reauthorize()
		w.wait()
		if n := w.describe("c").Queued; n != 0 || w.Stats().DroppedDenied == 0 {
			t.Errorf("%d messages wait, %d dropped", n, w.Stats().DroppedDenied)
		}
	})
}

// A stalled stream, whose client does not read it, stops neither publishers nor other streams for long.
func TestStalledStreamAtBroker(t *testing.T) {
	so := &mqttserver.Options{Limits: mqttserver.Limits{SoftLimit: 32 << 10, HardLimit: 256 << 10}}
	inServer(t, &Options{QueueMessages: 1000}, so, func(w *world) {
		c := w.connect("c")
		a, b := c.open(), c.open()
		a.sub(1, "a")
		b.sub(1, "b")
		b.automatic()
		a.stop()
		a.conn.SetReadDeadline(time.Now()) // leaves the Read that waits
		p := w.connect("p").automatic()
		begin := time.Now()
		for i := range 300 {
			p.publish("a="+strings.Repeat("x", 2000), 1)
			p.publish(fmt.Sprint("b=", i), 1)
			w.wait()
		}
		w.pass(time.Second)
		if got := texts(b.all(), "b"); !slices.Equal(got, numbers(0, 300)) {
			t.Errorf("%d messages on the other stream", len(got))
		}
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// Streams die at random moments, and the connection too, while messages come: each arrives exactly once at QoS 2 where the
// state is kept, and in order as long as nothing dies.
func TestStreamsDieAtRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := func(w *world) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		const messages = 3000
		var mu sync.Mutex
		held := make(map[uint16]bool) // received and not released
		count := make(map[string]int)
		deaf := make(map[*peer]bool) // what comes there is lost on the way
		receiver := func(p *peer) func(q mqtt.Packet) {
			return func(q mqtt.Packet) {
				mu.Lock()
				defer mu.Unlock()
				if deaf[p] {
					return
				}
				switch q := q.(type) {
				case *mqtt.Publish:
					if !held[q.ID] {
						held[q.ID] = true
						count[string(q.Payload)]++
					}
					p.send(&mqtt.Pubrec{ID: q.ID})
				case *mqtt.Pubrel:
					delete(held, q.ID)
					p.send(&mqtt.Pubcomp{ID: q.ID})
				}
			}
		}
		connect := func(first bool) *peer {
			p := w.dial(mqtt.Version5)
			p.react = receiver(p)
			w.start(p, "c", expiry(3600), keepStreams, func(c *mqtt.Connect) { c.CleanStart = first })
			w.wait()
			return p
		}
		c := connect(true)
		var streams []*peer
		open := func() {
			d := c.open()
			d.mu.Lock()
			d.react = receiver(d)
			d.mu.Unlock()
			d.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: fmt.Sprintf("t/%d", rnd.IntN(4)), QoS: mqtt.QoS2}}})
			streams = append(streams, d)
		}
		c.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{
			{Filter: "t/0", QoS: mqtt.QoS2}, {Filter: "t/1", QoS: mqtt.QoS2}, {Filter: "t/2", QoS: mqtt.QoS2}, {Filter: "t/3", QoS: mqtt.QoS2},
		}})
		w.wait()
		var wg sync.WaitGroup
		for n := range 3 {
			p := w.connect(fmt.Sprint("p", n)).automatic()
			wg.Go(func() {
				for i := range messages / 3 {
					p.publish(fmt.Sprintf("t/%d=%d", i%4, n*messages+i), 2)
					if i%2 == 0 {
						w.sleep(time.Millisecond)
					}
				}
			})
		}
		for range 200 {
			switch {
			case rnd.IntN(25) == 0:
				mu.Lock()
				deaf[c] = rnd.IntN(2) == 0
				mu.Unlock()
				w.sleep(time.Duration(rnd.IntN(2000)) * time.Microsecond)
				if rnd.IntN(2) == 0 {
					c.conn.(*memnet.Conn).Abort()
				}
				streams = nil
				c = connect(false)
			case len(streams) > 5 || len(streams) > 0 && rnd.IntN(2) == 0:
				i := rnd.IntN(len(streams))
				d := streams[i]
				streams = slices.Delete(streams, i, i+1)
				mu.Lock()
				deaf[d] = rnd.IntN(4) > 0
				mu.Unlock()
				w.sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
				if rnd.IntN(3) > 0 {
					d.conn.(streamConn).Stream.(interface{ Reset() }).Reset()
				} else {
					d.conn.Close()
				}
			default:
				open()
			}
			if rnd.IntN(3) == 0 {
				w.sleep(time.Duration(rnd.IntN(1000)) * time.Microsecond)
			}
		}
		wg.Wait()
		w.pass(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for n := range 3 {
			for i := range messages / 3 {
				if k := count[fmt.Sprint(n*messages+i)]; k != 1 {
					t.Errorf("message %d of publisher %d came %d times", i, n, k)
				}
			}
		}
	}
	run(t, "memory", nil, f)
	lasting(t, "directory", Options{}, f)
}
