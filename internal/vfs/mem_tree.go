package vfs

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Dirs implements [Tree].
func (m *Mem) Dirs(dir string) ([]string, error) {
	prefix := clean(dir) + "/"
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := make(map[string]bool)
	var names []string
	for name := range m.names {
		rest, ok := strings.CutPrefix(name, prefix)
		if first, _, below := strings.Cut(rest, "/"); ok && below && !seen[first] {
			seen[first] = true
			names = append(names, first)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Mkdir implements [Tree]. Every directory is there already.
func (m *Mem) Mkdir(string) error { return nil }

// RenameDir implements [Tree].
func (m *Mem) RenameDir(old, name string) error {
	old, name = clean(old), clean(name)
	if err := m.before(OpRename, old); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !hasDir(m.names, old) {
		return &fs.PathError{Op: "rename", Path: old, Err: fs.ErrNotExist}
	}
	if hasDir(m.names, name) {
		return &fs.PathError{Op: "rename", Path: name, Err: fs.ErrExist}
	}
	c := change{name: name, old: old, dir: true}
	c.apply(m.names)
	m.changes = append(m.changes, c)
	return nil
}

// RemoveDir implements [Tree]. A directory without files is not there anyway.
func (m *Mem) RemoveDir(name string) error {
	name = clean(name)
	if err := m.before(OpRemove, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if hasDir(m.names, name) {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrExist}
	}
	return nil
}

// LockRange implements [Tree].
func (m *Mem) LockRange(name string) (io.Closer, error) { return m.Lock(name) }

// SyncAll implements [Tree]. For hooks it is an [OpSync] of the directory.
func (m *Mem) SyncAll(dir string) error {
	dir = clean(dir)
	if err := m.before(OpSync, dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.skip != nil && m.skip(OpSync, dir) {
		return nil
	}
	for _, c := range m.changes {
		c.apply(m.durable)
	}
	clear(m.changes)
	m.changes = m.changes[:0]
	for _, n := range m.names {
		n.sync()
	}
	return nil
}

func hasDir(names map[string]*inode, dir string) bool {
	for name := range names {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// applyDir gives the files of a directory other names.
func (c change) applyDir(names map[string]*inode) {
	for name, n := range names {
		if rest, ok := strings.CutPrefix(name, c.old+"/"); ok {
			delete(names, name)
			names[path.Join(c.name, rest)] = n
		}
	}
}
