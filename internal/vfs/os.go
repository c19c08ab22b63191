package vfs

import (
	"io"
	"os"
	"path/filepath"
)

// OS is the file system of the operating system.
type OS struct{}

// osFile is a file of the operating system.
type osFile struct{ *os.File }

// Create implements [FS].
func (OS) Create(name string) (File, error) {
	return openFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

// Open implements [FS].
func (OS) Open(name string) (File, error) { return openFile(name, os.O_RDWR) }

// Remove implements [FS].
func (OS) Remove(name string) error { return os.Remove(name) }

// Rename implements [FS].
func (OS) Rename(old, name string) error { return os.Rename(old, name) }

// List implements [FS].
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// MkdirAll implements [FS]. Directories that it makes are durable when it returns, where the system can do that.
func (OS) MkdirAll(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for parent := filepath.Dir(filepath.Clean(dir)); ; parent = filepath.Dir(parent) {
		if err := syncDir(parent); err != nil || parent == filepath.Dir(parent) {
			return nil // a directory above that we may not open was not made here
		}
	}
}

// SyncDir implements [FS]. It does nothing on Windows, which has no such call.
func (OS) SyncDir(dir string) error { return syncDir(dir) }

// Lock implements [FS].
func (OS) Lock(name string) (io.Closer, error) { return lock(name) }

// Free implements [FS].
func (OS) Free(dir string) (free, total int64, err error) { return diskFree(dir) }

// Size implements [FS].
func (OS) Size(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Sync implements [File].
func (f osFile) Sync() error { return dataSync(f.File) }

// WriteSync implements [File].
func (f osFile) WriteSync(p []byte, off int64) (n int, err error) { return writeSync(f.File, p, off) }

// writeThenSync writes and makes that durable, in two calls.
func writeThenSync(f *os.File, p []byte, off int64) (n int, err error) {
	if n, err = f.WriteAt(p, off); err != nil {
		return n, err
	}
	return n, dataSync(f)
}

// Size implements [File].
func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
