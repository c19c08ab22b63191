package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/mqtt"
)

// disk is a host with a client that has a directory in memory.
type disk struct {
	*network
	fs *vfs.Mem
	c  *Client
	o  Options
}

// withDir runs a test in a bubble with a client of the host "a".
func withDir(t *testing.T, o Options, test func(t *testing.T, d *disk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &disk{network: newNetwork(t, "a"), fs: vfs.NewMem(), o: o}
		d.open()
		test(t, d)
	})
}

// open opens the client.
func (d *disk) open() *Client {
	d.t.Helper()
	o := d.o
	o.Dir, o.fs, o.segment = "data", d.fs, 64<<10
	d.c = d.client(&o, "a")
	return d.c
}

// restart closes the client and opens it again.
func (d *disk) restart() *Client {
	d.t.Helper()
	if err := d.c.Close(); err != nil {
		d.t.Error(err)
	}
	time.Sleep(2 * closeTimeout)
	d.hosts["a"].Close()
	d.hosts["a"] = memnet.Listen("a")
	d.t.Cleanup(func() { d.hosts["a"].Close() })
	return d.open()
}

// crash opens the client that is there after a loss of power.
func (d *disk) crash() *Client {
	d.t.Helper()
	time.Sleep(10 * time.Millisecond) // what nobody waits for is written late
	synctest.Wait()
	clone := d.fs.DropClone()
	d.c.Close()
	d.fs = clone
	return d.restart()
}

// again runs a test with a restart, and with a loss of power.
func again(t *testing.T, name string, o Options, test func(t *testing.T, d *disk, again func() *Client)) {
	t.Helper()
	t.Run(name+", restart", func(t *testing.T) { withDir(t, o, func(t *testing.T, d *disk) { test(t, d, d.restart) }) })
	t.Run(name+", power loss", func(t *testing.T) { withDir(t, o, func(t *testing.T, d *disk) { test(t, d, d.crash) }) })
}

