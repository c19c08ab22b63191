//go:build !linux

package netio

import "net"

// Paced reports whether the kernel spreads what is sent to c over time although the peer is near. Only Linux tells.
func Paced(*net.TCPConn) bool { return false }
