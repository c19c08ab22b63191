package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// systems are the two file systems, and a directory in each.
func systems(t *testing.T) map[string]struct {
	FS
	dir string
} {
	type system = struct {
		FS
		dir string
	}
	return map[string]system{"memory": {NewMem(), "d"}, "system": {OS{}, filepath.Join(t.TempDir(), "a", "b")}}
}

func TestBoth(t *testing.T) {
	for name, s := range systems(t) {
		t.Run(name, func(t *testing.T) {
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			at := func(name string) string { return filepath.Join(s.dir, name) }
			must(s.MkdirAll(s.dir))
			must(s.MkdirAll(s.dir))
			f, err := s.Create(at("one"))
			must(err)
			_, err = f.WriteAt([]byte("hello"), 10)
			must(err)
			must(f.Sync())
			if n, err := f.Size(); err != nil || n != 15 {
				t.Errorf("%d, %v", n, err)
			}
			b := make([]byte, 20)
			if n, err := f.ReadAt(b, 0); n != 15 || err != io.EOF || string(b[:15]) != "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00hello" {
				t.Errorf("%d %v %q", n, err, b)
			}
			if n, err := f.ReadAt(b[:3], 11); n != 3 || err != nil || string(b[:3]) != "ell" {
				t.Errorf("%d %v %q", n, err, b)
			}
			must(f.Truncate(12))
			must(f.Truncate(14))
			if n, _ := f.ReadAt(b, 0); string(b[:n]) != "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00he\x00\x00" {
				t.Errorf("%q", b[:n])
			}
			must(s.Rename(at("one"), at("two")))
			must(s.SyncDir(s.dir))
			if _, err := s.Open(at("one")); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if n, err := s.Size(at("two")); n != 14 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			g, err := s.Open(at("two"))
			must(err)
			must(s.Remove(at("two")))
			if n, err := g.ReadAt(b[:2], 10); n != 2 || err != nil || string(b[:2]) != "he" {
				t.Errorf("removed: %d, %v, %q", n, err, b[:2])
			}
			must(g.Close())
			must(f.Close())
			if err := s.Remove(at("two")); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			l, err := s.Lock(at("lock"))
			must(err)
			if _, err := s.Lock(at("lock")); !errors.Is(err, ErrLocked) {
				t.Error(err)
			}
			must(l.Close())
			l, err = s.Lock(at("lock"))
			must(err)
			must(l.Close())
			if free, total, err := s.Free(s.dir); err != nil || free <= 0 || total < free {
				t.Error(free, total, err)
			}
			names, err := s.List(s.dir)
			must(err)
			if names = slices.DeleteFunc(names, func(n string) bool { return n == "lock" }); len(names) != 0 {
				t.Errorf("%v", names)
			}
		})
	}
}

// write writes and panics on an error: a Mem has none but those that a test sets.
func write(f File, b []byte, off int64) {
	if _, err := f.WriteAt(b, off); err != nil {
		panic(err)
	}
}

func read(t *testing.T, m *Mem, name string) []byte {
	t.Helper()
	f, err := m.Open(name)
	if err != nil {
		return nil
	}
	n, _ := f.Size()
	b := make([]byte, n)
	_, _ = f.ReadAt(b, 0)
	return b
}

