// Bench measures brokers side by side: the same load on each, in one run, in turn. It prints markdown.
//
//	cd internal/interop && go run ./bench
//
// Each scenario gets a fresh broker in a process of its own. The load generator is one goroutine on raw sockets. It keeps
// publishers in step with what arrives, so that no broker has to drop anything, and counts what is lost all the same.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quartet-mq/quartet/internal/interop/pages"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// ours is the name of our own broker.
const ours = "quartet"

// A scenario is one kind of load.
type scenario struct {
	name      string
	listeners peer.Listeners
	// durable is for brokers that keep their state on disk.
	durable bool
	// sync asks a Kafka broker to sync before it acknowledges.
	sync bool
	// args are further arguments of our own broker.
	args []string
	run  func(*env) (*outcome, error)
	// apart, in the place of run, starts processes of our own library itself, and needs no broker.
	apart func(context.Context, *apart) (*outcome, error)
}

func scenarios() []scenario {
	return slices.Concat([]scenario{
		pairs("1→1 QoS 0", 1, 0),
		pairs("50→50 QoS 0", 50, 0),
		fanout("1→200 QoS 0", 200),
		pairs("10→10 QoS 1", 10, 1),
		pairs("10→10 QoS 2", 10, 2),
		pingpong("ping-pong"),
		idle("idle connections", 10_000, peer.Listeners{}, openTCP),
		idle("idle TLS connections", 2_000, peer.Listeners{TLS: true}, openTLS),
		idle("idle WebSocket connections", 2_000, peer.Listeners{WS: true}, openWS),
		retained("retained", 100_000),
		wildcards("wildcard subscriptions", 100_000),
		stalled("stalled subscriber of 100", 100),
		durablePairs("durable 10→10 QoS 1", 10, 1),
		durablePairs("durable 10→10 QoS 2", 10, 2),
		oneAtATime("durable 1→1 QoS 1, one at a time", false),
		oneAtATime("durable 1→1 QoS 1, one at a time, subscriber away", true),
		amqpPairs("amqp 1→1 auto-ack", amqpLoad{pairs: 1}),
		amqpPairs("amqp 10→10 manual ack, prefetch 100", amqpLoad{pairs: 10, prefetch: 100}),
		amqpPairs("amqp 1→1 persistent with confirms", amqpLoad{pairs: 1, window: 100, prefetch: 100, durable: true}),
		amqpPairs("amqp 10→10 persistent with confirms", amqpLoad{pairs: 10, window: 100, prefetch: 100, durable: true}),
		amqpOneAtATime("amqp confirm, one at a time"),
		amqpPingpong("amqp ping-pong"),
		amqpFanout("amqp 1→50 queues", 50),
		amqpTopics("amqp topic exchange, 1,000 bindings", 1000),
		amqpDelayed("amqp 1 M delayed", 1_000_000),
		amqpBacklog("amqp 1 M backlog", 1_000_000),
		amqpStalled("amqp stalled consumer of 50", 50),
	}, kafkaScenarios(), quicScenarios())
}

// options are the flags.
type options struct {
	d, warm, quiet time.Duration
	rounds, few    int
	brokers        string
	match          *regexp.Regexp
	out            string
}

func main() {
	log.SetFlags(0)
	o := new(options)
	flag.DurationVar(&o.d, "d", 5*time.Second, "`time` of each measurement")
	flag.DurationVar(&o.warm, "warm", time.Second, "`time` of warming up before it")
	flag.DurationVar(&o.quiet, "quiet", 2*time.Second, "`time` given to a broker to come to rest before its memory is read")
	flag.IntVar(&o.rounds, "rounds", 1, "repeat everything `n` times and print medians")
	flag.StringVar(&o.brokers, "brokers", "", "comma-separated `names`; all when empty")
	run := flag.String("run", ".", "only scenarios whose name matches the `regexp`")
	flag.StringVar(&o.out, "o", "", "write the report to `file` too")
	smoke := flag.Bool("smoke", false, "only see that every scenario gets messages through our broker, in a short time")
	flag.Parse()
	o.few = 1
	if *smoke {
		o.d, o.warm, o.quiet, o.few = 300*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond, 20
		if o.brokers == "" {
			o.brokers = ours
		}
	}
	var err error
	if o.match, err = regexp.Compile(*run); err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		stop()
		log.Fatal(err)
	}
}

