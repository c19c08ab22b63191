package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// An env is what a scenario runs in: a fresh broker and how much to do.
type env struct {
	*peer.Proc
	// d is the time of a measurement, warm the time before it, quiet the time after which nothing more is expected.
	d, warm, quiet time.Duration
	// few divides the counts of connections, retained messages and subscriptions; 1 in a real run.
	few int
}

// A row is one line of the throughput table.
type row struct {
	name string
	// durable puts the line into a table of its own.
	durable bool
	// cpu is the broker's processor time per message; load is the generator's, where the generator is to be the cheaper one.
	cpu, load time.Duration
	// rate is messages (deliveries, where there are several) per second.
	rate float64
	lost int64
	// repeated counts deliveries that came again, late those that came after a later message of their publisher.
	repeated, late int64
}

// A figure is one line of the other table.
type figure struct {
	name  string
	value float64
	// higher says that a higher value is better.
	higher bool
	// context says that the value does not belong to a broker, so it has no best.
	context bool
}

// An outcome is what a scenario has measured.
type outcome struct {
	rows    []row
	figures []figure
}

// A meter measures from start to stop.
type meter struct {
	e   *env
	at  time.Time
	cpu time.Duration
}

func (e *env) start() (*meter, error) {
	cpu, err := e.CPU()
	return &meter{e: e, at: time.Now(), cpu: cpu}, err
}

// stop returns the row for n messages.
func (m *meter) stop(name string, n int64) (row, error) {
	d := time.Since(m.at)
	cpu, err := m.e.CPU()
	if err != nil {
		return row{}, err
	}
	if n <= 0 {
		return row{}, fmt.Errorf("%s: nothing got through", name)
	}
	return row{
		name:    name,
		durable: m.e.Data != "",
		cpu:     (cpu - m.cpu) / time.Duration(n),
		rate:    float64(n) / d.Seconds(),
	}, nil
}

// ownCPU returns the processor time of the load generator.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// settle waits for the broker to come to rest and returns its memory.
func (e *env) settle() (int64, error) {
	time.Sleep(e.quiet)
	return e.RSS()
}

// count scales a number of connections or messages.
func (e *env) count(n int) int { return max(n/e.few, 10) }

// A flow is publishers and subscribers.
type flow interface {
	// Publish publishes until the given time, Drain waits for what is under way.
	Publish(until time.Time) error
	Drain(quiet time.Duration) error
	// Received and Lost count deliveries.
	Received() int64
	Lost() int64
	Disorder() (repeated, late int64)
}

// patience is how long something may take that is not measured. When the time of a scenario is short, a busy machine may get
// nothing through in it; then it goes on until something does.
const patience = time.Minute

// measure publishes for a while to warm up, then for the time of a scenario.
func measure(e *env, f flow, name string) (row, error) {
	if err := f.Publish(time.Now().Add(e.warm)); err != nil {
		return row{}, err
	}
	m, err := e.start()
	if err != nil {
		return row{}, err
	}
	before, cpu := f.Received(), ownCPU()
	if err := f.Publish(time.Now().Add(e.d)); err != nil {
		return row{}, err
	}
	for f.Received() == before && time.Since(m.at) < e.d+patience {
		if err := f.Publish(time.Now().Add(e.d)); err != nil {
			return row{}, err
		}
	}
	n := f.Received() - before
	r, err := m.stop(name, n)
	if err != nil {
		return row{}, err
	}
	r.load = (ownCPU() - cpu) / time.Duration(n)
	if err := f.Drain(e.quiet); err != nil {
		return row{}, err
	}
	r.lost = f.Lost()
	r.repeated, r.late = f.Disorder()
	return r, nil
}