func TestCrashContent(t *testing.T) {
	m := NewMem()
	f, _ := m.Create("d/f")
	old, fresh := bytes.Repeat([]byte("o"), 3*sectorSize), bytes.Repeat([]byte("n"), 3*sectorSize)
	write(f, old, 0)
	_ = f.Sync()
	if got := read(t, m.DropClone(), "d/f"); got != nil {
		t.Error("the name was not durable")
	}
	_ = m.SyncDir("d")
	write(f, fresh, 0)
	if got := read(t, m.DropClone(), "d/f"); !bytes.Equal(got, old) {
		t.Errorf("lost is %.20q", got)
	}
	seen := make(map[string]bool)
	for seed := range uint64(200) {
		got := read(t, m.CrashClone(seed), "d/f")
		if !bytes.Equal(got, read(t, m.CrashClone(seed), "d/f")) {
			t.Fatal("a seed has two outcomes")
		}
		s := ""
		for i := range 3 {
			sector := got[i*sectorSize : (i+1)*sectorSize]
			if !bytes.Equal(sector, old[:sectorSize]) && !bytes.Equal(sector, fresh[:sectorSize]) {
				t.Fatal("a sector is torn")
			}
			s += string(sector[0])
		}
		seen[s] = true
	}
	if len(seen) != 8 {
		t.Errorf("%d outcomes of 8", len(seen))
	}
	_ = f.Sync()
	for seed := range uint64(20) {
		if got := read(t, m.CrashClone(seed), "d/f"); !bytes.Equal(got, fresh) {
			t.Fatal("what was synced is lost")
		}
	}
}

func TestCrashLength(t *testing.T) {
	m := NewMem()
	f, _ := m.Create("d/f")
	_ = m.SyncDir("d")
	write(f, make([]byte, 100), 0)
	_ = f.Sync()
	write(f, []byte("x"), 9999)
	seen := make(map[int]bool)
	for seed := range uint64(50) {
		seen[len(read(t, m.CrashClone(seed), "d/f"))] = true
	}
	if len(seen) != 2 || !seen[100] || !seen[10000] {
		t.Errorf("lengths %v", seen)
	}
	_ = f.Truncate(50)
	_ = f.Sync()
	if n := len(read(t, m.CrashClone(1), "d/f")); n != 50 {
		t.Errorf("%d bytes", n)
	}
}

func TestCrashNames(t *testing.T) {
	m := NewMem()
	for _, name := range []string{"d/a", "d/b", "e/c"} {
		f, _ := m.Create(name)
		write(f, []byte(name), 0)
		_ = f.Sync()
	}
	_ = m.SyncDir("d")
	_ = m.SyncDir("e")
	_ = m.Rename("d/a", "d/x")
	_ = m.Remove("d/b")
	seen := make(map[string]bool)
	for seed := range uint64(100) {
		c := m.CrashClone(seed)
		s := ""
		for _, name := range c.Names() {
			s += name + " "
		}
		seen[s] = true
		if got := read(t, c, "d/x"); got != nil && string(got) != "d/a" {
			t.Errorf("%q", got)
		}
	}
	for _, want := range []string{"d/a d/b e/c ", "d/a e/c ", "d/b d/x e/c ", "d/x e/c "} {
		if !seen[want] {
			t.Errorf("never %q", want)
		}
	}
	if len(seen) != 4 {
		t.Errorf("%v", seen)
	}
	_ = m.SyncDir("d")
	if got := m.DropClone().Names(); !slices.Equal(got, []string{"d/x", "e/c"}) {
		t.Errorf("%v", got)
	}
}

// TestCloneIsApart: neither sees what is written to the other.
func TestCloneIsApart(t *testing.T) {
	m := NewMem()
	f, _ := m.Create("d/f")
	write(f, []byte("one"), 0)
	_ = f.Sync()
	_ = m.SyncDir("d")
	c := m.CrashClone(1)
	g, _ := c.Open("d/f")
	write(g, []byte("two"), 0)
	write(f, []byte("six"), 0)
	if a, b := read(t, m, "d/f"), read(t, c, "d/f"); string(a) != "six" || string(b) != "two" {
		t.Errorf("%q %q", a, b)
	}
	if d := c.DropClone(); string(read(t, d, "d/f")) != "one" {
		t.Error("the clone's write is durable")
	}
}

