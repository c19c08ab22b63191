package kafkaserver

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math"
	"time"
)

// Options are the options of a [Server]. The zero value is ready to use: each field says its default.
type Options struct {
	// Limits bound what clients may do and what they cost.
	Limits Limits

	// Mechanisms are the SASL mechanisms that are offered, in this order. Default SCRAM-SHA-512 and SCRAM-SHA-256 if the
	// backend has [SCRAM], PLAIN, and OAUTHBEARER on connections with TLS. An empty slice that is not nil offers none.
	// Whether a user may log in is up to [Backend].Authenticate in any case.
	Mechanisms []string

	// RequireSASL closes connections whose clients do not authenticate with SASL, as a listener SASL_PLAINTEXT or SASL_SSL of
	// Kafka does. Otherwise [Backend].Authenticate decides about them.
	RequireSASL bool

	// CertificateUser returns the user of a verified client certificate, empty for none. Default the distinguished name of
	// the subject as in RFC 2253, such as "CN=app,O=Example". It must be safe for concurrent use.
	CertificateUser func(*x509.Certificate) string

	// Advertise is the address, host:port, that clients are told to connect to, see [Conn.Advertised]. Default the address
	// on which they did connect.
	Advertise string

	// Trace observes the server; nil observes nothing.
	Trace *Trace

	// Logger takes what goes wrong; nil is silent. Records, passwords and tokens are never logged.
	Logger *slog.Logger
}

// Limits bound what clients may do and what they cost. Zero is the documented default, negative is no limit.
type Limits struct {
	// MaxConnections is how many connections may be open at a time. Default 100,000. One more is closed at once.
	MaxConnections int
	// MaxConnectionsPerIP is how many connections may be open from one address. Default none. One more is closed at once.
	MaxConnectionsPerIP int
	// HandshakeTimeout is how long a connection may take until the client is authenticated, with TLS and the backend's part.
	// Default 10 seconds. Then it is closed. Clients that need not authenticate may be silent for as long as IdleTimeout
	// after they asked for the versions.
	HandshakeTimeout time.Duration
	// IdleTimeout is how long a connection may stay open on which nothing moves and no request is in process. Default 10
	// minutes (connections.max.idle.ms).
	IdleTimeout time.Duration
	// StallTimeout is how long a client may take to send the next part of a request that it has begun, or to take a part of
	// the responses that wait for it. Then the connection is closed. Default 1 minute.
	StallTimeout time.Duration
	// FailureDelay is how long a client that failed to authenticate waits for the end of the connection. Default 100
	// milliseconds (connection.failed.authentication.delay.ms).
	FailureDelay time.Duration
	// MaxSession is how long a client that has authenticated with SASL may go on before it must do so again
	// (connections.max.reauth.ms). Default none.
	MaxSession time.Duration

	// MaxRequest is the size of the largest request, in bytes. Default 100 MiB (socket.request.max.bytes).
	MaxRequest int
	// MaxHandshake is the size of the largest request of a client that is not authenticated, in bytes. Default 512 KiB
	// (sasl.server.max.receive.size).
	MaxHandshake int
	// MaxElements is how many elements all arrays of a request may have together, because decoded an element can take many
	// times the memory that it has on the wire. [Request.Decode] and [Request.CheckElements] fail when there are more. Tagged fields that are not known
	// count, too. Default 200,000.
	MaxElements int
	// MaxInflight is how many requests of a connection may be in process at a time. Then it is not read until the first of
	// them is answered. Default 64.
	MaxInflight int
	// MaxFetches is how many requests of type Fetch of a connection may be in process at a time, because their responses
	// are large. Default 1.
	MaxFetches int
	// MaxStreams is how many streams a connection may have beside itself, with [StreamsProtocol]. Default 256. Further ones
	// wait in the transport until one ends. MaxInflight and MaxFetches hold for each stream; all other limits are for the
	// connection with all its streams.
	MaxStreams int
	// InflightBytes is how many bytes the requests of a connection in process may have before no more of them are read.
	// Default 32 MiB. One request is always read.
	InflightBytes int
	// MemoryLimit is how many bytes the requests of all connections may have, those that have not come whole too, before no
	// more of them are read. Default 1 GiB, or a quarter of the memory limit of the Go runtime if that is less. A connection
	// with nothing in process still may send a request of 16 KiB; what was begun is read to its end.
	MemoryLimit int64
	// OutputLimit is how many bytes of responses may wait on a connection, for the client or for the responses before them,
	// before no more of its requests are read. Default 1 MiB. The responses to what is in process are added to that.
	OutputLimit int
	// SendBuffer is how many bytes of output the kernel takes for a TCP connection (SO_SNDBUF, socket.send.buffer.bytes). By
	// default that is the system's choice, but 256 KiB where Linux paces the connection (BBR) and the client is less than
	// a millisecond away: the timers of a full buffer cost as much processor time there as sending does. Negative: always the
	// system's choice.
	SendBuffer int
}

