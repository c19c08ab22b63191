package vfs

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// rangeLock is a lock of flock, which keeps out this process too, and one of fcntl, which others see.
type rangeLock struct {
	flock io.Closer
	f     *os.File
}

// Close lets go of both.
func (l *rangeLock) Close() error { return errors.Join(l.f.Close(), l.flock.Close()) }

func lockRange(name string) (io.Closer, error) {
	flock, err := lock(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(err, flock.Close())
	}
	l := &rangeLock{flock, f}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
	if err == nil {
		return l, nil
	}
	_ = l.Close()
	if err == unix.EAGAIN || err == unix.EACCES {
		return nil, ErrLocked
	}
	return nil, &os.PathError{Op: "fcntl", Path: name, Err: err}
}
