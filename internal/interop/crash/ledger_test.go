package main

import (
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// desk is a ledger with a publisher's two streams and one subscriber.
type desk struct {
	*ledger
	t      *testing.T
	r      *receiver
	i      *interest
	q1, q2 *stream
	sent   map[*stream][][]byte
}

func newDesk(t *testing.T) *desk {
	l := newLedger(io.Discard)
	d := &desk{ledger: l, t: t, r: l.newReceiver("sub"), sent: make(map[*stream][][]byte)}
	d.q1, d.q2 = l.newStream("a/b", mqtt.QoS1), l.newStream("a/b", mqtt.QoS2)
	d.r.connected()
	d.i = d.r.subscribing("a/+", mqtt.QoS2)
	d.r.note(&d.i.subscribed)
	return d
}

// publish publishes n messages, which are acknowledged.
func (d *desk) publish(s *stream, n int) {
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		n, payload := d.next(s, r, false)
		d.sent[s] = append(d.sent[s], payload)
		d.acked(s, n)
	}
}

// deliver delivers messages by their numbers.
func (d *desk) deliver(s *stream, dup bool, ns ...int) {
	for _, n := range ns {
		d.r.deliver(&mqtt.Publish{Topic: []byte(s.topic), Payload: d.sent[s][n], QoS: s.qos, Dup: dup})
	}
}

// crash is a crash after which the subscriber is back.
func (d *desk) crash() {
	d.kill()
	d.r.ended(false)
	d.r.connected()
}

// TestLedger tells the ledger what a broker could do, right and wrong.
func TestLedger(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(d *desk)
		want string // kinds of faults
	}{
		{"all in order", func(d *desk) {
			d.publish(d.q1, 3)
			d.publish(d.q2, 3)
			d.deliver(d.q2, false, 0, 1)
			d.deliver(d.q1, false, 0, 1, 2)
			d.deliver(d.q2, false, 2)
		}, ""},
		{"lost", func(d *desk) {
			d.publish(d.q1, 3)
			d.deliver(d.q1, false, 0, 2)
		}, lost},
		{"not acknowledged and not delivered", func(d *desk) {
			d.next(d.q1, d.rand(), false)
		}, ""},
		{"late", func(d *desk) {
			d.publish(d.q1, 3)
			d.deliver(d.q1, false, 0, 2, 1)
		}, late},
		{"QoS 1 again after a crash", func(d *desk) {
			d.publish(d.q1, 3)
			d.deliver(d.q1, false, 0, 1)
			d.crash()
			d.deliver(d.q1, true, 0, 1)
			d.deliver(d.q1, false, 2)
		}, ""},
		{"QoS 1 again in the wrong order", func(d *desk) {
			d.publish(d.q1, 3)
			d.deliver(d.q1, false, 0, 1)
			d.crash()
			d.deliver(d.q1, true, 1, 0)
			d.deliver(d.q1, false, 2)
		}, backward},
		{"QoS 1 again after newer ones", func(d *desk) {
			d.publish(d.q1, 3)
			d.deliver(d.q1, false, 0, 1)
			d.crash()
			d.deliver(d.q1, false, 2)
			d.deliver(d.q1, true, 1)
		}, backward},
		{"QoS 1 again on the connection", func(d *desk) {
			d.publish(d.q1, 1)
			d.deliver(d.q1, false, 0)
			d.deliver(d.q1, true, 0)
		}, sameConn},
		{"QoS 1 published again", func(d *desk) {
			d.publish(d.q1, 2)
			d.deliver(d.q1, false, 0, 1)
			d.sentAgain(d.q1, 0)
			d.sentAgain(d.q1, 1)
			d.deliver(d.q1, false, 0, 1)
		}, ""},
		{"QoS 1 published again, at first before SUBSCRIBE", func(d *desk) {
			r := d.newReceiver("other")
			r.connected()
			d.publish(d.q1, 3)
			i := r.subscribing("a/b", mqtt.QoS1)
			d.publish(d.q1, 1)
			r.note(&i.subscribed)
			for range 2 {
				for _, n := range []uint32{1, 2, 3} {
					d.sentAgain(d.q1, n)
				}
			}
			for _, n := range []int{3, 1, 2, 3} {
				r.deliver(&mqtt.Publish{Topic: []byte("a/b"), Payload: d.sent[d.q1][n], QoS: mqtt.QoS1})
			}
			d.deliver(d.q1, false, 0, 1, 2, 3)
		}, ""},
		{"QoS 1 again after DISCONNECT", func(d *desk) {
			d.publish(d.q1, 1)
			d.deliver(d.q1, false, 0)
			d.r.ended(true)
			d.r.connected()
			d.deliver(d.q1, true, 0)
		}, needless},
		{"QoS 1 again after DISCONNECT and a crash", func(d *desk) {
			d.publish(d.q1, 1)
			d.deliver(d.q1, false, 0)
			d.r.ended(true)
			d.kill()
			d.r.connected()
			d.deliver(d.q1, true, 0)
		}, ""},
		{"QoS 1 again after a crash that was long after", func(d *desk) {
			d.publish(d.q1, 1)
			d.deliver(d.q1, false, 0)
			d.begin = d.begin.Add(-time.Minute)
			d.crash()
			d.deliver(d.q1, true, 0)
		}, stale},
		{"QoS 2 twice", func(d *desk) {
			d.publish(d.q2, 1)
			d.deliver(d.q2, false, 0)
			d.crash()
			d.deliver(d.q2, true, 0)
		}, twice},
		{"corrupt", func(d *desk) {
			d.publish(d.q1, 1)
			b := d.sent[d.q1][0]
			b[len(b)-1]++
			d.deliver(d.q1, false, 0)
			b[len(b)-1]--
			d.deliver(d.q1, false, 0)
		}, corrupt},
		{"never sent", func(d *desk) {
			d.sent[d.q1] = [][]byte{stamp{d.q1.number, 7}.payload(d.rand())}
			d.deliver(d.q1, false, 0)
		}, neverSent},
		{"another topic", func(d *desk) {
			d.publish(d.q1, 1)
			d.r.deliver(&mqtt.Publish{Topic: []byte("a/c"), Payload: d.sent[d.q1][0], QoS: mqtt.QoS1})
		}, wrongTopic},
		{"after UNSUBACK", func(d *desk) {
			d.r.note(&d.i.unsubscribing)
			d.publish(d.q1, 1)
			d.r.note(&d.i.unsubAcked)
			d.publish(d.q1, 1)
			d.deliver(d.q1, false, 0, 1)
		}, unsubscribed},
		{"published before SUBSCRIBE", func(d *desk) {
			r := d.newReceiver("other")
			r.connected()
			d.publish(d.q1, 2)
			i := r.subscribing("a/b", mqtt.QoS1)
			r.note(&i.subscribed)
			r.deliver(&mqtt.Publish{Topic: []byte("a/b"), Payload: d.sent[d.q1][1], QoS: mqtt.QoS1})
			d.deliver(d.q1, false, 0, 1)
		}, unsubscribed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			tt.do(d)
			d.r.report()
			if got := strings.Join(slices.Sorted(maps.Keys(d.faults.counts)), ", "); got != tt.want {
				t.Errorf("faults: %q, want %q", got, tt.want)
			}
			if n := d.r.missing(); n > 0 {
				t.Errorf("%d messages are missing after the report", n)
			}
		})
	}
}

