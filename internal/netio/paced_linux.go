package netio

import (
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

// nearRTT is how long a round trip to a peer nearby takes at most, in microseconds.
const nearRTT = 1000

// Paced reports whether the kernel spreads what is sent to c over time (BBR) although the peer is less than a millisecond away.
// Then each packet that waits costs a timer. It is for new connections: the time of the handshake tells how far the peer is.
func Paced(c *net.TCPConn) (paced bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		control, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		if err != nil || !strings.HasPrefix(control, "bbr") {
			return
		}
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		paced = err == nil && 0 < info.Rtt && info.Rtt < nearRTT
	})
	return paced
}
