package mqttbroker

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/mqtt"
)

var golden = flag.Bool("golden", false, "make the golden directory of the newest format, if there is none")

// TestGolden opens a directory that each version of the format has left, for ever.
func TestGolden(t *testing.T) {
	const newest = "testdata/golden/v1"
	if *golden {
		makeGolden(t, newest)
	}
	dirs, err := filepath.Glob("testdata/golden/v*")
	if err != nil || !slices.Contains(dirs, newest) {
		t.Fatal(dirs, err)
	}
	for _, dir := range dirs {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, &Options{Dir: "data", fs: readDisk(t, dir), SegmentSize: 4 << 10}, nil)
			defer w.close()
			want, err := os.ReadFile(filepath.Join(dir, "state.txt"))
			if err != nil {
				t.Fatal(err)
			}
			if got := w.text(); got != string(want) {
				t.Errorf("%s is\n%s\nand not\n%s", dir, got, want)
			}
		})
	}
}

// readDisk returns a file system with the files of a directory in data.
func readDisk(t *testing.T, dir string) *vfs.Mem {
	disk := vfs.NewMem()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		f, err := disk.Create("data/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return disk
}

// text describes what a broker has, whatever the format.
func (w *world) text() string {
	var b strings.Builder
	var lines []string
	for d := range w.Sessions() {
		s := w.sessions[d.Client]
		slices.SortFunc(d.Subscriptions, func(x, y mqtt.Subscription) int { return strings.Compare(x.Filter, y.Filter) })
		line := fmt.Sprintf("session %s of %q until %d: %+v, %d wait with %d bytes", d.Client, d.User, s.expires, d.Subscriptions, d.Queued, d.QueuedBytes)
		if s.state != nil {
			for o := range s.state.Outbound() {
				line += fmt.Sprintf(", %d in flight at QoS %d (released %t)", o.ID, o.QoS, o.Released)
			}
		}
		if s.inbound != nil && s.inbound.Len() > 0 {
			line += fmt.Sprint(", received ", slices.Collect(s.inbound.All()))
		}
		if s.will != nil {
			line += fmt.Sprintf(", will %v after %d at %d", &s.will.p, s.will.delay, s.will.due)
		}
		lines = append(lines, line)
	}
	for m := range w.Retained("#") {
		lines = append(lines, fmt.Sprintf("retained %s = %s at QoS %d with %v until %d", m.Topic(), m.Payload(), m.QoS(), m.Properties(), m.expiry()))
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(&b, line)
	}
	return b.String()
}

// makeGolden makes a directory with every kind of record: some still as they happened, some as checkpoints.
func makeGolden(t *testing.T, dir string) {
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("there is one already")
	}
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		w := newWorld(t, &Options{Dir: "data", fs: disk, SegmentSize: 16 << 10, hotMessages: 4, pageEntries: 20}, nil)
		life := func(n int) {
			id := fmt.Sprint("away", n)
			s := w.connect(id, expiry(1_000_000), user("alice"))
			s.subscribe(7, mqtt.Subscription{Filter: fmt.Sprint("t/", n), QoS: 1}, mqtt.Subscription{Filter: "$share/g/s/#", QoS: 2})
			s.sub(2, "u/+", "gone")
			s.unsub("gone")
			s.drop()
			flight := w.connect(fmt.Sprint("flight", n), expiry(1_000_000), withWill(mqtt.Will{
				Topic: "w", QoS: 1, Payload: []byte("bye"), Properties: willDelay(900_000).AppendUser("k", "v"),
			}))
			flight.sub(2, fmt.Sprint("f/", n))
			p := w.connect(fmt.Sprint("p", n), expiry(1_000_000))
			for i := range 70 {
				p.pub(fmt.Sprint("t/", n, "=", strings.Repeat("x", i)), 1)
			}
			p.pub("s/1=shared", 2)
			p.pub("u/1=x", 2, messageExpiry(1_000_000))
			for range 3 {
				p.pub(fmt.Sprint("f/", n, "=f"), 1)
				p.pub(fmt.Sprint("f/", n, "=f"), 2)
			}
			got := flight.all()
			flight.send(&mqtt.Puback{ID: got[0].(*mqtt.Publish).ID})
			for _, q := range got {
				if m := q.(*mqtt.Publish); m.QoS == 2 {
					flight.send(&mqtt.Pubrec{ID: m.ID})
					break
				}
			}
			w.wait()
			flight.drop()
			p.publish("none=x", 2)
			w.wait()
			p.drop()
			q := w.connect("q")
			q.pub(fmt.Sprint("r/", n, "=kept"), 1, retain, messageExpiry(1_000_000))
			q.pub("r/changes=1", 1, retain)
			q.pub("r/goes=1", 1, retain)
			q.pub("r/goes=", 1, retain)
			w.connect("ends", expiry(1)).drop()
			w.pass(10 * time.Second)
		}
		life(1)
		for range 200 { // what is only notes is thrown away
			w.connect("busy", expiry(100)).pub("b=x", 2)
		}
		life(2)
		for _, p := range w.peers {
			p.drop()
		}
		w.pass(time.Second)
		want := w.text()
		w.crash()
		if got := w.text(); got != want {
			t.Errorf("after a crash\n%s\nand not\n%s", got, want)
		}
		disk = w.opts.fs.(*vfs.Mem)
		w.close()
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		for _, name := range disk.Names() {
			base := filepath.Base(name)
			f, err := disk.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			size, _ := f.Size()
			b := make([]byte, size)
			if _, err := f.ReadAt(b, 0); err != nil && size > 0 {
				t.Fatal(err)
			}
			f.Close()
			if err := os.WriteFile(filepath.Join(dir, base), b, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "state.txt"), []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	})
}
