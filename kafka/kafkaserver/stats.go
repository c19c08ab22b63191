package kafkaserver

import (
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Stats are counts of a [Server] since New, or of a [Conn] since it was accepted. A Stats is a snapshot.
type Stats struct {
	Connections int64 // open now
	Accepted    int64 // all that were ever open
	Refused     int64 // among them those whose client was not let in

	BytesReceived int64
	BytesSent     int64 // taken by the operating system or the transport
	Requests      int64
	Responses     int64

	Inflight      int64 // requests in process now
	InflightBytes int64 // their bytes
	Buffered      int64 // bytes of responses that wait now
	Paused        int64 // connections, or streams, that are not read now: they have too much in process, or take too little
	Streams       int64 // that are open now beside the connections themselves, see StreamsProtocol
}

// RequestStats are counts of one API key since New.
type RequestStats struct {
	// Requests is how many were answered.
	Requests int64
	// Time is how long they were in process, all together.
	Time time.Duration
}

// counts are what a connection counts, under its lock.
type counts struct {
	received, sent      int64
	requests, responses int64
}

// keyCounts are what a server counts for each API key.
type keyCounts [kafkawire.Keys]struct{ requests, time atomic.Int64 }

// answered notes that a request was answered.
func (k *keyCounts) answered(key kafkawire.APIKey, d time.Duration) {
	if key >= 0 && int(key) < len(k) {
		k[key].requests.Add(1)
		k[key].time.Add(int64(d))
	}
}

func (s *Stats) add(c *counts) {
	s.BytesReceived += c.received
	s.BytesSent += c.sent
	s.Requests += c.requests
	s.Responses += c.responses
}

// addNow adds what a connection has now, with its lock held.
func (s *Stats) addNow(c *Conn) {
	s.add(&c.counts)
	s.InflightBytes += int64(c.bytes)
	s.Buffered += int64(c.output)
	s.Streams += int64(len(c.others))
	c.eachStream(func(st *stream) {
		s.Inflight += int64(st.queue.len())
		if st.paused {
			s.Paused++
		}
	})
}

// Stats returns the counts of all connections, those that have ended too. It looks at each connection: it is for
// monitoring, a few times a second at most.
func (s *Server) Stats() Stats {
	var st Stats
	s.door.Look(func(conns map[*Conn]struct{}, n netserve.Counts) {
		st = s.past
		st.Connections, st.Accepted, st.Refused = int64(n.Open), n.Accepted, n.Refused
		for c := range conns {
			c.mu.Lock()
			st.addNow(c)
			c.mu.Unlock()
		}
	})
	return st
}

// RequestStats returns the counts of an API key.
func (s *Server) RequestStats(key kafkawire.APIKey) RequestStats {
	if key < 0 || int(key) >= len(s.counts) {
		return RequestStats{}
	}
	k := &s.counts[key]
	return RequestStats{Requests: k.requests.Load(), Time: time.Duration(k.time.Load())}
}

// Stats returns the counts of this connection; Connections, Accepted and Refused are zero.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s Stats
	s.addNow(c)
	return s
}
