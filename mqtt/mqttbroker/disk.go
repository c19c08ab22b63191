package mqttbroker

import (
	"context"
	"errors"

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
		return nil, err
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
	switch {
	case len(e.Head) == 0 && t.IsZero():
		return f.Reserve()
	case len(e.Head) == 0:
		f.Await(t)
		return 0
	case e.Tombstone && t.IsZero():
		return f.AppendTombstone(e.Head, e.Body)
	case e.Tombstone:
		return f.AppendTombstoneAwait(e.Head, e.Body, t)
	case t.IsZero():
		return f.Journal.Append(e.Head, e.Body, e.Live)
	}
	return f.AppendAwait(e.Head, e.Body, e.Live, t)
}

// Reader implements [Journal].
func (f fileJournal) Reader() JournalReader { return f.NewReader() }

// Pressure implements [Journal].
func (f fileJournal) Pressure() Pressure { return Pressure(f.Journal.Pressure()) }

// JournalStats are counts of the journal in [Options].Dir.
type JournalStats = journal.Stats

// Backup copies the directory of a broker that is running to another one, which a broker can be started on. The copy is
// the state of one moment during the call. dir is made, and must not exist or be empty.
func (b *Broker) Backup(ctx context.Context, dir string) error {
	f, ok := b.opts.Journal.(fileJournal)
	if !ok {
		return errors.New("mqttbroker: Backup needs Options.Dir")
	}
	return any(f.Journal).(interface {
		Backup(context.Context, string) error
	}).Backup(ctx, dir)
}
