// Package vfs is the seam between storage and the file system.
//
// [OS] is the file system of the operating system. [Mem] is one in memory for tests: it knows what would survive a loss
// of power, makes copies of itself as they would be after one, and fails operations on demand. It knows nothing of what
// is stored, so that every kind of storage can use it.
//
// Names are paths of the operating system, or with slashes in a [Mem].
package vfs

import (
	"errors"
	"io"
)

// ErrLocked is the error of [FS.Lock] when somebody else holds the lock.
var ErrLocked = errors.New("vfs: locked by another process")

// FS is a file system. It is safe for concurrent use.
type FS interface {
	// Create makes an empty file, or empties the one that is there, and opens it for reading and writing.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Remove removes a file. Who has it open goes on using it.
	Remove(name string) error
	// Rename gives a file another name in the same directory. A file of that name is replaced.
	Rename(old, name string) error
	// List returns the names, without the directory, of a directory's files in lexical order.
	List(dir string) ([]string, error)
	// MkdirAll makes a directory and those above it, if they are missing.
	MkdirAll(dir string) error
	// SyncDir makes durable which files a directory has: what was created, renamed and removed in it.
	SyncDir(dir string) error
	// Lock takes an advisory lock, held in a file of its own until Close or until the process ends. It does not wait:
	// the error is [ErrLocked] when the lock is taken.
	Lock(name string) (io.Closer, error)
	// Free returns how many bytes are left, for this user, and how many there are in a directory's file system.
	Free(dir string) (free, total int64, err error)
	// Size returns the length of a file.
	Size(name string) (int64, error)
}

// File is an open file. ReadAt and WriteAt are safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the content durable, and of the metadata what is needed to read it. The name is the directory's: see
	// [FS.SyncDir]. After an error nothing is known about the content that was not durable before.
	Sync() error
	// WriteSync writes all of p at an offset and makes what it wrote durable; what was written before it need not be. n is
	// how many bytes may be in the file. After an error nothing is known about that part of it.
	WriteSync(p []byte, off int64) (n int, err error)
	// Truncate changes the length. What is added reads as zeros.
	Truncate(size int64) error
	// Size returns the length.
	Size() (int64, error)
}

// Op is an operation that a test can make fail.
type Op uint8

// The operations of an [FS] and of a [File] that change something, and reading.
const (
	OpCreate Op = iota
	OpOpen
	OpRemove
	OpRename
	OpSyncDir
	OpRead
	OpWrite
	OpSync
	OpTruncate
)

// String returns the name of an operation.
func (op Op) String() string {
	names := [...]string{"create", "open", "remove", "rename", "syncdir", "read", "write", "sync", "truncate"}
	if int(op) < len(names) {
		return names[op]
	}
	return "op?"
}
