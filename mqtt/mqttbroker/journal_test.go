package mqttbroker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// heldJournal is a journal that completes its records when it is told to.
type heldJournal struct {
	handler JournalHandler
	wake    chan struct{}
	done    chan struct{}

	mu       sync.Mutex
	held     bool
	closed   bool
	fail     Outcome
	tokens   []Token
	records  []record
	all      []storedRecord
	next     uint64
	live     map[uint64]bool // messages that were appended and not released
	pressure Pressure
}

// storedRecord is a record with its bytes.
type storedRecord struct {
	seq  uint64
	raw  []byte
	kind recordKind
}

func newHeldJournal() *heldJournal {
	return &heldJournal{wake: make(chan struct{}, 1), done: make(chan struct{}), live: make(map[uint64]bool)}
}

func (j *heldJournal) Replay(f func(seq uint64, record []byte) error) error {
	for _, r := range j.all {
		if err := f(r.seq, r.raw); err != nil {
			return err
		}
	}
	return nil
}

func (j *heldJournal) Restore(seq uint64, live int) {
	for _, r := range j.all {
		if r.seq == seq && r.kind == recordMessage {
			j.live[seq] = true
		}
	}
}

func (j *heldJournal) Reader() JournalReader { return j }

func (j *heldJournal) Pressure() Pressure {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.pressure
}

func (j *heldJournal) Read(seq uint64) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.all {
		if r.seq == seq {
			return r.raw, nil
		}
	}
	return nil, fmt.Errorf("no record %d", seq)
}

func (j *heldJournal) Start(h JournalHandler) error {
	j.handler = h
	go func() {
		defer close(j.done)
		for range j.wake {
			j.mu.Lock()
			tokens, outcome := j.tokens, Done
			if j.held {
				tokens = nil
			} else {
				j.tokens = nil
			}
			if j.fail != 0 {
				outcome = j.fail
			}
			j.mu.Unlock()
			if len(tokens) > 0 {
				h.Complete(tokens, outcome)
			}
		}
	}()
	return nil
}

func (j *heldJournal) Append(e Entry, t Token) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		if !t.IsZero() {
			go j.handler.Complete([]Token{t}, Failed)
		}
		return 0
	}
	if len(e.Head) > 0 || t.IsZero() {
		j.next++
	}
	if len(e.Head) > 0 {
		raw := append(append([]byte(nil), e.Head...), e.Body...)
		var rec record
		if err := rec.parse(raw); err != nil {
			panic(err)
		}
		if e.Tombstone != (rec.kind == recordEnded || rec.kind == recordUnretained) {
			panic("tombstone")
		}
		j.all = append(j.all, storedRecord{j.next, raw, rec.kind})
		j.records = append(j.records, rec)
		switch rec.kind {
		case recordMessage:
			j.live[j.next] = true
		case recordQueued, recordSent:
			if !j.live[rec.entry.seq] {
				panic(fmt.Sprintf("record %+v names a message that is not there", rec))
			}
		}
	}
	if !t.IsZero() {
		j.tokens = append(j.tokens, t)
	}
	j.signal()
	return j.next
}

func (j *heldJournal) signal() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *heldJournal) Release(seq uint64, _ int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.all {
		if r.seq == seq && r.kind == recordMessage && !j.live[seq] && !j.closed {
			panic(fmt.Sprintf("message %d is released twice", seq))
		}
	}
	delete(j.live, seq)
}

func (j *heldJournal) Close() error {
	j.mu.Lock()
	j.held = false
	j.mu.Unlock()
	j.signal()
	j.mu.Lock()
	j.closed = true
	close(j.wake)
	j.mu.Unlock()
	<-j.done
	return nil
}

// hold stops completions, let lets them come, with an outcome.
func (j *heldJournal) hold() {
	j.mu.Lock()
	j.held = true
	j.mu.Unlock()
}

func (j *heldJournal) let(o Outcome) {
	j.mu.Lock()
	j.held = false
	if o != Done {
		j.fail = o
	}
	j.mu.Unlock()
	j.signal()
}

// take returns the records since the last call.
func (j *heldJournal) take() []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.records
	j.records = nil
	return r
}

