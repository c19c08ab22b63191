// Quicpeer is one end of the QUIC benchmarks: a broker that says what it received and when, or a client that publishes. The
// benchmark starts one at each end of a path, because sockets belong to the network namespace of their process.
//
//	quicpeer serve -cert cert.pem -key key.pem -tcp ADDR -tls ADDR -quic ADDR
//	quicpeer connect|flows|move|flood|idle -via tcp|tls|quic|streams|datagrams -server ADDR -ca ca.pem
//
// A client prints one line of JSON. The server prints "ready", and then one line of JSON for each line "report" on its
// standard input; it ends with its standard input.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// options are the flags of all roles.
type options struct {
	tcp, tls, quic            string
	cert, key, ca             string
	via, server, local, other string
	resume, early             bool
	n                         int
	d, interval               time.Duration
	qos                       int
}

func main() {
	log.SetFlags(0)
	roles := map[string]func(context.Context, *options) (any, error){
		"serve": serve, "connect": connect, "flows": flows, "move": move, "flood": flood, "idle": idle,
	}
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		log.Fatal("which role?")
	}
	o := new(options)
	f := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	f.StringVar(&o.tcp, "tcp", "", "serve: `address` for plain TCP")
	f.StringVar(&o.tls, "tls", "", "serve: `address` for TLS")
	f.StringVar(&o.quic, "quic", "", "serve: `address` for QUIC")
	f.StringVar(&o.cert, "cert", "", "serve: certificate `file`")
	f.StringVar(&o.key, "key", "", "serve: key `file`")
	f.StringVar(&o.ca, "ca", "", "client: `file` of whom to trust")
	f.StringVar(&o.via, "via", "tls", "client: tcp, tls, quic (one stream), streams (one for each topic) or datagrams")
	f.StringVar(&o.server, "server", "", "client: `address`")
	f.BoolVar(&o.resume, "resume", false, "connect: resume the TLS session of a connection before")
	f.BoolVar(&o.early, "early", false, "connect: with early data")
	f.IntVar(&o.n, "n", 9, "connect, idle: `how many` connections; flows, flood: topics")
	f.DurationVar(&o.d, "d", 5*time.Second, "`time` to publish")
	f.DurationVar(&o.interval, "interval", 20*time.Millisecond, "`time` between the messages of a topic")
	f.StringVar(&o.local, "local", "", "move: the `IP address` to begin with")
	f.StringVar(&o.other, "other", "", "move: the `IP address` to move to")
	f.IntVar(&o.qos, "qos", 0, "quality of service")
	f.Parse(os.Args[2:])
	out, err := roles[os.Args[1]](context.Background(), o)
	if err != nil {
		log.Fatalf("%s: %v", os.Args[1], err)
	}
	if out != nil {
		b, err := json.Marshal(out)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", b)
	}
}

// clock is the time that all processes of the machine share.
func clock() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}
