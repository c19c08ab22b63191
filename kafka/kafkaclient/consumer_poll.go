package kafkaclient

import (
	"context"
	"errors"
	"iter"
	"time"
)

// current is the chunk that the goroutine that polls decodes.
type current struct {
	p       *consumerPartition
	version uint64
	chunk   *chunk
	decoder decoder
	records []Record // of the batch that is being given out
}

// Poll waits for records and returns some, of one partition after another, each in order. It returns an error when ctx
// ends, when the consumer is closed ([ErrClosed]), when a partition stands still (*[PartitionError]), when the application
// took longer than MaxPollInterval (kafka.ErrPollInterval; poll again to join the group again), or when the group does not
// take the consumer; then the next call tries again, unless [Fatal] says that there is no point. Without
// an error there is at least one record.
//
// When ctx ends while partitions are given back the next call goes on with that: calls may be short.
//
// The slice is valid until the next call; the records are the caller's.
func (c *Consumer) Poll(ctx context.Context) ([]*Record, error) {
	if err := c.beginPoll(); err != nil {
		return nil, err
	}
	defer c.polling.Store(false)
	c.setCommits(true)
	list, err := c.poll(ctx)
	c.setCommits(false)
	if err == nil { // else what was taken, when Shutdown came, was not given out
		c.give(nil)
	}
	return list, err
}

// beginPoll sees to it that only one polls.
func (c *Consumer) beginPoll() error {
	switch {
	case c.shutting.Load():
		return ErrClosed
	case !c.polling.CompareAndSwap(false, true):
		return ErrPolling
	}
	return nil
}

// All polls until the loop ends, ctx ends or the consumer is closed. What is committed by itself are the records before
// the current one, and rebalances happen between two records: those of partitions that are revoked do not come any more.
// When the loop ends by break the next Poll or All goes on after the current record.
//
// Errors are yielded with a nil record; the loop may go on after them, but for [ErrClosed], that of ctx, and those that
// are [Fatal]: then it ends.
func (c *Consumer) All(ctx context.Context) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if err := c.beginPoll(); err != nil {
			yield(nil, err)
			return
		}
		defer c.polling.Store(false)
		c.setCommits(true)
		defer c.setCommits(false)
		for {
			list, err := c.poll(ctx)
			if err != nil {
				if !yield(nil, err) || ctx.Err() != nil || Fatal(err) || errors.Is(err, ErrClosed) {
					return
				}
				continue
			}
			for i, r := range list {
				if r.acks.closed.Load() {
					continue // its partition was taken back, or sought in
				}
				c.yielded.Store(c.base + uint64(i))
				if !yield(r, nil) {
					c.keepRest(list[i+1:])
					return
				}
				c.yielded.Store(c.base + uint64(i) + 1)
				if c.notice.Load() {
					if err := c.between(ctx); err != nil && (!yield(nil, err) || ctx.Err() != nil) {
						c.keepRest(list[i+1:])
						return
					}
				}
			}
		}
	}
}

// give notes what a loop is about to get.
func (c *Consumer) give(list []*Record) {
	c.mu.Lock()
	c.base += uint64(len(c.given))
	c.yielded.Store(c.base)
	c.given = list
	c.mu.Unlock()
}

// setCommits says whether what counts as consumed has been processed: that is not so after Poll has returned.
func (c *Consumer) setCommits(now bool) {
	c.mu.Lock()
	c.mayCommit = now
	c.mu.Unlock()
}

// keepRest keeps what a loop did not take for the next.
func (c *Consumer) keepRest(list []*Record) {
	c.give(list)
	c.rest = list
}

// between does what is due between two records.
func (c *Consumer) between(ctx context.Context) error {
	c.mu.Lock()
	c.polled()
	c.mu.Unlock()
	return c.attend(ctx)
}

func (c *Consumer) poll(ctx context.Context) ([]*Record, error) {
	var alive *time.Ticker
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		c.mu.Lock()
		if c.closed || c.shutting.Load() {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		c.polled()
		c.mu.Unlock()
		if c.notice.Load() {
			if err := c.attend(ctx); err != nil {
				return nil, err
			}
		}
		c.commitByItself(false)
		if list := c.take(); len(list) > 0 {
			if c.shutting.Load() {
				return nil, ErrClosed // they count as not consumed
			}
			return list, nil
		}
		if c.notice.Load() {
			continue
		}
		if alive == nil {
			alive = time.NewTicker(max(c.o.MaxPollInterval/3, time.Millisecond))
			defer alive.Stop()
		}
		select {
		case <-c.wake:
		case <-alive.C:
		case <-ctx.Done():
		case <-c.alive.Done():
		}
	}
}

