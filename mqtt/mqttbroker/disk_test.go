package mqttbroker

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/mqtt"
)

// fill publishes until a message is refused, and returns how many were not.
func (w *world) fill(p *peer, from int) int {
	for i := from; i < from+5000; i++ {
		if r := w.slowly(p, fmt.Sprintf("t=%d %s", i, strings.Repeat("x", 1000))); r.IsError() {
			if r != mqtt.ReasonQuotaExceeded {
				w.t.Errorf("refused with %v", r)
			}
			return i
		}
	}
	w.t.Fatal("the disk is never full")
	return 0
}

// slowly publishes at QoS 1 on a broker that may slow publishers.
func (w *world) slowly(p *peer, text string) mqtt.ReasonCode {
	p.publish(text, 1)
	w.pass(slowPause)
	return expect[*mqtt.Puback](p).Reason
}

// checkNumbers checks that the messages of fill came, in order.
func checkNumbers(t *testing.T, p *peer, n int) {
	t.Helper()
	got := p.all()
	for i, q := range got {
		m := q.(*mqtt.Publish)
		if number, _, _ := strings.Cut(string(m.Payload), " "); number != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, number)
		}
	}
	if len(got) != n {
		t.Errorf("%d of %d messages came", len(got), n)
	}
}

func TestDiskFull(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
	}{
		{"reserve", Options{DiskReserve: 200 << 10}},
		{"no reserve", Options{DiskReserve: -1}},
		{"limit", Options{DiskReserve: -1, DiskLimit: 400 << 10}},
	} {
		lasting(t, tt.name, tt.opts, func(w *world) {
			disk := w.opts.fs.(*vfs.Mem)
			disk.SetCapacity(800 << 10)
			w.connect("s", expiry(3600)).sub(1, "t")
			w.peers[0].drop()
			p := w.connect("p")
			n := w.fill(p, 0)
			if n < 50 {
				t.Errorf("full after %d messages", n)
			}
			if r := p.pub("r=1", 0, retain); r != 0 || len(slices.Collect(w.Retained("r"))) > 0 {
				t.Error("a message is retained on a full disk")
			}
			live := w.connect("live")
			live.sub(0, "q")
			p.pub("q=1", 0) // does not concern the disk
			live.want("q=1")
			old := w.connectVersion(mqtt.Version311, "old")
			old.publish("t=old", 1)
			if old.want(""); !old.closed() {
				t.Error("a client that cannot be told is still connected")
			}
			w.crash()
			w.opts.fs.(*vfs.Mem).SetCapacity(1 << 30)
			s := w.back("s")
			w.pass(2 * time.Second)
			checkNumbers(t, s, n)
		})
	}
	lasting(t, "room again", Options{DiskReserve: -1}, func(w *world) {
		disk := w.opts.fs.(*vfs.Mem)
		disk.SetCapacity(800 << 10)
		w.connect("s", expiry(3600)).sub(1, "t")
		w.peers[0].drop()
		p := w.connect("p")
		n := w.fill(p, 0)
		disk.SetCapacity(1600 << 10)
		w.pass(time.Minute)
		if more := w.fill(p, n); more < n+50 {
			t.Errorf("%d more messages after there was room", more-n)
		} else {
			n = more
		}
		// What is taken makes room too.
		s := w.back("s")
		w.pass(time.Minute)
		checkNumbers(t, s, n)
		for range 100 {
			if r := w.slowly(p, "t=x"); r.IsError() {
				t.Fatalf("after the queue was taken: %v", r)
			}
		}
	})
}

func TestJournalPressure(t *testing.T) {
	journaled(t, "slow", Options{}, func(w *world, j *heldJournal) {
		w.connect("s", expiry(60)).sub(1, "t")
		p := w.connect("p")
		j.mu.Lock()
		j.pressure = PressureSlow
		j.mu.Unlock()
		begin := time.Now()
		for range 10 {
			w.slowly(p, "t=x")
		}
		p.pub("t=x", 0) // does not wait
		if took := time.Since(begin); took != 10*slowPause {
			t.Errorf("10 messages took %v", took)
		}
	})
}

func TestBackup(t *testing.T) {
	lasting(t, "of a running broker", Options{}, func(w *world) {
		w.connect("s", expiry(3600)).sub(1, "t")
		w.peers[0].drop()
		p := w.connect("p")
		for i := range 100 {
			p.pub(fmt.Sprint("t=", i), 1)
		}
		p.pub("r=1", 1, retain)
		if err := w.Backup(context.Background(), "copy"); err != nil {
			t.Fatal(err)
		}
		p.pub("t=late", 1)
		opts := w.opts
		opts.Dir, opts.Journal = "copy", nil
		other := newWorld(w.t, &opts, nil)
		defer other.close()
		s := other.back("s")
		if got := strings.Count(s.messages(), "t="); got != 100 {
			t.Errorf("%d messages", got)
		}
		if n := len(slices.Collect(other.Retained("r"))); n != 1 {
			t.Errorf("%d retained messages", n)
		}
		if err := w.Backup(context.Background(), "copy"); err == nil {
			t.Error("a directory that is in use is overwritten")
		}
	})
	in(t, nil, func(w *world) {
		if err := w.Backup(context.Background(), "copy"); err == nil {
			t.Error("a backup of nothing")
		}
	})
}

// dump returns what a broker knows, as text.
func (w *world) dump() string {
	var text bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(w.sessions)) {
		s := w.sessions[id]
		s.mu.Lock()
		fmt.Fprintf(&text, "%s %d %s %d %d %x", id, s.num, s.user, s.expiry, s.expires, w.appendCheckpoint(nil, s))
		if s.inbound != nil {
			if ids := slices.Collect(s.inbound.All()); len(ids) > 0 { // an empty set is as good as none
				fmt.Fprint(&text, ids)
			}
		}
		if s.will != nil {
			fmt.Fprintf(&text, " will %v %d %d", &s.will.p, s.will.delay, s.will.due)
		}
		s.mu.Unlock()
		fmt.Fprintln(&text)
	}
	var lines []string
	for m := range w.Retained("#") {
		lines = append(lines, fmt.Sprintln(m.Sequence(), m.Topic(), string(m.Payload()), m.QoS(), m.Properties(), m.Expires()))
	}
	slices.Sort(lines)
	fmt.Fprint(&text, lines)
	return text.String()
}

// TestReplay opens the same records again and again: the state is the same each time.
func TestReplay(t *testing.T) {
	much := false // at some seeds little is left at the end
	for _, seed := range []uint64{1, rand.Uint64(), rand.Uint64(), rand.Uint64()} {
		lasting(t, fmt.Sprint("seed=", seed), Options{SegmentSize: 4 << 10, hotMessages: 4, pageEntries: 5}, func(w *world) {
			chaos(w, rand.New(rand.NewPCG(seed, 1)))
			var want string
			for i := range 4 {
				w.crash()
				synctest.Wait()
				got := w.dump()
				if i > 0 && got != want {
					t.Fatalf("after replay %d\n%s\nbefore\n%s", i, got, want)
				}
				want = got
			}
			much = much || len(want) >= 100
		})
	}
	if !much {
		t.Error("nothing to compare")
	}
}
