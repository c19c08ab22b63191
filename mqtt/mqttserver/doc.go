// Package mqttserver serves MQTT 3.1, 3.1.1 and 5.0 connections for a backend of one's own: it owns the connections,
// their session machines, the limits and the output buffers, and calls the backend in the protocol's words. Package
// mqttbroker is such a backend, with routing, retained messages and queues.
//
// # Connection and session
//
// A [Backend] has one method, Connect, which decides who may connect and returns a [Session]: the backend's end of one
// connection of a client. The server calls the methods of a Session one at a time, in the order of the packets, mostly
// from the goroutine that reads the connection, and holds no lock of its own meanwhile. So a backend may call every
// method of any [Conn] under its own locks, and must not wait for another connection inside a call.
//
// Whatever a backend sends is collected in a [Batch] and leaves when the batch is flushed, which the server does after
// each read. Nobody waits for a slow peer: one non-blocking write is tried, the rest goes to a transient goroutine.
//
// # Back-pressure
//
// A connection whose output waits beyond the soft limit makes the readers of those who publish to it pause for a bounded
// time ([Limits].PublisherPause). If it does not recover by then it is slow, and stops nobody any more. Beyond the hard
// limit messages of QoS 0 are dropped and counted; those of QoS 1 and 2 are refused, and Session.Ready tells when it is
// worth trying again.
//
// # Transports
//
// [Server.Serve] takes any net.Listener: TCP, Unix sockets, memory; with TLS, WebSocket and the PROXY protocol by
// [ListenerOptions]. [Server.Handler] serves WebSocket from an http.Server of one's own.
//
// # Streams and datagrams
//
// A connection whose transport has several streams (QUIC, package quicnet) may use them: clients publish and subscribe on
// data streams of their own, answers return there, and a [StreamSession] sends messages on the stream of their
// subscription. What waits in all streams of a connection is bounded together, and none of them can take what the others
// need. Messages of QoS 0 may travel as datagrams, and early data (0-RTT) is handled as far as [mqtt.EarlyData] and the
// [ListenerOptions] allow it. docs/quic-profiles.md has the rules. On TCP none of this costs anything.
package mqttserver
