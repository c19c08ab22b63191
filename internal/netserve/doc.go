// Package netserve has what the servers of several protocols share: accepting connections, what comes before the protocol
// on one (PROXY protocol, TLS, WebSocket), output that waits to be written, and closing without waiting.
package netserve
