package kafkabroker

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// partitionLog is the log of a partition. It is safe for concurrent use.
//
// There are three locks, taken in this order. janitor is held by who removes or replaces whole segments: retention,
// compaction, truncation. writing is held by who changes the end of the log, also while it writes to the file, so that
// appends are in the order of their offsets. mu guards what readers need and is held for moments only.
type partitionLog struct {
	dir     *logDir
	id      partitionID
	topicID kafkawire.UUID
	owner   *partition // set before the first append, nil outside of a broker
	conf    atomic.Pointer[logConfig]

	janitor sync.Mutex
	stop    atomic.Bool // what compaction is doing is to be given up
	removed atomic.Bool // its files go, or have gone
	cleaned int64       // compaction has read everything below, -1 for nothing; janitor guards it
	broken  bool        // compaction met with something that it cannot read; janitor guards it
	crowded int64       // one more than the dirty offset whose batch has too many keys for compaction, 0 for none; janitor guards it

	writing   sync.Mutex
	producers *producerTable
	update    producerUpdate
	heads     []batchHead
	closed    bool

	mu              sync.Mutex
	path            string     // of the directory
	segs            []*segment // never empty, ascending; never changed, only replaced
	start, end      int64      // offsets
	endPos          int64      // size of the last segment up to end
	high            int64      // high watermark
	hold            bool       // the high watermark is moved by setHighWatermark only, not by appends
	unstable        openTxn    // the first that is not decided below the high watermark
	hasUnstable     bool
	epochs          leaderEpochs
	recovery        int64 // everything below is durable, with its indexes
	recoveryStable  int64 // the last stable offset of a log that ends there
	durable         int64 // everything below is durable
	dirDirty        bool  // the directory has files of which the name is not durable
	unsyncedRecords int64
	appended        int64     // bytes, since the log was opened
	stableHint      posOffset // where the last stable offset was found last

	// The syncer's mu guards these.
	queued, waiting bool
	due             time.Time
}

// posOffset is a place in a log.
type posOffset struct {
	offset int64
	seg    *segment
	pos    int64
}

// logState is what a log is like at a moment.
type logState struct {
	start         int64 // log start offset
	end           int64 // log end offset
	highWatermark int64
	lastStable    int64 // everything below was committed or aborted
	durable       int64 // everything below survives a loss of power
	recovery      int64 // recovery point
	segments      int
	epoch         int32 // the last leader epoch, -1 for none
}

// state returns what the log is like.
func (l *partitionLog) state() logState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return logState{
		start: l.start, end: l.end, highWatermark: l.high, lastStable: l.lastStable(), durable: l.durable,
		recovery: l.recovery, segments: len(l.segs), epoch: l.epochs.latest(),
	}
}

// lastStable returns the last stable offset. The caller holds mu.
func (l *partitionLog) lastStable() int64 {
	if l.hasUnstable && l.unstable.first < l.high {
		return max(l.unstable.first, l.start)
	}
	return l.high
}

// size returns the bytes of the log, without indexes.
func (l *partitionLog) size() (n int64) {
	for _, g := range l.segments() {
		n += g.size.Load()
	}
	return n
}

func (l *partitionLog) segments() []*segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segs
}

// active returns the last segment. The caller holds writing or mu.
func (l *partitionLog) active() *segment { return l.segs[len(l.segs)-1] }

// config returns the configuration.
func (l *partitionLog) config() *logConfig { return l.conf.Load() }

// setConfig changes the configuration. c must not be changed any more.
func (l *partitionLog) setConfig(c *logConfig) { l.conf.Store(c) }

// floorSegment returns the index of the segment that an offset is in, -1 when it is before all.
func floorSegment(segs []*segment, offset int64) int {
	return sort.Search(len(segs), func(i int) bool { return segs[i].base > offset }) - 1
}

// holdHighWatermark makes the high watermark one that setHighWatermark moves, as for a log with replicas elsewhere.
func (l *partitionLog) holdHighWatermark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = true
}

// setHighWatermark moves the high watermark. It stays between the start and the end of the log.
func (l *partitionLog) setHighWatermark(offset int64) {
	l.writing.Lock()
	l.mu.Lock()
	before, stable := l.high, l.lastStable()
	l.high = max(l.start, min(offset, l.end))
	l.settle()
	moved := l.high != before || l.lastStable() != stable
	l.mu.Unlock()
	l.writing.Unlock()
	if moved {
		l.dir.advanced(l)
	}
}

// settle computes the first unstable offset anew. The caller holds writing and mu.
func (l *partitionLog) settle() {
	t := l.producers
	t.txns.forget(l.high)
	l.hasUnstable = len(t.txns) > 0
	if l.hasUnstable {
		l.unstable = t.txns[0]
	}
}

// check returns the error for a log that is closed or in a directory that has failed. The caller holds writing.
func (l *partitionLog) check() error {
	if l.closed {
		return errClosed
	}
	return l.dir.failure()
}

// await makes the log durable up to an offset and then tells w. pending is false when there is nothing to wait for: it is
// durable, or err says why it will never be, and w is not called.
func (l *partitionLog) await(end int64, w durableWaiter) (pending bool, err error) {
	return l.dir.sync.await(l, end, w)
}

// activeProducer is what DescribeProducers tells about a producer.
type activeProducer struct {
	id               int64
	epoch            int16
	lastSequence     int32
	lastTime         int64
	coordinatorEpoch int32
	txnStart         int64 // -1 without a transaction
}

// activeProducers lists the producers in the order of their ids.
func (l *partitionLog) activeProducers() []activeProducer {
	l.writing.Lock()
	defer l.writing.Unlock()
	list := make([]activeProducer, 0, len(l.producers.m))
	for _, p := range l.producers.m {
		list = append(list, activeProducer{p.id, p.epoch, p.lastSequence(), p.lastTime, p.coordinatorEpoch, p.txnFirst})
	}
	slices.SortFunc(list, func(a, b activeProducer) int { return int(max(-1, min(1, a.id-b.id))) })
	return list
}

// hasTransaction reports whether a producer has a transaction open in this log.
func (l *partitionLog) hasTransaction(id int64, epoch int16) bool {
	l.writing.Lock()
	defer l.writing.Unlock()
	p := l.producers.m[id]
	return p != nil && p.txnFirst >= 0 && p.epoch == epoch
}

// guardTransaction begins to verify that a coordinator has a transaction open in which a producer is about to write here.
// guard goes into the append; it is 0 when the transaction is open here and nothing must be verified. strict is set for
// producers whose transactions each have an epoch of their own.
func (l *partitionLog) guardTransaction(id int64, epoch int16, sequence int32, strict bool) (guard uint64, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.producers.guard(id, epoch, sequence, strict)
}

// expireProducers forgets producers that were idle for a time, in milliseconds.
func (l *partitionLog) expireProducers(now, after int64) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.producers.expire(now, after)
}
