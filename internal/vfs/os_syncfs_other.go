//go:build !linux

package vfs

import "errors"

func syncAll(string) error { return errors.ErrUnsupported }
