package mqttclient

import (
	"net/url"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// Trace observes a client. Each function may be nil. They are called synchronously, the packet functions with a lock
// held: they must return soon, must not call the client and must not keep packets or slices.
type Trace struct {
	// Dial: an attempt to connect begins.
	Dial func(server *url.URL, v mqtt.Version)
	// Connected: the server accepted.
	Connected func(Info)
	// Failed: an attempt to connect failed.
	Failed func(server *url.URL, err error)
	// Disconnected: the connection has ended; err is nil after Disconnect or Close.
	Disconnected func(err error)
	// Backoff: the client waits before the next round through its servers.
	Backoff func(d time.Duration)
	// PacketSent: a packet went into the output buffer.
	PacketSent func(mqtt.Packet)
	// PacketReceived: a packet came.
	PacketReceived func(mqtt.Packet)
}

// Info describes a connection.
type Info struct {
	Server         *url.URL // with user name and password, if they were in it
	Version        mqtt.Version
	ClientID       string
	SessionPresent bool
	// Properties are those of CONNACK: limits, response information, user properties. They must not be changed.
	Properties mqtt.Properties

	Streams     bool // Options.Streams is at work: the connection may have data streams
	StreamsKept bool // the server keeps what is in flight on one that ends
	Datagrams   bool // QoS 0 messages take datagrams
}

// Stats are counters since the client was made, and gauges.
type Stats struct {
	Connects         uint64 // connections that the server accepted
	PublishesSent    uint64 // PUBLISH packets sent, repetitions included
	MessagesReceived uint64 // messages handed to subscriptions
	Dropped          uint64 // QoS 0 messages that full subscription buffers dropped
	Unrouted         uint64 // messages without a subscription that were dropped
	Duplicates       uint64 // repeated messages recognised and not handed out again
	BytesSent        uint64
	BytesReceived    uint64
	Queued           int // messages published and not sent yet
	QueuedBytes      int
	Inflight         int // messages published and not acknowledged yet

	// Of Options.Streams.
	Streams           int    // data streams that are open now
	StreamsOpened     uint64 // data streams that were opened
	StreamsLost       uint64 // of them, that the server or the network ended
	DatagramsSent     uint64 // QoS 0 messages sent in datagrams; the network and full queues below may lose them
	DatagramsRefused  uint64 // QoS 0 messages that took a stream because the path did not take the datagram, as when it is too large
	DatagramsReceived uint64 // messages that came in datagrams
	DatagramsDropped  uint64 // datagrams that came and were no message of QoS 0
}
