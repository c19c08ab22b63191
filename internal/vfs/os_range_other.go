//go:build !linux && !darwin

package vfs

import "io"

// lockRange is lock: on Windows that is what Java uses.
func lockRange(name string) (io.Closer, error) { return lock(name) }
