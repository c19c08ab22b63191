package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quartet-mq/quartet/internal/interop/load"
)

// durablePairs is pairs with sessions that outlive their connections, on a broker that keeps its state on disk.
func durablePairs(name string, n int, qos byte) scenario {
	s := pairs(name, n, qos)
	s.durable = true
	return s
}

// oneAtATime has a publisher that waits for each PUBACK before it publishes the next message, and a subscriber, both with
// sessions that outlive their connections. The subscriber may be away until the end. In between it appends as many bytes as the messages have to a file in the same
// file system and syncs each, which is the least that a broker could do.
func oneAtATime(name string, away bool) scenario {
	return scenario{name: name, durable: true, run: func(e *env) (*outcome, error) {
		f, err := load.NewFlow(e.TCP, 1)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		f.Durable = true
		const topic = "one/at-a-time"
		var s *load.Sub
		if away {
			err = subscribeAndLeave(e.TCP, topic)
		} else {
			s, err = f.Subscriber("sub", 1, topic)
		}
		if err != nil {
			return nil, err
		}
		p, err := f.Publisher("pub", 1, topic)
		if err != nil {
			return nil, err
		}
		p.Delivered = func() int64 {
			if s == nil {
				return p.Acked
			}
			return s.Received
		}
		d, err := newDisk(filepath.Join(e.Dir, "baseline"), p.Size())
		if err != nil {
			return nil, err
		}
		defer d.close()
		times := make([]time.Duration, 0, 1<<20)
		if err := oneByOne(f, p, e.warm, &times); err != nil {
			return nil, err
		}
		if err := d.run(e.warm / 4); err != nil {
			return nil, err
		}
		times, d.times = times[:0], d.times[:0]
		r := row{name: name, durable: true}
		const slice = 250 * time.Millisecond // how long the broker and the file have their turns
		var busy, cpu time.Duration
		for begin := time.Now(); time.Since(begin) < e.d; {
			m, err := e.start()
			if err != nil {
				return nil, err
			}
			if err := oneByOne(f, p, slice, &times); err != nil {
				return nil, err
			}
			now, err := e.CPU()
			if err != nil {
				return nil, err
			}
			busy, cpu = busy+time.Since(m.at), cpu+now-m.cpu
			if err := d.run(slice / 4); err != nil {
				return nil, err
			}
		}
		n := len(times)
		if n == 0 {
			return nil, fmt.Errorf("%s: nothing got through", name)
		}
		r.rate, r.cpu = float64(n)/busy.Seconds(), cpu/time.Duration(n)
		if away {
			c, _, err := load.Resume(e.TCP, "sub")
			if err != nil {
				return nil, err
			}
			if _, err := f.Take(c); err != nil {
				return nil, err
			}
		}
		if err := f.Drain(e.quiet); err != nil {
			return nil, err
		}
		r.lost = f.Lost()
		r.repeated, r.late = f.Disorder()
		return &outcome{rows: []row{r}, figures: d.figures(name, times)}, nil
	}}
}

// subscribeAndLeave makes a session with a subscription and closes its connection.
func subscribeAndLeave(addr, topic string) error {
	c, _, err := load.Resume(addr, "sub")
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Subscribe(1, topic)
}

// oneByOne publishes message after message for the time d and appends the time of each to times.
func oneByOne(f *load.Flow, p *load.Pub, d time.Duration, times *[]time.Duration) error {
	begin := time.Now()
	for now := begin; now.Sub(begin) < d; {
		want := p.Sent + 1
		p.Publish(f.Loop, 1)
		for p.Acked < want {
			if err := f.Poll(100 * time.Millisecond); err != nil {
				return err
			}
			if p.Acked < want && time.Since(now) > patience {
				return fmt.Errorf("no PUBACK in %v", patience)
			}
		}
		end := time.Now()
		*times = append(*times, end.Sub(now))
		now = end
	}
	return nil
}

// A disk appends records to a file that has its size already and syncs each.
type disk struct {
	f      *os.File
	record []byte
	at     int64
	times  []time.Duration
}

// diskSize is the size of the file. Every byte of it is written once beforehand: then a sync has no metadata to write.
const diskSize = 16 << 20

func newDisk(name string, size int) (*disk, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	d := &disk{f: f, record: make([]byte, size)}
	_, err = f.WriteAt(make([]byte, diskSize), 0)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// run appends for the time t.
func (d *disk) run(t time.Duration) error {
	begin := time.Now()
	for now := begin; now.Sub(begin) < t; {
		if d.at+int64(len(d.record)) > diskSize {
			d.at = 0
		}
		d.record[0]++
		if _, err := d.f.WriteAt(d.record, d.at); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(d.f.Fd())); err != nil {
			return err
		}
		d.at += int64(len(d.record))
		end := time.Now()
		d.times = append(d.times, end.Sub(now))
		now = end
	}
	return nil
}

// figures compares the times of a broker with those of the disk.
func (d *disk) figures(name string, times []time.Duration) []figure {
	var fs []figure
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		broker, disk := quantile(times, q.q), quantile(d.times, q.q)
		fs = append(fs,
			figure{name: name + ": " + q.name + ", µs", value: broker},
			figure{name: name + ": " + q.name + " of append and fdatasync alone, µs", value: disk, context: true},
			figure{name: name + ": " + q.name + ", ratio of the two", value: broker / disk},
		)
	}
	return fs
}

func (d *disk) close() {
	d.f.Close()
	os.Remove(d.f.Name())
}

// quantile sorts times and returns one of them in µs.
func quantile(times []time.Duration, q float64) float64 {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return float64(times[int(q*float64(len(times)-1))].Nanoseconds()) / 1e3
}
