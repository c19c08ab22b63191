package mqttbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/mqtt"
)

// With DeliverAfterSync the retained message is the one that was delivered last.
func TestRecoveryDASRetained(t *testing.T) {
	both(t, "clear then set", Options{DeliverAfterSync: true}, func(w *world, again func()) {
		p := w.connect("p")
		p.pub("t=old", 1, retain)
		p.publish("t=", 1, retain)
		p.publish("t=new", 1, retain)
		p.want("PUBACK PUBACK")
		again()
		n := 0
		for m := range w.Retained("t") {
			if n++; string(m.Payload()) != "new" {
				t.Errorf("retained: %s", m.Payload())
			}
		}
		if n != 1 {
			t.Error("retained message lost")
		}
	})
	both(t, "quota", Options{DeliverAfterSync: true, MaxRetained: 1}, func(w *world, again func()) {
		w.connect("s", expiry(3600)).sub(2, "t/#")
		p := w.connect("p", expiry(3600))
		p.pub("t/1=x", 2, retain)
		id := p.publish("t/2=y", 2, retain)
		rec := expect[*mqtt.Pubrec](p)
		if rec.Reason != mqtt.ReasonQuotaExceeded {
			t.Errorf("got %v", rec)
		}
		w.pass(time.Second)
		again()
		for m := range w.Retained("#") {
			if m.Topic() != "t/1" {
				t.Errorf("retained: %s", m.Topic())
			}
		}
		p = w.connect("p", resume, expiry(3600))
		p.last = id - 1
		p.publish("t/3=z", 2)
		p.want("PUBREC")
		w.back("s").want("t/1=x t/3=z")
	})
}

// badReader fails for one record.
type badReader struct {
	JournalReader
	bad *uint64
}

func (r badReader) Read(seq uint64) ([]byte, error) {
	if seq == *r.bad {
		return nil, errors.New("EIO")
	}
	return r.JournalReader.Read(seq)
}

type badJournal struct {
	Journal
	bad *uint64
}

func (j badJournal) Reader() JournalReader { return badReader{j.Journal.Reader(), j.bad} }

func TestRecoveryUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Dir: "data", fs: vfs.NewMem(), SegmentSize: 64 << 10}
		oo := (&o).withDefaults()
		fj, err := openFileJournal(&oo)
		if err != nil {
			t.Fatal(err)
		}
		var bad uint64
		w := newWorld(t, &Options{Journal: badJournal{fj, &bad}}, nil)
		defer w.close()
		w.connect("s", expiry(3600)).sub(1, "t")
		w.peers[0].drop()
		p := w.connect("p").automatic()
		for i := range 300 {
			p.publish(fmt.Sprint("t=", i), 1)
			w.wait()
		}
		// entry 200
		l := w.sessions["s"].backlog.queue.cold
		var seqs []uint64
		for _, list := range []entries{l.head, l.tail} {
			for list.n > 0 {
				e := list.pop()
				seqs = append(seqs, e.seq)
			}
		}
		bad = seqs[200]
		s := w.connect("s", resume, expiry(3600), receiveMaximum(1)) // does not answer
		w.wait()
		if n, left := w.Stats().DroppedUnreadable, w.sessions["s"].backlog.queue.n; n > 1 || left < 298 {
			t.Errorf("%d dropped, %d wait", n, left)
		}
		s.automatic()
		for _, q := range s.all() {
			s.answer(q)
		}
		w.wait()
		if n, got := w.Stats().DroppedUnreadable, w.Stats().Sent; n != 1 {
			t.Errorf("%d dropped, %d sent", n, got)
		}
	})
}

// Identifiers of a publisher outlive two restarts, with the part of the journal thrown away where they were.
func TestRecoveryInbound(t *testing.T) {
	lasting(t, "x", Options{SegmentSize: 4 << 10}, func(w *world) {
		w.connect("s", expiry(3600)).automatic().sub(2, "t")
		p := w.connect("p", expiry(3600))
		id := p.publish("t=once", 2)
		w.wait() // PUBREC is lost
		w.restart()
		s := w.back("s")
		q := w.connect("q", expiry(3600)).automatic()
		for i := range 300 {
			q.publish(fmt.Sprint("t=", i), 1)
			w.wait()
		}
		w.pass(10 * time.Second)
		s.all()
		w.restart()
		if in := w.sessions["p"].inbound; in == nil || in.Len() == 0 {
			t.Error("identifier forgotten")
		}
		s = w.back("s")
		s.all()
		p = w.connect("p", resume, expiry(3600))
		p.publish("t=once", 2, func(m *mqtt.Publish) { m.ID, m.Dup = id, true })
		w.wait()
		if got := s.messages(); got != "" {
			t.Error("again:", got)
		}
	})
}

