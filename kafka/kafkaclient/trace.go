package kafkaclient

import (
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Trace observes a client. Each function may be nil. They are called synchronously, some on the goroutine that reads a
// connection: they must return soon and must not call the client.
type Trace struct {
	// Connected: a connection is ready for requests.
	Connected func(ConnInfo)
	// Failed: an attempt to connect failed.
	Failed func(ConnInfo, error)
	// Disconnected: a connection has ended; err is nil when the client closed it.
	Disconnected func(c ConnInfo, err error)
	// Response: a request got its response, or failed with err.
	Response func(RequestInfo, error)
	// Metadata: brokers and partitions were asked for; err is nil when there was an answer.
	Metadata func(err error)
}

// ConnInfo describes a connection.
type ConnInfo struct {
	Broker kafkawire.BrokerID // -1 for one of Options.Addrs
	Addr   string
	Stream int64 // of a transport with many; 0 is the connection itself
}

// RequestInfo describes a request.
type RequestInfo struct {
	Conn    ConnInfo
	Key     kafkawire.APIKey
	Version int16
	Sent    time.Time
	Size    int // of the response, in bytes
}

// Stats are counters since the client was made, and gauges.
type Stats struct {
	Connects      uint64 // connections that became ready, without further streams
	Connections   int    // that are open now
	Streams       int    // that are open now, besides the connections themselves
	Requests      uint64
	BytesSent     uint64
	BytesReceived uint64
	Refreshes     uint64 // of metadata

	// Throttled is for how long brokers asked to send them nothing, since a quota was exceeded.
	Throttled time.Duration
}
