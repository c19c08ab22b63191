package kafkaclient

import (
	"bytes"
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// lateConn is a connection whose Write returns long after the peer has read what was written.
type lateConn struct {
	net.Conn
	t *testing.T
}

func (c lateConn) Write(b []byte) (int, error) {
	was := bytes.Clone(b)
	n, err := c.Conn.Write(b)
	time.Sleep(time.Second)
	if !bytes.Equal(b, was) {
		c.t.Error("what is being written has changed")
	}
	return n, err
}

// TestResponseBeforeWriteReturns: the memory of a request is not used again before the call that writes it has returned.
func TestResponseBeforeWriteReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		o := c.options()
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := c.dial(ctx, network, address)
			return lateConn{nc, t}, err
		}
		cl := c.client(o)
		p := newTestProducer(t, cl, &ProducerOptions{MaxInFlight: 3})
		for i := range 10 {
			var records []*Record
			for range 4 {
				records = append(records, &Record{Topic: "a", Value: bytes.Repeat([]byte{byte(i)}, 600<<10)})
			}
			if err := p.Produce(t.Context(), records...); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(c.log("a", 0)); n != 40 {
			t.Errorf("%d records", n)
		}
		p.Close()
	})
}
