package kafkabroker

import (
	"sync"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// markerJob writes the markers of a transaction and waits until they are durable. Call write for each and then finish.
type markerJob struct {
	b    *Broker
	wait bool   // until they are durable, also where acks=all does not
	done func() // called once, when results are final; it may be called before finish returns

	mu      sync.Mutex
	left    int     // what is not done, and one for finish
	results []error // by index
}

// write writes a marker to a partition; nil is one that is not there. index is that of its result.
func (j *markerJob) write(index int, p *partition, m *kafka.Marker, version int16) {
	if p == nil || p.topic.deleted.Load() {
		j.results[index] = kafkawire.ErrUnknownTopicOrPartition
		return
	}
	batch, err := m.Append(nil)
	var res appendResult
	if err == nil {
		res, err = j.b.appendMarker(p, batch, int64(m.ProducerID), m.ProducerEpoch, m.Type == kafka.ControlCommit, version)
	}
	if err == nil && (j.wait || p.log.config().acksWait()) {
		j.mu.Lock()
		j.left++
		j.mu.Unlock()
		var pending bool
		pending, err = p.log.await(res.end, &markerWaiter{j, index, p})
		if pending {
			return
		}
		j.mu.Lock()
		j.left--
		j.mu.Unlock()
	}
	j.results[index] = gone(p, err)
}

// gone is the error for a partition that was deleted meanwhile.
func gone(p *partition, err error) error {
	if err != nil && p.topic.deleted.Load() {
		return kafkawire.ErrUnknownTopicOrPartition
	}
	return err
}

// finish says that nothing more will be written.
func (j *markerJob) finish() {
	if j.less() {
		j.done()
	}
}

// less reports whether that was the last.
func (j *markerJob) less() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.left--
	return j.left == 0
}

// markerWaiter waits until a marker is durable.
type markerWaiter struct {
	j     *markerJob
	index int
	p     *partition
}

// durable implements [durableWaiter].
func (w *markerWaiter) durable(err error) {
	w.j.results[w.index] = gone(w.p, err)
	if w.j.less() {
		w.j.b.spawn(w.j.done)
	}
}
