package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

// sent is what flows and flood print.
type sent struct {
	Sent int64
	// Failed counts messages whose publishing ended with an error.
	Failed int64
	// Took is the time that it took, in microseconds.
	Took int64
}

// flows publishes 200 bytes to each of n topics in each interval, the topics one after the other in the interval.
func flows(ctx context.Context, o *options) (any, error) {
	e, err := newEnd(o)
	if err != nil {
		return nil, err
	}
	c, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	out := new(sent)
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := time.Now()
	for i, topic := range topics("timed", o.n) {
		wg.Go(func() {
			n, failed := publishEvery(ctx, c, o, topic, uint32(i), begin.Add(o.interval*time.Duration(i)/time.Duration(o.n)))
			mu.Lock()
			defer mu.Unlock()
			out.Sent += n
			out.Failed += failed
		})
	}
	wg.Wait()
	out.Took = time.Since(begin).Microseconds()
	time.Sleep(500 * time.Millisecond) // for what is to be sent again
	return out, errors.Join(c.Disconnect(ctx, nil), e.close(ctx))
}

// publishEvery publishes to one topic for o.d from the time begin.
func publishEvery(ctx context.Context, c *mqttclient.Client, o *options, topic string, flow uint32, begin time.Time) (n, failed int64) {
	payload := make([]byte, 200)
	var acks []*mqttclient.Publication
	for at := begin; at.Before(begin.Add(o.d)); at = at.Add(o.interval) {
		time.Sleep(time.Until(at))
		s := stamp{flow: flow, seq: uint32(n), sent: clock()}
		s.put(payload)
		p, err := c.PublishAsync(ctx, &mqttclient.Message{Topic: topic, Payload: payload, QoS: mqtt.QoS(o.qos)})
		n++
		if err != nil {
			failed++
			continue
		}
		acks = append(acks, p)
	}
	for _, p := range acks {
		if p.Wait(ctx) != nil {
			failed++
		}
	}
	return n, failed
}