// TestCloneBeside writes to a clone while both it and its origin are cloned again: the two have pages in common.
func TestCloneBeside(t *testing.T) {
	m := NewMem()
	f, _ := m.Create("d/f")
	write(f, []byte("one"), 0)
	_ = f.Sync()
	_ = m.SyncDir("d")
	c := m.DropClone()
	g, _ := c.Open("d/f")
	var all sync.WaitGroup
	all.Go(func() { m.CrashClone(1) })
	all.Go(func() { c.CrashClone(2) })
	write(g, []byte("two"), 0)
	all.Wait()
	if a, b := read(t, m, "d/f"), read(t, c, "d/f"); string(a) != "one" || string(b) != "two" {
		t.Errorf("%q %q", a, b)
	}
}

func TestFail(t *testing.T) {
	m := NewMem()
	f, _ := m.Create("f")
	var ops []string
	m.SetFail(func(op Op, name string) error {
		ops = append(ops, op.String())
		_ = m.CrashClone(1) // no lock is held
		switch op {
		case OpWrite:
			return &PartialError{N: 2, Err: syscall.EIO}
		case OpSync:
			return syscall.ENOSPC
		}
		return nil
	})
	if n, err := f.WriteAt([]byte("hello"), 0); n != 2 || !errors.Is(err, syscall.EIO) {
		t.Error(n, err)
	}
	if err := f.Sync(); !IsNoSpace(err) {
		t.Error(err)
	}
	_, _ = m.Create("g")
	_ = m.Rename("g", "h")
	_ = m.SyncDir(".")
	_ = m.Remove("h")
	_ = f.Truncate(1)
	_, _ = m.Open("f")
	if want := []string{"write", "sync", "create", "rename", "syncdir", "remove", "truncate", "open"}; !slices.Equal(ops, want) {
		t.Errorf("%v", ops)
	}
	m.SetFail(nil)
	m.SetSkipSync(func(op Op, _ string) bool { return op == OpSync })
	write(f, []byte("abc"), 0)
	_ = f.Sync()
	_ = m.SyncDir(".")
	if got := read(t, m.DropClone(), "f"); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestCapacity(t *testing.T) {
	m := NewMem()
	m.SetCapacity(1000)
	f, _ := m.Create("f")
	write(f, make([]byte, 900), 0)
	if n, err := f.WriteAt(make([]byte, 300), 800); n != 200 || !IsNoSpace(err) {
		t.Error(n, err)
	}
	write(f, make([]byte, 1000), 0) // within the length
	if err := f.Truncate(1001); !IsNoSpace(err) {
		t.Error(err)
	}
	if free, total, _ := m.Free("."); free != 0 || total != 1000 {
		t.Error(free, total)
	}
	m.SetCapacity(2000)
	write(f, make([]byte, 300), 1000)
	if free, _, _ := m.Free("."); free != 700 {
		t.Error(free)
	}
}

func BenchmarkCrashClone(b *testing.B) {
	m := NewMem()
	f, _ := m.Create("f")
	_ = m.SyncDir(".")
	write(f, bytes.Repeat([]byte("x"), 1<<20), 0)
	_ = f.Sync()
	write(f, bytes.Repeat([]byte("y"), 1<<16), 0)
	for seed := uint64(0); b.Loop(); seed++ {
		m.CrashClone(seed)
	}
}

// TestCrashBehindTheEnd: what was written behind the end of a file that keeps its length is not there when it grows again.
func TestCrashBehindTheEnd(t *testing.T) {
	m := NewMem()
	f, _ := m.Create("d/f")
	_ = m.SyncDir("d")
	write(f, []byte("old"), 0)
	_ = f.Sync()
	write(f, []byte("gone"), 3)
	for seed := range uint64(50) {
		c := m.CrashClone(seed)
		if len(read(t, c, "d/f")) != 3 {
			continue
		}
		g, _ := c.Open("d/f")
		_ = g.Truncate(7)
		if got := read(t, c, "d/f"); string(got) != "old\x00\x00\x00\x00" {
			t.Fatalf("%q", got)
		}
	}
}
