//go:build !linux && !darwin && !windows

package vfs

import (
	"errors"
	"io"
	"math"
	"os"
	"syscall"
)

func openFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// lock only makes the file: here nothing stops a second process.
func lock(name string) (io.Closer, error) { return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// diskFree knows nothing here, so there is always enough.
func diskFree(string) (free, total int64, err error) { return math.MaxInt64, math.MaxInt64, nil }

// IsNoSpace reports whether an error says that the disk, or what this user may use of it, is full.
func IsNoSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) }
