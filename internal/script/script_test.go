package script

import (
	"fmt"
	"strings"
	"testing"
)

// commands returns the function that executes the commands of the test's scripts.
func commands(t *testing.T) func(c *Command) string {
	count := 0
	return func(c *Command) string {
		count++
		switch c.Name {
		case "echo":
			var b strings.Builder
			if n := c.Int(t, "times", 0); n > 0 {
				fmt.Fprint(&b, n, " ", c.Duration(t, "sleep", 0), " ")
				fmt.Fprintf(&b, "%q", c.String("text", ""))
				if c.Has("bare") {
					b.WriteString(" bare")
				}
				b.WriteString("\n" + c.Input)
			}
			return b.String()
		case "count":
			return fmt.Sprintln(count)
		}
		t.Fatalf("line %d: no command %s", c.Line, c.Name)
		return ""
	}
}

func TestRun(t *testing.T) {
	Run(t, "testdata/*.txt", commands)
}

func TestExecuteRewrites(t *testing.T) {
	text := "# head\n\ncount\n----\nwrong\n\n\ncount x=1\ninput\n----\n1\n2\n\n# tail\n"
	want := "# head\n\ncount\n----\n1\n\n\ncount x=1\ninput\n----\n2\n\n# tail\n"
	defer func(old bool) { *update = old }(*update)
	*update = true
	do := commands(t)
	got := execute(t, "x.txt", text, func(c *Command) string { c.Has("x"); return do(c) })
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// failures is a TB that notes failures instead of passing them on.
type failures struct {
	testing.TB
	text string
}

func (f *failures) Helper() {}

func (f *failures) Errorf(format string, args ...any) { f.text += fmt.Sprintf(format, args...) + "\n" }

func (f *failures) Fatalf(format string, args ...any) { f.Errorf(format, args...); panic(f) }

func TestExecuteFails(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"difference", "\ncount\n----\n2\n", "x.txt:2: count\ngot:\n1\nwant:\n2"},
		{"no output line", "count\n\ncount\n----\n1\n", "x.txt:1: no ----"},
		{"unknown argument", "count every=1\n----\n1\n", `count knows no argument "every"`},
		{"twice", "count a=1 a=2\n----\n1\n", `argument "a" is empty or there twice`},
		{"not a number", "echo times=x\n----\n", "times=x is not a number"},
		{"not a duration", "echo times=1 sleep=x\n----\n", "sleep=x is not a duration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &failures{TB: t}
			defer func() {
				if r := recover(); r != nil && r != any(f) {
					panic(r)
				}
				if !strings.Contains(f.text, tt.want) {
					t.Errorf("got %q, want %q in it", f.text, tt.want)
				}
			}()
			execute(f, "x.txt", tt.script, func(c *Command) string {
				if c.Name == "echo" {
					c.Int(f, "times", 0)
					c.Duration(f, "sleep", 0)
				}
				return "1"
			})
		})
	}
}
