package kafkaclient

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// sink sends the batches of a producer to one broker, with streams those of a group of partitions. While there is something to send, one goroutine does.
//
// Locks are taken in the order topic, partition, sink.
type sink struct {
	p     *Producer
	id    kafkawire.BrokerID
	group int32 // of partitions that share a stream, 0 without streams

	mu         sync.Mutex
	parts      []*producerPartition // with something to send
	spare      []*producerPartition
	inflight   int  // requests
	running    bool // the goroutine
	again      bool // something has changed for it
	failures   int
	pauseUntil time.Time
	alarm      *time.Timer
	alarmAt    time.Time
	round      uint64
}

// sinkKey is what a sink is for.
type sinkKey struct {
	id    kafkawire.BrokerID
	group int32
}

// sink returns the sink for a broker and a group of partitions.
func (p *Producer) sink(id kafkawire.BrokerID, group int32) *sink {
	key := sinkKey{id, group}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sinks[key]
	if s == nil {
		s = &sink{p: p, id: id, group: group}
		p.sinks[key] = s
	}
	return s
}

// list notes that a partition has something to send. now tells that it need not wait for more. The partition's lock is
// held.
func (s *sink) list(part *producerPartition, now bool) {
	s.mu.Lock()
	if !part.listed {
		part.listed = true
		s.parts = append(s.parts, part)
	}
	switch {
	case s.running:
		s.again = true
	case now && s.inflight < s.p.o.MaxInFlight, s.p.o.Linger == 0 && s.inflight == 0:
		s.running = true
		go s.drain()
	case s.p.o.Linger > 0:
		s.setAlarm(time.Now().Add(s.p.o.Linger))
	}
	s.mu.Unlock()
}

// kick has the goroutine look again.
func (s *sink) kick() {
	s.mu.Lock()
	s.start()
	s.mu.Unlock()
}

// start is kick with s.mu held.
func (s *sink) start() {
	switch {
	case s.running:
		s.again = true
	case len(s.parts) > 0:
		s.running = true
		go s.drain()
	}
}

// setAlarm sees to a kick at a time, or earlier. s.mu is held.
func (s *sink) setAlarm(at time.Time) {
	if !s.alarmAt.IsZero() && !at.Before(s.alarmAt) {
		return
	}
	s.alarmAt = at
	d := max(time.Until(at), 0)
	if s.alarm != nil {
		s.alarm.Reset(d)
		return
	}
	s.alarm = time.AfterFunc(d, func() {
		s.mu.Lock()
		s.alarmAt = time.Time{}
		s.start()
		s.mu.Unlock()
	})
}

// drain sends what can be sent.
func (s *sink) drain() {
	for {
		now := time.Now()
		parts, idle, ok := s.begin(now)
		if !ok {
			return
		}
		k, err := s.conn()
		if err != nil {
			s.unreachable(parts, err)
			continue
		}
		req := newProduceRequest(s, k)
		kept, wake := s.pick(req, parts, now, idle)
		s.mu.Lock()
		late := s.parts
		s.parts = append(kept, late...)
		clear(late)
		s.spare = late[:0]
		s.failures = 0
		if len(req.items) == 0 {
			req.recycle()
			if !wake.IsZero() {
				s.setAlarm(wake)
			}
			if !s.again {
				s.running = false
				s.mu.Unlock()
				return
			}
			s.mu.Unlock()
			continue
		}
		s.inflight++
		s.mu.Unlock()
		req.send()
	}
}

// begin returns the partitions that have something to send, unless nothing may be sent now: then the goroutine ends. idle
// tells that no request is under way.
func (s *sink) begin(now time.Time) (parts []*producerPartition, idle, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = false
	if s.pauseUntil.After(now) {
		s.setAlarm(s.pauseUntil)
	} else if len(s.parts) > 0 && s.inflight < s.p.o.MaxInFlight {
		parts, s.parts, s.spare = s.parts, s.spare[:0], nil
		s.round = s.p.rounds.Add(1)
		return parts, s.inflight == 0, true
	}
	s.running = false
	return nil, false, false
}

