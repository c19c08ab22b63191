package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// transaction is the transactional side of a producer.
type transaction struct {
	p        *Producer
	aborting atomic.Bool
	taking   atomic.Bool   // records are taken
	round    atomic.Uint64 // number of the transaction
	second   atomic.Bool   // the protocol since Kafka 4.0: partitions join by themselves, each transaction has an epoch

	verbs chan struct{} // holds a token while nobody begins, commits or aborts

	mu      sync.Mutex
	state   txnState
	err     error // why it can't be committed
	begun   bool  // the coordinator may know of it
	joining []*producerPartition
	busy    bool // somebody adds partitions
	cancel  context.CancelFunc
	idle    chan struct{} // closed when nobody adds partitions any more
	bump    bool          // numbers are not known any more: the next transaction needs another epoch
	groups  map[string]bool
}

type txnState uint8

const (
	txnNone       txnState = iota // no identity yet
	txnReady                      // no transaction
	txnOpen                       // records are taken
	txnCommitting                 // it is not known whether the commit was successful
	txnAborting                   // it is not known whether the abort was successful
)

func newTransaction(p *Producer) *transaction {
	t := &transaction{p: p, verbs: make(chan struct{}, 1)}
	t.verbs <- struct{}{}
	return t
}

// lock waits until nobody else begins, commits or aborts.
func (p *Producer) lockTxn(ctx context.Context) (*transaction, error) {
	if p.txn == nil {
		return nil, fmt.Errorf("%w: the producer has no transactional id", ErrNoTransaction)
	}
	if p.closed.Load() {
		return nil, p.closedErr()
	}
	select {
	case <-p.txn.verbs:
		return p.txn, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-p.alive.Done():
		return nil, p.closedErr()
	}
}

func (t *transaction) unlock() { t.verbs <- struct{}{} }

// Init makes the producer the only one with its transactional id: earlier ones are fenced, and what they left open is
// aborted. Begin does that when it was not done before; a program that reads what an earlier one may have left in a
// transaction calls Init first.
func (p *Producer) Init(ctx context.Context) error {
	t, err := p.lockTxn(ctx)
	if err != nil {
		return err
	}
	defer t.unlock()
	return t.init(ctx)
}

