package amqpserver

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Options are the options of a [Server]. The zero value is ready to use: each field says its default.
type Options struct {
	// Limits bound what clients may do and what they cost.
	Limits Limits

	// Mechanisms are the SASL mechanisms that are offered, in this order: PLAIN, AMQPLAIN, EXTERNAL, ANONYMOUS. Default
	// PLAIN and AMQPLAIN, and EXTERNAL on connections with a verified certificate of the client. EXTERNAL is never
	// offered on others. Whether a user may log in is up to [Backend].Authenticate in any case.
	Mechanisms []string

	// CertificateUser returns the user of a verified client certificate for EXTERNAL, empty for none. Default the
	// distinguished name of the subject as in RFC 2253, such as "CN=app,O=Example". It must be safe for concurrent use.
	CertificateUser func(*x509.Certificate) string

	// Properties are added to the server properties of connection.start, or replace those of the same name: product,
	// version, platform, copyright, information, cluster_name. The table must not change any more.
	Properties amqp091.Table

	// WebSocketOrigins are the hosts, beside the one that is asked, from which browsers may connect by WebSocket: patterns
	// as in path.Match, "*" for every one. Clients that are not browsers send no origin and are not concerned.
	WebSocketOrigins []string

	// Trace observes the server; nil observes nothing.
	Trace *Trace

	// Logger takes what goes wrong; nil is silent. Bodies and passwords are never logged.
	Logger *slog.Logger
}

// Limits bound what clients may do and what they cost. Zero is the documented default, negative is no limit.
type Limits struct {
	// MaxConnections is how many connections may be open at a time. Default 100,000. One more is closed at once.
	MaxConnections int
	// HandshakeTimeout is how long a connection may take until connection.open-ok, with TLS, WebSocket and the backend's
	// part. Default 10 seconds. Then it is closed. A client may take as long to answer connection.close, and a backend for a
	// new secret, and a stream until the channel.open on it.
	HandshakeTimeout time.Duration
	// AuthFailureDelay is how long a client that was refused waits for the end of the connection, if it has not the
	// capability authentication_failure_close. Default 3 seconds.
	AuthFailureDelay time.Duration

	// FrameMax is the size of the largest frame in both directions, in bytes, with its eight bytes around the payload.
	// Default 131,072, at least 4096. Clients may ask for less.
	FrameMax int
	// ChannelMax is how many channels a connection may have open. Default 2047, at most 65,535.
	ChannelMax int
	// Heartbeat is the interval that is proposed to clients, in full seconds; they may choose another one. A connection
	// from which nothing came for two intervals is closed. Default 60 seconds, negative is none.
	Heartbeat time.Duration
	// MaxMessage is the size of the largest body of a message, in bytes. Default 16 MiB. A larger one closes the channel
	// with 406 PRECONDITION_FAILED. Messages that are not complete may have four times as much on a connection; then it is
	// closed with 506 RESOURCE_ERROR.
	MaxMessage int

	// SoftLimit is how many bytes of output may wait on a connection before [Channel.Deliver] says no. Default 512 KiB.
	SoftLimit int
	// HardLimit is how many bytes of output may wait on a connection at all, with answers and returns. From half of it on
	// the connection is not read. Beyond it the connection is closed. Default 16 MiB, at least twice SoftLimit.
	//
	// Where each channel has a stream of its own (amqp091.Streams), one may have a quarter of what all of them leave of
	// half of HardLimit; then its consumers and its input wait. SoftLimit holds for each stream.
	HardLimit int
	// SlowTimeout is how long a connection may take none of the output that waits for it. Then it is closed. Default
	// 1 minute. A channel that has a stream of its own is closed alone.
	SlowTimeout time.Duration
}

// ListenerOptions are the options of one listener. Nil is plain AMQP.
type ListenerOptions struct {
	// Name is what [Conn.Listener] returns, for the backend and for logs.
	Name string
	// TLS makes the connections TLS. Its GetCertificate and GetConfigForClient let certificates change while the server
	// runs; its ClientAuth and ClientCAs ask for client certificates, which [Conn.TLS] shows.
	TLS *tls.Config
	// WebSocket makes the connections WebSocket (subprotocol "amqp"), with any path.
	WebSocket bool
	// ProxyProtocol says that each connection begins with a header of the PROXY protocol, version 1 or 2, which tells
	// the addresses of the client. A connection without one is closed.
	ProxyProtocol bool
}
