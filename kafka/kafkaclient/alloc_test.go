package kafkaclient

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/alloctest"
)

// Producing allocates nothing per record besides the record: batches and requests are used again.
func TestProduceAllocs(t *testing.T) {
	_, o := startBroker(t, 1, nil)
	cl := newTestClient(t, o)
	createTopic(t, cl, "a", 1)
	p := newTestProducer(t, cl, &ProducerOptions{Linger: time.Second}) // full batches, however slow the machine is
	const records = 5000
	list := make([]*Record, records)
	for i := range list {
		list[i] = &Record{Topic: "a", Key: []byte("key"), Value: make([]byte, 100)}
	}
	var failed atomic.Int64
	done := func(_ *Record, err error) {
		if err != nil {
			failed.Add(1)
		}
	}
	ctx := t.Context()
	run := func() {
		for _, r := range list {
			if err := p.ProduceAsync(ctx, r, done); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	run()
	// The broker is in the process and allocates for each request; there are few of them.
	if n := alloctest.PerRun(5, 0.2*records, run) / records; n > 0.2 {
		t.Errorf("%.2f allocations for each record", n)
	}
	if failed.Load() > 0 {
		t.Errorf("%d failed", failed.Load())
	}
}
