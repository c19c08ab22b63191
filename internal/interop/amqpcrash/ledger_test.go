package main

import (
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

// TestLedger has the ledger see what a broker may and may not do.
func TestLedger(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault string // empty for none
		run   func(l *ledger, w *world)
	}{
		{"nothing happens", "", func(l *ledger, w *world) {}},
		{"confirmed and delivered", "", func(l *ledger, w *world) {
			m := w.publish(nil, "all")
			l.confirmed(m, true)
			w.deliver(m, "all", false, true)
		}},
		{"confirmed and lost", lost, func(l *ledger, w *world) { l.confirmed(w.publish(nil, "all"), true) }},
		{"lost in one of two queues", lost, func(l *ledger, w *world) {
			m := w.publish(nil, "all", "absent")
			l.confirmed(m, true)
			w.deliver(m, "all", false, true)
		}},
		{"not confirmed and lost", "", func(l *ledger, w *world) { w.publish(nil, "all") }},
		{"delivered and not settled, then lost", lost, func(l *ledger, w *world) {
			m := w.publish(nil, "all")
			l.confirmed(m, true)
			w.deliver(m, "all", false, false)
			w.crash()
		}},
		{"again after a crash, marked", "", func(l *ledger, w *world) {
			m := w.publish(nil, "all")
			l.confirmed(m, true)
			w.deliver(m, "all", false, false)
			w.crash()
			w.deliver(m, "all", true, true)
		}},
		{"again after a crash, not marked", unmarked, func(l *ledger, w *world) {
			m := w.publish(nil, "all")
			w.deliver(m, "all", false, false)
			w.crash()
			w.deliver(m, "all", false, true)
		}},
		{"again after it was settled", needless, func(l *ledger, w *world) {
			m := w.publish(nil, "all")
			w.deliver(m, "all", false, true)
			w.deliver(m, "all", true, true)
		}},
		{"again after it was settled and a crash", "", func(l *ledger, w *world) {
			m := w.publish(nil, "all")
			w.deliver(m, "all", false, true)
			w.crash()
			w.deliver(m, "all", true, true)
		}},
		{"again after it was settled long ago", stale, func(l *ledger, w *world) {
			m := w.publish(nil, "all")
			w.deliver(m, "all", false, true)
			l.begin = l.begin.Add(-time.Minute)
			w.crash()
			w.deliver(m, "all", true, true)
		}},
		{"again after the connection ended", "", func(l *ledger, w *world) {
			m := w.publish(nil, "all")
			w.deliver(m, "all", false, true)
			l.unlink(w.link)
			w.link = l.newLink()
			w.deliver(m, "all", true, true)
		}},
		{"out of order", late, func(l *ledger, w *world) {
			a, b := w.publish(nil, "all"), w.publish(nil, "all")
			w.deliver(b, "all", false, true)
			w.deliver(a, "all", false, true)
		}},
		{"out of order and marked", "", func(l *ledger, w *world) {
			a, b := w.publish(nil, "all"), w.publish(nil, "all")
			w.deliver(b, "all", false, true)
			w.deliver(a, "all", true, true)
		}},
		{"in another queue", wrongQueue, func(l *ledger, w *world) { w.deliver(w.publish(nil, "all"), "work", false, true) }},
		{"too early", early, func(l *ledger, w *world) {
			m := w.publish(nil, "later")
			m.due = time.Now().Add(time.Minute)
			w.deliver(m, "later", false, true)
		}},
		{"refused and delivered", neverSent, func(l *ledger, w *world) {
			m := w.publish(nil, "all")
			m.fate = not
			w.deliver(m, "all", false, true)
		}},
		{"rejected and lost", lost, func(l *ledger, w *world) {
			m := w.publish(nil, "work")
			l.confirmed(m, true)
			w.deliver(m, "work", false, false)
			l.settle(m, "work", w.link, true)
		}},
		{"rejected and dead", "", func(l *ledger, w *world) {
			m := w.publish(nil, "work")
			l.confirmed(m, true)
			w.deliver(m, "work", false, false)
			l.settle(m, "work", w.link, true)
			w.deliver(m, "dead", false, true)
		}},
		{"dead without having been delivered", wrongQueue, func(l *ledger, w *world) { w.deliver(w.publish(nil, "work"), "dead", false, true) }},
		{"dead and back", risen, func(l *ledger, w *world) {
			m := w.publish(nil, "work")
			w.deliver(m, "work", false, false)
			l.settle(m, "work", w.link, true)
			w.deliver(m, "dead", false, true)
			l.unlink(w.link)
			w.link = l.newLink()
			w.deliver(m, "work", true, true)
		}},
		{"rolled back and delivered", rolledBack, func(l *ledger, w *world) {
			g := l.newGroup()
			m := w.publish(g, "all")
			l.finished(g, not)
			w.deliver(m, "all", false, true)
		}},
		{"committed and lost", lost, func(l *ledger, w *world) {
			g := l.newGroup()
			w.deliver(w.publish(g, "all"), "all", false, true)
			w.publish(g, "all")
			l.finished(g, taken)
		}},
		{"half of a transaction after a crash", half, func(l *ledger, w *world) {
			g := l.newGroup()
			m := w.publish(g, "all")
			w.publish(g, "all")
			l.finished(g, unknown)
			w.crash()
			w.deliver(m, "all", false, true)
		}},
		{"half of a transaction before a crash", "", func(l *ledger, w *world) {
			g := l.newGroup()
			w.deliver(w.publish(g, "all"), "all", false, true)
			w.publish(g, "all")
			l.finished(g, unknown)
			w.crash()
		}},
		{"in one of two queues after a crash", half, func(l *ledger, w *world) {
			m := w.publish(nil, "all", "work")
			w.crash()
			w.deliver(m, "all", false, true)
		}},
		{"committed acknowledgement undone", undone, func(l *ledger, w *world) {
			m := w.publish(nil, "pipe")
			w.deliver(m, "pipe", false, false)
			g := l.newGroup()
			w.deliver(w.publish(g, "piped"), "piped", false, true)
			l.join(m, "pipe", g)
			l.finished(g, taken)
			w.crash()
			w.deliver(m, "pipe", true, true)
		}},
		{"neither message nor acknowledgement", "", func(l *ledger, w *world) {
			m := w.publish(nil, "pipe")
			w.deliver(m, "pipe", false, false)
			g := l.newGroup()
			w.publish(g, "piped")
			l.join(m, "pipe", g)
			l.finished(g, unknown)
			w.crash()
			w.deliver(m, "pipe", true, true)
		}},
		{"acknowledgement without message, which had not been confirmed", "", func(l *ledger, w *world) {
			m := w.publish(nil, "pipe")
			w.deliver(m, "pipe", false, false)
			g := l.newGroup()
			w.publish(g, "piped")
			l.join(m, "pipe", g)
			l.finished(g, unknown)
			w.crash()
		}},
		{"acknowledgement without message", half, func(l *ledger, w *world) {
			m := w.publish(nil, "pipe")
			l.confirmed(m, true)
			w.deliver(m, "pipe", false, false)
			g := l.newGroup()
			w.publish(g, "piped")
			l.join(m, "pipe", g)
			l.finished(g, unknown)
			w.crash()
		}},
		{"message without acknowledgement", half, func(l *ledger, w *world) {
			m := w.publish(nil, "pipe")
			w.deliver(m, "pipe", false, false)
			g := l.newGroup()
			out := w.publish(g, "piped")
			l.join(m, "pipe", g)
			l.finished(g, unknown)
			w.crash()
			w.deliver(out, "piped", false, true)
			w.deliver(m, "pipe", true, true)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger(io.Discard)
			w := &world{l: l, r: rand.New(rand.NewPCG(1, 2)), bodies: make(map[*message][]byte)}
			w.link = l.newLink()
			tt.run(l, w)
			l.balance()
			switch {
			case tt.fault == "" && l.faults.total() > 0:
				t.Errorf("%v", l.faults.counts)
			case tt.fault != "" && l.faults.counts[tt.fault] == 0:
				t.Errorf("%v and not %q", l.faults.counts, tt.fault)
			}
		})
	}
}

// world is a broker that does what it is told.
type world struct {
	l      *ledger
	r      *rand.Rand
	link   *link
	n      int
	bodies map[*message][]byte
}

func (w *world) publish(g *group, queues ...string) *message {
	m, body := w.l.publish(1, w.n, time.Time{}, g, w.r, queues...)
	w.n++
	w.bodies[m] = body
	return m
}

// deliver delivers a message, and acknowledges it if it is to be settled.
func (w *world) deliver(m *message, queue string, redelivered, settled bool) {
	from := ""
	if queue == "dead" {
		from = "work"
	}
	w.l.arrived(arrival{queue: queue, redelivered: redelivered, body: w.bodies[m], ordered: true, from: from}, w.link)
	if settled {
		w.l.settle(m, queue, w.link, false)
	}
}

func (w *world) crash() {
	w.l.kill()
	w.l.unlink(w.link)
	w.link = w.l.newLink()
}
