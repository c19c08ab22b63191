package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncAll is syncfs.
func syncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	for {
		if err = unix.Syncfs(int(d.Fd())); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		err = &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return errors.Join(err, d.Close())
}