// ListenerOptions are the options of one listener. Nil is plain Kafka (PLAINTEXT or SASL_PLAINTEXT).
type ListenerOptions struct {
	// Name is what [Conn.Listener] returns, for the backend and for logs.
	Name string
	// TLS makes the connections TLS. Its GetCertificate and GetConfigForClient let certificates change while the server
	// runs; its ClientAuth and ClientCAs ask for client certificates, which [Conn.TLS] shows.
	TLS *tls.Config
	// ProxyProtocol says that each connection begins with a header of the PROXY protocol, version 1 or 2, which tells
	// the addresses of the client. A connection without one is closed.
	ProxyProtocol bool
	// EarlyProduce takes Produce of idempotent producers in early data (0-RTT, [kafkawire.EarlyOptIn]), which somebody who
	// recorded it may send again: batches that a partition remembers are not appended again, those that it has forgotten
	// are. Only transports that keep early data from being taken twice should set it. Otherwise such a request waits for the
	// end of the handshake, as those that are never safe do in any case.
	EarlyProduce bool
	// Advertise is that of [Options] for this listener, if it is not empty.
	Advertise string
}

// orDefault returns v, def when it is zero, and none when it is negative.
func orDefault[T int | int64 | time.Duration](v, def, none T) T {
	switch {
	case v == 0:
		return def
	case v < 0:
		return none
	}
	return v
}

// forever is a duration that never ends and can be added to a time.
const forever = time.Duration(1 << 55)

// withDefaults returns l with every field set to what holds.
func (l Limits) withDefaults() Limits {
	l.MaxConnections = orDefault(l.MaxConnections, 100_000, math.MaxInt)
	l.MaxConnectionsPerIP = orDefault(l.MaxConnectionsPerIP, math.MaxInt, math.MaxInt)
	l.HandshakeTimeout = min(orDefault(l.HandshakeTimeout, 10*time.Second, forever), forever)
	l.IdleTimeout = min(orDefault(l.IdleTimeout, 10*time.Minute, forever), forever)
	l.StallTimeout = min(orDefault(l.StallTimeout, time.Minute, forever), forever)
	l.FailureDelay = orDefault(l.FailureDelay, 100*time.Millisecond, 0)
	l.MaxSession = min(orDefault(l.MaxSession, forever, forever), forever)
	l.MaxRequest = min(orDefault(l.MaxRequest, 100<<20, math.MaxInt32), math.MaxInt32)
	l.MaxHandshake = min(orDefault(l.MaxHandshake, 512<<10, math.MaxInt32), l.MaxRequest)
	l.MaxElements = orDefault(l.MaxElements, 200_000, 0)
	l.MaxInflight = orDefault(l.MaxInflight, 64, math.MaxInt)
	l.MaxFetches = orDefault(l.MaxFetches, 1, math.MaxInt)
	l.MaxStreams = orDefault(l.MaxStreams, 256, 1<<16)
	l.InflightBytes = orDefault(l.InflightBytes, 32<<20, math.MaxInt)
	l.MemoryLimit = orDefault(l.MemoryLimit, defaultMemory(), math.MaxInt64)
	l.OutputLimit = orDefault(l.OutputLimit, 1<<20, math.MaxInt)
	return l
}
