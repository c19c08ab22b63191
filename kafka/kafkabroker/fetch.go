package kafkabroker

import (
	"sync"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// fetchJob is a fetch request on its way. It is used again.
type fetchJob struct {
	s         *session
	r         *kafkaserver.Request
	isolation isolation
	replica   bool // a follower asks
	minBytes  int64
	maxBytes  int64
	maxWait   time.Duration
	session   *fetchSession // nil for none
	full      bool          // the answer has all partitions
	sessionID int32
	parts     []fetchPart

	resp    kafkawire.FetchResponse
	writer  kafkawire.FetchWriter
	splices []kafkaserver.Splice

	// While it waits.
	mu    sync.Mutex // taken after that of a partition
	state fetchState
	gen   uint32 // counts uses; what belongs to an earlier one is void
	total int64  // bytes that can be read
	timer *time.Timer
}

// fetchState says what becomes of a fetchJob.
type fetchState uint8

const (
	fetchStarts fetchState = iota // it looks for data
	fetchWaits                    // the first to find enough, or the timer, finishes it
	fetchEnds
)

// fetchPart is a partition of a fetchJob.
type fetchPart struct {
	kafka.FetchWant
	p     *partition                  // nil when there is none
	entry *kafka.FetchServerPartition // of the session, nil for none
	name  string                      // of the topic
	topic kafkawire.UUID
	index int32
	code  kafkawire.ErrorCode // why there is nothing to read

	avail, seen int64 // bytes that can be read; and the bytes that had been appended to the log then

	answer kafkawire.FetchResponsePartition
	size   int          // of the records of answer
	buf    *fetchBuffer // has the records, or
	file   *fetched     // they are sent from a file
	tell   bool         // the answer is part of the response
}

var fetchJobs = sync.Pool{New: func() any { return new(fetchJob) }}

// fetch reads records.
func (s *session) fetch(r *kafkaserver.Request) {
	var v kafkawire.FetchView
	err := viewed(v.Decode(r.Body, r.Version))
	if err == nil {
		err = r.CheckElements(v.Topics + v.Partitions)
	}
	if err != nil {
		r.Fail(err)
		return
	}
	j := fetchJobs.Get().(*fetchJob)
	j.s, j.r = s, r
	j.minBytes, j.maxBytes = int64(v.MinBytes), int64(min(v.MaxBytes, s.b.fetchMaxBytes()))
	j.maxWait = time.Duration(v.MaxWaitMs) * time.Millisecond
	j.isolation, j.replica = readUncommitted, v.ReplicaID >= 0
	switch {
	case j.replica:
		j.isolation = readAll
	case v.IsolationLevel == 1:
		j.isolation = readCommitted
	}
	if err = j.open(&v); err != nil {
		r.Reply(&kafkawire.FetchResponse{ErrorCode: errorCode(err)})
		j.free()
		return
	}
	j.run()
}

// run answers at once, or registers the request with its partitions and leaves it to them.
func (j *fetchJob) run() {
	if j.maxWait <= 0 || j.minBytes <= 0 || len(j.parts) == 0 || j.assess() {
		j.finish()
		return
	}
	j.r.DropBody() // a request that waits must not keep the memory from others
	if !j.s.wait(j) {
		j.finish()
		return
	}
	for i := range j.parts {
		j.parts[i].p.register(j, i) // all have one: otherwise assess had been content
	}
	j.mu.Lock()
	if j.assess() { // what came before it was registered
		j.state = fetchEnds
		j.mu.Unlock()
		j.leave()
		j.finish()
		return
	}
	j.state = fetchWaits
	s, gen := j.s, j.gen                                          // once it waits the job may end and become another
	j.timer = time.AfterFunc(j.maxWait, func() { j.expire(gen) }) // not used again: timers belong to a synctest bubble, jobs do not
	j.mu.Unlock()
	if s.hasEnded() {
		j.cancel(gen)
	}
}

// expire ends the wait when its time is over.
func (j *fetchJob) expire(gen uint32) {
	j.mu.Lock()
	ends := j.state == fetchWaits && j.gen == gen
	if ends {
		j.state = fetchEnds
	}
	j.mu.Unlock()
	if ends {
		j.leave()
		j.finish()
	}
}

// cancel ends the wait because nobody wants the answer any more.
func (j *fetchJob) cancel(gen uint32) {
	j.mu.Lock()
	ends := j.state == fetchWaits && j.gen == gen
	if ends {
		j.state = fetchEnds
	}
	j.mu.Unlock()
	if ends {
		j.woken()
	}
}

// woken answers after a wait.
func (j *fetchJob) woken() {
	j.timer.Stop()
	j.leave()
	j.finish()
}

// leave takes the job out of the lists of those that wait.
func (j *fetchJob) leave() {
	for i := range j.parts {
		j.parts[i].p.unregister(j)
	}
	j.s.unwait(j)
}

// assess finds out how much there is to read, and reports whether that, or an error, is enough to answer.
func (j *fetchJob) assess() bool {
	j.total = 0
	for i := range j.parts {
		p := &j.parts[i]
		if p.code != noError || p.p.log == nil {
			return true
		}
		if j.look(p) {
			return true
		}
		j.total += p.avail
		if j.total >= j.minBytes {
			return true
		}
	}
	return false
}

// look finds out how much there is to read of a partition, and reports whether there is something else to tell.
func (j *fetchJob) look(p *fetchPart) bool {
	if j.s.check(p.p, p.LeaderEpoch) != noError {
		return true
	}
	l := p.p.log
	l.mu.Lock()
	bound := l.bound(j.isolation)
	start, end, appended, tail := l.start, l.end, l.appended, l.active().base
	l.mu.Unlock()
	p.avail, p.seen = 0, appended
	switch {
	case p.Offset < start || p.Offset > end:
		return true
	case p.LastEpoch >= 0 && j.diverges(p) != nil:
		return true
	case p.Offset >= bound:
		return false
	case j.minBytes <= 1 && p.Offset >= tail:
		p.avail = 1
		return false
	}
	// Before the last segment compaction may have left nothing up to the bound.
	f, err := l.fetch(fetchRequest{offset: p.Offset, maxBytes: int(p.MaxBytes), isolation: j.isolation})
	if err != nil {
		return true
	}
	p.avail = int64(f.size())
	if j.minBytes <= 1 {
		p.avail = min(p.avail, 1)
	}
	f.close()
	return false
}

// bound returns up to where a reader may see the log. The caller holds mu.
func (l *partitionLog) bound(i isolation) int64 {
	switch i {
	case readCommitted:
		return l.lastStable()
	case readUncommitted:
		return l.high
	}
	return l.end
}

// advanced takes into account that there is more in a partition, and reports whether the job is the caller's to finish, with
// woken. The caller holds the partition's mu.
func (j *fetchJob) advanced(at int, gen uint32) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state != fetchWaits || j.gen != gen {
		return false
	}
	p := &j.parts[at]
	if j.s.check(p.p, p.LeaderEpoch) != noError {
		j.state = fetchEnds
		return true
	}
	l := p.p.log
	l.mu.Lock()
	bound, appended := l.bound(j.isolation), l.appended
	l.mu.Unlock()
	if p.Offset < bound {
		more := appended - p.seen
		if j.minBytes <= 1 {
			more = 1
		}
		more = min(more, max(int64(p.MaxBytes)-p.avail, 0))
		p.avail, p.seen, j.total = p.avail+more, appended, j.total+more
	}
	if j.total < j.minBytes {
		return false
	}
	j.state = fetchEnds
	return true
}

// diverges returns where the log of a client went another way than this one, or nil.
func (j *fetchJob) diverges(p *fetchPart) *kafkawire.FetchResponseDivergingEpoch {
	epoch, end := j.s.b.endOfEpoch(p.p, p.LastEpoch)
	if epoch < p.LastEpoch || end < p.Offset {
		return &kafkawire.FetchResponseDivergingEpoch{Epoch: epoch, EndOffset: end}
	}
	return nil
}

// free gives the job back.
func (j *fetchJob) free() {
	for i := range j.parts {
		j.parts[i] = fetchPart{}
	}
	clear(j.splices)
	j.mu.Lock()
	j.gen++
	j.state = fetchStarts
	j.mu.Unlock()
	j.s, j.r, j.session, j.sessionID, j.total = nil, nil, nil, 0, 0
	j.parts, j.splices = j.parts[:0], j.splices[:0]
	j.resp = kafkawire.FetchResponse{}
	if cap(j.parts) <= maxKept {
		fetchJobs.Put(j)
	}
}
