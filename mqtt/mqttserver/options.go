package mqttserver

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// Options are the options of a [Server]. The zero value is ready to use: each field says its default.
type Options struct {
	// Limits bound what clients may do and what they cost.
	Limits Limits

	// ServerReference names other servers (section 4.11). When it is set, Shutdown sends it to version 5 clients, with
	// ReasonUseAnotherServer or, if ServerMoved is set, with ReasonServerMoved.
	ServerReference string
	ServerMoved     bool

	// WebSocketOrigins are the hosts, beside the one that is asked, from which browsers may connect by WebSocket: patterns
	// as in path.Match, "*" for every one. Clients that are not browsers send no origin and are not concerned.
	WebSocketOrigins []string

	// Trace observes the server; nil observes nothing.
	Trace *Trace

	// Logger takes what goes wrong; nil is silent. Payloads are never logged.
	Logger *slog.Logger
}

// Limits bound what clients may do and what they cost. Zero is the documented default, negative is no limit.
type Limits struct {
	// MaxConnections is how many connections may be open at a time. Default 100,000. One more gets a CONNACK with
	// ReasonServerBusy.
	MaxConnections int
	// ConnectRate is how many connections per second are accepted, with bursts of as many. Default 10,000. One more
	// gets a CONNACK with ReasonConnectionRateExceeded.
	ConnectRate int
	// ConnectTimeout is how long a connection may take until the CONNACK, with TLS, WebSocket and Backend.Connect.
	// Default 10 seconds.
	ConnectTimeout time.Duration

	// MaxPacketSize is the largest packet that a client may send, in bytes. Default 1 MiB.
	MaxPacketSize int
	// MaxInflight is how many QoS 1 and 2 messages of a client may be unacknowledged at a time: the receive maximum
	// told to version 5 clients. Default 1024, at most 65,535.
	MaxInflight int
	// MaximumQoS is the highest QoS that clients may publish with: 1 or 2. Default 2, negative is QoS 0 only.
	MaximumQoS int
	// MaxKeepAlive is the longest keep alive. Version 5 clients that ask for more, or for none, are told to use this
	// one. Default none.
	MaxKeepAlive time.Duration
	// TopicAliases is how many topic aliases a version 5 client may use. Default 64, at most 65,535.
	TopicAliases int
	// SendAliases is how many topic aliases the server assigns on a connection, within what the client allows.
	// Default 16, at most 65,535.
	SendAliases int
	// MaxTopicLevels is how many levels a topic name or filter may have. Default 128.
	MaxTopicLevels int
	// MaxTopicLength is how long a topic name or filter may be, in bytes. Default 4096.
	MaxTopicLength int
	// MaxSubscriptions is how many subscriptions a client may have, see [Subscriptions]. Default 131,072. One more is
	// answered with ReasonQuotaExceeded.
	MaxSubscriptions int

	// PublishRate is how many messages per second a client may publish. Default none. A client that publishes faster is
	// read more slowly.
	PublishRate int
	// PublishBurst is how many messages a client may publish at once when PublishRate is set. Default one second's.
	PublishBurst int
	// RateDisconnects makes the server send away a client that exceeds PublishRate, with ReasonMessageRateTooHigh.
	RateDisconnects bool

	// SoftLimit is how many bytes of output may wait on a connection before those who publish to it pause. Default
	// 512 KiB.
	SoftLimit int
	// HardLimit is how many bytes of output may wait on a connection before messages to it are dropped or refused.
	// Default 8 MiB.
	HardLimit int
	// MaxQueued is how many messages may wait as output on a connection before messages to it are dropped or refused.
	// Default 65,536.
	MaxQueued int
	// MaxStreams is how many data streams a connection may have at a time, where its transport has streams. Default 256. More
	// are left to the transport until one ends. SoftLimit, HardLimit and MaxQueued hold for all streams together.
	MaxStreams int
	// PublisherPause is how long a reader pauses at most after it has published to connections beyond their soft limit.
	// A connection that takes nothing for so long, or does not recover for ten times as long, is slow and makes nobody
	// pause until it has recovered. Default 100 milliseconds.
	PublisherPause time.Duration
	// SlowTimeout is how long a connection may take none of the output that waits for it. Then it is closed; a data stream is
	// closed alone. Default 1 minute.
	SlowTimeout time.Duration

	// MemoryLimit is how many bytes of heap may be in use before the server takes no more messages and connections:
	// QoS 0 is dropped and counted, QoS 1 and 2 are answered with ReasonQuotaExceeded (before version 5 the connection
	// is closed, unacknowledged), a CONNECT with ReasonServerBusy. Default nine tenths of the memory limit of the
	// process (GOMEMLIMIT) if there is one, otherwise none.
	MemoryLimit int64
	// MemoryUsed replaces the measure for MemoryLimit. Default is the heap in use by runtime/metrics. It is called about
	// ten times a second while there is traffic, by one goroutine at a time.
	MemoryUsed func() int64
}

// ListenerOptions are the options of one listener. Nil is plain MQTT.
type ListenerOptions struct {
	// Name is what [Conn.Listener] returns, for the backend and for logs.
	Name string
	// TLS makes the connections TLS. Its GetCertificate and GetConfigForClient let certificates change while the server
	// runs; its ClientAuth and ClientCAs ask for client certificates, which [Conn.TLS] shows.
	TLS *tls.Config
	// WebSocket makes the connections WebSocket, with any path.
	WebSocket bool
	// ProxyProtocol says that each connection begins with a header of the PROXY protocol, version 1 or 2, which tells
	// the addresses of the client. A connection without one is closed.
	ProxyProtocol bool
	// EarlyPublish takes PUBLISH of QoS 0 and 1 from early data (0-RTT): whoever has recorded it may have sent it a second time,
	// where the transport does not prevent that. Without it they wait until the handshake is complete, as all packets do that
	// [mqtt.EarlyData] does not call safe or guarded.
	EarlyPublish bool
	// Datagrams lets messages of QoS 0 travel as datagrams of the transport, which may be lost, with clients that ask for it
	// by the user property quartet-datagrams in CONNECT.
	Datagrams bool
}
