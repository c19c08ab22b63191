package kafkaclient

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestThrottleOf: the time is where it is looked for, in every response that a client may get.
func TestThrottleOf(t *testing.T) {
	n := 0
	for key := range kafkawire.APIKey(kafkawire.Keys) {
		if key.MaxVersion() < 0 {
			continue
		}
		for v := key.MinVersion(); v <= key.MaxVersion(); v++ {
			if !throttles(key, v) {
				continue
			}
			req := kafkawire.NewRequest(key)
			if req == nil {
				continue
			}
			resp := req.NewResponse()
			resp.Reset()
			f := reflect.ValueOf(resp).Elem().FieldByName("ThrottleTimeMs")
			if !f.IsValid() {
				t.Errorf("%v %d has none", key, v)
				continue
			}
			f.SetInt(1234)
			if j, ok := resp.(*kafkawire.JoinGroupResponse); ok {
				j.ProtocolName = new(string)
			}
			body, err := resp.Append(nil, v)
			if err != nil {
				t.Errorf("%v %d: %v", key, v, err)
				continue
			}
			if d := throttleOf(key, v, body); d != 1234*time.Millisecond {
				t.Errorf("%v %d: %v", key, v, d)
			}
			n++
		}
	}
	if n < 100 {
		t.Errorf("only %d responses", n)
	}
}

// TestThrottle: nothing is sent on a connection whose broker reads nothing for a while, other connections do not care, and
// who waits can give up.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		cl := c.client(nil)
		begin := time.Now()
		var sent, produced []time.Duration
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			switch r.req.(type) {
			case *kafkawire.DescribeClusterRequest:
				sent = append(sent, time.Since(begin))
				return &kafkawire.DescribeClusterResponse{ThrottleTimeMs: 5000, ControllerID: -1, ClusterAuthorizedOperations: -1 << 31}
			case *kafkawire.ProduceRequest:
				produced = append(produced, time.Since(begin))
				resp := r.b.answer(r).(*kafkawire.ProduceResponse)
				resp.ThrottleTimeMs = 2000
				return resp
			}
			return nil
		})
		for range 2 {
			if _, err := cl.Request(t.Context(), new(kafkawire.DescribeClusterRequest)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := cl.Request(ctx, new(kafkawire.DescribeClusterRequest)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if len(sent) != 2 || sent[1] < 5*time.Second || sent[1] > 6*time.Second {
			t.Errorf("sent at %v", sent)
		}
		p := newTestProducer(t, cl, nil)
		for range 3 {
			if err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(produced); n != 3 || produced[1]-produced[0] < 2*time.Second || produced[2]-produced[1] < 2*time.Second || produced[2] > sent[1]+7*time.Second {
			t.Errorf("produced at %v", produced)
		}
		if d := cl.Stats().Throttled; d != 16*time.Second {
			t.Errorf("throttled for %v", d)
		}
	})
}
