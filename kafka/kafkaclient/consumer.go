package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Consumer reads records: of the partitions that its group gives it, or of those that it is told to. It must be made with
// [Client.NewConsumer], and closed with Shutdown or Close.
//
// Poll or All bring the records, and only one of them may run at a time. Everything else may be called by any goroutine,
// also while Poll runs, and by the functions of [ConsumerOptions]. Fetching goes on in the background within MaxBuffered,
// and so do heartbeats: how long the application takes for its records counts only for MaxPollInterval.
type Consumer struct {
	c *Client
	o *consumerConfig

	alive context.Context
	end   context.CancelCauseFunc
	wake  chan struct{} // for Poll
	lane  lane          // for fetching
	join  lane          // for JoinGroup and SyncGroup, which wait at the broker

	polling  atomic.Bool
	shutting atomic.Bool   // Shutdown was called
	notice   atomic.Bool   // there is something for the goroutine that polls, besides records
	yielded  atomic.Uint64 // records that All has yielded, the current one not included

	work sync.WaitGroup // goroutines

	mu           sync.Mutex
	closed       bool
	unwatch      func()
	unhook       func()
	parts        map[kafka.TopicPartition]*consumerPartition
	ready        []*consumerPartition // with records to be polled
	sources      map[kafkawire.BrokerID]*source
	wants        map[kafkawire.TopicName]bool // topics that metadata is kept for
	refused      map[kafkawire.TopicName]bool // topics that the client must not see, or that cannot be
	all          bool                         // metadata is kept for all topics
	errs         []error                      // for Poll
	fatal        error
	versions     uint64        // of partitions, and rounds of sources
	lastTurn     chan struct{} // closed when all commits so far have ended; nil: there were none
	lastCommit   time.Time
	autoCommit   bool // one is under way
	mayCommit    bool // what is consumed has been processed
	commitTimer  *time.Timer
	timer        *time.Timer
	timerAt      time.Time
	group        *group
	leaving      chan struct{} // closed when the group knows
	current      current       // of the goroutine that polls
	out          []*Record
	rest         []*Record // what a loop did not take; of the goroutine that polls
	given        []*Record // what the loop gets
	base         uint64    // yielded when that began
	lastProgress uint64
	stats        ConsumerStats // counters
}

// NewConsumer returns a consumer. It does not wait for brokers. The error is about the options.
func (c *Client) NewConsumer(o *ConsumerOptions) (*Consumer, error) {
	cfg, err := newConsumerConfig(o)
	if err != nil {
		return nil, err
	}
	k := &Consumer{
		c: c, o: cfg, wake: make(chan struct{}, 1), lane: c.newLane(), join: c.newLane(),
		parts: make(map[kafka.TopicPartition]*consumerPartition), sources: make(map[kafkawire.BrokerID]*source),
		wants: make(map[kafkawire.TopicName]bool), refused: make(map[kafkawire.TopicName]bool),
	}
	k.alive, k.end = context.WithCancelCause(c.alive)
	k.lastCommit = time.Now()
	if k.commits() {
		k.mu.Lock()
		k.commitTimer = time.AfterFunc(cfg.CommitInterval, func() { k.commitByItself(true) })
		k.mu.Unlock()
	}
	k.unwatch = c.meta.watch(k.metadataChanged)
	switch {
	case len(cfg.Topics) > 0:
		err = k.Subscribe(cfg.Topics...)
	case cfg.Pattern != nil:
		err = k.subscribePattern()
	case len(cfg.Assign) > 0:
		err = k.Assign(cfg.Assign)
	}
	if err != nil {
		k.Close()
		return nil, err
	}
	unhook := c.atClose(func() { k.stop(ErrClosed) })
	k.mu.Lock()
	k.unhook = unhook
	k.mu.Unlock()
	return k, nil
}

