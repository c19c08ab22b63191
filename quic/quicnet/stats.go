package quicnet

import "sync/atomic"

// listenerCounters count what happens before there is a Conn.
type listenerCounters struct {
	retries, refused, silent, overloaded atomic.Uint64
}

// dialerCounters count dials.
type dialerCounters struct {
	failed, fallbacks atomic.Uint64
}