// A message that goes to another member of a group does not become the retained one again.
func TestRecoveryRedispatchRetained(t *testing.T) {
	lasting(t, "x", Options{}, func(w *world) {
		w.connect("d", expiry(3600)).sub(1, "$share/g/t")
		w.peers[0].drop()
		s := w.connect("s") // passing
		s.sub(1, "$share/g/t")
		p := w.connect("p")
		p.pub("t=old", 1, retain)
		s.automatic()
		s.want("t=old") // not answered: it came before automatic
		p.pub("t=new", 1, retain)
		w.wait()
		s.drop()
		w.wait()
		w.restart()
		for m := range w.Retained("t") {
			if string(m.Payload()) != "new" {
				t.Error("went back")
			}
		}
	})
}

// A retained message that has expired does not bring the one before it back.
func TestRecoveryExpiredRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newHeldJournal()
		w := newWorld(t, &Options{Journal: j}, nil)
		p := w.connect("p")
		p.pub("t=A", 1, retain)
		p.pub("t=B", 1, retain, messageExpiry(10))
		w.close()
		time.Sleep(time.Minute)
		j2 := newHeldJournal()
		j2.all, j2.next = j.all, j.next
		w = newWorld(t, &Options{Journal: j2}, nil)
		var kept []storedRecord
		for _, r := range j2.all {
			// the part of the journal with B is cleaned, that with A is not (much is alive in it)
			if r.seq >= 4 && w.keep(r.seq, r.raw) == Discard {
				continue
			}
			kept = append(kept, r)
		}
		w.close()
		j3 := newHeldJournal()
		j3.all, j3.next = kept, j2.next
		w = newWorld(t, &Options{Journal: j3}, nil)
		for m := range w.Retained("t") {
			t.Errorf("retained: %s", m.Payload())
		}
		w.close()
	})
}

// count returns how many records there are.
func (j *heldJournal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.all)
}

// prefix opens a broker on the first n records of a journal.
func prefix(t *testing.T, j *heldJournal, n int) (*world, *heldJournal) {
	k := newHeldJournal()
	k.all = append([]storedRecord(nil), j.all[:n]...)
	k.next = k.all[n-1].seq
	return newWorld(t, &Options{Journal: k}, nil), k
}

// Wherever a crash is while deliveries go to another member, each is there once.
func TestRecoveryReopened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newHeldJournal()
		w := newWorld(t, &Options{Journal: j}, nil)
		a := w.connect("a", expiry(3600), receiveMaximum(1))
		a.sub(2, "$share/g/t")
		p := w.connect("p").automatic()
		for i := range 4 {
			p.publish(fmt.Sprint("t=", i), 2)
		}
		w.wait()
		b := w.connect("b", expiry(3600))
		b.sub(2, "$share/g/t")
		b.drop()
		w.checkpoint(j.next + 1) // as before a part is thrown away
		w.wait()
		first := j.count()
		a.send(&mqtt.Unsubscribe{ID: 99, Filters: []string{"$share/g/t"}})
		w.wait()
		w.close()
		for n := 1; n <= j.count(); n++ {
			if n < first {
				continue
			}
			v, _ := prefix(t, j, n)
			var got []string
			for _, id := range []string{"a", "b"} {
				got = append(got, strings.Fields(v.back(id).messages())...)
			}
			slices.Sort(got)
			if text := fmt.Sprint(got); text != "[t=0 t=1 t=2 t=3]" {
				t.Errorf("after record %d, of kind %d, the clients get %s", n, j.all[n-1].kind, text)
			}
			v.close()
		}
	})
}

func TestRecoveryTakeApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newHeldJournal()
		w := newWorld(t, &Options{Journal: j}, nil)
		a := w.connect("a", expiry(10))
		a.sub(2, "$share/g/t")
		a.drop()
		p := w.connect("p").automatic()
		for i := range 3 {
			p.publish(fmt.Sprint("t=", i), 2)
		}
		w.wait()
		b := w.connect("b", expiry(3600))
		b.sub(2, "$share/g/t")
		b.drop()
		first := j.count()
		w.pass(time.Minute)
		w.close()
		for n := first; n <= j.count(); n++ {
			v, _ := prefix(t, j, n)
			v.pass(time.Minute)
			x := v.back("b")
			v.pass(time.Minute)
			got := strings.Fields(x.messages())
			slices.Sort(got)
			if text := fmt.Sprint(got); text != "[t=0 t=1 t=2]" {
				t.Errorf("after record %d, of kind %d, the other member gets %s", n, j.all[n-1].kind, text)
			}
			v.close()
		}
	})
}

