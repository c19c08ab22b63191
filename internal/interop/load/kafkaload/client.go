// Package kafkaload is the load generator of the benchmarks for Kafka: record batches that are made once and sent again and
// again, and fetches that look at no more than the headers of batches as they pass, so that every broker is measured with the
// same code, and at less cost than any of them has. Each client is one connection.
package kafkaload

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The versions of the requests: the newest ones that know topics by their names, and of fetches the last one without tagged
// fields.
const (
	produceVersion = 9
	fetchVersion   = 11
	offsetsVersion = 5
	createVersion  = 4
)

// inputSize is how much is read from a connection at a time. It stays in a processor's cache.
const inputSize = 256 << 10

// Client is a connection.
type Client struct {
	nc  net.Conn
	r   *bufio.Reader
	out []byte
	in  []byte
}

// Connect connects to a broker.
func Connect(addr string) (*Client, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Client{nc: nc, r: bufio.NewReaderSize(nc, inputSize)}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.nc.Close() }

// send sends a request.
func (c *Client) send(m kafkawire.Request, version int16) (err error) {
	c.out, err = kafkawire.AppendRequest(c.out[:0], kafkawire.RequestHeader{Version: version, ClientID: clientID}, m)
	if err == nil {
		_, err = c.nc.Write(c.out)
	}
	return err
}

var clientID = []byte("load")

// receive receives a response. What it has of bytes is valid until the next one.
func (c *Client) receive(m kafkawire.Response, version int16) error {
	var size [4]byte
	if _, err := io.ReadFull(c.r, size[:]); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if cap(c.in) < n {
		c.in = make([]byte, n)
	}
	c.in = c.in[:n]
	if _, err := io.ReadFull(c.r, c.in); err != nil {
		return err
	}
	_, body, err := kafkawire.DecodeResponseHeader(c.in, m.Key(), version)
	if err != nil {
		return err
	}
	return m.Decode(body, version)
}

// call sends a request and receives the response.
func (c *Client) call(m kafkawire.Request, version int16, resp kafkawire.Response) error {
	if err := c.send(m, version); err != nil {
		return err
	}
	return c.receive(resp, version)
}

// CreateTopic makes a topic and waits until all its partitions have a leader.
func (c *Client) CreateTopic(topic string, partitions int) error {
	var req kafkawire.CreateTopicsRequest
	req.Reset()
	req.TimeoutMs = 30_000
	req.Topics = []kafkawire.CreateTopicsRequestTopic{{Name: kafkawire.TopicName(topic), NumPartitions: int32(partitions), ReplicationFactor: 1}}
	var resp kafkawire.CreateTopicsResponse
	if err := c.call(&req, createVersion, &resp); err != nil {
		return err
	}
	if code := resp.Topics[0].ErrorCode; code != 0 {
		return fmt.Errorf("create %s: %w", topic, code)
	}
	for range 1000 {
		if _, err := c.End(topic, partitions); err == nil {
			return nil
		}
	}
	_, err := c.End(topic, partitions)
	return err
}

// End returns the sum of the ends of all partitions: how many records there are.
func (c *Client) End(topic string, partitions int) (n int64, err error) {
	var req kafkawire.ListOffsetsRequest
	req.Reset()
	req.ReplicaID = -1
	t := kafkawire.ListOffsetsRequestTopic{Name: kafkawire.TopicName(topic)}
	for p := range partitions {
		t.Partitions = append(t.Partitions, kafkawire.ListOffsetsRequestPartition{PartitionIndex: int32(p), CurrentLeaderEpoch: -1, Timestamp: -1})
	}
	req.Topics = []kafkawire.ListOffsetsRequestTopic{t}
	var resp kafkawire.ListOffsetsResponse
	if err := c.call(&req, offsetsVersion, &resp); err != nil {
		return 0, err
	}
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode != 0 {
			return 0, fmt.Errorf("end of %s %d: %w", topic, p.PartitionIndex, p.ErrorCode)
		}
		n += p.Offset
	}
	return n, nil
}