// publish publishes a message that is accepted.
func (d *disk) publish(payload string, qos mqtt.QoS) *Publication {
	d.t.Helper()
	p, err := d.c.PublishAsync(d.t.Context(), &Message{Topic: "t", Payload: []byte(payload), QoS: qos})
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// payload returns what is published next, and answers it.
func (p *peer) payload() string {
	p.t.Helper()
	q, ok := p.receive().(*mqtt.Publish)
	if !ok {
		p.t.Fatal("want PUBLISH")
	}
	text := string(q.Payload)
	switch q.QoS {
	case mqtt.QoS1:
		p.send(&mqtt.Puback{ID: q.ID})
	case mqtt.QoS2:
		id := q.ID
		p.send(&mqtt.Pubrec{ID: id})
	}
	return text
}

var kept = mqtt.Connack{SessionPresent: true}

func TestDirQueue(t *testing.T) {
	again(t, "what waits", Options{}, func(t *testing.T, d *disk, again func() *Client) {
		for i := range 6 {
			d.publish(fmt.Sprint(i), mqtt.QoS1)
		}
		again()
		if s := d.c.Stats(); s.Queued != 6 {
			t.Errorf("%d wait", s.Queued)
		}
		p := d.accept("a")
		if q := p.connect(); !q.CleanStart {
			t.Error("resumes a session that there never was")
		}
		p.send(&mqtt.Connack{})
		for i := range 6 {
			if got := p.payload(); got != fmt.Sprint(i) {
				t.Errorf("got %s, want %d", got, i)
			}
		}
		synctest.Wait()
		again()
		p = d.accept("a")
		if q := p.connect(); q.CleanStart {
			t.Error("begins a new session")
		}
		p.send(&kept)
		p.quiet()
	})
	again(t, "not what was withdrawn, dropped or has expired", Options{ConnectTimeout: -1, Queue: Queue{Messages: 4, Policy: QueueDropOldest}}, func(t *testing.T, d *disk, again func() *Client) {
		ctx, cancel := context.WithCancel(t.Context())
		published := async(func() error { return d.c.Publish(ctx, &Message{Topic: "t", Payload: []byte("withdrawn"), QoS: 2}) })
		synctest.Wait()
		cancel()
		if err := published(); !SafeToRetry(err) {
			t.Error(err)
		}
		dropped := d.publish("dropped", mqtt.QoS1)
		m := &Message{Topic: "t", Payload: []byte("expired"), QoS: 1}
		m.Properties = m.Properties.AppendUint32(mqtt.PropMessageExpiryInterval, 10)
		if _, err := d.c.PublishAsync(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		m = &Message{Topic: "t", Payload: []byte("lasting"), QoS: 1}
		m.Properties = m.Properties.AppendUint32(mqtt.PropMessageExpiryInterval, 100)
		if _, err := d.c.PublishAsync(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		d.publish("2", mqtt.QoS2)
		d.publish("3", mqtt.QoS1)
		if err := dropped.Err(); !errors.Is(err, ErrQueueFull) {
			t.Error(err)
		}
		again()
		time.Sleep(20 * time.Second)
		p := d.connect("a", mqtt.Connack{})
		q := p.receive().(*mqtt.Publish)
		left, _ := q.Properties.Uint32(mqtt.PropMessageExpiryInterval)
		if string(q.Payload) != "lasting" || left < 70 || left > 80 {
			t.Errorf("got %v", q)
		}
		for _, want := range []string{"2", "3"} {
			if got := p.payload(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		p.expect("PUBREL")
	})
	withDir(t, Options{}, func(t *testing.T, d *disk) {
		p := d.publish("x", mqtt.QoS1)
		d.c.Close()
		if err := p.Err(); !errors.Is(err, ErrClosed) || SafeToRetry(err) {
			t.Errorf("%v, safe to retry %t", err, SafeToRetry(err))
		}
		if _, err := d.c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: 1}); !errors.Is(err, ErrClosed) || !SafeToRetry(err) {
			t.Errorf("%v, safe to retry %t", err, SafeToRetry(err))
		}
	})
}

func TestDirInflight(t *testing.T) {
	again(t, "resumed", Options{}, func(t *testing.T, d *disk, again func() *Client) {
		p := d.connect("a", mqtt.Connack{})
		d.publish("1", mqtt.QoS1)
		d.publish("2", mqtt.QoS2)
		d.publish("3", mqtt.QoS2)
		d.publish("4", mqtt.QoS1)
		p.expect("PUBLISH", "PUBLISH", "PUBLISH", "PUBLISH")
		p.send(&mqtt.Pubrec{ID: 3})
		p.expect("PUBREL")
		again()
		d.publish("5", mqtt.QoS2)
		p = d.connect("a", kept)
		p.expect("PUBREL id=3")
		for _, want := range []struct {
			text string
			qos  mqtt.QoS
			id   uint16
		}{{"1", 1, 1}, {"2", 2, 2}, {"4", 1, 4}} {
			q := p.receive().(*mqtt.Publish)
			if string(q.Payload) != want.text || q.QoS != want.qos || q.ID != want.id || !q.Dup || string(q.Topic) != "t" {
				t.Errorf("got %v, want %v", q, want)
			}
		}
		q := p.receive().(*mqtt.Publish)
		if string(q.Payload) != "5" || q.Dup || q.ID != 5 {
			t.Errorf("got %v", q)
		}
		p.send(&mqtt.Pubcomp{ID: 3}, &mqtt.Puback{ID: 1}, &mqtt.Pubrec{ID: 2}, &mqtt.Puback{ID: 4}, &mqtt.Pubrec{ID: 5})
		p.expect("PUBREL id=2", "PUBREL id=5")
		p.send(&mqtt.Pubcomp{ID: 2}, &mqtt.Pubcomp{ID: 5})
		synctest.Wait()
		if s := d.c.Stats(); s.Inflight+s.Queued != 0 {
			t.Errorf("%+v", s)
		}
		again()
		p = d.connect("a", kept)
		p.quiet()
	})
	again(t, "session lost", Options{}, func(t *testing.T, d *disk, again func() *Client) {
		p := d.connect("a", mqtt.Connack{})
		d.publish("1", mqtt.QoS1)
		d.publish("2", mqtt.QoS2)
		d.publish("3", mqtt.QoS2)
		d.publish("4", mqtt.QoS1)
		p.expect("PUBLISH", "PUBLISH", "PUBLISH", "PUBLISH")
		p.send(&mqtt.Pubrec{ID: 3})
		p.expect("PUBREL")
		again()
		d.publish("5", mqtt.QoS1)
		p = d.connect("a", mqtt.Connack{})
		for _, want := range []string{"1", "4", "5"} {
			q := p.receive().(*mqtt.Publish)
			if string(q.Payload) != want || q.Dup {
				t.Errorf("got %v, want %v", q, want)
			}
		}
		synctest.Wait()
		again() // in flight in the new session
		p = d.connect("a", kept)
		for _, want := range []string{"1", "4", "5"} {
			q := p.receive().(*mqtt.Publish)
			if string(q.Payload) != want || !q.Dup {
				t.Errorf("got %v, want %v", q, want)
			}
		}
		p.quiet()
	})
	again(t, "session lost in front of a crash", Options{}, func(t *testing.T, d *disk, again func() *Client) {
		p := d.connect("a", mqtt.Connack{})
		d.publish("1", mqtt.QoS1)
		d.publish("2", mqtt.QoS2)
		p.expect("PUBLISH", "PUBLISH")
		p.nc.Close()
		p = d.connect("a", mqtt.Connack{})
		p.expect("PUBLISH")
		synctest.Wait()
		again()
		p = d.connect("a", mqtt.Connack{})
		p.expect(`PUBLISH`)
		p.quiet()
	})
}

func TestDirReceive(t *testing.T) {
	unrouted := Options{Unrouted: &SubscribeOptions{ManualAck: true}}
	again(t, "taken", unrouted, func(t *testing.T, d *disk, again func() *Client) {
		p := d.connect("a", mqtt.Connack{})
		p.send(message("t", "1", 2, 7))
		next(t, d.c.Unrouted())
		p.quiet()
		again()
		p = d.connect("a", kept)
		dup := message("t", "1", 2, 7)
		dup.Dup = true
		p.send(dup)
		m := next(t, d.c.Unrouted())
		m.Ack()
		p.expect("PUBREC id=7")
		again()
		p = d.connect("a", kept)
		p.send(dup)
		p.expect("PUBREC id=7")
		p.send(&mqtt.Pubrel{ID: 7})
		p.expect("PUBCOMP id=7")
		if n := d.c.Unrouted().Len(); n != 0 {
			t.Error("delivered twice")
		}
		again()
		p = d.connect("a", kept)
		p.send(message("t", "another", 2, 7))
		if m := next(t, d.c.Unrouted()); string(m.Payload) != "another" {
			t.Errorf("got %v", m)
		}
	})
	again(t, "a new session forgets", unrouted, func(t *testing.T, d *disk, again func() *Client) {
		p := d.connect("a", mqtt.Connack{})
		p.send(message("t", "1", 2, 7))
		next(t, d.c.Unrouted()).Ack()
		p.expect("PUBREC")
		p.nc.Close()
		d.connect("a", mqtt.Connack{})
		synctest.Wait()
		again()
		p = d.connect("a", kept)
		p.send(message("t", "2", 2, 7))
		if m := next(t, d.c.Unrouted()); string(m.Payload) != "2" {
			t.Errorf("got %v", m)
		}
	})
	t.Run("refused", func(t *testing.T) {
		withDir(t, unrouted, func(t *testing.T, d *disk) {
			p := d.connect("a", mqtt.Connack{})
			p.send(message("t", "1", 2, 7))
			next(t, d.c.Unrouted()).Nack(mqtt.ReasonQuotaExceeded)
			p.expect("PUBREC id=7 reason=0x97")
		})
	})
	t.Run("acknowledged while the connection is gone", func(t *testing.T) {
		withDir(t, unrouted, func(t *testing.T, d *disk) {
			p := d.connect("a", mqtt.Connack{})
			p.send(message("t", "1", 2, 7))
			m := next(t, d.c.Unrouted())
			p.nc.Close()
			synctest.Wait()
			m.Ack()
			p = d.connect("a", kept)
			dup := message("t", "1", 2, 7)
			dup.Dup = true
			p.send(dup)
			p.expect("PUBREC id=7")
		})
	})
	t.Run("no subscription", func(t *testing.T) {
		withDir(t, Options{}, func(t *testing.T, d *disk) {
			p := d.connect("a", mqtt.Connack{})
			p.send(message("t", "1", 2, 7))
			p.expect("PUBREC id=7")
			p.send(&mqtt.Pubrel{ID: 7})
			p.expect("PUBCOMP id=7")
		})
	})
}

// TestDirBarriers: nothing is sent before what it rests on is durable.
func TestDirBarriers(t *testing.T) {
	withDir(t, Options{Unrouted: &SubscribeOptions{}}, func(t *testing.T, d *disk) {
		p := d.connect("a", mqtt.Connack{})
		synctest.Wait()
		hold := make(chan struct{})
		d.fs.SetFail(func(op vfs.Op, _ string) error {
			if op == vfs.OpSync {
				<-hold
			}
			return nil
		})
		let := func() {
			for synced := true; synced; synctest.Wait() {
				select {
				case hold <- struct{}{}:
				default:
					synced = false
				}
			}
		}
		published := async(func() *Publication { return d.publish("1", mqtt.QoS2) })
		p.quiet()
		let()
		published()
		p.expect("PUBLISH")
		p.send(&mqtt.Pubrec{ID: 1})
		p.quiet()
		let()
		p.expect("PUBREL")
		p.send(&mqtt.Pubcomp{ID: 1})
		p.send(message("t", "x", 2, 1))
		var got *Message
		for m := range d.c.Unrouted().Messages(t.Context()) {
			got = m
			break
		}
		if got == nil {
			t.Fatal("no message")
		}
		p.quiet()
		let()
		p.expect("PUBREC")
		p.send(&mqtt.Pubrel{ID: 1})
		p.quiet()
		let()
		p.expect("PUBCOMP")
		close(hold)
	})
}

// TestDirOrder: messages leave in the order of the calls, whatever their QoS.
func TestDirOrder(t *testing.T) {
	withDir(t, Options{}, func(t *testing.T, d *disk) {
		p := d.connect("a", mqtt.Connack{})
		synctest.Wait()
		go func() {
			for i := range 30 {
				m := &Message{Topic: "t", Payload: []byte(fmt.Sprint(i)), QoS: mqtt.QoS([]int{2, 0, 1}[i%3])}
				if _, err := d.c.publish(t.Context(), m); err != nil {
					t.Error(err)
				}
			}
		}()
		for i := 0; i < 30; {
			q, ok := p.receive().(*mqtt.Publish)
			if !ok {
				continue // PUBREL
			}
			if string(q.Payload) != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", q.Payload, i)
			}
			i++
			switch id := q.ID; q.QoS {
			case mqtt.QoS1:
				p.send(&mqtt.Puback{ID: id})
			case mqtt.QoS2:
				p.send(&mqtt.Pubrec{ID: id})
			}
		}
	})
}

func TestDirOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		o := &Options{Servers: []string{"mem://a"}, Dialers: map[string]DialFunc{"mem": newNetwork(t).dial}, Dir: "data", fs: fs}
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		i, _ := c.Info()
		if len(i.ClientID) != 22 {
			t.Errorf("client identifier %q", i.ClientID)
		}
		var failed *StorageError
		if _, err := New(o); !errors.Is(err, ErrDirInUse) || !errors.As(err, &failed) {
			t.Errorf("second client: %v", err)
		}
		c.Close()
		o.ClientID = "other"
		var wrong *ClientIDError
		if _, err := New(o); !errors.As(err, &wrong) || wrong.Stored != i.ClientID || wrong.Given != "other" || !strings.Contains(err.Error(), "other") {
			t.Errorf("other client: %v", err)
		}
		for _, id := range []string{"", i.ClientID} {
			o.ClientID = id
			o.fs = fs.DropClone()
			c, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := c.Info(); again.ClientID != i.ClientID {
				t.Errorf("%q became %q", i.ClientID, again.ClientID)
			}
			c.Close()
		}
		fs.SetFail(func(op vfs.Op, _ string) error {
			if op == vfs.OpOpen {
				return syscall.EIO
			}
			return nil
		})
		o.fs = fs
		if _, err := New(o); !errors.As(err, &failed) || !errors.Is(err, syscall.EIO) {
			t.Errorf("broken disk: %v", err)
		}
	})
}

