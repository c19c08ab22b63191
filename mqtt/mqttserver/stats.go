package mqttserver

import "github.com/quartet-mq/quartet/internal/netserve"

// Stats are counts of a [Server] since New, or of a [Conn] since it was accepted. A Stats is a snapshot.
type Stats struct {
	Connections int64 // open now
	Accepted    int64 // all that were ever open
	Refused     int64 // among them those that got no CONNACK with reason success

	PacketsReceived  int64
	PacketsSent      int64 // put in the output buffer
	BytesReceived    int64
	BytesSent        int64 // taken by the operating system or the transport
	MessagesReceived int64 // PUBLISH packets
	MessagesSent     int64
	MessagesDropped  int64 // QoS 0, see Drop

	Buffered int64 // bytes of output that wait now
	Slow     int64 // connections that are slow now
}

// counts are what a connection counts, under its lock.
type counts struct {
	packetsReceived, packetsSent   int64
	bytesReceived, bytesSent       int64
	messagesReceived, messagesSent int64
	dropped                        int64
}

func (s *Stats) add(c *counts) {
	s.PacketsReceived += c.packetsReceived
	s.PacketsSent += c.packetsSent
	s.BytesReceived += c.bytesReceived
	s.BytesSent += c.bytesSent
	s.MessagesReceived += c.messagesReceived
	s.MessagesSent += c.messagesSent
	s.MessagesDropped += c.dropped
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
			st.add(&c.counts)
			st.Buffered += int64(c.out.Size())
			if c.slow {
				st.Slow++
			}
			c.mu.Unlock()
		}
	})
	return st
}
