// Amqpcrash kills an AMQP broker with SIGKILL at random moments under load, starts it again, and checks that it keeps its word:
//
//		cd internal/interop && go run ./amqpcrash -kills 50
//
//	  - no persistent message is lost that was confirmed, or whose transaction was committed; it is in each of its queues;
//	  - a message comes again only when it must, and then it is marked as redelivered;
//	  - messages that are not marked come in the order of their publisher;
//	  - a transaction is done or not done as a whole, over queues and acknowledgements; what is committed is not undone, what is
//	    rolled back does not come;
//	  - a rejected message is in its queue or among the dead letters, never in both nor in neither; the same for expired ones;
//	  - delayed messages come, and not too early;
//	  - queues, exchanges and bindings that were declared are there, those that were deleted are not.
//
// Publishers use confirms or transactions; consumers acknowledge one by one, many at once or in transactions, reject, give
// back, come and go. Some kills hit the broker while it starts. The checker has its own client and knows nothing of the
// broker: it runs on RabbitMQ too.
//
// SIGKILL leaves the kernel its caches, so it does not tell whether the broker syncs: the tests of the journal and of the
// broker do that.
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
	delays            bool     // the broker has x-delayed-message
	args              []string // of our broker
}

// defaults returns the options that hold when nothing else is said.
func defaults() *options {
	return &options{kills: 50, each: 5, rate: 3000, seed: rand.Uint64() >> 32, between: 1500 * time.Millisecond}
}

func main() {
	log.SetFlags(0)
	o := defaults()
	flag.IntVar(&o.kills, "kills", o.kills, "kill the broker `n` times or a little more")
	flag.IntVar(&o.each, "each", o.each, "balance the account after each `n` kills")
	flag.IntVar(&o.rate, "rate", o.rate, "messages per second of all publishers together; most go to several queues")
	flag.Uint64Var(&o.seed, "seed", o.seed, "seed of the clients and of the moments of the kills")
	flag.DurationVar(&o.between, "between", o.between, "the longest `time` between two kills")
	flag.BoolVar(&o.calm, "calm", false, "kill nothing; what is wrong then is not the crash's fault")
	name := flag.String("broker", "quartet", "quartet or rabbitmq")
	flag.Parse()
	o.args = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, b := range peer.AllAMQP() {
		if b.Name != *name {
			continue
		}
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
	fmt.Fprintf(w, "%d kills in %v, %d messages confirmed, %d in transactions (%d committed, %d unknown), %d delivered; %d again, settled at most %v before the end of their connection; %d dead letters\n",
		len(l.kills), time.Since(l.begin).Round(time.Second), l.confirms, l.inTx, l.commits, l.unknowns, l.delivered, l.again, l.stalest, l.dead)
	l.faults.write(w)
	if l.faults.total() == 0 {
		fmt.Fprintln(w, "no faults")
	}
}
