// Crash kills a broker with SIGKILL at random moments under load, starts it again, and checks that it keeps its word:
//
//		cd internal/interop && go run ./crash -kills 50
//
//	  - no message is lost that was acknowledged: PUBACK at QoS 1, PUBREC at QoS 2;
//	  - no message of QoS 2 is delivered twice, one of QoS 1 only when it is sent again for a reason;
//	  - the messages of a publisher to a topic come in order, at each QoS;
//	  - sessions and subscriptions are there without subscribing again, those that were ended stay so;
//	  - the retained message of each topic is the last one that was acknowledged or a later one;
//	  - the wills of clients that lost their connection by the crash are published, those of others are not.
//
// Publishers and subscribers of both versions keep their part of the session; some come and go, some are away all the time,
// some change their subscriptions, some are new. Some kills hit the broker while it starts. The checker decodes packets with
// the mqtt package and otherwise knows nothing of the broker: it runs on mosquitto, mochi and nats too.
//
// SIGKILL leaves the kernel its caches, so it does not tell whether the broker syncs: the tests of the journal do that.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// options are the flags.
type options struct {
	kills, each, rate int
	seed              uint64
	between           time.Duration
	calm              bool     // only pretend to kill
	old               bool     // version 3.1.1 only
	args              []string // of our broker
}

// defaults returns the options that hold when nothing else is said.
func defaults() *options {
	return &options{kills: 50, each: 5, rate: 4000, seed: rand.Uint64() >> 32, between: 1500 * time.Millisecond}
}

func main() {
	log.SetFlags(0)
	o := defaults()
	flag.IntVar(&o.kills, "kills", o.kills, "kill the broker `n` times or a little more")
	flag.IntVar(&o.each, "each", o.each, "balance the account after each `n` kills")
	flag.IntVar(&o.rate, "rate", o.rate, "messages per second of all publishers together; each goes to five subscribers or more")
	flag.Uint64Var(&o.seed, "seed", o.seed, "seed of the clients and of the moments of the kills")
	flag.DurationVar(&o.between, "between", o.between, "the longest `time` between two kills")
	flag.BoolVar(&o.calm, "calm", false, "kill nothing; what is wrong then is not the crash's fault")
	name := flag.String("broker", "quartet", "quartet, mosquitto, mochi, mochi-sync or nats")
	flag.Parse()
	o.args = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, b := range peer.AllDurable() {
		if b.Name != *name {
			continue
		}
		o.old = b.Name == "nats"
		faults, err := prepareAndRun(ctx, b, o)
		if err != nil {
			log.Fatal(err)
		}
		if faults > 0 {
			os.Exit(1)
		}
		return
	}
	log.Fatalf("no broker %q", *name)
}

// prepareAndRun runs everything for one broker, prints the account and returns the number of faults.
func prepareAndRun(ctx context.Context, b peer.Broker, o *options) (faults int, err error) {
	bin, err := os.MkdirTemp("", "crash-bin-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	if err := b.Prepare(ctx, bin); err != nil {
		return 0, err
	}
	l, err := run(ctx, b, bin, "", o, os.Stdout)
	if l != nil {
		l.write(os.Stdout)
		faults = l.faults.total()
	}
	return faults, err
}

// write prints the account.
func (l *ledger) write(w *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(w, "%d kills in %v, %d messages acknowledged, %d delivered; %d of QoS 1 sent again, %d of them without DUP, acknowledged at most %v before the crash\n",
		len(l.kills), time.Since(l.begin).Round(time.Second), l.acks, l.delivered, l.resent, l.noDup, l.stalest)
	l.faults.write(w)
	if l.faults.total() == 0 {
		fmt.Fprintln(w, "no faults")
	}
}
