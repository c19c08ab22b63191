package mqttbroker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/internal/journal"
)

// fileJournal is the journal of [Options].Dir.
type fileJournal struct{ *journal.Journal[Token] }

func openFileJournal(o *Options) (Journal, error) {
	j, err := journal.Open[Token](o.Dir, &journal.Options{
		FS: o.fs, SegmentSize: o.SegmentSize, NoSync: o.NoSync, MinFree: o.DiskReserve, MaxBytes: o.DiskLimit, Kind: "mqtt",
		Logger: o.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("mqttbroker: directory %s: %w", o.Dir, err)
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
		return errors.New("mqttbroker: Backup needs Options.Dir")
	}
	return f.Journal.Backup(ctx, dir)
}
