package vfs

import "os"

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

// RenameDir implements [Tree].
func (OS) RenameDir(old, name string) error { return os.Rename(old, name) }

// RemoveDir implements [Tree].
func (OS) RemoveDir(name string) error { return os.Remove(name) }

// SyncAll implements [Tree].
func (OS) SyncAll(dir string) error { return syncAll(dir) }
