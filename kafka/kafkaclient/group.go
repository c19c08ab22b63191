package kafkaclient

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// group is a consumer's membership. Consumer.mu guards it.
type group struct {
	m      *kafka.Member
	events []kafka.MemberEvent // for the goroutine that polls
	busy   bool                // it works on them
	giving *giving             // what it gives back, when a call of Poll ended before that was done
	left   bool
	failed bool     // the machine waits for Retry
	seen   *cluster // the last metadata that the leader was told of
}

// Subscribe makes topics those of the consumer, and no others, and joins the group with the next Poll. The partitions come
// and go as the group decides; what is not subscribed to any more is revoked. Topics that do not exist yet are waited for.
func (c *Consumer) Subscribe(topics ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return ErrClosed
	case c.o.Group == "":
		return errNoGroup
	case c.group == nil && len(c.parts) > 0, c.o.Pattern != nil && c.group != nil:
		return errors.New("kafkaclient: the consumer has assigned partitions or a pattern")
	}
	c.startGroup()
	for _, t := range topics {
		c.want(kafkawire.TopicName(t))
	}
	c.group.m.Subscribe(time.Now(), topics)
	c.drainGroup()
	return nil
}

func (c *Consumer) subscribePattern() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startGroup()
	c.all = true
	c.c.meta.wantAll()
	c.groupMetadata(c.c.meta.current.Load())
	return nil
}

// Subscription returns the topics to which the consumer subscribes, sorted; with a pattern those that match.
func (c *Consumer) Subscription() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.group == nil {
		return nil
	}
	return slices.Clone(c.group.m.Subscription())
}

// startGroup makes the member. c.mu is held.
func (c *Consumer) startGroup() {
	if c.group != nil {
		return
	}
	o := &kafka.MemberOptions{
		GroupID: kafkawire.GroupID(c.o.Group), InstanceID: c.o.InstanceID, Assignors: c.o.Assignors, Rack: c.c.o.Rack,
		SessionTimeout: c.o.SessionTimeout, HeartbeatInterval: c.o.HeartbeatInterval, MaxPollInterval: c.o.MaxPollInterval,
		Backoff: c.c.o.Backoff.Min,
	}
	if c.o.Pattern != nil {
		o.Matches = c.o.Pattern.MatchString
	}
	c.group = &group{m: kafka.NewMember(o)}
}

// Rebalance asks the group to rebalance.
func (c *Consumer) Rebalance(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.group != nil && !c.closed {
		c.group.m.Rejoin(time.Now(), reason)
		c.drainGroup()
	}
}

// polled tells the group that the application is alive. c.mu is held.
func (c *Consumer) polled() {
	g := c.group
	if g == nil || c.closed {
		return
	}
	now := time.Now()
	if g.failed && len(c.errs) == 0 && len(g.events) == 0 {
		g.failed = false
		g.m.Retry(now)
	}
	g.m.Polled(now)
	c.drainGroup()
}

// drainGroup does what the member wants. c.mu is held.
func (c *Consumer) drainGroup() {
	g := c.group
	if g == nil {
		return
	}
	for e, ok := g.m.Next(); ok; e, ok = g.m.Next() {
		switch e.Kind {
		case kafka.MemberSend:
			c.sendGroup(e)
		case kafka.MemberNeedTopics:
			c.spawn(func() { c.findLayouts(e.Topics) })
		default:
			g.events = append(g.events, e)
			c.notice.Store(true)
			c.wakeUp()
		}
	}
	c.setTimer()
}

// setTimer arms the timer of the member. c.mu is held.
func (c *Consumer) setTimer() {
	at := c.group.m.Timeout()
	if at.IsZero() || at.Equal(c.timerAt) || c.closed {
		return
	}
	c.timerAt = at
	d := max(time.Until(at), 0)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.tick)
	} else {
		c.timer.Reset(d)
	}
}

// tick does what is due.
func (c *Consumer) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.timerAt = time.Time{}
	now := time.Now()
	if n := c.yielded.Load(); n != c.lastProgress {
		c.lastProgress = n
		c.group.m.Busy(now) // a loop gets on
	}
	c.group.m.Advance(now)
	c.drainGroup()
}

