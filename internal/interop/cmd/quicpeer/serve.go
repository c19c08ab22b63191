package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// A report is what the broker received since the report before.
type report struct {
	// Late has for each message below "timed/" the time from publishing to here in microseconds, in order of arrival.
	Late []int64
	// Received counts the messages below "timed/" and "counted/", Again those that came before.
	Received, Again int64
	// Gap is the longest time between two arrivals, in microseconds.
	Gap int64
}

// A ledger collects a report.
type ledger struct {
	mu   sync.Mutex
	now  report
	seen map[[2]uint32]bool
	last time.Duration
}

func (l *ledger) add(b []byte, at time.Duration, timed bool) {
	s, ok := readStamp(b)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now.Received++
	if !timed {
		return
	}
	if l.seen[[2]uint32{s.flow, s.seq}] {
		l.now.Again++
		return
	}
	l.seen[[2]uint32{s.flow, s.seq}] = true
	l.now.Late = append(l.now.Late, (at - s.sent).Microseconds())
	if l.last != 0 {
		l.now.Gap = max(l.now.Gap, (at - l.last).Microseconds())
	}
	l.last = at
}

// take returns the report and begins the next one.
func (l *ledger) take() report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.now
	l.now, l.seen, l.last = report{}, make(map[[2]uint32]bool), 0
	return r
}

// serve runs the broker until its standard input ends.
func serve(_ context.Context, o *options) (any, error) {
	b := &ledger{}
	b.take()
	broker, err := mqttbroker.New(&mqttbroker.Options{
		Authenticate: mqttbroker.AllowAll,
		Hooks: mqttbroker.Hooks{OnPublish: func(_ context.Context, p *mqttbroker.Publishing) error {
			if t := string(p.Message.Topic); len(t) > 6 {
				switch t[:6] {
				case "timed/":
					b.add(p.Message.Payload, clock(), true)
				case "counte":
					b.add(p.Message.Payload, 0, false)
				}
			}
			return nil
		}},
	})
	if err != nil {
		return nil, err
	}
	s := mqttserver.New(broker, nil)
	cert, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	run := func(l net.Listener, lo *mqttserver.ListenerOptions) {
		if err := s.Serve(l, lo); !errors.Is(err, mqttserver.ErrServerClosed) {
			log.Fatal(err)
		}
	}
	if o.tcp != "" {
		l, err := net.Listen("tcp", o.tcp)
		if err != nil {
			return nil, err
		}
		go run(l, nil)
	}
	if o.tls != "" {
		l, err := net.Listen("tcp", o.tls)
		if err != nil {
			return nil, err
		}
		go run(l, &mqttserver.ListenerOptions{TLS: conf})
	}
	if o.quic != "" {
		l, err := listenQUIC(o.quic, conf)
		if err != nil {
			return nil, err
		}
		go run(l, &mqttserver.ListenerOptions{EarlyPublish: true, Datagrams: true})
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		out, err := json.Marshal(b.take())
		if err != nil {
			return nil, err
		}
		fmt.Printf("%s\n", out)
	}
	return nil, nil
}

// topics returns the topics of n flows.
func topics(prefix string, n int) []string {
	ts := make([]string, n)
	for i := range ts {
		ts[i] = fmt.Sprintf("%s/%d", prefix, i)
	}
	return ts
}
