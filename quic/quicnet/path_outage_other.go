//go:build !windows

package quicnet

import (
	"errors"
	"syscall"
)

// isOutage reports whether an error of sending says that the network is away.
func isOutage(err error) bool {
	for _, e := range []syscall.Errno{syscall.EADDRNOTAVAIL, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.ENOBUFS,
		syscall.EHOSTDOWN, syscall.EHOSTUNREACH} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
