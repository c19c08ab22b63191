//go:build !linux

package vfs

import "os"

// dataSync makes a file durable; darwin's F_FULLFSYNC is in it.
func dataSync(f *os.File) error { return f.Sync() }
