package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// Mem is a file system in memory that models durability. It is safe for concurrent use.
//
// The content of a file is durable after its Sync; which files a directory has, after SyncDir. Directories themselves
// are always durable. [Mem.CrashClone] makes the file system that would be found after a loss of power.
type Mem struct {
	mu       sync.Mutex
	names    map[string]*inode
	durable  map[string]*inode // what SyncDir made durable
	changes  []change          // of names, since
	locks    map[string]bool
	capacity int64
	fail     func(op Op, name string) error
	skip     func(op Op, name string) bool
}

// change is a directory operation that is not durable: name stands for node from here on, or for nothing if that is
// nil, and old, if set, for nothing. With dir, both are directories, and the files in old are in name from here on.
type change struct {
	name, old string
	node      *inode
	dir       bool
}

// NewMem returns an empty file system without a limit.
func NewMem() *Mem {
	return &Mem{names: make(map[string]*inode), durable: make(map[string]*inode), locks: make(map[string]bool), capacity: math.MaxInt64}
}

// SetFail sets a function that is called before each operation, with no lock held, so it may use m. An error that it
// returns is the operation's. A [*PartialError] lets a part of a write happen. Nil lets everything happen.
func (m *Mem) SetFail(f func(op Op, name string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

// SetSkipSync sets a function that says which Sync and SyncDir claim success and do nothing.
func (m *Mem) SetSkipSync(f func(op Op, name string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.skip = f
}

// SetCapacity limits the sum of the lengths of all files. A write beyond it writes what fits and fails with ENOSPC.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// PartialError, returned by the function of [Mem.SetFail] for a write, lets the first N bytes be written before the
// write fails with Err.
type PartialError struct {
	N   int
	Err error
}

// Error returns the text of Err.
func (e *PartialError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *PartialError) Unwrap() error { return e.Err }

func clean(name string) string { return path.Clean(filepath.ToSlash(name)) }

// before runs the hook.
func (m *Mem) before(op Op, name string) error {
	m.mu.Lock()
	f := m.fail
	m.mu.Unlock()
	if f == nil {
		return nil
	}
	err := f(op, name)
	if partial, ok := errors.AsType[*PartialError](err); ok {
		return partial
	}
	if err != nil {
		return &fs.PathError{Op: op.String(), Path: name, Err: err}
	}
	return nil
}

// Create implements [FS].
func (m *Mem) Create(name string) (File, error) {
	name = clean(name)
	if err := m.before(OpCreate, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[name]
	if n == nil {
		n = new(inode)
		m.names[name] = n
		m.changes = append(m.changes, change{name: name, node: n})
	} else {
		n.truncate(0)
	}
	return &memFile{m: m, n: n, name: name}, nil
}

// Open implements [FS].
func (m *Mem) Open(name string) (File, error) {
	name = clean(name)
	if err := m.before(OpOpen, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memFile{m: m, n: n, name: name}, nil
}

// Remove implements [FS].
func (m *Mem) Remove(name string) error {
	name = clean(name)
	if err := m.before(OpRemove, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(m.names, name)
	m.changes = append(m.changes, change{name: name})
	return nil
}

// Rename implements [FS].
func (m *Mem) Rename(old, name string) error {
	old, name = clean(old), clean(name)
	if err := m.before(OpRename, old); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[old]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: old, Err: fs.ErrNotExist}
	}
	delete(m.names, old)
	m.names[name] = n
	m.changes = append(m.changes, change{name: name, old: old, node: n})
	return nil
}

// List implements [FS].
func (m *Mem) List(dir string) ([]string, error) {
	dir = clean(dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.names {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// MkdirAll implements [FS]. Every directory is there already.
func (m *Mem) MkdirAll(string) error { return nil }

// SyncDir implements [FS].
func (m *Mem) SyncDir(dir string) error {
	dir = clean(dir)
	if err := m.before(OpSyncDir, dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.skip != nil && m.skip(OpSyncDir, dir) {
		return nil
	}
	rest := m.changes[:0]
	for _, c := range m.changes {
		if path.Dir(c.name) == dir {
			c.apply(m.durable)
		} else {
			rest = append(rest, c)
		}
	}
	clear(m.changes[len(rest):])
	m.changes = rest
	return nil
}

func (c change) apply(names map[string]*inode) {
	if c.dir {
		c.applyDir(names)
		return
	}
	if c.old != "" {
		delete(names, c.old)
	}
	if c.node == nil {
		delete(names, c.name)
	} else {
		names[c.name] = c.node
	}
}

// Lock implements [FS].
func (m *Mem) Lock(name string) (io.Closer, error) {
	name = clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return nil, ErrLocked
	}
	m.locks[name] = true
	return memLock{m, name}, nil
}

type memLock struct {
	m    *Mem
	name string
}

func (l memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.name)
	return nil
}

// Free implements [FS].
func (m *Mem) Free(string) (free, total int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(0, m.capacity-m.used()), m.capacity, nil
}

// used returns the sum of the lengths of all files.
func (m *Mem) used() (n int64) {
	for _, f := range m.names {
		n += f.size
	}
	return n
}

// Size implements [FS].
func (m *Mem) Size(name string) (int64, error) {
	name = clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[name]
	if n == nil {
		return 0, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return n.size, nil
}

// Names returns the paths of all files in lexical order.
func (m *Mem) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.names))
}

// memFile is an open file of a Mem.
type memFile struct {
	m    *Mem
	n    *inode
	name string
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.m.before(OpRead, f.name); err != nil {
		return 0, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.n.readAt(p, off)
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	full := len(p)
	failure := f.m.before(OpWrite, f.name)
	if failure != nil {
		partial, ok := errors.AsType[*PartialError](failure)
		if !ok {
			return 0, failure
		}
		p = p[:min(partial.N, len(p))]
		failure = &fs.PathError{Op: "write", Path: f.name, Err: partial.Err}
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if grown := off + int64(len(p)) - f.n.size; grown > 0 && f.m.capacity != math.MaxInt64 {
		if room := f.m.capacity - f.m.used(); room < grown {
			p = p[:max(0, int64(len(p))-(grown-max(0, room)))]
			failure = &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
		}
	}
	f.n.writeAt(p, off)
	if failure == nil && len(p) < full {
		failure = io.ErrShortWrite
	}
	return len(p), failure
}

func (f *memFile) Sync() error {
	if err := f.m.before(OpSync, f.name); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.skip == nil || !f.m.skip(OpSync, f.name) {
		f.n.sync()
	}
	return nil
}

// WriteSync fails as a write and as a sync does. It makes the whole file durable, as Sync does: the journal leaves
// nothing before it that is not.
func (f *memFile) WriteSync(p []byte, off int64) (n int, err error) {
	if n, err = f.WriteAt(p, off); err != nil {
		return n, err
	}
	return n, f.Sync()
}

func (f *memFile) Truncate(size int64) error {
	if err := f.m.before(OpTruncate, f.name); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if size > f.n.size && size-f.n.size > f.m.capacity-f.m.used() {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: syscall.ENOSPC}
	}
	f.n.truncate(size)
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.n.size, nil
}

func (f *memFile) Close() error { return nil }
