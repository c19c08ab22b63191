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

	Streams           int64 // data streams that were accepted, see [Conn.PublishStream]
	DatagramsReceived int64 // messages of QoS 0, among MessagesReceived
	DatagramsSent     int64 // among MessagesSent; whether they arrive nobody knows
	DatagramsDropped  int64 // that came and were no PUBLISH of QoS 0, or that the transport did not take
	DatagramsTooLarge int64 // messages that went on a stream because the path takes no datagram of that size

	Buffered int64 // bytes of output that wait now
	Slow     int64 // connections that are slow now, and data streams
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

// addOutput adds what waits, with c.mu held.
func (c *Conn) addOutput(s *Stats) {
	size, slow := c.out.Size(), c.slow
	if c.ext != nil {
		size += c.ext.size
		for _, d := range c.ext.open {
			if d.slow {
				s.Slow++
			}
		}
		c.ext.addTo(s)
	}
	s.Buffered += int64(size)
	if slow {
		s.Slow++
	}
}

// addTo adds what the extension counts, with c.mu held.
func (x *extension) addTo(s *Stats) {
	s.Streams += x.accepted
	s.DatagramsReceived += x.datagramsReceived
	s.DatagramsSent += x.datagramsSent
	s.DatagramsDropped += x.datagramsDropped
	s.DatagramsTooLarge += x.datagramsTooLarge
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
			c.addOutput(&st)
			c.mu.Unlock()
		}
	})
	return st
}
