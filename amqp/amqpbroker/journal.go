package amqpbroker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/journal"
)

// Journal is the log in which a [Broker] writes down what must outlive the process. [Options].Dir gives the broker one on
// disk; Options.Journal is the door for others, a replicated one for example. Its records are opaque to it. Each has a
// number: they count up by one, from 1.
//
// Replaying the records in their order gives the state of the broker back. The broker promises nobody anything before the
// journal has it: a publisher's confirm, the answer to a commit or to a declaration leaves when the [Token] that waits for
// it is completed.
type Journal interface {
	// Replay calls f with all records, in their order. It is called once, before Start. record is valid during the call.
	Replay(f func(seq uint64, record []byte) error) error
	// Restore tells, between Replay and Start, that a record counts live bytes again.
	Restore(seq uint64, live int)
	// Start is called once, before the methods that follow.
	Start(h JournalHandler) error
	// Append adds a record and returns its number. It copies what it needs, but for an Entry.Body of 4 KiB or more, which
	// never changes. It must not wait for storage. An entry without bytes is not recorded; without a token either, it takes a number. t, unless it is
	// zero, is completed when this record and everything before it is durable.
	Append(e Entry, t Token) (seq uint64)
	// Release tells that live bytes of a record are dead.
	Release(seq uint64, live int)
	// Reader returns a reader of records, for one goroutine at a time.
	Reader() JournalReader
	// Pressure tells how much room there is. It is called for each message.
	Pressure() Pressure
	// Close ends the journal. The broker calls it once, also when New fails. Every token is completed before it returns. The
	// other methods may still be called: they do nothing then, but that a token which is given to Append fails, from a
	// goroutine of its own.
	Close() error
}

// JournalReader reads single records.
type JournalReader interface {
	// Read returns a record, which is valid until the next call. It may wait for storage.
	Read(seq uint64) ([]byte, error)
}

// JournalHandler is what a [Journal] calls.
type JournalHandler struct {
	// Complete completes tokens, in the order of Append, many at a time, from one goroutine at a time and never from
	// within Append. After an outcome other than Done there is no further Done.
	Complete func(tokens []Token, o Outcome)
	// Checkpoint is called before records with numbers below a number are thrown away: the broker appends what makes those
	// unnecessary that are worth no live bytes. The journal waits until that is durable. Checkpoint may block.
	Checkpoint func(below uint64)
	// Keep says what is to become of a record when its part of the journal is thrown away, after Checkpoint.
	Keep func(seq uint64, record []byte) Verdict
}

// Entry is a record to be appended: Head, then Body.
type Entry struct {
	Head, Body []byte
	// Live is how many bytes the record is worth until Release takes them back. Parts of a journal that are worth little
	// are thrown away, see [JournalHandler].
	Live int
	// Tombstone tells that the record undoes others: it must stay while they may be there.
	Tombstone bool
}

// Verdict says what becomes of a record.
type Verdict uint8

// The verdicts.
const (
	Discard   Verdict = iota // it is not needed any more
	Keep                     // it is needed
	Tombstone                // it is needed while there are records before it that it may undo
)

// Outcome is what became of records.
type Outcome uint8

// The outcomes.
const (
	Done    Outcome = iota + 1 // durable
	Failed                     // not durable
	Unknown                    // perhaps durable: leadership was lost, or the sync failed. The broker does as for Failed
)

// Pressure says how much room a journal has.
type Pressure uint8

// The levels of pressure.
const (
	PressureNone Pressure = iota
	PressureSlow          // publishers are to be slowed
	PressureFull          // messages are to be refused
)

// Token says what waits for a record. It is opaque to a [Journal].
type Token struct {
	c    *channel
	seq  uint64 // of a confirm
	then func(bt *amqpserver.Batch, o Outcome, refused bool)
}

// IsZero reports whether nothing waits.
func (t *Token) IsZero() bool { return t.then == nil && t.seq == 0 }

// complete lets go what waits for the token. A publisher whose message is not known to be durable is cut off without an
// answer.
func (t *Token) complete(bt *amqpserver.Batch, o Outcome) {
	switch {
	case t.then != nil:
		t.then(bt, o, false)
	case t.seq == 0:
	case o != Done:
		t.c.ch.Conn().Abort()
	default:
		t.c.ch.Confirm(bt, t.seq, true)
	}
}

// fileJournal is the journal of [Options].Dir.
type fileJournal struct{ *journal.Journal[Token] }

func openFileJournal(o *Options) (Journal, error) {
	j, err := journal.Open[Token](o.Dir, &journal.Options{
		FS: o.fs, SegmentSize: o.SegmentSize, NoSync: o.NoSync, MinFree: o.DiskReserve, MaxBytes: o.DiskLimit, Kind: "amqp",
		Logger: o.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("amqpbroker: directory %s: %w", o.Dir, err)
	}
	return fileJournal{j}, nil
}

// Start implements [Journal].
func (f fileJournal) Start(h JournalHandler) error {
	return f.Journal.Start(journal.Handler[Token]{
		Complete:   func(tokens []Token, o journal.Outcome) { h.Complete(tokens, Outcome(o)) },
		Checkpoint: h.Checkpoint,
		Keep: func(seq uint64, record []byte) journal.Verdict {
			return journal.Verdict(h.Keep(seq, record))
		},
	})
}

// Append implements [Journal].
func (f fileJournal) Append(e Entry, t Token) uint64 {
	if t.IsZero() {
		return f.Add(journal.Entry(e))
	}
	return f.AddAwait(journal.Entry(e), t)
}

// Reader implements [Journal].
func (f fileJournal) Reader() JournalReader { return f.NewReader() }

// Pressure implements [Journal].
func (f fileJournal) Pressure() Pressure { return Pressure(f.Journal.Pressure()) }

// JournalStats are counts of the journal in [Options].Dir since New, and what it holds now. Bytes are those of records,
// unless they are called those of the disk.
type JournalStats struct {
	Records   uint64 // written
	Bytes     uint64 // of those records
	Rewritten uint64 // bytes that were moved
	Syncs     uint64
	LiveBytes int64 // of records that are needed
	DeadBytes int64 // of records that are not needed any more
	DiskBytes int64 // sizes of the files
	Segments  int   // files
	Pending   int64 // bytes that are not durable yet
	Free      int64 // bytes of the disk that were free when last looked at

	// How long syncs take. The quantiles are within an eighth.
	SyncTime, SyncMax, SyncP50, SyncP99 time.Duration
}

// Backup copies the directory of a broker that is running, while it goes on, to another directory of the same file
// system, which is made if need be. A broker can be started on the copy: it has everything that was acknowledged before
// the call. It may be called by several goroutines, for different directories. What an error leaves is not a whole copy.
func (b *Broker) Backup(ctx context.Context, dir string) error {
	f, ok := b.opts.Journal.(fileJournal)
	if !ok {
		return errors.New("amqpbroker: Backup needs Options.Dir")
	}
	return f.Journal.Backup(ctx, dir)
}
