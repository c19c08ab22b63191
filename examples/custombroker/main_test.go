package main

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

func TestChat(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- serve(serving, ln) }()

	dial := func(name string) (*mqttclient.Client, error) {
		return mqttclient.Dial(ctx, "mqtt://"+ln.Addr().String(), &mqttclient.Options{Username: name})
	}
	if _, err := dial(""); !refused(err, mqtt.ReasonBadUserNameOrPassword) {
		t.Errorf("a guest without a name: %v", err)
	}
	ann, err := dial("ann")
	if err != nil {
		t.Fatal(err)
	}
	bob, err := dial("bob")
	if err != nil {
		t.Fatal(err)
	}
	kitchen, err := ann.Subscribe(ctx, nil, mqtt.Subscription{Filter: "room/kitchen", QoS: mqtt.QoS2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ann.Subscribe(ctx, nil, mqtt.Subscription{Filter: "room/#"}); !refused(err, mqtt.ReasonTopicFilterInvalid) {
		t.Errorf("subscription to all rooms: %v", err)
	}
	if err := bob.Publish(ctx, &mqttclient.Message{Topic: "hall", QoS: mqtt.QoS1}); !refused(err, mqtt.ReasonTopicNameInvalid) {
		t.Errorf("message to no room: %v", err)
	}
	for i, text := range []string{"hello", "coffee?"} {
		m := &mqttclient.Message{Topic: "room/kitchen", Payload: []byte(text), QoS: mqtt.QoS(i + 1)}
		if err := bob.Publish(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"1 bob: hello", "2 bob: coffee?"}
	for m, err := range kitchen.Messages(ctx) {
		if err != nil || string(m.Payload) != want[0] {
			t.Fatalf("got %q, %v, want %q", m.Payload, err, want[0])
		}
		if want = want[1:]; len(want) == 0 {
			break
		}
	}
	ann.Close()
	bob.Close()
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// refused reports whether the server said code.
func refused(err error, code mqtt.ReasonCode) bool {
	e, ok := errors.AsType[*mqtt.Error](err)
	return ok && e.Remote && e.Code == code
}
