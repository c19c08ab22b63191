package main

import (
	"bufio"
	"context"
	"io"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt/mqtttest"
)

func TestClient(t *testing.T) {
	broker := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Loopback: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	subscribing, stop := context.WithCancel(ctx)
	go func() {
		done <- run(subscribing, []string{"-server", broker.URL(), "sub", "news/#", "weather"}, w)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
	}
	expect(`subscribed to ["news/#" "weather"]`)
	for _, args := range [][]string{
		{"-server", broker.URL(), "pub", "news/today", "nothing new"},
		{"-server", broker.URL(), "-qos", "2", "-retain", "pub", "weather", "fine"},
	} {
		if err := run(ctx, args, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	expect("news/today nothing new")
	expect("weather fine")
	stop()
	go io.Copy(io.Discard, r)
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range broker.Broker.Retained("#") {
		return
	}
	t.Error("-retain did not retain")
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"sub"}, {"pub", "t"}, {"-qos", "3", "sub", "t"}, {"fly"}} {
		broker := mqtttest.NewBroker(t, &mqtttest.BrokerOptions{Loopback: true})
		if err := run(t.Context(), append([]string{"-server", broker.URL()}, args...), io.Discard); err != errUsage {
			t.Errorf("%q: %v, want the usage", args, err)
		}
	}
}
