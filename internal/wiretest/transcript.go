package wiretest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Transcript is a record of connections as text. They follow one another in the order in which they were added, each after
// the first with a blank line before it. The zero value is ready to use. It is safe for concurrent use.
type Transcript struct {
	mu    sync.Mutex
	conns []*Record
}

// Record is the record of one connection.
type Record struct {
	t     *Transcript
	lines []string
}

// Conn adds a connection.
func (t *Transcript) Conn() *Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &Record{t: t}
	t.conns = append(t.conns, r)
	return r
}

// Note adds a line. line is called with a lock held, so that it may use what belongs to the record; it returns "" for no line.
func (r *Record) Note(line func() string) {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	if s := line(); s != "" {
		r.lines = append(r.lines, s)
	}
}

// String returns the record so far.
func (t *Transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for i, c := range t.conns {
		if i > 0 {
			b.WriteString("\n")
		}
		for _, line := range c.lines {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// Compare compares the record so far with a golden file, and fails the test when they differ. The test flag -update, where
// there is one, writes the file instead.
func (t *Transcript) Compare(tb testing.TB, path string) {
	tb.Helper()
	got := t.String()
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			tb.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		tb.Fatalf("golden trace: %v\nthe trace is:\n%s", err, got)
	}
	if want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")); string(want) != got {
		tb.Errorf("trace differs from %s (- want, + got):\n%s", path, DiffLines(string(want), got))
	}
}
