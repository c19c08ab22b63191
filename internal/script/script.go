// Package script runs data-driven tests. A script is a text file of blocks: a command line, optional input lines, a
// line "----", and the output expected of the command. A blank line ends a block; lines that begin with # between
// blocks are comments.
//
//	publish topic=a/b qos=1 retain
//	hello
//	----
//	send PUBLISH id=1
//
// Arguments are key=value or a bare key; a value with spaces is a Go string in double quotes. The test flag -update
// rewrites the expected output in place; read the difference before you commit it.
//
// The package is for tests only and not safe for concurrent use.
package script

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// Updating reports whether the test flag -update is set, for golden files of other kinds.
func Updating() bool { return *update }

// Command is one block of a script.
type Command struct {
	Name  string // the first word of the command line
	Input string // the lines between the command line and "----", without the last newline
	Line  int    // of the command in its file

	args map[string]string
	used map[string]bool
}

// Has reports whether the command has an argument with this key, with a value or bare.
func (c *Command) Has(key string) bool {
	_, ok := c.lookup(key)
	return ok
}

// String returns the value of an argument, or def when it is not there.
func (c *Command) String(key, def string) string {
	if v, ok := c.lookup(key); ok {
		return v
	}
	return def
}

// Int returns the number that an argument gives in decimal or with 0x, or def when it is not there. Anything else
// fails the test.
func (c *Command) Int(t testing.TB, key string, def int) int {
	t.Helper()
	v, ok := c.lookup(key)
	if !ok {
		return def
	}
	n, err := strconv.ParseInt(v, 0, 64)
	if err != nil {
		t.Fatalf("line %d: %s=%s is not a number", c.Line, key, v)
	}
	return int(n)
}

// Duration returns the duration that an argument gives as in "1m30s", or def when it is not there. Anything else fails
// the test.
func (c *Command) Duration(t testing.TB, key string, def time.Duration) time.Duration {
	t.Helper()
	v, ok := c.lookup(key)
	if !ok {
		return def
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		t.Fatalf("line %d: %s=%s is not a duration", c.Line, key, v)
	}
	return d
}

func (c *Command) lookup(key string) (string, bool) {
	c.used[key] = true
	v, ok := c.args[key]
	return v, ok
}

// unused returns an argument that nobody has asked for: a slip of the pen.
func (c *Command) unused() string {
	for key := range c.args {
		if !c.used[key] {
			return key
		}
	}
	return ""
}

// Run runs each script that matches a pattern such as "testdata/session/*.txt" as a subtest. start makes what a fresh
// script works on and returns the function that executes one command and returns its output. An argument that the
// function does not ask for fails the test, as does an output with a blank line.
func Run(t *testing.T, pattern string, start func(t *testing.T) func(c *Command) string) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts match %s (%v)", pattern, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			old, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(old), "\r\n", "\n")
			got := execute(t, path, text, start(t))
			if *update && got != text && !t.Failed() {
				if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// execute runs a script and returns it with the actual output. Differences fail the test unless it is updating.
func execute(t testing.TB, path, text string, do func(*Command) string) string {
	t.Helper()
	var out strings.Builder
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		if line := strings.TrimSpace(lines[i]); line == "" || strings.HasPrefix(line, "#") {
			out.WriteString(lines[i] + "\n")
			i++
			continue
		}
		start := i
		for i < len(lines) && lines[i] != "----" && lines[i] != "" {
			i++
		}
		if i == len(lines) || lines[i] == "" {
			t.Fatalf("%s:%d: no ---- after this command", path, start+1)
		}
		mark := i
		for i < len(lines) && strings.TrimSpace(lines[i]) != "" {
			i++
		}
		c, err := parse(lines[start], start+1)
		if err != nil {
			t.Fatalf("%s:%d: %v", path, start+1, err)
		}
		c.Input = strings.Join(lines[start+1:mark], "\n")
		got := strings.TrimRight(do(c), "\n")
		if key := c.unused(); key != "" {
			t.Fatalf("%s:%d: %s knows no argument %q", path, c.Line, c.Name, key)
		}
		if strings.Contains("\n"+got, "\n\n") {
			t.Fatalf("%s:%d: the output has a blank line:\n%s", path, c.Line, got)
		}
		if want := strings.Join(lines[mark+1:i], "\n"); got != want && !*update {
			t.Errorf("%s:%d: %s\ngot:\n%s\nwant:\n%s", path, c.Line, lines[start], got, want)
		}
		out.WriteString(strings.Join(lines[start:mark+1], "\n") + "\n")
		if got != "" {
			out.WriteString(got + "\n")
		}
	}
	return out.String()
}

// parse takes a command line apart.
func parse(line string, number int) (*Command, error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	c := &Command{Name: name, Line: number, args: make(map[string]string), used: make(map[string]bool)}
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		end := strings.IndexAny(rest, " =")
		if end < 0 {
			end = len(rest)
		}
		key, value := rest[:end], ""
		if rest = rest[end:]; strings.HasPrefix(rest, "=") {
			rest = rest[1:]
			if quoted, err := strconv.QuotedPrefix(rest); err == nil {
				value, _ = strconv.Unquote(quoted)
				rest = rest[len(quoted):]
			} else {
				value, rest, _ = strings.Cut(rest, " ")
			}
		}
		if _, twice := c.args[key]; twice || key == "" {
			return nil, fmt.Errorf("argument %q is empty or there twice", key)
		}
		c.args[key] = value
	}
	return c, nil
}