// bench prepares the brokers, runs every scenario on each and prints the report.
func bench(ctx context.Context, o *options) error {
	if err := raiseLimit(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var todo []scenario
	for _, s := range scenarios() {
		if o.match.MatchString(s.name) {
			todo = append(todo, s)
		}
	}
	brokers, err := prepare(ctx, o, todo, dir)
	if err != nil {
		return err
	}
	r := newReport(slices.Clone(brokers))
	for round := range o.rounds {
		if round > 0 {
			slices.Reverse(brokers) // in case it matters who comes first
		}
		for _, s := range todo {
			for _, b := range brokers {
				if err := ctx.Err(); err != nil {
					return err
				}
				log.Printf("round %d: %s: %s", round+1, s.name, b.Name)
				out, err := runOne(ctx, o, s, b, dir)
				if errors.Is(err, errors.ErrUnsupported) {
					continue
				}
				if err != nil {
					log.Print(err)
					r.fail(b.Name, s.name, err)
					continue
				}
				r.add(b.Name, out)
			}
		}
	}
	var text bytes.Buffer
	r.write(&text, o)
	io.Copy(os.Stdout, bytes.NewReader(text.Bytes()))
	if o.out != "" {
		err = os.WriteFile(o.out, text.Bytes(), 0o644)
	}
	if len(r.errors) > 0 {
		err = errors.Join(err, fmt.Errorf("%d scenarios failed", len(r.errors)))
	}
	return err
}

// prepare returns the brokers that were asked for and speak a protocol of the scenarios. With no names given, one that cannot
// run here is left out with a note.
func prepare(ctx context.Context, o *options, todo []scenario, dir string) ([]peer.Broker, error) {
	all := append(peer.AllDurable(), peer.RabbitMQ(), peer.ApacheKafka(), peer.Kfake()) // that is all of them
	names := strings.Split(o.brokers, ",")
	for _, n := range names {
		if n != "" && !slices.ContainsFunc(all, func(b peer.Broker) bool { return b.Name == n }) {
			return nil, fmt.Errorf("no broker %q", n)
		}
	}
	var brokers []peer.Broker
	for _, b := range all {
		if o.brokers != "" && !slices.Contains(names, b.Name) {
			continue
		}
		speaks := func(s scenario) bool { return s.isFor(b) }
		if !slices.ContainsFunc(todo, speaks) {
			continue
		}
		err := b.Prepare(ctx, dir)
		if err != nil {
			if o.brokers != "" || b.Name == ours {
				return nil, err
			}
			log.Printf("without %s: %v", b.Name, err)
			continue
		}
		brokers = append(brokers, b)
	}
	return brokers, nil
}

// isFor reports whether the scenario can be run with the broker.
func (s *scenario) isFor(b peer.Broker) bool {
	if s.apart != nil {
		return b.Name == ours
	}
	return b.Speaks(s.listeners)
}

// runOne runs one scenario on a fresh broker.
func runOne(ctx context.Context, o *options, s scenario, b peer.Broker, dir string) (*outcome, error) {
	if s.apart != nil {
		if !s.isFor(b) {
			return nil, errors.ErrUnsupported
		}
		return s.apart(ctx, &apart{options: o, dir: dir})
	}
	if s.durable && o.few == 1 {
		if err := pages.Touch(16 << 30); err != nil {
			return nil, err
		}
	}
	p, err := peer.StartWith(ctx, b, dir, dir, peer.Config{Listeners: s.listeners, Durable: s.durable, Sync: s.sync, Args: s.args})
	if err != nil {
		return nil, err
	}
	out, err := s.run(&env{Proc: p, d: o.d, warm: o.warm, quiet: o.quiet, few: o.few})
	p.Stop()
	if err != nil {
		if l := tail(p.Log()); l != "" {
			log.Printf("%s said:\n%s", b.Name, l)
		}
		return nil, err
	}
	return out, nil
}

// tail returns the last lines of a log.
func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// raiseLimit lets this process and the brokers have enough open files.
func raiseLimit() error {
	const want = 65536
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	max := l.Max
	l.Cur, l.Max = want, want
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &l) == nil {
		return nil // allowed to raise the hard limit too
	}
	l.Cur, l.Max = max, max
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
}