// sendGroup sends a request of the member. c.mu is held.
func (c *Consumer) sendGroup(e kafka.MemberEvent) {
	o := sendOptions{}
	switch e.Request.(type) {
	case *kafkawire.JoinGroupRequest:
		// The coordinator answers when all members have joined.
		o.lane, o.wait = c.join, c.o.MaxPollInterval+5*time.Second
	case *kafkawire.SyncGroupRequest:
		o.lane, o.wait = c.join, c.o.MaxPollInterval
	}
	if _, leaves := e.Request.(*kafkawire.LeaveGroupRequest); leaves {
		done := make(chan struct{})
		c.leaving = done
		go func() { // may outlive the consumer, for a short time
			defer close(done)
			ctx, cancel := context.WithTimeoutCause(c.c.alive, 5*time.Second, ErrTimeout)
			defer cancel()
			c.requestGroup(ctx, leaveRequest{e.Request.(*kafkawire.LeaveGroupRequest)}, &o)
		}()
		return
	}
	c.spawn(func() {
		resp, err := c.requestGroup(c.alive, e.Request, &o)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closed {
			return
		}
		c.group.m.Receive(time.Now(), e.Token, resp, err)
		c.drainGroup()
	})
}

// leaveRequest is a LeaveGroupRequest of one member in every version.
type leaveRequest struct{ *kafkawire.LeaveGroupRequest }

func (r leaveRequest) Append(dst []byte, version int16) ([]byte, error) {
	req := *r.LeaveGroupRequest
	if version < 3 {
		req.MemberID, req.Members = req.Members[0].MemberID, nil
	}
	return req.Append(dst, version)
}

func (c *Consumer) requestGroup(ctx context.Context, r kafkawire.Request, o *sendOptions) (kafkawire.Response, error) {
	return c.c.requestCoordinator(ctx, GroupCoordinator, c.o.Group, r, o, func(r kafkawire.Response) kafkawire.ErrorCode {
		switch r := r.(type) {
		case *kafkawire.JoinGroupResponse:
			return r.ErrorCode
		case *kafkawire.SyncGroupResponse:
			return r.ErrorCode
		case *kafkawire.HeartbeatResponse:
			return r.ErrorCode
		case *kafkawire.LeaveGroupResponse:
			return r.ErrorCode
		}
		return 0
	})
}

// groupMetadata tells the member of topics. c.mu is held.
func (c *Consumer) groupMetadata(now *cluster) {
	g := c.group
	if c.o.Pattern != nil && now.all {
		topics := []string{}
		for name, t := range now.topics {
			if !t.internal && len(t.partitions) > 0 && c.o.Pattern.MatchString(string(name)) {
				topics = append(topics, string(name))
			}
		}
		slices.Sort(topics)
		if g.seen == nil || !slices.Equal(topics, g.m.Subscription()) {
			g.m.Subscribe(time.Now(), topics)
		}
		g.seen = now
	}
	if watched := g.m.Watched(); watched != nil && g.m.Stable() {
		g.m.Topics(time.Now(), layouts(now, watched))
	}
	c.drainGroup()
}

// layouts says what topics look like, as far as they are there.
func layouts(now *cluster, names []string) []kafka.TopicLayout {
	list := make([]kafka.TopicLayout, 0, len(names))
	for _, name := range names {
		t := now.topics[kafkawire.TopicName(name)]
		if t == nil || len(t.partitions) == 0 || t.err == kafkawire.ErrUnknownTopicOrPartition {
			continue
		}
		l := kafka.TopicLayout{Name: t.name, Racks: make([][]string, len(t.partitions))}
		for i := range t.partitions {
			for _, id := range t.partitions[i].replicas {
				if rack := now.brokers[id].rack; rack != "" {
					l.Racks[i] = append(l.Racks[i], rack)
				}
			}
			slices.Sort(l.Racks[i])
			l.Racks[i] = slices.Compact(l.Racks[i])
		}
		list = append(list, l)
	}
	return list
}

