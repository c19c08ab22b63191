// Natsd runs nats-server with its MQTT listener and JetStream as a process of its own, for the benchmarks.
package main

import (
	"errors"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	log.SetFlags(0)
	tcp := flag.String("tcp", "127.0.0.1:1883", "`address` of the MQTT listener")
	dir := flag.String("dir", "", "`directory` of JetStream")
	always := flag.Bool("sync", false, "sync each write (sync_interval: always)")
	flag.Parse()
	if err := run(*tcp, *dir, *always); err != nil {
		log.Fatal(err)
	}
}

func run(tcp, dir string, always bool) error {
	host, p, err := net.SplitHostPort(tcp)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "bench",
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   dir,
		SyncAlways: always,
		MaxConn:    200_000,
		NoSigs:     true,
		MQTT: server.MQTTOpts{
			Host:          host,
			Port:          port,
			MaxAckPending: 16384,
		},
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("not ready after 10 s")
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	s.Shutdown()
	return nil
}
