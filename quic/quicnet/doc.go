// Package quicnet carries the protocols of this module over QUIC (RFC 9000 and 9001): a Listener for servers and a
// Dialer for clients, on quic-go, none of whose types are part of this package.
//
// A Conn is a net.Conn whose bytes are those of one stream of the connection. Our servers and clients find out by
// assertion that it has more: further streams and datagrams, the name of the protocol that was agreed on, and the moment
// from which nothing can be a replay. Nothing but the program's own code names this package, so a program that does not
// use QUIC does not link it.
//
// # Servers
//
// One Listener has one UDP socket for all protocols. Each server gets a net.Listener of its own from Listener.Protocol,
// told apart by the name that the client asks for (ALPN, RFC 7301):
//
//	mqtt                     MQTT over QUIC, as EMQX does it
//	amqp                     AMQP on one stream
//	amqp-streams/1           AMQP 0-9-1, a stream for each channel
//	kafka                    Kafka on one stream
//	kafka-streams/1          Kafka, streams for Produce and for Fetch
//
// What travels on which stream is in docs/quic-profiles.md.
//
// # Clients
//
// Dialer.DialURL is a function for Options.Dialers of our clients. It tries QUIC, and TLS over TCP 250 ms later, because
// some networks let no UDP through. It never falls back to plain text. The UDP ports are 14567 for mqtt+quic, the one of
// EMQX, 5671 for amqp+quic and 9094 for kafka+quic, the ports that are usual for their TLS over TCP.
//
// # Early data
//
// A client that was there before can send its first bytes with the first packet of the handshake (0-RTT), and somebody who
// has recorded them can send them again. So there is none unless the server has a Guard (ListenOptions.EarlyData), which
// opens early data once for each session ticket, and the client asks for it (Dialer.EarlyData). Up to Conn.Confirmed both
// sides of our protocols keep to docs/quic-0rtt.md. What a server refuses is sent again by the Conn. A Store keeps tickets
// and address tokens, on disk if it is a DirStore.
//
// # Other networks
//
// A client's connections follow when the system would use another local address, see PathOptions, or when Conn.Migrate is
// called. A connection of which no path is left ends, and the client dials again.
//
// # The end of a connection
//
// Close never waits and loses nothing that was written before, on any stream; see Conn.Close. A program that is about to
// exit calls Shutdown of the Listener or Dialer, which waits for that.
//
// # Networks
//
// A server behind a load balancer that looks at addresses and ports alone loses a connection whose client moves to another
// address. ListenOptions.ConnectionIDs makes ids that a balancer can read. Servers that stand in for each other share a
// TokenKey, so that a client which has proved its address to one of them need not do so again.
//
// The kernel's limit for UDP buffers is often too small for fast links. quic-go asks for 7 MiB and, where it gets less,
// prints one line with package log; on Linux net.core.rmem_max and net.core.wmem_max lift the limit, and
// QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING in the environment silences the line.
//
// # What quic-go decides
//
// Some things cannot be chosen here, because quic-go v0.65 decides them:
//
//   - Congestion control is NewReno (RFC 9002, section 7) with a first window of 32 packets. On long paths with loss it
//     is slower than TCP with CUBIC or BBR.
//   - Keys are updated after the first 100 packets and then every 100,000 (RFC 9001, section 6). Nothing triggers that
//     from outside.
//   - On Linux it sends with generic segmentation offload and receives with recvmmsg where the kernel can; there is no
//     receive offload, and no segmentation offload elsewhere.
//   - ECN is marked and validated where the socket allows (RFC 9000, section 13.4), acknowledgements are sent by its own
//     rules, and the ACK_FREQUENCY extension is not used.
//   - Path MTU discovery (RFC 8899) raises the size of packets up to 1452 bytes where the system can set the
//     don't-fragment bit.
//   - A server announces no preferred address, and only clients migrate.
//   - 32 datagrams wait to be sent and 128 to be received, and nobody learns whether one arrived.
//   - QUIC versions 1 and 2 are spoken.
//
// QUIC is not faster than TCP where the path is good: it costs several times the CPU per byte, because packets are
// encrypted and sent from the process. It is worth it for connections that are set up in one round trip or none, for streams
// that do not wait for each other's lost packets, and for clients that change networks.
//
// # Errors
//
// What ends a connection or a stream is an *Error inside a *net.OpError. Errors of a whole connection wrap net.ErrClosed.
package quicnet
