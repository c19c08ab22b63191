package main

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/load"
)

// segment is the size of the journal's largest files. What the size of the directory is held to depends on it.
const segment = 64 << 20

// sampling is the time between two looks at the directory.
const sampling = 250 * time.Millisecond

// bound returns what the directory may take with so many live bytes.
func bound(live float64) float64 { return 3*live + 2*segment }

// pinned has one message wait for a session that is away, and others come and go: through queues of sessions that are
// there, and as retained messages that replace each other. The directory must not grow for that.
func pinned(e *env) error {
	if err := e.away("pinned", 1, "pin"); err != nil {
		return err
	}
	c, err := load.Connect(e.TCP, "pin")
	if err != nil {
		return err
	}
	_, err = c.RoundTrip(load.AppendPublish(nil, "pin", 1, false, 1))
	c.Close()
	if err != nil {
		return err
	}
	if err := e.churn(); err != nil {
		return err
	}
	c, present, err := load.Resume(e.TCP, "pinned")
	if err != nil {
		return err
	}
	defer c.Close()
	if !present {
		return fmt.Errorf("the session is lost")
	}
	p, err := c.Next()
	if err != nil || p[0]&0xF0 != load.PublishByte {
		return fmt.Errorf("the old message is lost: %x, %w", p, err)
	}
	e.table.add("the old message", "is there")
	return nil
}

// churn publishes for the time of the test and watches the directory.
func (e *env) churn() error {
	f, err := load.NewFlow(e.TCP, 1)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := e.addChurn(f); err != nil {
		return err
	}
	w := watch{e: e, spare: 1 << 62}
	begin := time.Now()
	for time.Since(begin) < e.d && e.ctx.Err() == nil {
		if err := f.Publish(time.Now().Add(sampling)); err != nil {
			return err
		}
		m, err := w.sample()
		if err != nil {
			return err
		}
		if e.bytes > 0 && m[writtenBytes] > float64(e.bytes) {
			break
		}
	}
	w.report(time.Since(begin))
	if err := e.ctx.Err(); err != nil {
		return err
	}
	if w.spare < -float64(e.slack) {
		return fmt.Errorf("the directory grew over its bound by %s", mib(-w.spare))
	}
	return nil
}

// addChurn adds publishers and subscribers, and a publisher of retained messages.
func (e *env) addChurn(f *load.Flow) error {
	const pairs, topics = 10, 10_000
	f.Durable = true
	f.Limit = 1024
	for i := range pairs {
		topic := fmt.Sprintf("churn/%02d", i)
		s, err := f.Subscriber(fmt.Sprintf("sub-%d", i), 1, topic)
		if err != nil {
			return err
		}
		p, err := f.Publisher(fmt.Sprintf("pub-%d", i), 1, topic)
		if err != nil {
			return err
		}
		p.Delivered = func() int64 { return s.Received }
	}
	names := make([]string, topics)
	for i := range names {
		names[i] = fmt.Sprintf("retained/%05d", i)
	}
	p, err := f.Publisher("retained", 1, names...)
	if err != nil {
		return err
	}
	p.Retain()
	p.Delivered = func() int64 { return p.Acked }
	return nil
}

// A watch compares the size of the directory with what is live.
type watch struct {
	e            *env
	samples      int
	over         int     // of them, over the bound
	most, live   float64 // the largest size, and what was live then
	last         map[string]float64
	spare        float64 // how much there was below the bound, at least
	spareSize    float64
	spareLive    float64
	memory       int64
	sizeAtEnd    int64
	largestTaken int64
}

// sample looks once.
func (w *watch) sample() (map[string]float64, error) {
	m, err := w.e.metrics()
	if err != nil {
		return nil, err
	}
	size, taken := w.e.disk()
	w.samples++
	w.last, w.sizeAtEnd = m, size
	w.largestTaken = max(w.largestTaken, taken)
	if float64(size) > w.most {
		w.most, w.live = float64(size), m[liveBytes]
	}
	spare := bound(m[liveBytes]) - float64(size)
	if spare < 0 {
		w.over++
	}
	if spare < w.spare {
		w.spare, w.spareSize, w.spareLive = spare, float64(size), m[liveBytes]
	}
	rss, err := w.e.RSS()
	w.memory = max(w.memory, rss)
	if w.samples%120 == 1 {
		w.e.log("written %s, rewritten %s, live %s, directory %s, memory %s",
			mib(m[writtenBytes]), mib(m[rewrittenBytes]), mib(m[liveBytes]), mib(size), mib(rss))
	}
	return m, err
}

func (w *watch) report(d time.Duration) {
	t := &w.e.table
	t.add("time, samples", "%v, %d", d.Round(time.Second), w.samples)
	t.add("written to the journal", "%s", mib(w.last[writtenBytes]))
	t.add("rewritten", "%s", mib(w.last[rewrittenBytes]))
	t.add("directory, at most", "%s with %s live; %s allocated", mib(w.most), mib(w.live), mib(w.largestTaken))
	t.add("directory at the end", "%s with %s live", mib(w.sizeAtEnd), mib(w.last[liveBytes]))
	t.add("nearest to the bound, 3 × live + 2 segments", "%s of %s, with %s live", mib(w.spareSize), mib(bound(w.spareLive)), mib(w.spareLive))
	t.add("over the bound", "in %d of %d samples", w.over, w.samples)
	t.add("memory, at most", "%s", mib(w.memory))
}