// pick adds what is to be sent to a request. It returns the partitions that have more, those first whose turn it is, and
// when to look again.
func (s *sink) pick(req *produceRequest, parts []*producerPartition, now time.Time, idle bool) (kept []*producerPartition, wake time.Time) {
	kept = parts[:0]
	var served []*producerPartition
	for i, part := range parts {
		if req.size >= maxRequest {
			kept = append(kept, parts[i:]...)
			break
		}
		part.mu.Lock()
		if part.sink != s || part.round == s.round { // it moved, perhaps there and back
			part.mu.Unlock()
			continue
		}
		part.round = s.round
		b, x, at, more := part.pick(now, idle)
		done := part.take()
		part.listed = more
		part.mu.Unlock()
		s.p.finish(done)
		if !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
			wake = at
		}
		if b != nil {
			req.add(part, b, x)
		}
		switch {
		case more && b != nil:
			served = append(served, part)
		case more:
			kept = append(kept, part)
		}
	}
	clear(parts[len(kept):])
	return append(kept, served...), wake
}

// unreachable puts partitions back when there is no connection.
func (s *sink) unreachable(parts []*producerPartition, err error) {
	_, refused := errors.AsType[*AuthError](err)
	kept := parts[:0]
	s.mu.Lock()
	round := s.round
	s.mu.Unlock()
	for _, part := range parts {
		part.mu.Lock()
		if part.sink != s || part.err != nil || part.round == round { // it moved, has ended, or is listed twice
			part.mu.Unlock()
			continue
		}
		part.last, part.round = err, round
		part.mu.Unlock()
		kept = append(kept, part)
		if refused {
			part.fail(err, false)
		}
	}
	clear(parts[len(kept):])
	parts = kept
	s.mu.Lock()
	s.parts = append(parts, s.parts...)
	s.failures++
	s.pauseUntil = time.Now().Add(s.p.c.backoff(s.failures))
	s.mu.Unlock()
	s.p.c.meta.refresh()
}

// ended notes that a request has ended, and for how long the broker asks not to send another one.
func (s *sink) ended(throttle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inflight--
	if throttle > 0 {
		s.pauseUntil = time.Now().Add(throttle)
	}
	s.start()
}

// kickAll has everything looked at that waits.
func (p *Producer) kickAll() {
	p.mu.Lock()
	sinks := make([]*sink, 0, len(p.sinks))
	for _, s := range p.sinks {
		sinks = append(sinks, s)
	}
	p.mu.Unlock()
	for _, s := range sinks {
		s.kick()
	}
}

// produceItem is a batch in a request.
type produceItem struct {
	part *producerPartition
	b    *batch
	x    kafka.Sending
	id   kafkawire.UUID // of the topic, when it was sent; zero: unknown
	done bool
}

// produceRequest is a request with batches of several partitions.
type produceRequest struct {
	s       *sink
	k       *conn
	version int16
	items   []produceItem
	size    int
	head    []byte // everything but large batches
	cuts    []int  // where they belong
	large   [][]byte
	chunks  [][]byte
	resp    kafkawire.ProduceResponse
}

var produceRequestPool = sync.Pool{New: func() any { return new(produceRequest) }}

func newProduceRequest(s *sink, k *conn) *produceRequest {
	r := produceRequestPool.Get().(*produceRequest)
	r.s, r.k = s, k
	return r
}

func (r *produceRequest) recycle() {
	clear(r.items)
	clear(r.large)
	clear(r.chunks)
	*r = produceRequest{items: r.items[:0], head: r.head[:0], cuts: r.cuts[:0], large: r.large[:0], chunks: r.chunks[:0]}
	produceRequestPool.Put(r)
}

func (r *produceRequest) add(part *producerPartition, b *batch, x kafka.Sending) {
	it := produceItem{part: part, b: b, x: x}
	if id := part.t.id.Load(); id != nil {
		it.id = *id
	}
	r.items = append(r.items, it)
	r.size += b.size
}

