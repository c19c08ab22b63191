package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Dirs implements [Tree].
func (OS) Dirs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Mkdir implements [Tree].
func (OS) Mkdir(name string) error {
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// RenameDir implements [Tree].
func (OS) RenameDir(old, name string) error { return os.Rename(old, name) }

// RemoveDir implements [Tree].
func (OS) RemoveDir(name string) error { return os.Remove(name) }

// LockRange implements [Tree].
func (OS) LockRange(name string) (io.Closer, error) { return lockRange(name) }

// SyncAll implements [Tree].
func (OS) SyncAll(dir string) error { return syncAll(dir) }
