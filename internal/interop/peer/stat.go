package peer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of the times in /proc/PID/stat; it is the same on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPU returns the processor time that the process has used, user and system.
func (p *Proc) CPU() (time.Duration, error) { return CPU(p.cmd.Process.Pid) }

// CPU returns the processor time that a process has used, user and system.
func CPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses and may hold spaces. utime and stime are fields 14 and 15.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0, errors.New("short stat line")
	}
	user, err1 := strconv.ParseInt(string(f[11]), 10, 64)
	sys, err2 := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(user+sys) * tick, errors.Join(err1, err2)
}

// RSS returns the resident set size of the process in bytes.
func (p *Proc) RSS() (int64, error) { return RSS(p.cmd.Process.Pid) }

// RSS returns the resident set size of a process in bytes.
func RSS(pid int) (int64, error) { return status(pid, "VmRSS:") }

// PeakRSS returns the largest resident set size that the process has had, in bytes.
func (p *Proc) PeakRSS() (int64, error) { return status(p.cmd.Process.Pid, "VmHWM:") }

// status returns a size of /proc/PID/status.
func status(pid int, name string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte(name)); ok {
			kib, err := strconv.ParseInt(string(bytes.Fields(v)[0]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no line %s", name)
}
