package mqttbroker

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// Journal makes the decisions of a [Broker] durable. Replaying the records in order gives the state back.
//
// The broker answers nobody before the journal has: a publisher is acknowledged, and a step of QoS 2 taken, when the
// record with its [Token] is complete.
type Journal interface {
	// Start is called once, before the other methods. The journal calls complete for the tokens of the records, in the
	// order in which they were appended, many at a time, from one goroutine at a time and never from within Append. A
	// record without a token need not be reported. After an outcome other than Done there is no further Done.
	Start(complete func(tokens []Token, o Outcome))
	// Append adds a record. It copies what it needs of r and must not wait for storage. The order of the calls is the
	// order of the records. t is the zero Token when nobody waits.
	Append(r *Record, t Token)
	// Release tells that no record to come names the message with that number, and that it is needed no more.
	Release(seq uint64)
	// Close ends the journal. Every token is reported before it returns. Append and Release may still be called; they do
	// nothing then.
	Close() error
}

// Outcome is what became of records.
type Outcome uint8

// The outcomes.
const (
	Done    Outcome = iota + 1 // durable
	Failed                     // not durable
	Unknown                    // perhaps durable: leadership was lost, or the sync failed
)

// Token says what waits for a record. It is opaque to a [Journal]; the zero Token waits for nothing.
type Token struct {
	c      *conn
	ack    mqttserver.Ack
	reason mqtt.ReasonCode
	kind   tokenKind
	token  uint64                           // tokenPersisted
	then   func(*mqttserver.Batch, Outcome) // tokenFunc
}

type tokenKind uint8

const (
	tokenNone      tokenKind = iota
	tokenAck                 // acknowledge a publisher
	tokenPersisted           // let the session machine of c go on
	tokenFunc                // call then
)

// RecordKind says what a [Record] records.
type RecordKind uint8

// The kinds of records, with the fields that they have beside Kind and Time.
const (
	RecordMessage      RecordKind = iota + 1 // Message was accepted
	RecordRetained                           // Seq is the retained message of Topic; 0: there is none
	RecordQueued                             // Client is to get Seq, with QoS, Retain and IDs, by the shared subscription Topic if that is not empty
	RecordDequeued                           // Client does not get Seq any more
	RecordState                              // the State of Client changed by Delta: ID, QoS, Seq
	RecordAccepted                           // everything about the message Seq was decided
	RecordSession                            // Client has a session, made new if Fresh, of User, which outlives its connection by Expiry seconds
	RecordOffline                            // Client is away since Time
	RecordEnded                              // the session of Client ended
	RecordSubscribed                         // Client has Subscription, with identifier IDs[0] if there is one
	RecordUnsubscribed                       // Client has no subscription with the filter Topic
	RecordWill                               // the will of Client is Message, to be published Expiry seconds after the connection; nil: it has none
)

// Record is one decision of the broker, with the time at which it was made. The broker reuses it after Append; Message
// and strings may be kept, IDs may not.
type Record struct {
	Kind         RecordKind
	Time         int64 // unix milliseconds
	Client       string
	User         string
	Topic        string
	Message      *Message
	Seq          uint64
	Delta        mqtt.Delta
	ID           uint16
	QoS          mqtt.QoS
	Retain       bool
	Fresh        bool
	Expiry       uint32
	Subscription mqtt.Subscription
	IDs          []uint32
}

// recorder is the broker's side of a journal. The nil recorder belongs to a broker in memory: it completes at once and
// costs nothing.
type recorder struct {
	j      Journal
	log    *slog.Logger
	failed atomic.Bool

	mu   sync.Mutex
	refs map[uint64]int32 // how many records name a message
}

// begin connects the recorder to its journal.
func (r *recorder) begin() {
	if r != nil {
		r.j.Start(r.complete)
	}
}

// broken reports whether the journal has failed: nothing may be promised any more.
func (r *recorder) broken() bool { return r != nil && r.failed.Load() }

func (r *recorder) append(rec *Record, t Token) {
	rec.Time = time.Now().UnixMilli()
	if t.c != nil {
		t.c.waiting.Add(1)
	}
	r.j.Append(rec, t)
}

// note appends a record for which nobody waits.
func (r *recorder) note(rec Record) {
	if r != nil {
		r.append(&rec, Token{})
	}
}

// await appends a record and calls then when it is complete; at once in memory.
func (r *recorder) await(b *mqttserver.Batch, rec Record, c *conn, then func(*mqttserver.Batch, Outcome)) {
	if r == nil {
		then(b, Done)
		return
	}
	r.append(&rec, Token{kind: tokenFunc, c: c, then: then})
}

// message records a message that was accepted, and holds it for the caller.
func (r *recorder) message(m *Message, t Token) {
	m.flags |= flagJournaled
	r.hold(m)
	r.append(&Record{Kind: RecordMessage, Message: m, Seq: m.seq}, t)
}

// hold counts a record that names the message, or somebody who may make one.
func (r *recorder) hold(m *Message) {
	if r == nil || m.flags&flagJournaled == 0 {
		return
	}
	r.mu.Lock()
	r.refs[m.seq]++
	r.mu.Unlock()
}

// tryHold is hold for a message that somebody may have released meanwhile: it reports false when it is gone.
func (r *recorder) tryHold(m *Message) bool {
	if r == nil || m.flags&flagJournaled == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refs[m.seq] == 0 {
		return false
	}
	r.refs[m.seq]++
	return true
}

// release takes a reference to the message back.
func (r *recorder) release(m *Message) {
	if r == nil || m.flags&flagJournaled == 0 {
		return
	}
	r.mu.Lock()
	r.refs[m.seq]--
	dead := r.refs[m.seq] <= 0
	if dead {
		delete(r.refs, m.seq)
	}
	r.mu.Unlock()
	if dead {
		r.j.Release(m.seq)
	}
}

// complete is the journal's callback.
func (r *recorder) complete(tokens []Token, o Outcome) {
	if o != Done && !r.failed.Swap(true) {
		r.log.Error("journal failed: no message of QoS 1 or 2 is taken any more")
	}
	b := mqttserver.NewBatch()
	for i := range tokens {
		tokens[i].complete(b, o)
	}
	b.Flush()
}

// complete lets go what waits for the token. A publisher whose message is not known to be durable is cut off without an
// answer: it publishes again, or to another server.
func (t *Token) complete(b *mqttserver.Batch, o Outcome) {
	switch {
	case t.kind == tokenFunc:
		t.then(b, o)
	case t.c == nil:
	case o != Done:
		t.c.cut(b)
	case t.kind == tokenAck:
		t.ack.Done(b, t.reason, nil)
	case t.kind == tokenPersisted:
		t.c.c.Persisted(b, t.token)
	}
	if t.c != nil {
		t.c.completed()
	}
}
