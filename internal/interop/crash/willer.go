package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// A willer connects with a new will each time. Its connections end with DISCONNECT, without it, or with the broker.
type willer struct {
	h     *harness
	name  string
	v     mqtt.Version
	r     *rand.Rand
	wills *willStream
	delay uint32 // of the will, in seconds; version 5
	// stays away after a connection that broke, until the will is there; otherwise it comes back at once.
	away  bool
	known bool
}

func (w *willer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if w.away && w.h.l.willsOwed(w.wills) {
			sleep(ctx, 5*time.Millisecond)
			continue
		}
		w.h.connection(ctx, w.name, w.connect)
	}
}

// connect runs one connection. own tells that this side ended it.
func (w *willer) connect(ctx context.Context) (own bool, err error) {
	led := w.h.l
	will := &mqtt.Will{Topic: w.wills.topic, QoS: w.wills.qos, Payload: led.nextWill(w.wills, w.r)}
	if w.delay > 0 {
		will.Properties = will.Properties.AppendUint32(mqtt.PropWillDelayInterval, w.delay)
	}
	l, ack, err := dial(w.h.addr, &mqtt.Connect{Version: w.v, ClientID: w.name, Will: will})
	if err != nil {
		return false, err
	}
	defer l.close()
	defer led.cut(w.wills) // before it is closed: the will may come at once
	led.update(w.wills, func(x *lastWill) { x.accepted, x.begin = true, led.now() })
	w.h.sessionPresent(w.name, w.known, ack.SessionPresent)
	w.known = true
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := l.receive(); err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		return false, err
	case <-ctx.Done():
		return true, nil
	case <-time.After(time.Duration(20+w.r.IntN(1500)) * time.Millisecond):
	}
	if w.r.IntN(2) == 0 {
		return true, nil
	}
	generation := w.h.generation.Load() // before DISCONNECT
	led.update(w.wills, func(x *lastWill) { x.end, x.endAt = willDisconnect, led.now() })
	if err := l.bye(); err != nil {
		return true, nil
	}
	select {
	case <-ended:
		if w.h.same(generation) {
			led.update(w.wills, func(x *lastWill) { x.read, x.endAt = true, led.now() })
		}
	case <-time.After(answerTime):
		led.fault(stuck, "%s: DISCONNECT does not end the connection", w.name)
	}
	return true, nil
}