// findLayouts finds out what topics look like, for the leader.
func (c *Consumer) findLayouts(names []string) {
	c.mu.Lock()
	for _, n := range names {
		c.want(kafkawire.TopicName(n))
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(c.alive, c.c.o.RequestTimeout, ErrTimeout)
	defer cancel()
	err := c.c.meta.await(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if err != nil {
		c.group.m.NoTopics(time.Now(), err)
	} else {
		c.group.m.Topics(time.Now(), layouts(c.c.meta.current.Load(), names))
	}
	c.drainGroup()
}

// groupWaits reports whether there are events for the goroutine that polls. c.mu is held.
func (c *Consumer) groupWaits() bool { return c.group != nil && len(c.group.events) > 0 }

// groupEvents runs callbacks. It returns the error of ctx when that ends before it is done: then it is to be called again.
func (c *Consumer) groupEvents(ctx context.Context) error {
	for {
		c.mu.Lock()
		g := c.group
		if g == nil || c.closed || len(g.events) == 0 || g.busy {
			c.mu.Unlock()
			return nil
		}
		g.busy = true
		e := g.events[0]
		c.mu.Unlock()
		done := true
		switch e.Kind {
		case kafka.MemberTakeBack:
			done = c.takeBack(ctx, e)
		case kafka.MemberAssigned:
			c.assigned(e)
		case kafka.MemberFailed:
			c.mu.Lock()
			g.failed = true
			if errors.Is(e.Err, kafkawire.ErrFencedInstanceID) {
				c.fatal = e.Err
				c.notice.Store(true)
			} else {
				c.report(e.Err)
			}
			c.mu.Unlock()
		}
		c.mu.Lock()
		if done {
			g.events = g.events[1:]
		}
		g.busy = c.shutting.Load() // Shutdown does the rest
		c.mu.Unlock()
		if !done {
			return context.Cause(ctx)
		}
	}
}

// takeBack gives partitions back. It reports whether that is done.
func (c *Consumer) takeBack(ctx context.Context, e kafka.MemberEvent) bool {
	if len(e.Partitions) > 0 {
		if done, _ := c.giveUp(ctx, e.Partitions, e.Lost); !done {
			return false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return true
	}
	c.group.m.Resume(time.Now())
	c.drainGroup()
	if e.Err != nil {
		c.report(e.Err)
	}
	return true
}

// giving is how far giving partitions back has come.
type giving struct {
	lost      bool
	told      bool          // the function of the application was called
	committed chan struct{} // closed when the commit has ended; nil: it was not begun
	err       error         // of the commit
}

// giveUp commits, unless the partitions are lost, calls the function of the application, and drops the partitions. It
// reports whether that is done: when ctx ends before the commit has, the next call goes on.
func (c *Consumer) giveUp(ctx context.Context, partitions []kafka.TopicPartition, lost bool) (done bool, err error) {
	c.mu.Lock()
	g := c.group.giving
	if g == nil {
		for _, tp := range partitions {
			if p := c.parts[tp]; p != nil {
				p.revoked = true
			}
		}
		g = &giving{lost: lost}
		c.group.giving = g
	}
	c.mu.Unlock()
	c.isLost(g)
	commit := func() bool { return g.lost || c.commitGiven(ctx, g, partitions) }
	if c.o.Commit == CommitPolled && !commit() {
		return false, context.Cause(ctx)
	}
	if !g.told {
		g.told = true
		tell := c.o.OnRevoked
		if c.isLost(g) {
			tell = c.o.OnLost
		}
		if tell != nil {
			tell(c, slices.Clone(partitions))
		}
	}
	if c.o.Commit == CommitDone && !commit() {
		return false, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.group.giving = nil
	for _, tp := range partitions {
		if p := c.parts[tp]; p != nil && p.revoked {
			p.drop()
			delete(c.parts, tp)
		}
	}
	return true, g.err
}

// isLost reports whether partitions are somebody else's perhaps: the consumer may be out of the group by now.
func (c *Consumer) isLost(g *giving) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.lost = g.lost || !c.group.m.Stable() && !c.group.m.Rebalancing()
	return g.lost
}

// commitGiven commits what was consumed of partitions that are given back. It returns false when ctx ends before that is
// done, which goes on all the same: a call of Poll may be short.
func (c *Consumer) commitGiven(ctx context.Context, g *giving, partitions []kafka.TopicPartition) bool {
	if g.committed == nil {
		c.mu.Lock()
		g.committed = make(chan struct{})
		list := c.toCommit()
		for tp := range list {
			if _, ok := slices.BinarySearchFunc(partitions, tp, kafka.TopicPartition.Compare); !ok {
				delete(list, tp)
			}
		}
		id, err := c.identity()
		if len(list) == 0 || c.closed || err != nil {
			if len(list) > 0 {
				g.err = err
			}
			close(g.committed)
		} else {
			turn := c.turn()
			c.spawn(func() {
				defer close(g.committed)
				// The group waits for this member no longer than that.
				ctx, cancel := context.WithTimeoutCause(c.alive, min(c.o.MaxPollInterval, c.c.o.RequestTimeout), ErrTimeout)
				defer cancel()
				if g.err = c.commitAs(ctx, turn, id, list); g.err != nil {
					c.c.o.Logger.Warn("cannot commit before partitions are revoked", "group", c.o.Group, "err", g.err)
				}
			})
		}
		c.mu.Unlock()
	}
	select {
	case <-g.committed:
		return true
	default:
	}
	select {
	case <-g.committed:
		return true
	case <-ctx.Done():
		return false
	}
}

// assigned takes new partitions.
func (c *Consumer) assigned(e kafka.MemberEvent) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	for _, tp := range e.Partitions {
		if p := c.parts[tp]; p == nil {
			c.newPartition(tp)
		}
	}
	c.lastCommit = time.Now()
	c.stats.Assigned++
	c.mu.Unlock()
	if c.o.OnAssigned != nil {
		c.o.OnAssigned(c, slices.Clone(e.Partitions))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tp := range e.Partitions {
		if p := c.parts[tp]; p != nil {
			p.release()
		}
	}
	if !c.closed {
		c.group.m.Resume(time.Now())
		c.drainGroup()
	}
}

// beginShutdown reports whether the consumer is shut down for the first time, and whether Shutdown may call functions of the
// application then: nobody else is at that.
func (c *Consumer) beginShutdown() (first, alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shutting.Swap(true) || c.closed {
		return false, false
	}
	if c.group != nil {
		if c.group.busy {
			return true, false
		}
		c.group.busy = true // for good
	}
	return true, true
}

// commitKept commits what was consumed of partitions that are not being given back, while somebody else is at those.
func (c *Consumer) commitKept(ctx context.Context) error {
	c.mu.Lock()
	list := c.toCommit()
	for tp := range list {
		if !c.commits() || c.parts[tp].revoked {
			delete(list, tp)
		}
	}
	if len(list) == 0 {
		c.mu.Unlock()
		return nil
	}
	return c.commitNow(ctx, list)
}

// giveBack gives all partitions back.
func (c *Consumer) giveBack(ctx context.Context) error {
	c.mu.Lock()
	if g := c.group; g != nil && g.giving != nil { // a call of Poll was too short for that
		e := g.events[0]
		c.mu.Unlock()
		if done, err := c.giveUp(ctx, e.Partitions, e.Lost); !done {
			return err
		}
		c.mu.Lock()
	}
	var list []kafka.TopicPartition
	for tp := range c.parts {
		list = append(list, tp)
	}
	group := c.group
	commit := c.commits()
	consumed := c.toCommit()
	c.mu.Unlock()
	slices.SortFunc(list, kafka.TopicPartition.Compare)
	if group != nil {
		if len(list) == 0 {
			return nil
		}
		_, err := c.giveUp(ctx, list, false)
		return err
	}
	if commit && len(consumed) > 0 {
		return c.CommitOffsets(ctx, consumed)
	}
	return nil
}

// leave tells the group that the consumer leaves. The channel, when it is not nil, is closed when the group has answered.
func (c *Consumer) leave(reason string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.group == nil || c.group.left || c.closed {
		return nil
	}
	c.group.left = true
	c.leaving = nil
	c.group.m.Leave(time.Now(), reason, false)
	c.drainGroup()
	return c.leaving
}
