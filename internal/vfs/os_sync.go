//go:build !linux

package vfs

import "os"

// dataSync makes a file durable; darwin's F_FULLFSYNC is in it.
func dataSync(f *os.File) error { return f.Sync() }

func writeSync(f *os.File, p []byte, off int64) (n int, err error) { return writeThenSync(f, p, off) }
