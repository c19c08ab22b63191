package kafkaclient

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Admin administers a cluster. Its methods find the brokers that they need and try again what passes, for as long as their
// ctx and Options.APITimeout allow. What has no method here can be asked with [Client.Request], [Client.RequestBroker] and
// [Client.RequestCoordinator].
//
// Methods that concern several things do what they can: the error is then an [ItemErrors] with one error for each thing
// that failed, and the results are those of the others.
type Admin struct{ c *Client }

// Admin returns the administration of the cluster.
func (c *Client) Admin() *Admin { return &Admin{c} }

// ItemError is the error of one of several things.
type ItemError struct {
	Item string // such as the name of a topic
	Err  error
}

// Error returns the text.
func (e *ItemError) Error() string { return "kafkaclient: " + e.Item + ": " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *ItemError) Unwrap() error { return e.Err }

// ItemErrors are the errors of those things that failed. errors.Is and errors.As look at all of them.
type ItemErrors []*ItemError

// Error returns the text of all.
func (e ItemErrors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors.
func (e ItemErrors) Unwrap() []error {
	list := make([]error, len(e))
	for i := range e {
		list[i] = e[i]
	}
	return list
}

// add adds the error of a thing, if there is one.
func (e *ItemErrors) add(item string, err error) {
	if err != nil {
		*e = append(*e, &ItemError{Item: item, Err: err})
	}
}

// err returns an error, nil without any.
func (e ItemErrors) err() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *ItemError) int { return cmp.Compare(a.Item, b.Item) })
	return e
}

// request sends a request to any broker.
func request[R kafkawire.Response](ctx context.Context, c *Client, req kafkawire.Request) (r R, err error) {
	resp, err := c.Request(ctx, req)
	if err != nil {
		return r, err
	}
	return resp.(R), nil
}

// change sends a request to the controller until that is one. code returns a code of the response.
func change[R kafkawire.Response](ctx context.Context, c *Client, req kafkawire.Request, code func(R) kafkawire.ErrorCode) (r R, err error) {
	err = c.retry(ctx, func(ctx context.Context) error {
		resp, err := c.requestController(ctx, req)
		if err != nil {
			return err
		}
		r = resp.(R)
		if code(r) == kafkawire.ErrNotController {
			c.meta.refresh()
			return remote(kafkawire.ErrNotController, nil)
		}
		return nil
	})
	return r, err
}

// itemResult is what a response says of one thing.
type itemResult struct {
	name string
	code kafkawire.ErrorCode
	text *string
}

// changeEach changes several things by requests to the controller. What a quota refuses is tried again, without the others.
func changeEach[R kafkawire.Response](ctx context.Context, c *Client, names []string, build func(names []string) kafkawire.Request, results func(R) []itemResult) error {
	var errs ItemErrors
	left := names
	err := c.retry(ctx, func(ctx context.Context) error {
		resp, err := c.requestController(ctx, build(left))
		if err != nil {
			return err
		}
		var refused []string
		list := results(resp.(R))
		for _, x := range list {
			if x.code == kafkawire.ErrNotController {
				c.meta.refresh()
				return remote(x.code, nil)
			}
		}
		for _, x := range list {
			if x.code == kafkawire.ErrThrottlingQuotaExceeded {
				refused = append(refused, x.name)
			} else {
				errs.add(x.name, remote(x.code, x.text))
			}
		}
		if left = refused; len(left) > 0 {
			return remote(kafkawire.ErrThrottlingQuotaExceeded, nil)
		}
		return nil
	})
	if err != nil && len(errs) == 0 && len(left) == len(names) {
		return err
	}
	if err != nil {
		for _, name := range left {
			errs.add(name, err)
		}
	}
	return errs.err()
}

// requestTimeout is how long brokers may take for a request, in milliseconds.
func (a *Admin) requestTimeout() int32 { return int32(a.c.o.RequestTimeout.Milliseconds()) }

// byBroker asks some brokers, all of them without any, at the same time: one that is gone keeps nobody up. take gets the
// answers one after the other, and may find an error in one.
func (a *Admin) byBroker(ctx context.Context, ids []kafkawire.BrokerID, req kafkawire.Request, take func(id kafkawire.BrokerID, r kafkawire.Response) error) error {
	if len(ids) == 0 {
		if err := a.c.retry(ctx, a.c.meta.await); err != nil {
			return err
		}
		for id := range a.c.meta.current.Load().brokers {
			ids = append(ids, id)
		}
	}
	var mu sync.Mutex
	var errs ItemErrors
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() {
			err := a.c.retry(ctx, func(ctx context.Context) error {
				resp, err := a.c.RequestBroker(ctx, id, req)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				return take(id, resp)
			})
			mu.Lock()
			defer mu.Unlock()
			errs.add("broker "+id.String(), err)
		})
	}
	all.Wait()
	return errs.err()
}

