package amqpserver

import "github.com/quartet-mq/quartet/internal/netserve"

// Stats are counts of a [Server] since New, or of a [Conn] since it was accepted. A Stats is a snapshot.
type Stats struct {
	Connections int64 // open now
	Accepted    int64 // all that were ever open
	Refused     int64 // among them those that got no connection.open-ok
	Channels    int64 // open now
	Blocked     int64 // connections that are blocked now

	BytesReceived int64
	BytesSent     int64 // taken by the operating system or the transport
	Published     int64 // messages from clients
	Confirmed     int64 // messages from clients that were confirmed or refused
	Returned      int64 // messages
	Delivered     int64 // messages to consumers
	Got           int64 // messages by basic.get

	Buffered int64 // bytes of output that wait now
}

// counts are what a connection counts, under its lock.
type counts struct {
	bytesReceived, bytesSent       int64
	published, confirmed, returned int64
	delivered, got                 int64
}

func (s *Stats) add(c *counts) {
	s.BytesReceived += c.bytesReceived
	s.BytesSent += c.bytesSent
	s.Published += c.published
	s.Confirmed += c.confirmed
	s.Returned += c.returned
	s.Delivered += c.delivered
	s.Got += c.got
}

// addNow adds what a connection has now, with its lock held.
func (s *Stats) addNow(c *Conn) {
	s.add(&c.counts)
	s.Channels += int64(len(c.channels))
	s.Buffered += int64(c.waiting())
	if c.blocked {
		s.Blocked++
	}
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

// Stats returns the counts of this connection; Connections, Accepted and Refused are zero.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s Stats
	s.addNow(c)
	return s
}
