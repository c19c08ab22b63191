package kafkabroker

import (
	"errors"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// durableWaiter is told when what it waits for is durable, or that it never will be. It must not wait for the log.
type durableWaiter interface {
	durable(err error)
}

// syncer makes logs of a directory durable: one round after the other, each for all logs that were appended to meanwhile
// and with all who wait. A round with few files syncs them side by side, one with many the whole file system. Its goroutine
// lives while there is something to do. It is safe for concurrent use.
//
// When a sync fails nobody knows what is durable, so the directory has failed: nothing is appended any more.
type syncer struct {
	d *logDir

	mu      sync.Mutex
	queue   []*partitionLog // for the next round, each once
	waiters []durableWaiter
	lazy    []*partitionLog // for the round at their time
	timer   *time.Timer
	running bool
	stopped bool
	idle    *sync.Cond // not running

	rounds, files, all uint64 // rounds so far, files synced one by one, and syncs of the file system
}

// syncParallel is how many files are synced side by side.
const syncParallel = 16

func newSyncer(d *logDir) *syncer {
	s := &syncer{d: d}
	s.idle = sync.NewCond(&s.mu)
	return s
}

// await makes l durable up to an offset and then tells w. pending is false when that needs no waiting: it is durable, or err
// says why it will never be, and w is not called.
func (s *syncer) await(l *partitionLog, end int64, w durableWaiter) (pending bool, err error) {
	if err := s.d.failure(); err != nil {
		return false, err
	}
	l.mu.Lock()
	durable := l.durable
	l.mu.Unlock()
	if durable >= end {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false, errClosed
	}
	s.add(l)
	s.waiters = append(s.waiters, w)
	return true, nil
}

// request makes l durable soon.
func (s *syncer) request(l *partitionLog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.add(l)
	}
}

// add puts a log into the next round. The caller holds mu.
func (s *syncer) add(l *partitionLog) {
	if !l.queued {
		l.queued = true
		s.queue = append(s.queue, l)
	}
	if !s.running {
		s.running = true
		go s.run()
	}
}

// later makes l durable within a time.
func (s *syncer) later(l *partitionLog, within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.waiting || l.queued || s.stopped {
		return
	}
	l.waiting = true
	l.due = time.Now().Add(within)
	s.lazy = append(s.lazy, l)
	s.setTimer()
}

// setTimer sets the timer to the next of the lazy logs. The caller holds mu.
func (s *syncer) setTimer() {
	if len(s.lazy) == 0 {
		return
	}
	due := s.lazy[0].due
	for _, l := range s.lazy[1:] {
		if l.due.Before(due) {
			due = l.due
		}
	}
	wait := max(time.Until(due), 0)
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.expire)
		return
	}
	s.timer.Reset(wait)
}

// expire puts the lazy logs whose time has come into the next round.
func (s *syncer) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	now := time.Now()
	rest := s.lazy[:0]
	for _, l := range s.lazy {
		if l.due.After(now) {
			rest = append(rest, l)
			continue
		}
		l.waiting = false
		s.add(l)
	}
	clear(s.lazy[len(rest):])
	s.lazy = rest
	s.setTimer()
}

// run is the goroutine.
func (s *syncer) run() {
	for {
		s.mu.Lock()
		logs, waiters := s.queue, s.waiters
		s.queue, s.waiters = nil, nil
		for _, l := range logs {
			l.queued = false
		}
		if len(logs) == 0 {
			s.running = false
			s.idle.Broadcast()
			s.mu.Unlock()
			return
		}
		s.rounds++
		s.mu.Unlock()
		err := s.d.failure()
		if err == nil {
			err = s.round(logs)
		}
		for _, w := range waiters {
			w.durable(err)
		}
	}
}

// unsynced is what a log has to sync.
type unsynced struct {
	l    *partitionLog
	segs []*segment
	dir  bool  // its directory has new files
	end  int64 // it is durable up to here then
}

// round syncs logs.
func (s *syncer) round(logs []*partitionLog) error {
	var work []unsynced
	files := 0
	for _, l := range logs {
		u := l.takeUnsynced()
		work = append(work, u)
		files += len(u.segs)
		if u.dir {
			files++
		}
	}
	err := errors.ErrUnsupported
	if from := s.d.opt.syncAllFrom; from > 0 && files >= from {
		if err = s.d.fs.SyncAll(s.d.path); err == nil {
			s.count(0, 1)
		}
	}
	if errors.Is(err, errors.ErrUnsupported) {
		err = s.each(work)
		s.count(uint64(files), 0)
	}
	if err != nil {
		return s.d.fail("sync", err)
	}
	for i := range work {
		work[i].l.synced(&work[i])
	}
	return nil
}

func (s *syncer) count(files, all uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files += files
	s.all += all
}

// counts returns the rounds so far, the files synced one by one and the syncs of the file system.
func (s *syncer) counts() (rounds, files, all uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rounds, s.files, s.all
}

// each syncs files one by one, several side by side.
func (s *syncer) each(work []unsynced) error {
	var tasks []func() error
	for i := range work {
		u := &work[i]
		for _, g := range u.segs {
			tasks = append(tasks, func() error {
				if err := syncHandle(g.log); err != nil && !errors.Is(err, errGone) && !u.l.removed.Load() {
					return err
				}
				return nil
			})
		}
		if u.dir {
			tasks = append(tasks, func() error {
				if err := s.d.fs.SyncDir(u.l.dirPath()); err != nil && !u.l.removed.Load() {
					return err
				}
				return nil
			})
		}
	}
	if len(tasks) == 1 {
		return tasks[0]()
	}
	errs := make([]error, len(tasks))
	var wg sync.WaitGroup
	for i := range min(len(tasks), syncParallel) {
		wg.Go(func() {
			for ; i < len(tasks); i += syncParallel {
				errs[i] = tasks[i]()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stop ends the syncer when it has done what it was asked for. The lazy logs are left to who closes them.
func (s *syncer) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.timer != nil {
		s.timer.Stop()
	}
	for s.running {
		s.idle.Wait()
	}
}

// takeUnsynced returns what is not durable and notes it as durable; only a failed directory, which is never written again,
// makes that wrong.
func (l *partitionLog) takeUnsynced() unsynced {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := unsynced{l: l, end: l.end, dir: l.dirDirty}
	for i := len(l.segs) - 1; i >= 0; i-- {
		if g := l.segs[i]; g.dirty {
			u.segs = append(u.segs, g)
			g.dirty = false
		}
	}
	l.dirDirty = false
	l.unsyncedRecords = 0
	return u
}

// synced notes up to where a log is durable.
func (l *partitionLog) synced(u *unsynced) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.durable = max(l.durable, min(u.end, l.end))
}

// fail makes the directory unusable, because an operation failed after which nobody knows what is in it. It returns the
// error for those who wanted the operation.
func (d *logDir) fail(op string, err error) error {
	e := &storageError{op + " in " + d.path, err}
	if d.failed.CompareAndSwap(nil, e) {
		d.log.Error("kafkabroker: a directory of logs has failed", "dir", d.path, "op", op, "error", err)
		if d.opt.failed != nil {
			d.opt.failed(e)
		}
	}
	return d.failed.Load()
}

// failure returns the error of a directory that has failed.
func (d *logDir) failure() error {
	if e := d.failed.Load(); e != nil {
		return e
	}
	return nil
}

// errNotFound is the error for a partition that is not there.
func errNotFound(id partitionID) error {
	return logError(kafkawire.ErrUnknownTopicOrPartition, "%s", id)
}