// journaled runs a test with a broker that has a journal.
func journaled(t *testing.T, name string, opts Options, test func(w *world, j *heldJournal)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		j := (*heldJournal)(nil)
		o := opts
		o.Journal = lateJournal{&j}
		in(t, &o, func(w *world) { test(w, j) })
	})
}

// lateJournal makes its journal inside the bubble.
type lateJournal struct{ j **heldJournal }

func (l lateJournal) Start(h JournalHandler) error {
	*l.j = newHeldJournal()
	return (*l.j).Start(h)
}
func (l lateJournal) Replay(func(uint64, []byte) error) error { return nil }
func (l lateJournal) Restore(uint64, int)                     {}
func (l lateJournal) Append(e Entry, t Token) uint64          { return (*l.j).Append(e, t) }
func (l lateJournal) Release(seq uint64, live int)            { (*l.j).Release(seq, live) }
func (l lateJournal) Reader() JournalReader                   { return *l.j }
func (l lateJournal) Pressure() Pressure                      { return (*l.j).Pressure() }
func (l lateJournal) Close() error                            { return (*l.j).Close() }

func TestJournalHoldsAnswers(t *testing.T) {
	journaled(t, "PUBACK", Options{}, func(w *world, j *heldJournal) {
		s := w.connect("s", expiry(60))
		s.sub(1, "t")
		p := w.connect("p")
		j.hold()
		p.publish("t=1", 1)
		p.want("")
		s.want("t=1") // does not wait
		j.let(Done)
		p.want("PUBACK")
	})
	journaled(t, "PUBREC, PUBCOMP", Options{}, func(w *world, j *heldJournal) {
		p := w.connect("p", expiry(60))
		j.hold()
		id := p.publish("t=1", 2)
		p.want("")
		j.let(Done)
		p.want("PUBREC")
		j.hold()
		p.send(&mqtt.Pubrel{ID: id})
		p.want("")
		j.let(Done)
		p.want("PUBCOMP")
	})
	journaled(t, "PUBLISH, PUBREL", Options{}, func(w *world, j *heldJournal) {
		s := w.connect("s", expiry(60))
		s.sub(2, "t")
		p := w.connect("p")
		j.hold()
		p.publish("t=1", 2)
		s.want("")
		j.let(Done)
		p.want("PUBREC")
		m := expect[*mqtt.Publish](s)
		if m.QoS != 2 || string(m.Payload) != "1" || m.Dup {
			t.Errorf("got %v", m)
		}
		j.hold()
		s.send(&mqtt.Pubrec{ID: m.ID})
		s.want("")
		j.let(Done)
		s.want("PUBREL")
		s.send(&mqtt.Pubcomp{ID: m.ID})
		w.wait()
	})
	journaled(t, "in the order of the messages", Options{}, func(w *world, j *heldJournal) {
		w.connect("s", expiry(60)).sub(1, "t")
		p := w.connect("p", expiry(60))
		j.hold()
		for i := range 20 {
			p.publish("t=x", mqtt.QoS(1+i%2))
		}
		j.let(Done)
		var acks, recs uint16
		for _, q := range p.all() {
			switch q := q.(type) {
			case *mqtt.Puback:
				if q.ID != acks+1 {
					t.Errorf("PUBACK %d", q.ID)
				}
				acks = q.ID + 1
			case *mqtt.Pubrec:
				if q.ID != recs+2 {
					t.Errorf("PUBREC %d", q.ID)
				}
				recs = q.ID
			}
		}
		if acks != 20 || recs != 20 {
			t.Errorf("%d, %d", acks, recs)
		}
	})
}

