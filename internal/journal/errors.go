package journal

import (
	"errors"
	"fmt"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// Errors of a journal.
var (
	// ErrLocked is the error of [Open] when another process has the directory.
	ErrLocked = vfs.ErrLocked
	// ErrNotFound is the error of [Reader.Read] for a record that is not there.
	ErrNotFound = errors.New("journal: no such record")
	// ErrClosed is the error of a closed journal.
	ErrClosed = errors.New("journal: closed")
	// ErrKind is the error of [Open] for a directory whose records are of another kind.
	ErrKind = errors.New("journal: records of another kind")

	errTooLarge = errors.New("journal: record over 256 MiB")
	errInvalid  = errors.New("journal: invalid batch")
	errNoRoom   = errors.New("journal: the disk is full")
	errOrder    = errors.New("journal: methods called in a wrong order")
)

// CorruptError says that a file of the journal is damaged in a way that no crash explains.
type CorruptError struct {
	File   string
	Offset int64
	Reason string
}

// Error returns the text.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("journal: %s is corrupt at offset %d: %s", e.File, e.Offset, e.Reason)
}

// VersionError says that a file was written by a newer version of this package.
type VersionError struct {
	File      string
	Version   uint32 // of the file
	Supported uint32 // the newest that this package reads
}

// Error returns the text.
func (e *VersionError) Error() string {
	return fmt.Sprintf("journal: %s has format version %d, newer than %d, the newest that is understood: use a newer release",
		e.File, e.Version, e.Supported)
}

// FailedError is the error of a journal that is poisoned by a failed write or sync.
type FailedError struct {
	Err error
}

// Error returns the text.
func (e *FailedError) Error() string { return "journal: failed: " + e.Err.Error() }

// Unwrap returns the error of the file system.
func (e *FailedError) Unwrap() error { return e.Err }
