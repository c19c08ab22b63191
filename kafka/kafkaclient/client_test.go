package kafkaclient

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		cl := c.client(nil)
		resp, err := cl.Request(t.Context(), &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{}})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(resp.(*kafkawire.MetadataResponse).Brokers); n != 3 {
			t.Errorf("%d brokers", n)
		}
		if err := cl.meta.await(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id := range kafkawire.BrokerID(3) {
			if _, err := cl.RequestBroker(t.Context(), id, &kafkawire.MetadataRequest{}); err != nil {
				t.Error(err)
			}
		}
		if _, err := cl.RequestBroker(t.Context(), 7, &kafkawire.MetadataRequest{}); !errors.Is(err, ErrNoBroker) {
			t.Error(err)
		}
		cl.Close()
		if _, err := cl.Request(t.Context(), &kafkawire.MetadataRequest{}); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		synctest.Wait()
		if n := cl.Stats().Connections; n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// Brokers that do not know the version of the question about versions say so in version 0.
func TestAPIVersionsFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		var asked []int16
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			if r.header.Key != kafkawire.KeyAPIVersions {
				return nil
			}
			asked = append(asked, r.header.Version)
			if r.header.Version > 2 {
				m := &kafkawire.APIVersionsResponse{ErrorCode: kafkawire.ErrUnsupportedVersion}
				m.APIKeys = []kafkawire.APIVersionsResponseAPIKey{{APIKey: 18, MinVersion: 0, MaxVersion: 2}}
				out, _ := kafkawire.AppendResponse(nil, r.header.CorrelationID, m, 0)
				r.conn.Write(out)
				r.silence = true
			}
			return nil
		})
		cl := c.client(nil)
		if _, err := cl.Request(t.Context(), &kafkawire.MetadataRequest{}); err != nil {
			t.Fatal(err)
		}
		if len(asked) != 2 || asked[0] != 4 || asked[1] != 2 {
			t.Errorf("asked for %v", asked)
		}
	})
}

// A broker that does not answer in time is disconnected, and another one is asked.
func TestRequestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		var silent atomic.Bool
		silent.Store(true)
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			r.silence = r.header.Key == kafkawire.KeyMetadata && silent.Load()
			return nil
		})
		o := c.options()
		o.RequestTimeout = time.Second
		o.APITimeout = 2500 * time.Millisecond
		cl := c.client(o)
		start := time.Now()
		_, err := cl.Request(t.Context(), &kafkawire.MetadataRequest{})
		if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || !Retriable(err) {
			t.Error(err)
		}
		if d := time.Since(start); d != 2500*time.Millisecond {
			t.Error(d)
		}
		silent.Store(false)
		time.Sleep(time.Second) // the last request is still under way
		if _, err := cl.Request(t.Context(), &kafkawire.MetadataRequest{}); err != nil {
			t.Error(err)
		}
	})
}

// TestMetadataWithoutBrokers: a broker that has just started knows no others.
func TestMetadataWithoutBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		n := 0
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			if r.header.Key == kafkawire.KeyMetadata {
				if n++; n <= 3 {
					return &kafkawire.MetadataResponse{ControllerID: -1, ClusterAuthorizedOperations: -1 << 31}
				}
			}
			return nil
		})
		cl := c.client(nil)
		if err := cl.retry(t.Context(), cl.meta.await); err != nil {
			t.Error(err)
		}
		p := newTestProducer(t, cl, nil)
		if err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte("x")}); err != nil || n < 4 {
			t.Errorf("%v after %d answers", err, n)
		}
	})
}

func TestIdleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		cl := c.client(nil)
		if _, err := cl.Request(t.Context(), &kafkawire.MetadataRequest{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Minute)
		if n := cl.Stats().Connections; n != 2 { // for metadata and for the application
			t.Errorf("%d connections", n)
		}
		time.Sleep(20 * time.Minute)
		if n := cl.Stats().Connections; n > 1 {
			t.Errorf("%d connections", n)
		}
	})
}