// send encodes the request and sends it. Whatever happens, complete is called.
func (r *produceRequest) send() {
	s, k := r.s, r.k
	if err := r.choose(); err != nil {
		r.complete(nil, err)
		return
	}
	kept := r.items[:0]
	for _, it := range r.items {
		if it.part.encode(it.b, it.x) {
			kept = append(kept, it)
		}
	}
	clear(r.items[len(kept):])
	if r.items = kept; len(kept) == 0 {
		r.recycle()
		s.ended(0)
		return
	}
	if len(kept) > 1 {
		slices.SortStableFunc(r.items, func(a, b produceItem) int {
			if a.part.t == b.part.t {
				return 0
			}
			return compareNames(a.part.t.name, b.part.t.name)
		})
	}
	r.encode()
	s.p.counts.attempts.Add(uint64(len(r.items)))
	s.p.c.requests.Add(1)
	o := s.p.c.o
	if err := k.send(r, kafkawire.KeyProduce, r.version, 2*o.RequestTimeout, s.p.o.Acks != NoAcks, r.chunks...); err != nil {
		r.complete(nil, err)
	}
}

func compareNames(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// complete takes the response.
func (r *produceRequest) complete(f *frame, err error) {
	s := r.s
	throttle := time.Duration(0)
	switch {
	case err != nil:
		conn, ok := errors.AsType[*ConnError](err)
		r.lost(!ok || conn.Unsent, err)
		if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUnsupported) {
			s.p.c.meta.refresh()
		}
	case s.p.o.Acks == NoAcks:
		for _, it := range r.items {
			it.part.answered(it.b, it.x, &answer{offset: -1, time: -1})
		}
	default:
		if err := r.resp.Decode(f.body, f.version); err != nil {
			err = &ConnError{Broker: r.k.info.Broker, Addr: r.k.info.Addr, Err: protocolError(err.Error())}
			r.k.fail(err)
			r.lost(false, err)
			break
		}
		if f.version >= 6 { // as in throttleVersion
			throttle = min(time.Duration(max(r.resp.ThrottleTimeMs, 0))*time.Millisecond, maxThrottle)
			s.p.c.throttled.Add(int64(throttle))
		}
		r.answered()
	}
	r.recycle()
	s.ended(throttle)
}

// lost ends all attempts that have no answer.
func (r *produceRequest) lost(unsent bool, err error) {
	for i := range r.items {
		if it := &r.items[i]; !it.done {
			if errors.Is(err, ErrUnsupported) {
				it.part.impossible(it.b, it.x, err)
			} else {
				it.part.lost(it.x, unsent, err)
			}
		}
	}
}

// answered gives each batch its answer.
func (r *produceRequest) answered() {
	for _, n := range r.resp.NodeEndpoints {
		r.s.p.c.meta.addBroker(n.NodeID, n.Host, n.Port, n.Rack)
	}
	next := 0
	for i := range r.resp.Responses {
		t := &r.resp.Responses[i]
		for j := range t.PartitionResponses {
			p := &t.PartitionResponses[j]
			it := r.find(&next, t, p.Index)
			if it == nil {
				continue
			}
			it.done = true
			it.part.answered(it.b, it.x, &answer{code: p.ErrorCode, text: p.ErrorMessage, offset: p.BaseOffset, time: p.LogAppendTimeMs,
				errs: p.RecordErrors, leader: p.CurrentLeader})
		}
	}
	for i := range r.items {
		if !r.items[i].done {
			r.lost(false, protocolError("a produce response without all partitions"))
			return
		}
	}
}

// find returns the batch of a partition. It is most likely the next one.
func (r *produceRequest) find(next *int, t *kafkawire.ProduceResponseTopic, index int32) *produceItem {
	for range r.items {
		it := &r.items[*next%len(r.items)]
		*next++
		if it.part.index != index || it.done {
			continue
		}
		if r.version < 13 && it.part.t.wire == t.Name || r.version >= 13 && it.id == t.TopicID {
			return it
		}
	}
	return nil
}