// attend runs callbacks and returns an error, if there is one.
func (c *Consumer) attend(ctx context.Context) error {
	if err := c.groupEvents(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fatal != nil {
		return c.fatal
	}
	if len(c.errs) > 0 {
		err := c.errs[0]
		c.errs = c.errs[1:]
		c.notice.Store(len(c.errs) > 0 || c.groupWaits())
		return err
	}
	c.notice.Store(c.groupWaits())
	return nil
}

// take returns records that are there. They count as not consumed until the loop gets them, or Poll returns.
func (c *Consumer) take() []*Record {
	if list := c.rest; len(list) > 0 {
		c.rest = nil
		n := 0
		for _, r := range list {
			if !r.acks.closed.Load() {
				list[n] = r
				n++
			}
		}
		if n > 0 {
			c.give(list[:n])
			return list[:n]
		}
	}
	c.give(nil)
	c.out = c.out[:0]
	for len(c.out) < c.o.MaxPollRecords {
		if len(c.current.records) == 0 && !c.decodeNext() {
			break
		}
		c.deliver()
	}
	return c.out
}

// deliver gives records of the current batch to the application, unless the partition is gone, was sought in, or paused.
func (c *Consumer) deliver() {
	cur := &c.current
	c.mu.Lock()
	defer c.mu.Unlock()
	p := cur.p
	switch {
	case p.version != cur.version || p.gone:
		*cur = current{}
		return
	case p.paused:
		held := *cur
		p.stash = &held
		*cur = current{}
		return
	}
	n := min(len(cur.records), c.o.MaxPollRecords-len(c.out))
	from := len(c.out)
	for i := range cur.records[:n] {
		c.out = append(c.out, &cur.records[i])
	}
	c.given = c.out
	cur.records = cur.records[n:]
	p.records += uint64(n)
	c.stats.Records += uint64(n)
	p.acks.delivered(c.out[from:])
	last := &c.out[len(c.out)-1]
	p.position, p.epoch = (*last).Offset+1, (*last).LeaderEpoch
	if len(cur.records) == 0 && cur.decoder.next > p.position {
		p.position = cur.decoder.next
		p.acks.passed(p.position)
	}
}

// decodeNext makes records of the next batch that has some. It returns false when there is none.
func (c *Consumer) decodeNext() bool {
	cur := &c.current
	for {
		if cur.p == nil && !c.nextChunk() {
			return false
		}
		if len(cur.records) > 0 {
			return true // it was paused
		}
		records, ok, err := cur.decoder.batch()
		if len(records) > 0 {
			cur.records = records
			return true
		}
		if !ok {
			if err == nil {
				err = cur.chunk.err
			}
			c.endChunk(err)
		}
	}
}

// nextChunk takes the next chunk.
func (c *Consumer) nextChunk() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	cur := &c.current
	for len(c.ready) > 0 {
		p := c.ready[0]
		if p.gone || p.paused || p.revoked || len(p.queue) == 0 && p.stash == nil {
			c.ready = c.ready[1:]
			p.isReady = false
			continue
		}
		if p.stash != nil {
			*cur = *p.stash
			p.stash = nil
			return true
		}
		k := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.queued -= len(k.data)
		if len(p.queue) == 0 {
			p.queue = nil
			c.ready = c.ready[1:]
			p.isReady = false
		} else {
			c.ready = append(c.ready[1:], p) // others come, too
		}
		if p.source != nil {
			p.source.wakeUp()
		}
		cur.p, cur.version, cur.chunk = p, p.version, k
		d := &cur.decoder
		d.topic, d.partition = string(p.Topic), p.Partition
		d.limit, d.check, d.committed = c.o.MaxBatchBytes, !c.o.SkipCRC, c.o.ReadCommitted
		d.load(k)
		return true
	}
	return false
}

// endChunk ends with the chunk: the position is after everything in it, also after what was not for the application.
func (c *Consumer) endChunk(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cur := &c.current
	p := cur.p
	if p != nil && p.version == cur.version && !p.gone {
		if cur.decoder.next > p.position {
			p.position, p.epoch = cur.decoder.next, cur.decoder.epoch
			p.acks.passed(p.position)
		}
		if err != nil {
			p.forgetQueue()
			p.fail(err)
		}
	}
	d := cur.decoder
	*cur = current{decoder: decoder{open: d.open, ratio: d.ratio}}
}

// forgetQueue drops what was fetched and not decoded.
func (p *consumerPartition) forgetQueue() {
	p.c.versions++
	p.version = p.c.versions
	p.queue, p.queued, p.stash, p.corrupt = nil, 0, nil, false
}
