package kafkatest_test

import (
	"net"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/kafka"
)

// newBatch returns a record batch of values.
func newBatch(timestamp int64, values ...string) ([]byte, error) {
	var w kafka.BatchWriter
	for _, v := range values {
		w.Add(timestamp, nil, []byte(v))
	}
	return w.Append(nil, nil)
}

// netStream is a stream as a net.Conn.
type netStream struct {
	netio.Stream
	conn net.Conn
}

func (s netStream) LocalAddr() net.Addr  { return s.conn.LocalAddr() }
func (s netStream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }
