package quicnet

import (
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// socketLinger is how long a Dialer keeps a socket without connections: for the next one, and to repeat the last packet
// of the previous one to a peer that has not got it (RFC 9000, section 10.2.1).
const socketLinger = 2 * time.Second

// socket is a UDP socket of a Dialer with its transport. Connections that are dialled over it, and those that have
// moved to it, hold it by acquire and release.
type socket struct {
	tr  *quic.Transport
	pc  net.PacketConn
	own bool // pc is ours to close

	mu     sync.Mutex
	refs   int
	closed bool
	timer  *time.Timer
	down   chan struct{} // closed when the socket is closed
}

// newSocket returns a socket without a holder.
func newSocket(pc net.PacketConn, own bool) *socket {
	return &socket{
		tr:   &quic.Transport{Conn: pc, ConnectionIDLength: connectionIDLen},
		pc:   pc,
		own:  own,
		down: make(chan struct{}),
	}
}

// acquire makes the caller a holder. It fails once the socket is closed.
func (s *socket) acquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.refs++
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	return true
}

// release is the end of a holder. The socket closes some time after the last one.
func (s *socket) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs--; s.refs == 0 && !s.closed {
		s.timer = time.AfterFunc(socketLinger, func() { s.end(true) })
	}
}

// close closes the socket, whoever holds it, and waits for that.
func (s *socket) close() { s.end(false) }

// end is close; with idle it does nothing when somebody holds the socket.
func (s *socket) end(idle bool) {
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		<-s.down
		return
	case idle && s.refs > 0: // since the timer has fired
		s.mu.Unlock()
		return
	}
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	_ = s.tr.Close()
	if s.own {
		_ = s.pc.Close()
	}
	close(s.down)
}
