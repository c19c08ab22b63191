package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// change is a text of a file of package sync, which occurs once, and what it becomes.
type change struct{ file, old, new string }

func changes() []change {
	return []change{
		{"mutex.go", "\n\tm.mu.Lock()\n", "\n\tperturb()\n\tm.mu.Lock()\n\tperturb()\n"},
		{"mutex.go", "\n\tm.mu.Unlock()\n", "\n\tm.mu.Unlock()\n\tperturb()\n"},
		{"rwmutex.go", " RLock() {\n", " RLock() {\n\tperturb()\n"},
		{"rwmutex.go", " RUnlock() {\n", " RUnlock() {\n\tdefer perturb()\n"},
		{"rwmutex.go", ") Unlock() {\n\tif", ") Unlock() {\n\tdefer perturb()\n\tif"},
		// A Pool holds this one while its goroutine must not yield.
		{"pool.go", "allPoolsMu Mutex", "allPoolsMu isync.Mutex"},
		{"pool.go", "\n\t\"internal/race\"\n", "\n\t\"internal/race\"\n\tisync \"internal/sync\"\n"},
	}
}

// perturb is what the changed files call.
const perturb = `package sync

import _ "unsafe"

//go:linkname perturbGosched runtime.Gosched
func perturbGosched()

//go:linkname perturbRand runtime.rand
func perturbRand() uint64

//go:linkname perturbNow runtime.nanotime
func perturbNow() int64

// perturb lets others run: mostly not, one time in 32 a few, one in 1024 many; and one in 4096 it takes up to 0.13 ms.
func perturb() {
	r := perturbRand()
	n := -1
	switch {
	case r&0x1f == 0:
		n = int(r >> 12 & 3)
	case r&0x3ff == 1:
		n = int(r >> 12 & 31)
	case r&0xfff == 2:
		for end := perturbNow() + int64(r>>12&0x1ffff); perturbNow() < end; {
		}
	}
	for ; n >= 0; n-- {
		perturbGosched()
	}
}
`

// source returns the directory of package sync.
func source() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	return filepath.Join(strings.TrimSpace(string(root)), "src", "sync"), err
}

// perturbed returns the files of package sync, whose sources are in a directory, that become others.
func perturbed(dir string) (map[string]string, error) {
	files := map[string]string{"perturb.go": perturb}
	for _, c := range changes() {
		text, ok := files[c.file]
		if !ok {
			raw, err := os.ReadFile(filepath.Join(dir, c.file))
			if err != nil {
				return nil, err
			}
			text = string(raw)
		}
		if n := strings.Count(text, c.old); n != 1 {
			return nil, fmt.Errorf("%s of this version of Go has %q %d times, not once", c.file, c.old, n)
		}
		files[c.file] = strings.Replace(text, c.old, c.new, 1)
	}
	return files, nil
}
