package quicnet

import (
	"errors"
	"syscall"
)

// isOutage reports whether an error of sending says that the network is away.
func isOutage(err error) bool {
	for _, e := range []syscall.Errno{
		10049, // WSAEADDRNOTAVAIL
		10050, // WSAENETDOWN
		10051, // WSAENETUNREACH
		10055, // WSAENOBUFS
		10064, // WSAEHOSTDOWN
		10065, // WSAEHOSTUNREACH
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
