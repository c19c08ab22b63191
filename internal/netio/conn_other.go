//go:build !linux && !darwin

package netio

// supported says that this system has Conn's calls.
const supported = false

func (*Conn) tryRead(uintptr) bool { return true }

func (*attempt) read(uintptr) {}

func (*attempt) write(uintptr) {}
