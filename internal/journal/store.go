package journal

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// store is the directory with its segments: what of a journal does not depend on the token.
type store struct {
	fs   vfs.FS
	dir  string
	opt  Options
	log  *slog.Logger
	id   [16]byte
	lock io.Closer

	mu        sync.RWMutex
	segs      []*segment // with records, by range; to the last one the writer appends
	trailing  []*segment // without records, after the others: until Start
	prepared  *segment   // the next one, or nil
	spare     vfs.File   // a file that the next one may be made of, or nil
	spareSize int64
	making    bool       // the next one is being made
	grave     []*segment // removed, and perhaps still read
	ids       uint64     // the last segment id
	published uint64     // records below are in the segments
}

const (
	dirFile   = "journal"
	lockFile  = "lock"
	spareFile = "spare"
	tmpSuffix = ".tmp"
	segSuffix = ".seg"
)

func (s *store) path(name string) string { return filepath.Join(s.dir, name) }

// openStore locks a directory, creates or checks its header, and reads the headers of its segments.
func openStore(dir string, o *Options) (_ *store, err error) {
	s := &store{dir: dir, opt: o.withDefaults()}
	s.fs, s.log = s.opt.FS, s.opt.Logger
	if len(s.opt.Kind) > maxKind {
		return nil, fmt.Errorf("journal: kind of over %d bytes", maxKind)
	}
	if err := s.fs.MkdirAll(dir); err != nil {
		return nil, err
	}
	if s.lock, err = s.fs.Lock(s.path(lockFile)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	names, err := s.fs.List(dir)
	if err != nil {
		return nil, err
	}
	if err := s.openDir(names); err != nil {
		return nil, err
	}
	var segs []*segment
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, tmpSuffix) || name == spareFile:
			// The temporary file of the directory's own header has its name by now.
			if err := s.fs.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		case strings.HasSuffix(name, segSuffix):
			g, err := s.openSegment(name)
			if err != nil {
				return nil, err
			}
			segs = append(segs, g)
			s.segs = segs // so that close finds them
			s.ids = max(s.ids, g.id)
		}
	}
	return s, s.arrange(segs)
}

// close closes all files and gives the lock back.
func (s *store) close() error {
	var err error
	for _, g := range slices.Concat(s.segs, s.trailing, s.grave) {
		err = errors.Join(err, g.file.Close())
	}
	if s.prepared != nil {
		err = errors.Join(err, s.prepared.file.Close())
	}
	if s.spare != nil {
		err = errors.Join(err, s.spare.Close())
	}
	return errors.Join(err, s.lock.Close())
}

// openDir reads the header of the directory, or writes it into a new one.
func (s *store) openDir(names []string) error {
	if !slices.Contains(names, dirFile) {
		for _, name := range names {
			if strings.HasSuffix(name, segSuffix) {
				return &CorruptError{File: s.path(dirFile), Reason: "missing"}
			}
		}
		return s.createDir()
	}
	b, err := s.readAll(dirFile, 4<<10)
	if err != nil {
		return err
	}
	name := s.path(dirFile)
	if len(b) < 34 || string(b[:8]) != dirMagic {
		return &CorruptError{File: name, Reason: "not the header of a journal"}
	}
	if v := le.Uint32(b[8:]); v > Version {
		return &VersionError{File: name, Version: v, Supported: Version}
	}
	end := len(b) - 4
	if n := int(le.Uint16(b[28:])); 30+n != end || codec.CRC32C(b[:end]) != le.Uint32(b[end:]) {
		return &CorruptError{File: name, Reason: "checksum"}
	}
	copy(s.id[:], b[12:])
	if kind := string(b[30:end]); kind != s.opt.Kind {
		return fmt.Errorf("%w: %s has %q, not %q", ErrKind, s.dir, kind, s.opt.Kind)
	}
	return nil
}

func (s *store) createDir() error {
	if _, err := rand.Read(s.id[:]); err != nil {
		return err
	}
	b := s.dirHeader()
	f, err := s.fs.Create(s.path(dirFile + tmpSuffix))
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.fs.Rename(s.path(dirFile+tmpSuffix), s.path(dirFile)); err != nil {
		return err
	}
	return s.fs.SyncDir(s.dir)
}

