// Sizes shows how our broker with a directory behaves when there is a lot in it:
//
//		cd internal/interop && go run ./sizes
//
//	  - sessions: a million sessions of clients that are away, with a subscription each;
//	  - backlog: ten million messages that wait for one session;
//	  - pinned: one old message that stays while others come and go, and the size of the directory;
//	  - latency: how long a publisher waits for PUBACK while the journal is rewritten.
//
// It prints markdown. The broker is examples/gateway in a process of its own; memory is its resident set as /proc has it.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// options are the flags.
type options struct {
	sessions, messages int
	delayed            int           // messages of amqp delayed
	d                  time.Duration // of pinned
	bytes              int64         // of pinned
	slack              int64         // of pinned: how far over its bound the directory may be
	probe              time.Duration // of each part of latency
	retained           int           // messages of latency
	quiet              time.Duration // until memory is read
}

// smokeOptions are the small numbers.
var smokeOptions = options{
	sessions: 2000, messages: 50_000, delayed: 20_000, d: 3 * time.Second, slack: segment, probe: time.Second, retained: 20_000,
	quiet: 300 * time.Millisecond,
}

// A test is one of the situations.
type test struct {
	name string
	amqp bool // and not MQTT
	run  func(*env) error
}

var tests = [...]test{
	{"sessions", false, sessions},
	{"backlog", false, backlog},
	{"pinned", false, pinned},
	{"latency", false, latency},
	{"amqp backlog", true, amqpBacklog},
	{"amqp delayed", true, amqpDelayed},
}

func main() {
	log.SetFlags(log.Ltime)
	o := &options{quiet: 3 * time.Second}
	flag.IntVar(&o.sessions, "sessions", 1_000_000, "sessions: how `many`")
	flag.IntVar(&o.messages, "messages", 10_000_000, "backlogs: how `many`")
	flag.IntVar(&o.delayed, "delayed", 1_000_000, "amqp delayed: how `many`")
	flag.DurationVar(&o.d, "d", 30*time.Minute, "pinned: for how `long`")
	flag.Int64Var(&o.bytes, "bytes", 0, "pinned: end earlier, when the journal has written so many `bytes`")
	flag.DurationVar(&o.probe, "probe", 30*time.Second, "latency: `time` of each part")
	flag.IntVar(&o.retained, "retained", 300_000, "latency: how `many` retained messages there are")
	run := flag.String("run", ".", "only tests whose name matches the `regexp`")
	out := flag.String("o", "", "write the report to `file` too")
	smoke := flag.Bool("smoke", false, "only see that everything works, with small numbers")
	flag.Parse()
	if *smoke {
		*o = smokeOptions
	}
	match, err := regexp.Compile(*run)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := all(ctx, o, match, *out); err != nil {
		log.Fatal(err)
	}
}

// all runs the tests that match and prints their tables.
func all(ctx context.Context, o *options, match *regexp.Regexp, file string) error {
	bin, err := os.MkdirTemp("", "sizes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	b := peer.Quartet()
	if err := b.Prepare(ctx, bin); err != nil {
		return err
	}
	var text bytes.Buffer
	for _, t := range tests {
		if !match.MatchString(t.name) {
			continue
		}
		e, err := newEnv(ctx, o, b, bin, t)
		if err != nil {
			return err
		}
		err = t.run(e)
		e.Stop()
		e.table.write(&text)
		if err != nil {
			io.Copy(os.Stdout, &text)
			return fmt.Errorf("%s: %w\n%s", t.name, err, e.Log())
		}
	}
	io.Copy(os.Stdout, bytes.NewReader(text.Bytes()))
	if file != "" {
		return os.WriteFile(file, text.Bytes(), 0o644)
	}
	return nil
}
