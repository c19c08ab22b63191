package main

import (
	"context"
	"errors"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

// flood publishes 100 bytes to one topic after the other as fast as it is let.
func flood(ctx context.Context, o *options) (any, error) {
	e, err := newEnd(o)
	if err != nil {
		return nil, err
	}
	c, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	ts := topics("counted", o.n)
	payload := make([]byte, 100)
	out := new(sent)
	begin := time.Now()
	for time.Since(begin) < o.d {
		for range 100 {
			if err := c.Publish(ctx, &mqttclient.Message{Topic: ts[out.Sent%int64(len(ts))], Payload: payload, QoS: mqtt.QoS(o.qos)}); err != nil {
				return nil, err
			}
			out.Sent++
		}
	}
	out.Took = time.Since(begin).Microseconds()
	return out, errors.Join(c.Disconnect(ctx, nil), e.close(ctx))
}