// Begin begins a transaction. It fails with ErrNoTransaction when there is one; an Abort that has failed is done first.
func (p *Producer) Begin(ctx context.Context) error {
	t, err := p.lockTxn(ctx)
	if err != nil {
		return err
	}
	defer t.unlock()
	if err := t.init(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	aborting := t.state == txnAborting
	t.mu.Unlock()
	if aborting {
		if err := t.abort(ctx); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != txnReady {
		return fmt.Errorf("%w: there is a transaction", ErrNoTransaction)
	}
	t.state, t.err, t.begun, t.groups = txnOpen, nil, false, nil
	t.round.Add(1)
	t.taking.Store(true)
	return nil
}

// Commit waits for the records of the transaction, and commits it. When the error is [Abortable] the transaction can only
// be aborted. When it is [Fatal] the producer has ended. After other errors, such as that of ctx, it is not known whether
// the transaction is committed: Commit may be called again.
func (p *Producer) Commit(ctx context.Context) error {
	t, err := p.lockTxn(ctx)
	if err != nil {
		return err
	}
	defer t.unlock()
	t.mu.Lock()
	switch {
	case t.state != txnOpen && t.state != txnCommitting:
		t.mu.Unlock()
		return fmt.Errorf("%w: there is nothing to commit", ErrNoTransaction)
	case t.err != nil:
		err := t.err
		t.mu.Unlock()
		return err
	}
	open := t.state == txnOpen
	t.mu.Unlock()
	t.taking.Store(false)
	if open {
		t.barrier()
		err := p.Flush(ctx)
		if err == nil {
			err = t.settle(ctx, false)
		}
		if err != nil {
			t.takeAgain()
			return err
		}
		t.mu.Lock()
		if err := t.err; err != nil {
			t.mu.Unlock()
			return err
		}
		t.state = txnCommitting
		t.mu.Unlock()
	}
	if err := t.endTxn(ctx, true); err != nil {
		return err
	}
	t.ended()
	return nil
}

// takeAgain takes records after a commit that was given up before it began, unless one has failed.
func (t *transaction) takeAgain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taking.Store(t.err == nil)
}

// barrier waits for those who saw that records are taken, after that has ended: their records are in a batch.
func (t *transaction) barrier() {
	for _, topic := range *t.p.topics.Load() {
		topic.mu.Lock()
		parts := topic.partitions.Load()
		topic.mu.Unlock()
		if parts != nil {
			for _, part := range *parts {
				part.mu.Lock()
				_ = part.queue // nothing is to be done here
				part.mu.Unlock()
			}
		}
	}
}

// Abort aborts the transaction: records that were not sent fail with ErrAborted, and those that were are not seen by
// consumers that read committed records only. Unless the error is [Fatal] it may be called again.
func (p *Producer) Abort(ctx context.Context) error {
	t, err := p.lockTxn(ctx)
	if err != nil {
		return err
	}
	defer t.unlock()
	return t.abort(ctx)
}

func (t *transaction) abort(ctx context.Context) error {
	p := t.p
	t.mu.Lock()
	switch t.state {
	case txnOpen, txnAborting:
	case txnCommitting:
		if t.err == nil {
			t.mu.Unlock()
			return fmt.Errorf("%w: it is being committed", ErrNoTransaction)
		}
	default:
		t.mu.Unlock()
		return fmt.Errorf("%w: there is nothing to abort", ErrNoTransaction)
	}
	t.state = txnAborting
	t.mu.Unlock()
	t.taking.Store(false)
	t.aborting.Store(true)
	for _, topic := range *p.topics.Load() {
		topic.abort()
	}
	if err := p.Flush(ctx); err != nil {
		return err
	}
	if err := t.settle(ctx, true); err != nil {
		return err
	}
	for _, topic := range *p.topics.Load() {
		if parts := topic.partitions.Load(); parts != nil {
			for _, part := range *parts {
				part.mu.Lock()
				broken := part.seq.Broken()
				part.mu.Unlock()
				if broken {
					t.mu.Lock()
					t.bump = true
					t.mu.Unlock()
				}
			}
		}
	}
	if err := t.endTxn(ctx, false); err != nil {
		return err
	}
	if err := t.renew(ctx); err != nil {
		return err
	}
	t.aborting.Store(false)
	t.ended()
	return nil
}

// Transact runs f in a transaction and commits it. When f or a record fails the transaction is aborted, and the error is
// theirs. f must not keep the producer.
func (p *Producer) Transact(ctx context.Context, f func(ctx context.Context) error) error {
	if err := p.Begin(ctx); err != nil {
		return err
	}
	err := f(ctx)
	if err == nil {
		if err = p.Commit(ctx); err == nil || Fatal(err) {
			return err
		}
	}
	if p.Err() == nil {
		if ctx.Err() != nil { // that may be why f failed
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), p.c.o.RequestTimeout, ErrTimeout)
			defer cancel()
		}
		if aborting := p.Abort(ctx); aborting != nil && !errors.Is(aborting, ErrNoTransaction) {
			err = errors.Join(err, aborting)
		}
	}
	return err
}

// abort fails what was not sent.
func (t *producerTopic) abort() {
	t.mu.Lock()
	t.failPending(func(*pendingEntry) error { return ErrAborted })
	parts := t.partitions.Load()
	t.mu.Unlock()
	if parts != nil {
		for _, part := range *parts {
			part.fail(ErrAborted, false)
		}
	}
}

func (t *transaction) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state, t.err, t.begun, t.bump = txnReady, nil, false, false
}

