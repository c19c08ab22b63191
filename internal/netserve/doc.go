// Package netserve has what the servers of several protocols share: the [Door] that connections come through, with what comes
// before the protocol (PROXY protocol, TLS, WebSocket), output that waits to be written, and closing without waiting.
package netserve