// The loader keeps to its bound in bytes.
func TestRecoveryHotBytes(t *testing.T) {
	lasting(t, "x", Options{SegmentSize: 1 << 20}, func(w *world) {
		w.connect("s", expiry(3600)).sub(1, "t")
		w.peers[0].drop()
		p := w.connect("p").automatic()
		big := make([]byte, 200<<10)
		for range 60 {
			p.publish("t="+string(big), 1)
			w.wait()
		}
		w.connect("s", resume, expiry(3600), receiveMaximum(1))
		w.wait()
		q := &w.sessions["s"].backlog.queue
		n := 0
		for i := range q.k {
			n += sizeOf(q.at(i))
		}
		if n > 3<<20 {
			t.Errorf("%d messages with %d bytes are in memory", q.k, n)
		}
	})
}

// Nothing waits for a journal that is closed.
func TestRecoveryPublishAfterClose(t *testing.T) {
	lasting(t, "x", Options{}, func(w *world) {
		w.connect("s", expiry(3600)).sub(1, "t")
		w.Broker.Close()
		done := false
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		go func() {
			if err := w.Publish(ctx, &mqtt.Publish{Topic: []byte("t"), QoS: 1}); err == nil {
				t.Error("no error")
			}
			done = true
		}()
		w.pass(time.Minute)
		if !done {
			t.Error("Publish hangs")
			w.pass(time.Hour)
		}
	})
}

func TestRecoveryCloseHangs(t *testing.T) {
	lasting(t, "x", Options{SegmentSize: 16 << 20}, func(w *world) {
		for i := range 900 {
			c := w.connect(fmt.Sprint("s", i), expiry(3600))
			c.sub(1, fmt.Sprint("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", i))
			c.drop()
		}
		// A journal whose cleaner is in Checkpoint when Close begins: Close waits for it.
		returned := false
		w.Broker.Close()
		go func() { w.checkpoint(1 << 40); returned = true }()
		w.pass(time.Minute)
		if !returned {
			t.Fatal("the cleaner would hang, and Close with it")
		}
	})
}

// crash between queued for the other member and accepted with the group
func TestRecoveryRedispatchTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newHeldJournal()
		w := newWorld(t, &Options{Journal: j}, nil)
		a := w.connect("a", expiry(3600), receiveMaximum(1))
		a.sub(2, "$share/g/t")
		p := w.connect("p").automatic()
		for i := range 3 {
			p.publish(fmt.Sprint("t=", i), 2)
		}
		w.wait()
		b := w.connect("b", expiry(3600))
		b.sub(2, "$share/g/t")
		b.drop()
		first := j.count()
		a.send(&mqtt.Unsubscribe{ID: 99, Filters: []string{"$share/g/t"}})
		w.wait()
		w.close()
		for n := first; n <= j.count(); n++ {
			v, _ := prefix(t, j, n)
			x := v.back("b")
			y := v.back("a")
			v.wait()
			got := append(strings.Fields(x.messages()), strings.Fields(y.messages())...)
			slices.Sort(got)
			if text := fmt.Sprint(got); text != "[t=0 t=1 t=2]" {
				t.Errorf("after record %d, of kind %d, the members get %s", n, j.all[n-1].kind, text)
			}
			v.close()
		}
	})
}

// A session that was replaced does not come back, wherever a crash is after CONNACK. It has messages that are not in memory, which
// keep its records for a while.
func TestRecoveryReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newHeldJournal()
		w := newWorld(t, &Options{Journal: j}, nil)
		a := w.connect("a", expiry(3600))
		a.sub(1, "t")
		a.drop()
		w.connect("p").automatic().publish("t=1", 1)
		w.wait()
		// what takeApart does comes late here
		w.spawning.Lock()
		w.stopped = true
		w.spawning.Unlock()
		w.connect("a")
		n := j.count()
		w.close()
		v, _ := prefix(t, j, n)
		if x := v.begin(mqtt.Version5, "a", resume); expect[*mqtt.Connack](x).SessionPresent {
			t.Error("the session is there again")
		}
		v.close()
	})
}

