package vfs

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTree(t *testing.T) {
	for name, s := range map[string]struct {
		Tree
		dir string
	}{"memory": {NewMem(), "d"}, "system": {OS{}, filepath.Join(t.TempDir(), "a")}} {
		t.Run(name, func(t *testing.T) {
			at := func(name string) string { return filepath.Join(s.dir, name) }
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(s.MkdirAll(at("one")))
			must(s.Mkdir(at("two")))
			must(s.Mkdir(at("two")))
			f, err := s.Create(at("one/f"))
			must(err)
			_, err = f.WriteAt([]byte("x"), 0)
			must(err)
			g, err := s.Create(at("two/g"))
			must(err)
			must(g.Close())
			if names, err := s.Dirs(s.dir); err != nil || !slices.Equal(names, []string{"one", "two"}) {
				t.Error(names, err)
			}
			must(s.RenameDir(at("one"), at("three")))
			must(s.SyncDir(s.dir))
			if names, err := s.Dirs(s.dir); err != nil || !slices.Equal(names, []string{"three", "two"}) {
				t.Error(names, err)
			}
			if err := s.RemoveDir(at("three")); err == nil {
				t.Error("a directory with a file is removed")
			}
			l, err := s.LockRange(at("lock"))
			must(err)
			if _, err := s.LockRange(at("lock")); !errors.Is(err, ErrLocked) {
				t.Error(err)
			}
			must(l.Close())
			l, err = s.LockRange(at("lock"))
			must(err)
			must(l.Close())
			if err := s.SyncAll(s.dir); err != nil && !errors.Is(err, errors.ErrUnsupported) {
				t.Error(err)
			}
			var b [1]byte
			if _, err := f.ReadAt(b[:], 0); err != nil || b[0] != 'x' {
				t.Error(b, err)
			}
			must(f.Close())
			must(s.Remove(at("three/f")))
			must(s.RemoveDir(at("three")))
		})
	}
}

// TestCrashTree: a directory's new name is there with all its files or with none, and SyncAll keeps everything.
func TestCrashTree(t *testing.T) {
	m := NewMem()
	for _, name := range []string{"d/a/1", "d/a/2"} {
		f, _ := m.Create(name)
		write(f, []byte(name), 0)
	}
	if got := m.DropClone().Names(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	_ = m.SyncAll("d")
	if got := read(t, m.DropClone(), "d/a/2"); string(got) != "d/a/2" {
		t.Errorf("%q", got)
	}
	_ = m.RenameDir("d/a", "d/b")
	seen := make(map[string]bool)
	for seed := range uint64(30) {
		seen[strings.Join(m.CrashClone(seed).Names(), " ")] = true
	}
	if len(seen) != 2 || !seen["d/a/1 d/a/2"] || !seen["d/b/1 d/b/2"] {
		t.Errorf("%v", seen)
	}
	_ = m.SyncDir("d")
	if got := m.DropClone().Names(); !slices.Equal(got, []string{"d/b/1", "d/b/2"}) {
		t.Errorf("%v", got)
	}
	m.SetSkipSync(func(op Op, name string) bool { return op == OpSync && name == "d" })
	f, _ := m.Create("d/b/3")
	_ = f.Close()
	_ = m.SyncAll("d")
	if got := m.DropClone().Names(); len(got) != 2 {
		t.Errorf("%v", got)
	}
}
