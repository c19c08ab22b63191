package amqpbroker

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/vfs"
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
			b := open(t, Options{Dir: "data", fs: readDisk(t, dir), SegmentSize: 4 << 10, MemoryLimit: -1})
			defer b.Close()
			want, err := os.ReadFile(filepath.Join(dir, "state.txt"))
			if err != nil {
				t.Fatal(err)
			}
			if got := b.text(t); got != string(want) {
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
func (b *Broker) text(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	d := b.Definitions()
	d.RabbitVersion, d.RabbitMQVersion, d.ProductName, d.ProductVersion = "", "", "", ""
	text, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "%s\n", text)
	v := b.vhost("/")
	for _, def := range d.Queues {
		q := v.queue(def.Name)
		l := attach(t, q, 1000, &consumer{browses: true, noAck: true})
		synctest.Wait()
		fmt.Fprintf(&out, "%s: %s", q.name, l.take())
		l.detach()
		q.mu.Lock()
		for _, h := range q.held {
			fmt.Fprintf(&out, ", %s in state %d at %d, given back %d times", h.m.body, h.state, h.at, h.count)
		}
		q.mu.Unlock()
		out.WriteString("\n")
	}
	for _, def := range d.Exchanges {
		if x := v.exchange(def.Name); x.delayed != nil {
			x.delayed.mu.Lock()
			fmt.Fprintf(&out, "%s: %d wait\n", x.name, x.delayed.len())
			x.delayed.mu.Unlock()
		}
	}
	return out.String()
}

// makeGolden makes a directory with every kind of record: some still as they happened, some as checkpoints.
func makeGolden(t *testing.T, dir string) {
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("there is one already")
	}
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		o := Options{Dir: "data", fs: disk, SegmentSize: 16 << 10, hotMessages: 4, MemoryLimit: -1, Definitions: Guest()}
		w := newWorld(t, &o, nil)
		ctx := context.Background()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(w.AddVhost("other"))
		must(w.AddVhost("gone"))
		must(w.DeleteVhost("gone"))
		must(w.SetPolicy(Policy{Vhost: "/", Name: "p", Pattern: "^q", ApplyTo: "queues", Definition: Arguments(args("max-length", int64(500)))}))
		must(w.DeclareExchange(ctx, "/", Exchange{Name: "late", Type: delayedKind, Durable: true, Arguments: args("x-delayed-type", "fanout")}))
		must(w.DeclareExchange(ctx, "/", Exchange{Name: "x", Type: "topic", Durable: true, Internal: true, AutoDelete: true}))
		must(w.DeclareExchange(ctx, "other", Exchange{Name: "y", Type: "headers", Durable: true}))
		must(w.DeleteExchange(ctx, "other", "y"))
		persistent := amqp091.Properties{DeliveryMode: amqp091.Persistent}
		life := func(n int) {
			name := fmt.Sprint("q", n)
			q := declare(t, w.Broker, Queue{
				Name: name, Durable: true, Arguments: args("x-max-priority", 3, "x-delivery-limit", 5, "x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead"),
			})
			declare(t, w.Broker, Queue{Name: "dead", Durable: true})
			must(w.Bind(ctx, "/", Binding{Source: "x", Destination: name, RoutingKey: "a.#", Arguments: args("k", "v")}))
			must(w.Bind(ctx, "/", Binding{Source: "x", Destination: name, RoutingKey: "b"}))
			must(w.Unbind(ctx, "/", Binding{Source: "x", Destination: name, RoutingKey: "b"}))
			for i := range 30 {
				p := persistent
				p.Priority = uint8(i % 3)
				put(t, q, p, fmt.Sprint(n, "-", i))
			}
			l := attach(t, q, 6, &consumer{})
			w.wait()
			l.settle(amqpserver.Acked, 1)
			l.settle(amqpserver.Rejected, 1)
			l.settle(amqpserver.Requeued, 1)
			q.mu.Lock()
			q.deferEntry(l.held[0])
			e := q.unhold(l.held[1])
			q.postpone(&e, time.Now().Add(1000*time.Hour).UnixMilli())
			l.held = l.held[2:]
			q.unlock()
			for i := range 3 {
				m := Message{Exchange: "late", Body: fmt.Append(nil, n, "late", i), Properties: persistent}
				m.Properties.Headers = args(delayHeader, int64(1+i*1000*3600*1000))
				must(w.Publish(ctx, "/", &m))
			}
			p := w.dial(fmt.Sprint("tx", n)).start()
			p.send(1, &amqp091.TxSelect{}, &amqp091.BasicGet{Queue: name})
			p.publish(1, "", "dead", &persistent, fmt.Sprint(n, "tx1"))
			p.publish(1, "", name, &persistent, fmt.Sprint(n, "tx2"))
			p.send(1, &amqp091.BasicAck{DeliveryTag: 1}, &amqp091.TxCommit{})
			w.wait()
			p.drop()
			time.Sleep(time.Minute)
		}
		life(1)
		busy := declare(t, w.Broker, Queue{Name: "busy", Durable: true})
		for range 300 { // what is only notes is thrown away
			put(t, busy, persistent, "b")
			drain(t, busy)
		}
		life(2)
		w.server.Close()
		crashed := disk.DropClone()
		kinds(t, crashed.DropClone())
		w.close()
		b := open(t, Options{Dir: "data", fs: crashed.DropClone(), SegmentSize: 16 << 10, MemoryLimit: -1})
		want := b.text(t)
		b.Close()
		must(os.MkdirAll(dir, 0o777))
		for _, name := range crashed.Names() {
			f, err := crashed.Open(name)
			must(err)
			size, _ := f.Size()
			content := make([]byte, size)
			if _, err := f.ReadAt(content, 0); err != nil && size > 0 {
				t.Fatal(err)
			}
			f.Close()
			must(os.WriteFile(filepath.Join(dir, filepath.Base(name)), content, 0o666))
		}
		must(os.WriteFile(filepath.Join(dir, "state.txt"), []byte(want), 0o666))
	})
}

// kinds tells which kinds of records a directory has.
func kinds(t *testing.T, disk *vfs.Mem) {
	j, err := openFileJournal(&Options{Dir: "data", fs: disk})
	if err != nil {
		t.Fatal(err)
	}
	count := map[recordKind]int{}
	err = j.Replay(func(_ uint64, record []byte) error {
		count[recordKind(record[0])]++
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	t.Log(count)
}