// dirHeader encodes the header of the directory.
func (s *store) dirHeader() []byte {
	b := append([]byte(nil), dirMagic...)
	b = le.AppendUint32(b, Version)
	b = append(b, s.id[:]...)
	b = le.AppendUint16(b, uint16(len(s.opt.Kind)))
	b = append(b, s.opt.Kind...)
	return le.AppendUint32(b, codec.CRC32C(b))
}

func (s *store) readAll(name string, limit int64) ([]byte, error) {
	f, err := s.fs.Open(s.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, limit))
	n, err := f.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// openSegment opens a segment and reads its header and, of one that was not rewritten, the first LSN.
func (s *store) openSegment(name string) (_ *segment, err error) {
	f, err := s.fs.Open(s.path(name))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	g := &segment{name: name, file: f, liveBefore: math.MaxInt64}
	if g.size, err = f.Size(); err != nil {
		return nil, err
	}
	b := make([]byte, segHeader)
	if n, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	} else if err := g.decode(s.path(name), b[:n]); err != nil {
		return nil, err
	}
	if g.dir != s.id {
		return nil, &CorruptError{File: s.path(name), Reason: "belongs to another journal"}
	}
	g.used = segHeader
	if g.rewritten == 0 {
		r := g.reader(batchHeader)
		if first, err := r.next(); err == nil && !first.seal() {
			g.first, g.end = first.base, first.base
		} else if err != nil && err != errInvalid {
			return nil, err
		}
	}
	return g, nil
}

// reader returns a reader of the segment's batches.
func (g *segment) reader(chunk int) batchReader {
	return batchReader{f: g.file, seed: g.seed, off: segHeader, limit: g.size, chunk: chunk}
}

// arrange puts the segments in order. What a rewritten segment replaces is removed: its removal did not become durable.
func (s *store) arrange(segs []*segment) error {
	slices.SortFunc(segs, func(a, b *segment) int { return cmp.Compare(a.id, b.id) })
	var rewritten, plain []*segment
	removed := false
	drop := func(g *segment) error {
		removed = true
		return s.removeSegment(g)
	}
	s.segs = nil
	var err error
	for _, g := range slices.Backward(segs) { // the youngest rewritten one counts
		switch {
		case g.rewritten == 0:
			plain = append(plain, g)
		case slices.ContainsFunc(rewritten, func(r *segment) bool { return g.first < r.end && r.first < g.end }):
			err = errors.Join(err, drop(g))
		default:
			rewritten = append(rewritten, g)
		}
	}
	slices.Reverse(plain)
	for len(plain) > 0 && plain[len(plain)-1].first == 0 {
		s.trailing = append(s.trailing, plain[len(plain)-1])
		plain = plain[:len(plain)-1]
	}
	slices.Reverse(s.trailing)
	s.segs = rewritten
	for _, g := range plain {
		if g.first != 0 && slices.ContainsFunc(rewritten, func(r *segment) bool { return g.first >= r.first && g.first < r.end }) {
			err = errors.Join(err, drop(g))
			continue
		}
		s.segs = append(s.segs, g)
	}
	if err != nil {
		return err
	}
	if removed {
		if err := s.fs.SyncDir(s.dir); err != nil {
			return err
		}
	}
	// A segment without a first batch that is not at the end is damaged; it stays behind the one before it.
	keys := make(map[*segment]uint64)
	last := uint64(0)
	for _, g := range s.segs {
		if keys[g] = g.first; g.first == 0 {
			keys[g] = last
		} else if g.rewritten == 0 {
			last = g.first
		}
	}
	slices.SortStableFunc(s.segs, func(a, b *segment) int { return cmp.Compare(keys[a], keys[b]) })
	return nil
}

// removeSegment closes and removes a segment's file. That it is gone is durable after SyncDir.
func (s *store) removeSegment(g *segment) error {
	_ = g.file.Close()
	err := s.fs.Remove(s.path(g.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
