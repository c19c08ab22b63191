// Kfaked runs kfake, the Kafka broker for tests of franz-go, as a process of its own with its data on disk, for the benchmarks.
package main

import (
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	log.SetFlags(0)
	tcp := flag.String("tcp", "127.0.0.1:9092", "`address` of the listener")
	dir := flag.String("dir", "", "`directory` of the data; empty: in memory")
	always := flag.Bool("sync", false, "sync each write")
	flag.Parse()
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return net.Listen(network, *tcp) }),
	}
	if *dir != "" {
		opts = append(opts, kfake.DataDir(*dir))
	}
	if *always {
		opts = append(opts, kfake.SyncWrites())
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	c.Close()
}
