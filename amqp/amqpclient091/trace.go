package amqpclient091

import (
	"net/url"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Trace observes a client. Each function may be nil. They are called synchronously, those that say so with a lock held:
// they must return soon, must not call the client and must not keep slices.
type Trace struct {
	// Dial: an attempt to connect begins.
	Dial func(server *url.URL)
	// Connected: the server accepted; recovery begins.
	Connected func(Info)
	// Failed: an attempt to connect failed.
	Failed func(server *url.URL, err error)
	// Recovered: after a reconnection, everything is in its place again, but for what RecoveryFailed told.
	Recovered func()
	// RecoveryFailed: something could not be put back in its place; err is a *RecoveryError. With a lock held.
	RecoveryFailed func(err error)
	// Renamed: after a reconnection, a queue that the server names has another name. With a lock held.
	Renamed func(from, to string)
	// Disconnected: the connection has ended; err is nil after Shutdown or Close.
	Disconnected func(err error)
	// Backoff: the client waits before the next round through its servers.
	Backoff func(d time.Duration)
	// Blocked: the server takes no messages any more; Unblocked: it does again, or the connection has ended. With a lock
	// held.
	Blocked   func(reason string)
	Unblocked func()
	// ChannelClosed: the server closed a channel. With a lock held.
	ChannelClosed func(err error)
	// Returned: a mandatory message of a channel without confirms was returned. With a lock held.
	Returned func(*ReturnedError)
	// MethodSent and MethodReceived: a method went into the output buffer, or came. Messages and acknowledgements of either
	// side are not shown, nor what needs no more than the answer that is shown: tune, open-ok, close. With a lock held.
	MethodSent     func(channel uint16, m amqp091.Method)
	MethodReceived func(channel uint16, m amqp091.Method)
}

// Info describes a connection.
type Info struct {
	Server      *url.URL // without the password
	VirtualHost string
	Mechanism   string
	// Properties are those of the server: product, version, capabilities. They must not be changed.
	Properties amqp091.Table
	FrameMax   uint32        // bytes
	ChannelMax uint16        // channels
	Heartbeat  time.Duration // 0: none
	Streams    bool          // each channel has a stream of its own, see amqp091.Streams
}

// Stats are counters since the client was made, and gauges.
type Stats struct {
	Connects         uint64 // connections that the server accepted
	MessagesSent     uint64 // messages published, repetitions included
	Confirmed        uint64 // messages that the server has confirmed
	Nacked           uint64 // messages that the server has refused
	Returned         uint64 // messages that came back because no queue takes them
	Unknown          uint64 // messages whose confirm was lost
	Republished      uint64 // messages sent again because their confirm was lost
	MessagesReceived uint64 // deliveries, basic.get included
	Dropped          uint64 // deliveries dropped unread because their connection was lost; the server sends them again
	BytesSent        uint64
	BytesReceived    uint64
	Inflight         int // messages published and not confirmed yet
	Queued           int // messages published and not sent yet
	Channels         int
	Consumers        int
}
