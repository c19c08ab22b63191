package vfs

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockRange is an open file description lock of fcntl: one of another process's fcntl or of another open file is in its way.
func lockRange(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
		if err != unix.EINTR {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if err == unix.EAGAIN || err == unix.EACCES {
		return nil, ErrLocked
	}
	return nil, &os.PathError{Op: "fcntl", Path: name, Err: err}
}
