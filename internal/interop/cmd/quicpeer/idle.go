package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

// idle opens n connections, prints a line, and holds them until its standard input ends.
func idle(ctx context.Context, o *options) (any, error) {
	e, err := newEnd(o)
	if err != nil {
		return nil, err
	}
	held := make([]*mqttclient.Client, o.n)
	for i := range held {
		c, err := e.dial(ctx)
		if err != nil {
			return nil, err
		}
		held[i] = c
	}
	fmt.Println("{}")
	_, err = io.Copy(io.Discard, os.Stdin)
	for _, c := range held {
		c.Close()
	}
	return nil, err
}
