package quicnet

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// DirStore is a [Store] in a directory, so that a client that starts anew still has its tickets. Several processes may
// use one directory; each item goes to one of them.
//
// Each item is a file of its own with mode 0600, written under another name and renamed. Nothing is synced: after a loss
// of power the last items may be missing, or there again. One that is there again is refused by the server's guard.
// Damaged files are removed, files of later versions and others are left alone. Errors of the file system make items
// vanish and are counted, no more.
type DirStore struct {
	dir string
	opt StoreOptions

	last   atomic.Int64 // the time in the name of the last file
	failed atomic.Uint64
}

const (
	itemSuffix = ".item"
	tempPrefix = "tmp-"

	// tempAge is the age at which a temporary file is one that a process left behind.
	tempAge = time.Hour
)

// OpenDirStore returns a store in a directory, which it makes with mode 0700 if it is missing. It refuses one that users
// other than the owner may write to, except on Windows, where the caller has to see to that. Nil options are the
// defaults.
func OpenDirStore(dir string, o *StoreOptions) (*DirStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: errors.New("not a directory")}
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("quicnet: the directory of tickets %s may be written by others (mode %v)", dir, info.Mode().Perm())
	}
	s := &DirStore{dir: dir, opt: o.orDefaults()}
	s.sweep()
	return s, nil
}

// Failures returns how many operations the file system has refused and how many damaged files were found.
func (s *DirStore) Failures() uint64 { return s.failed.Load() }

// itemFile is the name of an item's file in its parts.
type itemFile struct {
	name string
	hash string // of kind and origin
	at   int64  // nanoseconds since 1970
}

// hashOf returns the first part of the names of an origin's files.
func hashOf(kind ItemKind, origin string) string {
	sum := sha256.Sum256(append([]byte{byte(kind)}, origin...))
	return hex.EncodeToString(sum[:12])
}

// newName returns the name of a new file, later than all before.
func (s *DirStore) newName(kind ItemKind, origin string) string {
	at := time.Now().UnixNano()
	for {
		last := s.last.Load()
		at = max(at, last+1)
		if s.last.CompareAndSwap(last, at) {
			break
		}
	}
	var salt [4]byte
	rand.Read(salt[:])
	return fmt.Sprintf("%s-%016x-%x%s", hashOf(kind, origin), at, salt, itemSuffix)
}

// parseName takes a file's name apart.
func parseName(name string) (f itemFile, ok bool) {
	parts := strings.Split(strings.TrimSuffix(name, itemSuffix), "-")
	if !strings.HasSuffix(name, itemSuffix) || len(parts) != 3 || len(parts[0]) != 24 || len(parts[1]) != 16 || len(parts[2]) != 8 {
		return itemFile{}, false
	}
	at, err := strconv.ParseInt(parts[1], 16, 64)
	if err != nil || at < 0 {
		return itemFile{}, false
	}
	return itemFile{name: name, hash: parts[0], at: at}, true
}

// list returns the files of the store, oldest first, and removes temporary files that were left behind.
func (s *DirStore) list() []itemFile {
	d, err := os.Open(s.dir)
	if err != nil {
		s.fail(err)
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		s.fail(err)
		return nil
	}
	var files []itemFile
	for _, name := range names {
		if f, ok := parseName(name); ok {
			files = append(files, f)
		} else if strings.HasPrefix(name, tempPrefix) {
			s.sweepTemp(name)
		}
	}
	slices.SortFunc(files, func(a, b itemFile) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.name, b.name))
	})
	return files
}

func (s *DirStore) sweepTemp(name string) {
	path := filepath.Join(s.dir, name)
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > tempAge {
		s.remove(name)
	}
}

// sweep removes what is too old or too much and returns the rest.
func (s *DirStore) sweep() []itemFile {
	files := s.list()
	limit := time.Now().Add(-s.opt.Age).UnixNano()
	for len(files) > 0 && (files[0].at < limit || len(files) > s.opt.Total) {
		s.remove(files[0].name)
		files = files[1:]
	}
	return files
}

// Put implements [Store]. An item above 64 KiB is not kept.
func (s *DirStore) Put(kind ItemKind, origin string, item []byte) {
	if len(item) > maxItem || len(origin) > maxOrigin {
		return
	}
	name := s.newName(kind, origin)
	if err := s.write(name, appendItem(nil, storedItem{kind: kind, origin: origin, at: time.Now(), data: item})); err != nil {
		s.fail(err)
		return
	}
	var same []itemFile
	hash := hashOf(kind, origin)
	for _, f := range s.sweep() {
		if f.hash == hash {
			same = append(same, f)
		}
	}
	for len(same) > s.opt.PerOrigin {
		s.remove(same[0].name)
		same = same[1:]
	}
}

// write makes a file under another name and renames it.
func (s *DirStore) write(name string, b []byte) error {
	f, err := os.CreateTemp(s.dir, tempPrefix) // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.dir, name))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Take implements [Store].
func (s *DirStore) Take(kind ItemKind, origin string) []byte {
	hash := hashOf(kind, origin)
	files := s.list()
	limit := time.Now().Add(-s.opt.Age).UnixNano()
	for i := len(files) - 1; i >= 0 && files[i].at >= limit; i-- {
		if files[i].hash != hash {
			continue
		}
		b, err := s.read(files[i].name)
		if err != nil {
			continue
		}
		item, err := parseItem(b)
		if err == errItemVersion {
			continue
		}
		// Who removes the file has the item: of two processes one gets an error.
		if !s.remove(files[i].name) {
			continue
		}
		if err != nil {
			s.fail(err)
			continue
		}
		if item.kind == kind && item.origin == origin {
			return item.data
		}
	}
	return nil
}

// read returns the content of a file, which is bounded.
func (s *DirStore) read(name string) ([]byte, error) {
	path := filepath.Join(s.dir, name)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(maxItemFile)+1))
}

// Drop implements [Store].
func (s *DirStore) Drop(kind ItemKind, origin string) {
	hash := hashOf(kind, origin)
	for _, f := range s.list() {
		if f.hash == hash {
			s.remove(f.name)
		}
	}
}

// remove removes a file and reports whether this call did it.
func (s *DirStore) remove(name string) bool {
	err := os.Remove(filepath.Join(s.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.fail(err)
	}
	return err == nil
}

func (s *DirStore) fail(error) { s.failed.Add(1) }
