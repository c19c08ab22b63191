package kafka

import (
	"encoding/binary"
	"math"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// MaxInFlight is how many batches of a producer a broker remembers for each partition. A producer must not have more
// under way, or a broker could not tell that one comes again.
const MaxInFlight = 5

// Sequencer is the state of a producer for one partition: the numbers of its batches, which of them are under way, and
// which must be sent again. It keeps the order of batches and makes each of them be appended once, whatever happens to
// requests and leaders, as long as the producer has a [Producer] identity; without one it keeps the order when its Limit
// is 1.
//
// A batch gets its numbers when it is first sent, with Send, and is known by the id that this returns. Each time it is
// sent is an attempt, which ends with Receive or Lost. Waiting names the batch that is to be sent again next. What became
// of batches comes out of Next in the order of Send.
//
// When the broker has no use for the numbers of a batch before which nothing is undecided any more, because a batch before
// it was given up or the broker lost the state, a Sequencer without a transaction goes to the next epoch and numbers what
// is left from zero. It tells the batches' new numbers when they are sent again. Since an epoch concerns one partition only
// as long as there is no transaction, it needs to ask nobody.
//
// The zero value is for a producer without an identity; Use gives one.
type Sequencer struct {
	// Limit is how many batches may be under way, at most MaxInFlight with an identity. Zero means MaxInFlight.
	Limit int

	// Transactional leaves epochs to the transaction coordinator: what would need another one fails instead.
	Transactional bool

	id       kafkawire.ProducerID // zero value: see known
	epoch    int16
	known    bool
	next     int32 // sequence of the next new batch
	last     uint64
	sends    uint64 // counts attempts
	flights  []flight
	renumber bool // the first undecided batch was refused for its number
	renew    bool // another identity is needed
	proven   bool // a batch with this identity is in the log
	broken   bool
}

// flight is a batch with a number.
type flight struct {
	id              uint64
	sequence, count int32
	attempt         uint32
	sentAt          uint64 // count of attempts at that time
	refusedAt       uint64 // the same when it was out of order; zero: it was not
	state           flightState
	doubt           bool // an attempt ended and may have been successful
	duplicate       bool
	code            kafkawire.ErrorCode
}

type flightState uint8

const (
	flightSent    flightState = iota // an attempt is under way
	flightWaiting                    // to be sent again
	flightDone                       // appended
	flightFailed
)

func (s flightState) decided() bool { return s >= flightDone }

// Sending is what is to be sent.
type Sending struct {
	ID       uint64   // of the batch
	Attempt  uint32   // which attempt it is, from 1
	Producer Producer // for the header of the batch; {-1, -1, -1} without an identity
}

// Sent is what became of a batch.
type Sent struct {
	ID uint64

	// Code is zero when the batch is in the log.
	Code kafkawire.ErrorCode

	// Duplicate means that the batch was in the log before the attempt that says so: its offset is not known.
	Duplicate bool

	// Doubt comes with a Code: the batch may be in the log all the same.
	Doubt bool
}

// Use gives the producer an identity. Batches that are not decided get numbers that begin with zero. It must not be called
// while an attempt is under way. An id of -1 takes the identity away.
func (s *Sequencer) Use(id kafkawire.ProducerID, epoch int16) {
	s.id, s.epoch, s.known = id, epoch, id >= 0
	s.broken, s.renew = false, false
	s.number()
}

// number gives numbers from zero to what is not decided.
func (s *Sequencer) number() {
	s.next, s.renumber, s.proven = 0, false, false
	for i := range s.flights {
		if f := &s.flights[i]; !f.state.decided() {
			f.sequence, f.doubt, f.refusedAt = s.next, false, 0
			s.next = AddSequence(s.next, f.count)
		}
	}
}

// Identity returns the identity for the next batch.
func (s *Sequencer) Identity() (id kafkawire.ProducerID, epoch int16) {
	if !s.known {
		return -1, -1
	}
	return s.id, s.epoch
}

// limit is how many batches may be under way. A broker that does not know the producer takes any number, so that the
// second batch would be in the log without the first when that is refused: there is one until a broker has taken one.
func (s *Sequencer) limit() int {
	switch {
	case s.known && !s.proven:
		return 1
	case s.Limit <= 0, s.known && s.Limit > MaxInFlight:
		return MaxInFlight
	}
	return s.Limit
}

// Undecided is the number of batches of which it is not known what became of them.
func (s *Sequencer) Undecided() (n int) {
	for i := range s.flights {
		if !s.flights[i].state.decided() {
			n++
		}
	}
	return n
}

// UnderWay is the number of batches with an attempt under way.
func (s *Sequencer) UnderWay() (n int) {
	for i := range s.flights {
		if s.flights[i].state == flightSent {
			n++
		}
	}
	return n
}

// NeedsIdentity reports whether the producer must Use another identity before anything is sent.
func (s *Sequencer) NeedsIdentity() bool { return s.renew && s.UnderWay() == 0 }

// Broken reports whether the numbers that the broker expects next are not known, or other than those that would come,
// since a batch failed. A transactional producer needs another epoch then.
func (s *Sequencer) Broken() bool { return s.broken }

// Open reports whether a new batch may be sent: there is room, and no other batch is to be sent before.
func (s *Sequencer) Open() bool {
	if s.renumber || s.renew {
		return false
	}
	n := 0
	for i := range s.flights {
		if s.flights[i].state == flightWaiting {
			return false
		}
		if n > 0 || !s.flights[i].state.decided() {
			n++ // a broker remembers the last ones, so what was decided behind one that is not counts, too
		}
	}
	return n < s.limit()
}

// Send numbers a new batch with a number of records. It must be Open.
func (s *Sequencer) Send(records int32) Sending {
	s.last++
	s.flights = append(s.flights, flight{id: s.last, sequence: s.next, count: records, state: flightWaiting})
	s.next = AddSequence(s.next, records)
	return s.send(&s.flights[len(s.flights)-1])
}

func (s *Sequencer) send(f *flight) Sending {
	s.sends++
	f.state, f.sentAt = flightSent, s.sends
	f.attempt++
	p := Producer{-1, -1, -1}
	if s.known {
		p = Producer{s.id, s.epoch, f.sequence}
	}
	return Sending{ID: f.id, Attempt: f.attempt, Producer: p}
}

// Waiting returns the batch that is to be sent again next, if it may be sent now.
func (s *Sequencer) Waiting() (id uint64, ok bool) {
	f := s.waiting()
	if f == nil {
		return 0, false
	}
	return f.id, true
}

func (s *Sequencer) waiting() *flight {
	if s.renumber || s.renew {
		if s.UnderWay() > 0 || s.renew {
			return nil
		}
		if s.epoch == math.MaxInt16 {
			s.renew = true
			return nil
		}
		s.epoch++
		s.broken = false
		s.number()
	}
	var before *flight // the undecided one before
	n := 0             // those before, from the first undecided one on
	for i := range s.flights {
		f := &s.flights[i]
		if f.state.decided() {
			n += min(n, 1)
			continue
		}
		if f.state == flightWaiting {
			// What came out of order waits for another attempt of the one before.
			if n >= s.limit() || before != nil && f.refusedAt > before.sentAt {
				return nil
			}
			return f
		}
		before = f
		n++
	}
	return nil
}

// Again begins another attempt for a batch, which Waiting has named.
func (s *Sequencer) Again(id uint64) Sending {
	return s.send(s.find(id))
}

// Receive takes the answer to an attempt: the error code for the partition, zero for none. What is not an answer to the
// latest attempt is ignored.
func (s *Sequencer) Receive(id uint64, attempt uint32, code kafkawire.ErrorCode) {
	f := s.find(id)
	if f == nil || f.attempt != attempt || f.state != flightSent {
		return
	}
	switch {
	case code == 0:
		f.state, s.proven = flightDone, true
	case code == kafkawire.ErrDuplicateSequenceNumber && s.known:
		f.state, f.duplicate, s.proven = flightDone, true, true
	case code == kafkawire.ErrOutOfOrderSequenceNumber || code == kafkawire.ErrUnknownProducerID:
		s.outOfOrder(f, code)
	case (code == kafkawire.ErrInvalidProducerEpoch || code == kafkawire.ErrInvalidProducerIDMapping) && s.known && !s.Transactional:
		s.renew = true
		if f.state = flightWaiting; f.doubt {
			s.fail(f, code)
		}
	case code.Retriable():
		f.state = flightWaiting
		f.doubt = f.doubt || !refused(code)
	default:
		f.doubt = f.doubt || code == kafkawire.ErrUnknownServerError
		s.fail(f, code)
	}
}

// outOfOrder takes the answer that the number of a batch is not the one expected. Then it is not in the log, and neither
// is any batch after it.
func (s *Sequencer) outOfOrder(f *flight, code kafkawire.ErrorCode) {
	switch {
	case !s.known:
		s.fail(f, code)
	case !s.first(f):
		f.state, f.refusedAt = flightWaiting, s.sends
	case s.Transactional:
		s.fail(f, code)
	default:
		f.state, s.renumber = flightWaiting, true
	}
}

// first reports whether everything before a batch is decided.
func (s *Sequencer) first(f *flight) bool {
	for i := range s.flights {
		if g := &s.flights[i]; !g.state.decided() {
			return g == f
		}
	}
	return false
}

// refused reports whether a retriable code says that the batch was not appended. Most come from leaders that may have
// appended it before they ceased to lead.
func refused(code kafkawire.ErrorCode) bool {
	switch code {
	case kafkawire.ErrCorruptMessage, kafkawire.ErrNotEnoughReplicas, kafkawire.ErrConcurrentTransactions,
		kafkawire.ErrThrottlingQuotaExceeded:
		return true
	}
	return false
}

// Lost ends an attempt without an answer. unsent tells that the request has not left, or was refused, so that the batch
// can't be in the log because of it.
func (s *Sequencer) Lost(id uint64, attempt uint32, unsent bool) {
	if f := s.find(id); f != nil && f.attempt == attempt && f.state == flightSent {
		f.state = flightWaiting
		f.doubt = f.doubt || !unsent
	}
}

// GiveUp lets a batch fail with a code, unless an attempt is under way or it is decided.
func (s *Sequencer) GiveUp(id uint64, code kafkawire.ErrorCode) bool {
	f := s.find(id)
	if f == nil || f.state != flightWaiting {
		return false
	}
	s.fail(f, code)
	return true
}

// fail decides that a batch has failed. Its numbers are free again when it was the last one and is surely not in the log.
func (s *Sequencer) fail(f *flight, code kafkawire.ErrorCode) {
	f.state, f.code = flightFailed, code
	if f == &s.flights[len(s.flights)-1] && !f.doubt && !s.renumber {
		s.next = f.sequence
		return
	}
	s.broken = true
}

// Split makes two batches of one that waits: the first with a number of its records, which keeps the id, the second with
// the rest, whose id it returns. Together they have the numbers of the one.
func (s *Sequencer) Split(id uint64, records int32) (second uint64, ok bool) {
	for i := range s.flights {
		f := &s.flights[i]
		if f.id != id {
			continue
		}
		if f.state != flightWaiting || records <= 0 || records >= f.count {
			return 0, false
		}
		s.last++
		rest := flight{id: s.last, sequence: AddSequence(f.sequence, records), count: f.count - records, state: flightWaiting, doubt: f.doubt}
		f.count = records
		s.flights = append(s.flights, flight{})
		copy(s.flights[i+2:], s.flights[i+1:])
		s.flights[i+1] = rest
		return rest.id, true
	}
	return 0, false
}

// Next returns what became of the oldest batch, once, when that is decided.
func (s *Sequencer) Next() (r Sent, ok bool) {
	if len(s.flights) == 0 || !s.flights[0].state.decided() {
		return r, false
	}
	f := &s.flights[0]
	r = Sent{ID: f.id, Code: f.code, Duplicate: f.duplicate, Doubt: f.code != 0 && f.doubt}
	copy(s.flights, s.flights[1:]) // there are few
	s.flights = s.flights[:len(s.flights)-1]
	return r, true
}

func (s *Sequencer) find(id uint64) *flight {
	for i := range s.flights {
		if s.flights[i].id == id {
			return &s.flights[i]
		}
	}
	return nil
}

// SetProducer changes who produces the batch, and computes the checksum anew.
func (b Batch) SetProducer(p Producer) {
	binary.BigEndian.PutUint64(b[atProducerID:], uint64(p.ID))
	binary.BigEndian.PutUint16(b[atProducerEpoch:], uint16(p.Epoch))
	binary.BigEndian.PutUint32(b[atBaseSequence:], uint32(p.Sequence))
	b.setCRC()
}