func (d *desk) rand() *rand.Rand { return rand.New(rand.NewPCG(3, 4)) }

func TestRetained(t *testing.T) {
	d := newDesk(t)
	check := func(n int, want string) {
		t.Helper()
		if got := d.retainedWrong(d.q1, n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	check(-1, "")
	check(0, "was never sent")
	d.publish(d.q1, 2)
	d.next(d.q1, d.rand(), false)
	check(-1, "is missing")
	check(0, "is older")
	check(1, "")
	check(2, "")
	n, _ := d.next(d.q1, d.rand(), true)
	check(-1, "")
	check(2, "")
	check(3, "has a payload that was not sent")
	d.acked(d.q1, n)
	check(-1, "")
	check(2, "is older")
}

// TestWills tells the ledger of wills, right and wrong.
func TestWills(t *testing.T) {
	for _, tt := range []struct {
		name      string
		end       int
		got       int
		returns   bool
		crashSoon bool
		want      string
	}{
		{"published", willCut, 1, false, false, ""},
		{"not published", willCut, 0, false, false, noWill},
		{"twice", willCut, 2, false, false, willTwice},
		{"after DISCONNECT", willDisconnect, 1, false, false, badWill},
		{"after DISCONNECT and a crash", willDisconnect, 1, false, true, ""},
		{"none after DISCONNECT", willDisconnect, 0, false, false, ""},
		{"connection open", willOpen, 1, false, false, badWill},
		{"client back within the delay", willCut, 1, true, false, badWill},
		{"no will of a client that is back within the delay", willCut, 0, true, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			w := d.newWillStream("will/x", mqtt.QoS2, tt.returns)
			payload := d.nextWill(w, d.rand())
			d.update(w, func(x *lastWill) {
				x.accepted, x.end, x.endAt, x.read = true, tt.end, d.now(), tt.end == willDisconnect
			})
			if tt.crashSoon {
				d.kill()
			}
			for range tt.got {
				d.r.deliver(&mqtt.Publish{Topic: []byte(w.topic), Payload: payload, QoS: mqtt.QoS2})
			}
			d.begin = d.begin.Add(-2 * willTime * time.Millisecond)
			d.reportWills()
			if got := strings.Join(slices.Sorted(maps.Keys(d.faults.counts)), ", "); got != tt.want {
				t.Errorf("faults: %q, want %q", got, tt.want)
			}
		})
	}
}