func TestJournalHoldsRequests(t *testing.T) {
	journaled(t, "takeover waits for what is under way", Options{}, func(w *world, j *heldJournal) {
		p := w.connect("p", expiry(60))
		old := w.sessions["p"].owner
		j.hold()
		p.publish("t=1", 2)
		w.wait()
		again := w.begin(mqtt.Version5, "p", resume, expiry(60))
		w.wait()
		if !p.closed() || w.sessions["p"].owner != old {
			t.Error("the session has another connection already")
		}
		j.let(Done)
		if ack := expect[*mqtt.Connack](again); !ack.SessionPresent {
			t.Errorf("got %v", ack)
		}
		again.publish("t=1", 2, func(m *mqtt.Publish) { m.ID, m.Dup = 1, true })
		again.want("PUBREC")
	})
	journaled(t, "CONNACK waits for the end of a session that is replaced", Options{}, func(w *world, j *heldJournal) {
		w.connect("s", expiry(60)).drop()
		j.hold()
		s := w.begin(mqtt.Version5, "s")
		s.want("")
		j.let(Done)
		s.want("CONNACK")
		j.hold()
		s.drop()
		w.begin(mqtt.Version5, "s").want("CONNACK") // nothing of the one before is recorded
		j.let(Done)
	})
	journaled(t, "DeleteSession", Options{}, func(w *world, j *heldJournal) {
		w.connect("away", expiry(60)).drop()
		w.connect("here", expiry(60))
		w.connect("clean")
		for _, client := range []string{"away", "here", "clean"} {
			j.hold()
			ended := make(chan error, 1)
			go func() {
				_, err := w.DeleteSession(w.t.Context(), client)
				ended <- err
			}()
			w.wait()
			if (len(ended) == 0) != (client != "clean") {
				t.Errorf("%s: it has ended: %v", client, len(ended) == 1)
			}
			j.let(Done)
			if err := <-ended; err != nil {
				t.Errorf("%s: %v", client, err)
			}
		}
		w.connect("away", expiry(60)).drop()
		j.hold()
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		if ok, err := w.DeleteSession(ctx, "away"); !ok || err != context.DeadlineExceeded {
			t.Errorf("%v, %v", ok, err)
		}
		j.let(Done)
	})
	journaled(t, "CONNACK, SUBACK, UNSUBACK", Options{}, func(w *world, j *heldJournal) {
		j.hold()
		s := w.begin(mqtt.Version5, "s", expiry(60))
		s.want("")
		j.let(Done)
		s.want("CONNACK")
		j.hold()
		s.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "t"}}})
		s.want("")
		j.let(Done)
		s.want("SUBACK")
		j.hold()
		s.send(&mqtt.Unsubscribe{ID: 2, Filters: []string{"t"}})
		s.want("")
		j.let(Done)
		s.want("UNSUBACK")
	})
	journaled(t, "Publish", Options{}, func(w *world, j *heldJournal) {
		w.connect("s", expiry(60)).sub(1, "t")
		j.hold()
		done := false
		go func() {
			if err := w.Publish(context.Background(), &mqtt.Publish{Topic: []byte("t"), QoS: 1}); err != nil {
				t.Error(err)
			}
			done = true
		}()
		w.wait()
		if done {
			t.Error("Publish has not waited")
		}
		j.let(Done)
		w.wait()
		if !done {
			t.Error("Publish still waits")
		}
	})
}

func TestJournalFailure(t *testing.T) {
	for _, o := range []Outcome{Failed, Unknown} {
		journaled(t, fmt.Sprint("outcome ", o), Options{}, func(w *world, j *heldJournal) {
			s := w.connect("s", expiry(60))
			s.sub(2, "t")
			p, q := w.connect("p"), w.connectVersion(mqtt.Version311, "q")
			idle := w.connect("idle")
			j.hold()
			p.publish("t=1", 1)
			q.publish("t=2", 2)
			j.let(o)
			if d := expect[*mqtt.Disconnect](p); d.Reason != mqtt.ReasonImplementationSpecificError {
				t.Errorf("got %v", d)
			}
			p.want("")
			q.want("")
			if !p.closed() || !q.closed() {
				t.Error("a publisher is still connected")
			}
			idle.publish("t=3", 1) // the journal is broken for good
			if d := expect[*mqtt.Disconnect](idle); d.Reason != mqtt.ReasonImplementationSpecificError {
				t.Errorf("got %v", d)
			}
			for _, m := range s.all() { // QoS 2 waits for its barrier, for ever
				if m, ok := m.(*mqtt.Publish); ok && m.QoS == 2 {
					t.Errorf("got %v", m)
				}
			}
			if r := w.refused(mqtt.Version5, "new"); r != mqtt.ReasonServerUnavailable {
				t.Error(r)
			}
			err := w.Publish(w.t.Context(), &mqtt.Publish{Topic: []byte("t"), QoS: 1})
			if !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonServerUnavailable}) {
				t.Error(err)
			}
		})
	}
	journaled(t, "QoS 0 goes on", Options{}, func(w *world, j *heldJournal) {
		s, p := w.connect("s", expiry(60)), w.connect("p")
		s.sub(1, "t")
		other := w.connect("other")
		j.let(Failed)
		other.publish("t=1", 1)
		w.wait()
		s.all()
		p.publish("t=2", 0)
		s.want("t=2")
		p.publish("t=3", 0, retain)
		s.want("")
		if p.closed() || s.closed() {
			t.Fatal("closed")
		}
	})
}