// byLeader calls f for the leaders of partitions with those that they lead. f returns the partitions that are to be tried
// again, with the reason; what else fails f notes itself.
func (a *Admin) byLeader(ctx context.Context, partitions []kafka.TopicPartition, errs *ItemErrors,
	f func(ctx context.Context, id kafkawire.BrokerID, list []kafka.TopicPartition) (again map[kafka.TopicPartition]error, err error)) {
	m := &a.c.meta
	topics := make(map[kafkawire.TopicName]bool)
	for _, tp := range partitions {
		if !topics[tp.Topic] {
			topics[tp.Topic] = true
			m.want(tp.Topic)
			defer m.forget(tp.Topic)
		}
	}
	left := slices.Clone(partitions)
	slices.SortFunc(left, kafka.TopicPartition.Compare)
	why := make(map[kafka.TopicPartition]error)
	rounds := 0
	err := a.c.retry(ctx, func(ctx context.Context) error {
		if rounds++; rounds > 1 || !m.knows(topics) {
			if err := m.await(ctx); err != nil {
				return err
			}
		}
		byLeader := make(map[kafkawire.BrokerID][]kafka.TopicPartition)
		var later []kafka.TopicPartition
		for _, tp := range left {
			id, _, ok := m.leader(tp.Topic, tp.Partition)
			if ok {
				byLeader[id] = append(byLeader[id], tp)
				continue
			}
			code := m.partitionError(tp)
			why[tp] = remote(code, nil)
			if code == kafkawire.ErrUnknownTopicOrPartition && rounds > 3 || !code.Retriable() {
				errs.add(tp.String(), why[tp])
			} else {
				later = append(later, tp)
			}
		}
		for id, list := range byLeader {
			again, err := f(ctx, id, list)
			if err != nil {
				again = make(map[kafka.TopicPartition]error)
				for _, tp := range list {
					if retries(err) {
						again[tp] = err
					} else {
						errs.add(tp.String(), err)
					}
				}
			}
			for tp, err := range again {
				why[tp] = err
				later = append(later, tp)
			}
		}
		left = later
		if len(left) > 0 {
			return remote(kafkawire.ErrLeaderNotAvailable, nil) // again
		}
		return nil
	})
	if err != nil {
		for _, tp := range left {
			if last := why[tp]; last != nil && errors.Is(err, ErrTimeout) {
				errs.add(tp.String(), &expired{err: last, cause: ErrTimeout})
			} else {
				errs.add(tp.String(), err)
			}
		}
	}
}

// knows reports whether there is something known about topics.
func (m *metadata) knows(topics map[kafkawire.TopicName]bool) bool {
	now := m.current.Load()
	for name := range topics {
		if t := now.topics[name]; t == nil || t.err != 0 {
			return false
		}
	}
	return true
}

// partitionError says why a partition has no leader.
func (m *metadata) partitionError(tp kafka.TopicPartition) kafkawire.ErrorCode {
	t := m.current.Load().topics[tp.Topic]
	switch {
	case t == nil:
		return kafkawire.ErrUnknownTopicOrPartition
	case t.err != 0:
		return t.err
	case tp.Partition < 0 || int(tp.Partition) >= len(t.partitions):
		return kafkawire.ErrUnknownTopicOrPartition
	case t.partitions[tp.Partition].err != 0:
		return t.partitions[tp.Partition].err
	}
	return kafkawire.ErrLeaderNotAvailable
}

// coordinate sends a request about one group or transactional id to its coordinator until that is one.
func coordinate[R kafkawire.Response](ctx context.Context, c *Client, kind CoordinatorKind, key string, req kafkawire.Request, limit int16,
	code func(R) kafkawire.ErrorCode) (r R, err error) {
	err = c.retry(ctx, func(ctx context.Context) error {
		resp, err := c.requestCoordinator(ctx, kind, key, req, &sendOptions{lane: laneAdmin, limit: limit}, func(r kafkawire.Response) kafkawire.ErrorCode { return code(r.(R)) })
		if err != nil {
			return err
		}
		r = resp.(R)
		if k := code(r); k.Retriable() {
			return remote(k, nil)
		}
		return nil
	})
	return r, err
}
