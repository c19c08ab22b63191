// Mochid runs the mochi-mqtt broker as a process of its own, open to everybody, for the benchmarks and the interop tests.
package main

import (
	"crypto/tls"
	"flag"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/hooks/storage/pebble"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	log.SetFlags(0)
	tcp := flag.String("tcp", "127.0.0.1:1883", "`address` of the plain listener")
	tlsAddr := flag.String("tls", "", "`address` of the TLS listener")
	ws := flag.String("ws", "", "`address` of the WebSocket listener")
	cert := flag.String("cert", "", "certificate `file`")
	key := flag.String("key", "", "key `file`")
	data := flag.String("data", "", "`directory` of the store")
	sync := flag.Bool("sync", false, "sync each write to the store")
	flag.Parse()
	if err := run(*tcp, *tlsAddr, *ws, *cert, *key, *data, *sync); err != nil {
		log.Fatal(err)
	}
}

func run(tcp, tlsAddr, ws, cert, key, data string, sync bool) error {
	caps := mqtt.NewDefaultServerCapabilities()
	// The defaults lose messages at the rates of the benchmarks; these are the limits that its documentation names for that.
	caps.MaximumClientWritesPending = 32 * 1024
	caps.MaximumInflight = 32 * 1024
	caps.ReceiveMaximum = 32 * 1024
	s := mqtt.New(&mqtt.Options{
		Capabilities: caps,
		Logger:       slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if data != "" {
		if err := addStore(s, data, sync); err != nil {
			return err
		}
	}
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "tcp", Address: tcp})); err != nil {
		return err
	}
	if tlsAddr != "" {
		c, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		l := listeners.NewTCP(listeners.Config{
			ID:        "tls",
			Address:   tlsAddr,
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{c}},
		})
		if err := s.AddListener(l); err != nil {
			return err
		}
	}
	if ws != "" {
		if err := s.AddListener(listeners.NewWebsocket(listeners.Config{ID: "ws", Address: ws})); err != nil {
			return err
		}
	}
	if err := s.Serve(); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	return s.Close()
}

// addStore keeps the broker's state in the directory data. Of the stores that come with it pebble is the fastest, with and
// without syncing: badger takes twice the time, bolt, which always syncs, ten times that.
func addStore(s *mqtt.Server, data string, sync bool) error {
	o := &pebble.Options{Path: data, Mode: pebble.NoSync}
	if sync {
		o.Mode = pebble.Sync
	}
	return s.AddHook(new(pebble.Hook), o)
}