func TestDeliverAfterSync(t *testing.T) {
	journaled(t, "order", Options{DeliverAfterSync: true}, func(w *world, j *heldJournal) {
		s := w.connect("s")
		s.sub(1, "t")
		p := w.connect("p")
		j.hold()
		for i := range 10 {
			p.publish(fmt.Sprint("t=", i), 1)
		}
		p.want("")
		s.want("")
		j.let(Done)
		s.automatic()
		w.wait()
		checkOrder(t, s, 10)
		if n := strings.Count(p.messages(), "PUBACK"); n != 10 {
			t.Errorf("%d acknowledgements", n)
		}
		j.let(Failed)
		p.publish("t=lost", 1)
		s.want("")
		if !p.closed() {
			t.Error("the publisher is still connected")
		}
	})
}

// TestJournalRecords replays what a journal holds in a simple way: at the end nothing may be live that nobody needs.
func TestJournalRecords(t *testing.T) {
	journaled(t, "releases", Options{QueueMessages: 3}, func(w *world, j *heldJournal) {
		s := w.connect("s", expiry(60), receiveMaximum(2))
		s.sub(2, "t/#")
		p := w.connect("p").automatic()
		for i := range 8 { // two in flight, three wait, three are dropped
			p.publish(fmt.Sprint("t/", i, "=x"), mqtt.QoS(1+i%2))
		}
		p.publish("r=1", 1, retain)
		p.publish("r=2", 0, retain)
		w.wait()
		if len(j.live) != 6 {
			t.Errorf("%d messages are live", len(j.live))
		}
		s.automatic()
		for _, q := range s.all() {
			s.answer(q)
		}
		w.wait()
		if len(j.live) != 1 {
			t.Errorf("%d messages are live", len(j.live))
		}
		p.publish("r=", 0, retain)
		w.wait()
		if len(j.live) != 0 {
			t.Errorf("%d messages are live", len(j.live))
		}
		s.drop()
		p.publish("t/1=x", 1)
		p.publish("t/2=x", 1)
		w.pass(time.Hour)
		if len(j.live) != 0 {
			t.Errorf("%d messages are live after the session ended", len(j.live))
		}
	})
	journaled(t, "names", Options{}, func(w *world, j *heldJournal) {
		s := w.connect("s", expiry(60), withWill(mqtt.Will{Topic: "w", Properties: willDelay(5)}))
		s.subscribe(7, mqtt.Subscription{Filter: "t", QoS: 1})
		w.connect("p").pub("t=x", 1)
		s.want("t=x")
		s.unsub("t")
		s.drop()
		w.pass(time.Hour)
		seen := make(map[recordKind]record)
		for _, r := range j.take() {
			if _, ok := seen[r.kind]; !ok {
				seen[r.kind] = r
			}
		}
		if o := seen[recordSession].owner; o.client != "s" || o.expiry != 60 || !o.connected || string(o.will.p.Topic) != "w" || o.will.delay != 5 {
			t.Errorf("%+v", o)
		}
		if r := seen[recordSubscribed]; r.filter != "t" || r.opts.id() != 7 || r.opts.qos() != 1 {
			t.Errorf("%+v", r)
		}
		if r := seen[recordSent]; r.queued || r.entry.seq == 0 || r.entry.qos != 1 || r.entry.ids[0] != 7 || r.id != 1 {
			t.Errorf("%+v", r)
		}
		for _, k := range []recordKind{recordMessage, recordUnsubscribed, recordEnded, recordAccepted} {
			if seen[k].kind == 0 {
				t.Errorf("no record of kind %d", k)
			}
		}
	})
}