// Close ends the consumer without waiting for brokers and without committing. It tells the group that the consumer leaves,
// unless it is a static member, for which the network has a few seconds in the background. Functions of ConsumerOptions are
// not called. Poll fails with [ErrClosed].
func (c *Consumer) Close() error {
	c.leave("the consumer is being closed")
	c.stop(ErrClosed)
	return nil
}

// Shutdown ends the consumer in order: it commits what Commit says, calls OnRevoked, leaves the group unless the consumer is
// a static member, and waits until its goroutines have ended. When ctx ends first the rest is done as Close does it. The
// error is that of committing or ctx.
//
// When Poll is running it ends with [ErrClosed], and so does each later call. Within a function of ConsumerOptions, or while
// one runs, Shutdown does not wait for it and does not call another.
func (c *Consumer) Shutdown(ctx context.Context) error {
	var err error
	switch first, alone := c.beginShutdown(); {
	case alone:
		c.wakeUp()
		err = c.giveBack(ctx)
	case first:
		err = c.commitKept(ctx)
	}
	done := c.leave("the consumer is being closed")
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			err = errors.Join(err, context.Cause(ctx))
		}
	}
	c.stop(ErrClosed)
	ended := make(chan struct{})
	go func() {
		c.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		err = errors.Join(err, context.Cause(ctx))
	}
	return err
}

// stop ends everything but what leave has begun.
func (c *Consumer) stop(err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	for _, p := range c.parts {
		p.drop()
	}
	clear(c.parts)
	c.ready = nil
	wants, all := c.wants, c.all
	c.wants, c.all = nil, false
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.commitTimer != nil {
		c.commitTimer.Stop()
	}
	unhook := c.unhook
	c.mu.Unlock()
	c.end(err)
	c.unwatch()
	if unhook != nil {
		unhook()
	}
	for name := range wants {
		c.c.meta.forget(name)
	}
	if all {
		c.c.meta.forgetAll()
	}
	c.c.closeLane(c.lane)
	c.c.closeLane(c.join)
	c.wakeUp()
}

// spawn runs f on a goroutine of the consumer, unless it is closed. c.mu is held.
func (c *Consumer) spawn(f func()) {
	if !c.closed {
		c.work.Go(f)
	}
}

// wakeUp lets Poll look again.
func (c *Consumer) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// report makes Poll return an error. c.mu is held.
func (c *Consumer) report(err error) {
	if len(c.errs) < 100 {
		c.errs = append(c.errs, err)
	}
	c.notice.Store(true)
	c.wakeUp()
}

// want keeps the metadata of a topic up to date. c.mu is held.
func (c *Consumer) want(topic kafkawire.TopicName) {
	if c.closed || c.wants[topic] {
		return
	}
	c.wants[topic] = true
	c.c.meta.want(topic)
}

// PartitionError is an error of one partition, which stands still until something is done about it, such as
// [Consumer.Seek]. Others go on.
type PartitionError struct {
	kafka.TopicPartition
	Offset int64 // where the consumer is, -1 when that is not known
	Err    error
}

// Error returns the text.
func (e *PartitionError) Error() string {
	return fmt.Sprintf("kafkaclient: %v at offset %d: %v", e.TopicPartition, e.Offset, e.Err)
}

// Unwrap returns e.Err.
func (e *PartitionError) Unwrap() error { return e.Err }

// The reasons of a [PartitionError] besides what brokers say.
var (
	// ErrNoOffset: there is no committed offset, and Reset is ResetNone.
	ErrNoOffset = errors.New("no offset was committed")
	// ErrTruncated: the broker has lost records that the consumer has read, or the topic was deleted and made anew, and
	// Reset is ResetNone. Offset of the PartitionError is where that begins, when it is known. With another Reset the
	// consumer goes on there by itself, and with the first record of a topic that was made anew.
	ErrTruncated = errors.New("the log was truncated")
)

// ErrPolling: Poll or All runs already, or it was called within a function of ConsumerOptions.
var ErrPolling = errors.New("kafkaclient: the consumer is polling")
