package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// dataSync is fdatasync.
func dataSync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// writeSync is pwritev2 with RWF_DSYNC, which costs less than pwrite and fdatasync.
func writeSync(f *os.File, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pwritev2(int(f.Fd()), [][]byte{p[n:]}, off+int64(n), unix.RWF_DSYNC)
		switch err {
		case nil:
			n += m
		case unix.EINTR:
		case unix.EOPNOTSUPP, unix.ENOSYS: // an old kernel, or a file system that has no such flag
			return writeThenSync(f, p, off)
		default:
			return n, &os.PathError{Op: "pwritev2", Path: f.Name(), Err: err}
		}
	}
	return n, nil
}
