// Gateway is one binary with every broker of Quartet: today MQTT and AMQP 0-9-1 over TCP, TLS and WebSocket, Kafka over TCP
// and TLS, and with -quic all of them over QUIC on one port; in memory or, with -data, in a directory.
//
//	go run ./examples/gateway
//
// It prints what listens where. Without -users anybody may connect with MQTT and Kafka, as long as every address is on loopback;
// on any other address it refuses to start unless -anonymous is given. Kafka's clients log in as users of -users with PLAIN, or
// as users that were made with Kafka's own tools with SCRAM. AMQP has users of its own, which the management API
// and -definitions set: at first guest with the password guest, who may connect from this machine. SIGHUP reads the certificate, the users and the access
// control file again. SIGTERM and SIGINT say goodbye to the clients and exit with status 0.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], reload, os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// run runs a gateway until ctx ends, and then drains it.
func run(ctx context.Context, args []string, reload <-chan os.Signal, stdout, stderr io.Writer) error {
	c, err := parse(args, stderr)
	if err != nil {
		return err
	}
	go tuneGC(ctx)
	log := slog.New(slog.NewTextHandler(stderr, nil))
	g, err := open(c, log)
	if err != nil {
		return err
	}
	defer g.close()
	if err := g.listen(stdout); err != nil {
		return err
	}
	for {
		select {
		case <-reload:
			g.reload()
		case err := <-g.failed:
			return err
		case <-ctx.Done():
			fmt.Fprintln(stdout, "gateway: draining")
			return g.drain()
		}
	}
}
