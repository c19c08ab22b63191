package vfs

import "io"

// Tree is a file system in which storage has a directory for each of many things, and one coordinator makes files of many of
// them durable. [OS] and [*Mem] are such. In a [Mem] a directory is there while it has files.
type Tree interface {
	FS
	// Dirs returns the names, without the directory, of the directories in a directory, in lexical order.
	Dirs(dir string) ([]string, error)
	// Mkdir makes a directory, if it is missing. SyncDir of the directory that it is in makes it durable.
	Mkdir(name string) error
	// RenameDir gives a directory another name in the same directory. Files in it that are open stay usable. SyncDir of the
	// directory that both are in makes it durable.
	RenameDir(old, name string) error
	// RemoveDir removes an empty directory.
	RemoveDir(name string) error
	// LockRange is [FS.Lock] with a lock that programs in Java see, too, and which sees theirs.
	LockRange(name string) (io.Closer, error)
	// SyncAll makes durable all that was written to the file system that has a directory, names too. The error is
	// [errors.ErrUnsupported] where the system has no such call.
	SyncAll(dir string) error
}
