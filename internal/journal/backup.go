package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
)

// Backup copies the journal as it is at some moment of the call into another directory of the same file system, which
// must not have a journal yet. [Open] can open it. Everything that was durable before the call is in it. Appends and
// cleaning go on meanwhile.
func (j *Journal[T]) Backup(ctx context.Context, dir string) error {
	j.mu.Lock()
	if j.state != running {
		j.mu.Unlock()
		return ErrClosed
	}
	j.ended.Add(1) // Close waits
	j.mu.Unlock()
	defer j.ended.Done()
	s := j.s
	if err := s.fs.MkdirAll(dir); err != nil {
		return err
	}
	names, err := s.fs.List(dir)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(names, func(n string) bool { return n == dirFile || filepath.Ext(n) == segSuffix }) {
		return fmt.Errorf("journal: %s has a journal already", dir)
	}
	type part struct {
		g    *segment
		used int64
	}
	var parts []part
	s.mu.RLock()
	for _, g := range s.segs {
		g.refs.Add(1)
		parts = append(parts, part{g, g.used})
	}
	s.mu.RUnlock()
	defer func() {
		for _, p := range parts {
			p.g.refs.Add(-1)
		}
		poke(j.clean) // it closes what nobody reads any more
	}()
	for _, p := range parts {
		if err := j.copyFile(ctx, filepath.Join(dir, p.g.name), p.g.file, p.used); err != nil {
			return err
		}
	}
	h := s.dirHeader()
	if err := j.copyFile(ctx, filepath.Join(dir, dirFile), bytes.NewReader(h), int64(len(h))); err != nil {
		return err
	}
	return s.fs.SyncDir(dir)
}

// copyFile copies the first bytes of a file into a new one and makes that durable.
func (j *Journal[T]) copyFile(ctx context.Context, name string, from io.ReaderAt, size int64) (err error) {
	f, err := j.s.fs.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, min(size, cleanSlice))
	for at := int64(0); at < size; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-j.closing:
			return ErrClosed
		default:
		}
		n, err := from.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if n == 0 && err != nil {
			return err
		}
		if _, err := f.WriteAt(buf[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	return f.Sync()
}