// A client that comes before the timer does not find a session that has expired.
func TestExpiredBeforeTimer(t *testing.T) {
	in(t, nil, func(w *world) {
		a := w.connect("a", expiry(3600))
		a.sub(1, "t")
		a.drop()
		w.wait()
		w.mu.Lock()
		w.sessions["a"].expires = 1
		w.mu.Unlock()
		if x := w.begin(mqtt.Version5, "a", resume); expect[*mqtt.Connack](x).SessionPresent {
			t.Error("the session is there")
		}
	})
}

// a checkpoint of a session that is being taken apart
func TestRecoveryEndedCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newHeldJournal()
		w := newWorld(t, &Options{Journal: j}, nil)
		a := w.connect("a", expiry(10))
		a.sub(1, "$share/g/t")
		a.drop()
		p := w.connect("p").automatic()
		for i := range 3 {
			p.publish(fmt.Sprint("t=", i), 1)
		}
		w.wait()
		b := w.connect("b", expiry(3600))
		b.sub(1, "$share/g/t")
		b.drop()
		s := w.sessions["a"]
		// what endSession does before takeApart runs, which comes late here
		w.spawning.Lock()
		w.stopped = true
		w.spawning.Unlock()
		w.pass(time.Minute)
		if !s.ended {
			t.Fatal("the session has not ended")
		}
		w.checkpoint(1 << 40)
		n := j.count()
		v, _ := prefix(t, j, n)
		v.pass(time.Minute)
		x := v.back("b")
		x.want("t=0 t=1 t=2")
		v.close()
		w.close()
	})
}

// QoS 0 for several sessions that are away
func TestRecoveryQoS0Copies(t *testing.T) {
	journaled(t, "x", Options{QueueQoS0: true}, func(w *world, j *heldJournal) {
		for _, id := range []string{"a", "b", "c"} {
			c := w.connect(id, expiry(60))
			c.sub(0, "t")
			c.drop()
		}
		j.take()
		w.connect("p").pub("t=x", 0)
		n := 0
		for _, r := range j.take() {
			if r.kind == recordMessage {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d records of the message", n)
		}
	})
}

// DropOldest with a page that cannot be read
func TestRecoveryDropOldestUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Dir: "data", fs: vfs.NewMem(), SegmentSize: 64 << 10}
		oo := (&o).withDefaults()
		fj, err := openFileJournal(&oo)
		if err != nil {
			t.Fatal(err)
		}
		var bad uint64
		w := newWorld(t, &Options{Journal: badJournal{fj, &bad}, QueuePolicy: DropOldest, QueueMessages: 50, pageEntries: 10}, nil)
		defer w.close()
		w.connect("s", expiry(3600)).sub(1, "t")
		w.peers[0].drop()
		p := w.connect("p").automatic()
		for i := range 50 {
			p.publish(fmt.Sprint("t=", i), 1)
		}
		w.wait()
		bad = w.sessions["s"].backlog.queue.cold.pages[0].seq
		for i := range 500 {
			p.publish(fmt.Sprint("t=", i), 1)
			w.wait()
		}
		if n := w.sessions["s"].backlog.queue.n; n > 70 {
			t.Errorf("%d messages wait", n)
		}
	})
}

// a client that comes back while retained bodies are read
type slowReader struct {
	JournalReader
	gate *chan struct{}
}

func (r slowReader) Read(seq uint64) ([]byte, error) {
	if g := *r.gate; g != nil {
		<-g
	}
	return r.JournalReader.Read(seq)
}

type slowJournal struct {
	Journal
	gate *chan struct{}
}

func (j slowJournal) Reader() JournalReader { return slowReader{j.Journal.Reader(), j.gate} }

func TestRecoveryReplayStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Dir: "data", fs: vfs.NewMem(), SegmentSize: 64 << 10}
		oo := (&o).withDefaults()
		fj, err := openFileJournal(&oo)
		if err != nil {
			t.Fatal(err)
		}
		var gate chan struct{}
		w := newWorld(t, &Options{Journal: slowJournal{fj, &gate}, RetainedMemory: 1}, nil)
		defer w.close()
		p := w.connect("p")
		for i := range 5 {
			p.pub(fmt.Sprintf("t/%d=payload", i), 1, retain)
		}
		gate = make(chan struct{})
		s := w.connect("s", expiry(3600))
		s.sub(1, "t/#")
		w.wait()
		s.drop()
		w.wait()
		s = w.back("s")
		w.wait()
		close(gate)
		w.pass(time.Minute)
		if got := s.messages(); strings.Count(got, "payload") != 5 {
			t.Errorf("got %q", got)
		}
	})
}