// TestDirOld: MQTT 3.1.1 and 3.1 resume, too.
func TestDirOld(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.Version31, mqtt.Version311} {
		again(t, v.String(), Options{Version: v, ClientID: "c"}, func(t *testing.T, d *disk, again func() *Client) {
			p := d.connect("a", mqtt.Connack{})
			d.publish("1", mqtt.QoS2)
			p.expect("PUBLISH")
			again()
			ack := kept
			ack.SessionPresent = v > mqtt.Version31
			p = d.connect("a", ack)
			q := p.receive().(*mqtt.Publish)
			if string(q.Payload) != "1" || !q.Dup {
				t.Errorf("got %v", q)
			}
		})
	}
}

// TestSnapshot: what is appended is parsed.
func TestSnapshot(t *testing.T) {
	x := snapshot{
		session: true,
		flights: []flight{{seq: 70, id: 65_535, qos: 2}, {id: 1, qos: 2, released: true}, {seq: 71, id: 2, qos: 1}},
		waiting: []uint64{100, 101, 102, 1000, 1002},
		inbound: []uint16{1, 9},
	}
	b := x.appendTo(nil)
	y, err := parseSnapshot(b, 2000)
	if err != nil || !slices.Equal(x.flights, y.flights) || !slices.Equal(x.waiting, y.waiting) || !slices.Equal(x.inbound, y.inbound) || !y.session {
		t.Errorf("%v: %+v became %+v", err, x, y)
	}
	if _, err := parseSnapshot(b, 1001); err == nil {
		t.Error("takes numbers of the future")
	}
	for i := range b {
		if _, err := parseSnapshot(b[:i], 2000); err == nil {
			t.Errorf("takes %d bytes of %d", i, len(b))
		}
	}
}
