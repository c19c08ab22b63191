package kafkabroker

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// FuzzRequests sends a broker requests of any key, version and content, and expects that it survives and answers others.
func FuzzRequests(f *testing.F) {
	for _, c := range accessCases() {
		for version := c.req.Key().MinVersion(); version <= c.req.Key().MaxVersion(); version++ {
			if body, err := c.req.Append(nil, version); err == nil {
				f.Add(int16(c.req.Key()), version, body)
			}
		}
	}
	b, err := Open(&Options{Authenticate: AllowAll, ACLs: &ACLOptions{AllowEveryone: true}, MaxPartitions: 1000, Config: map[string]string{
		"group.initial.rebalance.delay.ms": "0",
	}})
	if err != nil {
		f.Fatal(err)
	}
	defer b.Close()
	srv := kafkaserver.New(b, nil)
	defer srv.Close()
	l := memnet.Listen("mem:9092")
	go srv.Serve(l, nil)
	connect := func(t testing.TB) *peer {
		nc, err := l.Dial(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return &peer{t: t, nc: nc, client: "fuzz"}
	}
	other := connect(f)
	other.mustCreate("t", 1)
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		p := connect(t)
		defer p.nc.Close()
		h := kafkawire.RequestHeader{Key: kafkawire.APIKey(key), Version: version, CorrelationID: 1}
		frame, err := h.Append(make([]byte, 4))
		if err != nil {
			return
		}
		frame = append(frame, body...)
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		go p.nc.Write(frame)
		other.t = t
		other.nc.SetDeadline(time.Now().Add(10 * time.Second))
		ask[*kafkawire.DescribeClusterResponse](other, &kafkawire.DescribeClusterRequest{EndpointType: 1}, 1)
		// A second request on the same connection, which most are answered before.
		go p.nc.Write(frame)
		ask[*kafkawire.MetadataResponse](other, &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{}}, 9)
	})
}
