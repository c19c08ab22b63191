package journal

import (
	"log/slog"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// Options are how a journal is opened. Nil is all defaults.
type Options struct {
	// FS is the file system. Nil is [vfs.OS].
	FS vfs.FS
	// SegmentSize is the size of the largest segment in bytes. The default is 64 MiB. Segments begin at 1 MiB, or
	// SegmentSize if that is less, and double, so that a small journal stays small; beyond an eighth of SegmentSize they are
	// not larger than a quarter of what is live.
	SegmentSize int64
	// NoSync syncs nothing: tokens complete when the operating system has the record. A loss of power may lose the end of
	// the log.
	NoSync bool
	// MinFree is how many bytes of the file system must be free: with less the pressure is [Full], with less than twice as
	// many [Slow]. The default is 256 MiB, negative is no limit.
	MinFree int64
	// MaxBytes bounds the directory: from there the pressure is [Full], from 7/8 of it [Slow]. Zero is no bound.
	MaxBytes int64
	// MaxPending is how many bytes may be appended and not durable: with more the pressure is [Slow], with more than eight
	// times as many [Full]. The default is 32 MiB.
	MaxPending int64
	// Kind says what the records are, for example "mqtt". A directory of another kind is refused. At most 64 bytes.
	Kind string
	// Logger is told what happens to the journal as a whole. Nil is silent.
	Logger *slog.Logger
}

// Limits of the format and of memory.
const (
	maxRecord    = 256 << 20 // a record
	maxKind      = 64
	firstSegment = 1 << 20
	batchTarget  = 64 << 10 // a batch is closed when it has so many bytes
	pendTarget   = 4 << 20  // and a write has about so many
	sharedBody   = 4 << 10  // bodies from here are not copied
)

func (o *Options) withDefaults() Options {
	var v Options
	if o != nil {
		v = *o
	}
	if v.FS == nil {
		v.FS = vfs.OS{}
	}
	if v.SegmentSize <= 0 {
		v.SegmentSize = 64 << 20
	}
	v.SegmentSize = max(v.SegmentSize, 4<<10)
	if v.MinFree == 0 {
		v.MinFree = 256 << 20
	}
	v.MinFree = max(v.MinFree, 0)
	if v.MaxPending <= 0 {
		v.MaxPending = 32 << 20
	}
	if v.Logger == nil {
		v.Logger = slog.New(slog.DiscardHandler)
	}
	return v
}

// Outcome is what became of a record.
type Outcome uint8

// The outcomes.
const (
	Done    Outcome = iota + 1 // durable, and everything before it
	Failed                     // never written
	Unknown                    // perhaps written: after a restart it is there or not
)

// String returns the name of an outcome.
func (o Outcome) String() string {
	return [...]string{"invalid", "done", "failed", "unknown"}[min(o, 4)%4]
}

// Verdict is what becomes of a record when its segment is rewritten.
type Verdict uint8

// The verdicts.
const (
	Drop Verdict = iota // nobody needs it
	Keep                // it stays
	// Tombstone is the verdict for a record that makes an older one void. It stays only while there is an older segment
	// that may have that record: one that was not rewritten since.
	Tombstone
)

// Pressure is how much room there is.
type Pressure uint8

// The levels of pressure.
const (
	None Pressure = iota // enough
	Slow                 // take less
	Full                 // take nothing
)

// String returns the name of a level.
func (p Pressure) String() string { return [...]string{"none", "slow", "full"}[min(p, Full)] }

// Handler is what a journal calls. Complete, Checkpoint and Keep must be set for a journal that is appended to.
type Handler[T any] struct {
	// Complete is called with tokens in the order in which they were given, in batches, by one goroutine at a time and
	// never from within Append. After an outcome that is not Done there is no more Done. It must not wait for the journal.
	// The slice is the journal's.
	Complete func(tokens []T, o Outcome)
	// Checkpoint is called before a segment is cleaned all whose records are below a number. The owner appends what makes
	// those records unnecessary that it did not supersede and that are not live, its notes. It may block.
	Checkpoint func(below uint64)
	// Keep is called for each record of a segment that is rewritten. It may be concurrent with all methods.
	Keep func(lsn uint64, record []byte) Verdict
	// Pressure is called when the level has changed, by one goroutine at a time. It may be nil.
	Pressure func(p Pressure)
}
