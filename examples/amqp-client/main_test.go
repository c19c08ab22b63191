package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqptest"
)

func TestClient(t *testing.T) {
	broker := amqptest.NewBroker(t, &amqptest.BrokerOptions{Loopback: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	consuming, stop := context.WithCancel(ctx)
	go func() {
		done <- run(consuming, []string{"-server", broker.URL(), "-durable", "consume", "news", "amq.topic", "world.#", "weather"}, w)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
	}
	expect(`consuming from "news"`)
	for _, args := range [][]string{
		{"-server", broker.URL(), "publish", "amq.topic", "world.today", "nothing new"},
		{"-server", broker.URL(), "-durable", "publish", "amq.topic", "weather", "fine"},
		{"-server", broker.URL(), "publish", "", "news", "straight"},
	} {
		if err := run(ctx, args, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	expect("world.today nothing new")
	expect("weather fine")
	expect("news straight")
	stop()
	go io.Copy(io.Discard, r)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	broker := amqptest.NewBroker(t, &amqptest.BrokerOptions{Loopback: true})
	err := run(t.Context(), []string{"-server", broker.URL(), "publish", "", "nowhere", "x"}, io.Discard)
	if _, ok := errors.AsType[*amqpclient091.ReturnedError](err); !ok {
		t.Errorf("nobody takes the message: %v", err)
	}
	err = run(t.Context(), []string{"-server", broker.URL(), "consume", "q", "no.such.exchange", "k"}, io.Discard)
	if !errors.Is(err, &amqp091.Error{Code: amqp091.NotFound}) {
		t.Errorf("no exchange: %v", err)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"consume"}, {"consume", "q", "x"}, {"publish", "", "q"}, {"publish", "", "q", "m", "n"}, {"fly", "q"},
	} {
		if err := run(t.Context(), args, io.Discard); err != errUsage {
			t.Errorf("%q: %v, want the usage", args, err)
		}
	}
}