// mayProduce reports whether there is a transaction that takes records.
func (t *transaction) mayProduce() error {
	if t.taking.Load() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	return ErrNoTransaction
}

// failed notes that something in the transaction has failed, and returns the error as callers are to see it.
func (t *transaction) failed(err error) error {
	switch {
	case errors.Is(err, ErrAborted):
		return err
	case errors.Is(err, ErrUnsupported) && !Fatal(err): // by one broker
		err = &abortableError{err}
	case endsProducer(err) || errors.Is(err, ErrClosed): // what is left must not be committed either
	case !Abortable(err):
		err = &abortableError{err}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == txnOpen || t.state == txnCommitting {
		if t.err == nil {
			t.err = err
		}
		t.taking.Store(false)
	}
	return err
}

// endsProducer reports whether an error of a broker ends a transactional producer.
func endsProducer(err error) bool {
	if _, ok := errors.AsType[*fatalError](err); ok {
		return true
	}
	for _, code := range []kafkawire.ErrorCode{kafkawire.ErrProducerFenced, kafkawire.ErrTransactionalIDAuthorizationFailed,
		kafkawire.ErrClusterAuthorizationFailed, kafkawire.ErrUnsupportedForMessageFormat, kafkawire.ErrInvalidTransactionTimeout} {
		if errors.Is(err, code) {
			return true
		}
	}
	return errors.Is(err, ErrUnsupported)
}

// implicit reports whether partitions join by being written to.
func (t *transaction) implicit() bool { return t.second.Load() }

// join adds a partition to the transaction, and reports whether it may be written to now. part.mu is held.
func (t *transaction) join(part *producerPartition) bool {
	round := t.round.Load()
	if part.joined == round {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = true
	if t.second.Load() {
		part.joined = round
		return true
	}
	for _, other := range t.joining {
		if other == part {
			return false
		}
	}
	t.joining = append(t.joining, part)
	if !t.busy {
		t.busy, t.idle = true, make(chan struct{})
		ctx, cancel := context.WithCancel(t.p.alive)
		t.cancel = cancel
		go t.addPartitions(ctx)
	}
	return false
}

// settle waits until nobody adds partitions. An abort does not wait for the coordinator.
func (t *transaction) settle(ctx context.Context, abort bool) error {
	t.mu.Lock()
	busy, idle := t.busy, t.idle
	if busy && abort {
		t.cancel()
	}
	t.mu.Unlock()
	if !busy {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// addPartitions tells the coordinator of partitions until there are none left, or ctx ends.
func (t *transaction) addPartitions(ctx context.Context) {
	p := t.p
	for {
		t.mu.Lock()
		parts, failed := append([]*producerPartition(nil), t.joining...), t.err
		if len(parts) == 0 || ctx.Err() != nil {
			t.joining, t.busy = nil, false
			t.cancel()
			close(t.idle)
			t.mu.Unlock()
			return
		}
		if failed != nil {
			t.joining = nil
		}
		t.mu.Unlock()
		if failed != nil { // nothing is sent any more
			for _, part := range parts {
				part.fail(failed, false)
			}
			continue
		}
		id := p.identity.current.Load()
		req := &kafkawire.AddPartitionsToTxnRequest{V3AndBelowTransactionalID: t.id(), V3AndBelowProducerID: id.ID, V3AndBelowProducerEpoch: id.Epoch}
		at := make(map[kafkawire.TopicName]int)
		for _, part := range parts {
			i, ok := at[part.t.wire]
			if !ok {
				i = len(req.V3AndBelowTopics)
				at[part.t.wire] = i
				req.V3AndBelowTopics = append(req.V3AndBelowTopics, kafkawire.AddPartitionsToTxnRequestAddPartitionsToTxnTopic{Name: part.t.wire})
			}
			req.V3AndBelowTopics[i].Partitions = append(req.V3AndBelowTopics[i].Partitions, part.index)
		}
		err := p.c.retry(ctx, func(ctx context.Context) error {
			resp, err := t.request(ctx, req, 3, func(r kafkawire.Response) kafkawire.ErrorCode {
				return worst(r.(*kafkawire.AddPartitionsToTxnResponse))
			})
			if err == nil {
				err = remote(worst(resp.(*kafkawire.AddPartitionsToTxnResponse)), nil)
			}
			return err
		})
		if err != nil && ctx.Err() != nil {
			continue
		}
		if err != nil {
			t.broke(err)
			if p.closed.Load() {
				err = p.closedErr()
			}
			err = t.failed(err)
			for _, part := range parts {
				part.fail(err, false)
			}
			t.mu.Lock()
			t.joining = t.joining[len(parts):]
			t.mu.Unlock()
			continue
		}
		round := t.round.Load()
		for _, part := range parts {
			part.mu.Lock()
			part.joined = round
			part.relist()
			part.mu.Unlock()
		}
		t.mu.Lock()
		t.joining = append(t.joining[:0], t.joining[len(parts):]...)
		t.mu.Unlock()
		p.kickAll()
	}
}

// worst is the error code of a response that decides what to do: one that does not pass, or any.
func worst(r *kafkawire.AddPartitionsToTxnResponse) (code kafkawire.ErrorCode) {
	code = r.ErrorCode
	for _, t := range r.ResultsByTopicV3AndBelow {
		for _, p := range t.ResultsByPartition {
			c := p.PartitionErrorCode
			if c == kafkawire.ErrOperationNotAttempted {
				continue
			}
			if c != 0 && (code == 0 || code.Retriable() && !c.Retriable()) {
				code = c
			}
		}
	}
	return code
}

func (t *transaction) id() kafkawire.TransactionalID {
	return kafkawire.TransactionalID(t.p.o.TransactionalID)
}

// broke ends the producer when an error is one after which nothing will succeed.
func (t *transaction) broke(err error) {
	if endsProducer(err) || errors.Is(err, kafkawire.ErrInvalidProducerEpoch) || errors.Is(err, kafkawire.ErrTransactionCoordinatorFenced) {
		t.p.fatal(err)
	}
}

// request sends a request to the transaction coordinator, once.
func (t *transaction) request(ctx context.Context, req kafkawire.Request, limit int16, code func(kafkawire.Response) kafkawire.ErrorCode) (kafkawire.Response, error) {
	return t.p.c.requestCoordinator(ctx, TransactionCoordinator, t.p.o.TransactionalID, req, &sendOptions{limit: limit}, code)
}

// init gets the identity of the producer.
func (t *transaction) init(ctx context.Context) error {
	t.mu.Lock()
	none := t.state == txnNone
	t.mu.Unlock()
	if !none {
		return nil
	}
	if err := t.initProducer(ctx, -1, -1); err != nil {
		return err
	}
	t.mu.Lock()
	t.state = txnReady
	t.mu.Unlock()
	return nil
}

// initProducer asks for an identity: a new one, or the next epoch of one.
func (t *transaction) initProducer(ctx context.Context, id kafkawire.ProducerID, epoch int16) error {
	p := t.p
	name := t.id()
	req := &kafkawire.InitProducerIDRequest{TransactionalID: &name, TransactionTimeoutMs: int32(p.o.TransactionTimeout.Milliseconds()),
		ProducerID: id, ProducerEpoch: epoch}
	var r *kafkawire.InitProducerIDResponse
	err := p.c.retry(ctx, func(ctx context.Context) error {
		if err := t.negotiate(ctx); err != nil {
			return err
		}
		resp, err := t.request(ctx, req, 0, func(r kafkawire.Response) kafkawire.ErrorCode {
			return r.(*kafkawire.InitProducerIDResponse).ErrorCode
		})
		if err != nil {
			return err
		}
		r = resp.(*kafkawire.InitProducerIDResponse)
		return remote(r.ErrorCode, nil)
	})
	if err != nil {
		t.broke(err)
		if p.closed.Load() {
			return p.closedErr()
		}
		return err
	}
	p.identity.current.Store(&kafka.Producer{ID: r.ProducerID, Epoch: r.ProducerEpoch})
	return nil
}

// negotiate finds out which protocol of transactions the coordinator has.
func (t *transaction) negotiate(ctx context.Context) error {
	c := t.p.c
	id, err := c.coordinator(ctx, TransactionCoordinator, t.p.o.TransactionalID)
	if err != nil {
		return err
	}
	b := c.broker(id)
	if b == nil {
		return ErrNoBroker
	}
	k, err := b.conn(ctx, laneGeneral)
	if err != nil {
		return err
	}
	v := &k.versions
	produce, _ := v.pick(kafkawire.KeyProduce, -1)
	end, _ := v.pick(kafkawire.KeyEndTxn, -1)
	offsets, _ := v.pick(kafkawire.KeyTxnOffsetCommit, -1)
	t.second.Store(v.level("transaction.version") >= 2 && produce >= 12 && end >= 5 && offsets >= 5)
	return nil
}

// endTxn tells the coordinator how the transaction ends, unless it does not know of it.
func (t *transaction) endTxn(ctx context.Context, commit bool) error {
	t.mu.Lock()
	begun := t.begun
	t.mu.Unlock()
	if !begun {
		return nil
	}
	p := t.p
	id := p.identity.current.Load()
	req := &kafkawire.EndTxnRequest{TransactionalID: t.id(), ProducerID: id.ID, ProducerEpoch: id.Epoch, Committed: commit}
	limit := int16(4)
	if t.second.Load() {
		limit = 5
	}
	var r *kafkawire.EndTxnResponse
	err := p.c.retry(ctx, func(ctx context.Context) error {
		resp, err := t.request(ctx, req, limit, func(r kafkawire.Response) kafkawire.ErrorCode { return r.(*kafkawire.EndTxnResponse).ErrorCode })
		if err != nil {
			return err
		}
		r = resp.(*kafkawire.EndTxnResponse)
		return remote(r.ErrorCode, nil)
	})
	switch {
	case err == nil:
	case errors.Is(err, kafkawire.ErrInvalidProducerIDMapping) && !commit:
		// The coordinator has forgotten the producer, and with it the transaction.
		t.mu.Lock()
		t.bump = true
		t.mu.Unlock()
		p.identity.current.Store(&kafka.Producer{ID: -1, Epoch: -1})
		return nil
	case errors.Is(err, kafkawire.ErrInvalidTxnState) && !commit && !t.second.Load():
		// The broker has aborted it when it took too long, or partitions never joined.
		t.mu.Lock()
		t.bump = true
		t.mu.Unlock()
		return nil
	case errors.Is(err, kafkawire.ErrTransactionAbortable) && commit, errors.Is(err, kafkawire.ErrInvalidTxnState) && commit,
		errors.Is(err, kafkawire.ErrInvalidProducerIDMapping) && commit:
		err = &abortableError{err}
		t.mu.Lock()
		t.err = err
		t.mu.Unlock()
		return err
	default:
		t.broke(err)
		if p.closed.Load() {
			return p.closedErr()
		}
		return err
	}
	if limit == 5 && r.ProducerID >= 0 && r.ProducerEpoch >= 0 {
		p.identity.current.Store(&kafka.Producer{ID: r.ProducerID, Epoch: r.ProducerEpoch})
	}
	t.mu.Lock()
	t.begun = false
	t.mu.Unlock()
	return nil
}

// renew gets another epoch when the numbers of some partition are not known any more.
func (t *transaction) renew(ctx context.Context) error {
	t.mu.Lock()
	bump := t.bump
	t.mu.Unlock()
	id := t.p.identity.current.Load()
	if !bump || t.second.Load() && id.ID >= 0 {
		return nil
	}
	return t.initProducer(ctx, id.ID, id.Epoch)
}
