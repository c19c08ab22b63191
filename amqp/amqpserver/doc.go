// Package amqpserver serves AMQP 0-9-1 connections for a backend of one's own: it owns the connections, their machines,
// the limits and the output buffers, and calls the backend in the protocol's words. Package amqpbroker is such a backend,
// with exchanges, queues and storage.
//
// # Backend and session
//
// A [Backend] decides who may connect and returns a [Session]: its end of one connection. The server calls the methods
// of a Session one at a time, in the order in which the client sent, mostly from the goroutine that reads the
// connection, and holds no lock of its own meanwhile. So a backend may call every method of any [Conn], [Channel] and
// [Consumer] under its own locks, and must not wait for another connection inside a call.
//
// Whatever a backend sends is collected in a [Batch] and leaves when the batch is flushed, which the server does after
// each read. Nobody waits for a slow peer: one non-blocking write is tried, the rest goes to a transient goroutine.
//
// # Back-pressure
//
// [Channel.Deliver] says no when the client has no credit (basic.qos) or its output waits beyond a soft limit;
// Session.Ready tells when it is worth trying again. [Conn.Block] stops the reader of a connection that publishes, and
// tells clients that know connection.blocked. A client that does not take the answers to what it sends is not read any
// more.
//
// # Transports
//
// [Server.Serve] takes any net.Listener: TCP, Unix sockets, memory; with TLS, WebSocket and the PROXY protocol by
// [ListenerOptions]. [Server.Handler] serves WebSocket from an http.Server of one's own.
//
// # Streams
//
// Over QUIC (package quic/quicnet) a client and a server may agree on the profile [amqp091.Streams], which gives each channel a
// stream of its own: a packet that is lost delays one channel and no other. A backend notices nothing of it. The calls of a
// Session are one at a time as ever; those of one channel are in the order in which the client sent, and there is no order
// between channels. What waits for a client is bounded over all its channels, and a channel of which it takes nothing leaves the
// others room. docs/quic-profiles.md has the rules.
//
// On a connection whose handshake is not complete (0-RTT) a login is not looked at before it is: [amqp091.EarlyData].
package amqpserver
