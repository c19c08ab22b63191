package kafkaserver

import (
	"net"

	"github.com/quartet-mq/quartet/internal/netio"
)

// pacedBuffer is the size of the kernel's buffer for output that is paced on a short way: enough for 256 MiB a second when
// the way takes a millisecond.
const pacedBuffer = 256 << 10

// setSendBuffer sets the size of the kernel's buffer for what is sent on a new connection.
func (s *Server) setSendBuffer(c *net.TCPConn) {
	size := s.limits.SendBuffer
	if size == 0 && netio.Paced(c) {
		size = pacedBuffer
	}
	if size > 0 {
		c.SetWriteBuffer(size)
	}
}
