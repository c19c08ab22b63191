// Kafkacrash kills our gateway with SIGKILL again and again while clients of others (franz-go) produce to it, idempotently and
// in transactions, and consume, transform and produce in transactions. After some kills it stops the load, reads everything
// as a consumer of committed records does, and balances the account: nothing that was acknowledged is lost, nothing is there
// twice, nothing of a transaction that was aborted, and transactions are there whole or not at all.
//
//	go run ./kafkacrash -kills 50
//
// The end of a process loses nothing that the operating system has. What a loss of power loses is tested in kafkabroker.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options say what to do.
type options struct {
	kills   int
	each    int           // kills between two balances
	between time.Duration // the longest time between two kills
	seed    uint64
	calm    bool
	verbose bool
}

func defaults() *options {
	return &options{kills: 50, each: 5, between: 700 * time.Millisecond, seed: uint64(time.Now().UnixNano())}
}

func main() {
	o := defaults()
	flag.IntVar(&o.kills, "kills", o.kills, "`number` of kills")
	flag.IntVar(&o.each, "each", o.each, "kills between two balances")
	flag.DurationVar(&o.between, "between", o.between, "the longest `time` between two kills")
	flag.Uint64Var(&o.seed, "seed", o.seed, "`seed` of what is random here")
	flag.BoolVar(&o.calm, "calm", false, "kill nothing; what is wrong then is not the crash's fault")
	flag.BoolVar(&o.verbose, "v", false, "print what the clients say")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := run(ctx, o, "", os.Stdout)
	if l != nil {
		l.write(os.Stdout)
	}
	if err != nil {
		log.Fatal(err)
	}
	if l.faults.total() > 0 {
		os.Exit(1)
	}
}

// run does it all, with files below dir.
func run(ctx context.Context, o *options, dir string, out *os.File) (*ledger, error) {
	work, err := os.MkdirTemp(dir, "kafkacrash-")
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "seed %d, %d kills\n", o.seed, o.kills)
	h := newHarness(o, out)
	if h.p, err = build(ctx, work); err != nil {
		return nil, err
	}
	defer h.p.release()
	if err := h.p.start(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := h.topics(ctx); err != nil {
		h.p.kill()
		return nil, err
	}
	h.begin(ctx)
	err = h.kills(ctx)
	cancel()
	h.running.Wait()
	h.p.kill()
	if err == nil && h.l.faults.total() == 0 {
		os.RemoveAll(work)
	} else {
		fmt.Fprintf(out, "files are in %s\n", work)
	}
	return h.l, err
}
