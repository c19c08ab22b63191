package archtest

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// foreignText is what belongs to one machine or to its tools and not into the tree. It is put together so that it does
// not match itself.
var foreignText = regexp.MustCompile(strings.Join([]string{
	`/(home|root|Users)` + `/[A-Za-z]`,
	`/work` + `/(main|shared)`, `/tmp` + `/q\b`, `\bissues` + ` show\b`,
	`(?i)\bassist` + `ant`, `(?i)\bco-auth` + `ored-by`, `(?i)\bsub` + `agent`,
	`\bproxy\.` + `golang`, `\bregistry\.` + `npmjs`, `\bpypi` + `\.org`, `\brepo1?\.` + `maven`,
}, "|"))

func TestNothingOfOneMachine(t *testing.T) {
	for path, text := range load().texts {
		if !foreignText.MatchString(text) {
			continue
		}
		for i, line := range strings.Split(text, "\n") {
			if m := foreignText.FindString(line); m != "" {
				t.Errorf("%s:%d: %q does not belong into the tree", path, i+1, m)
			}
		}
	}
}

func TestNoReplace(t *testing.T) {
	for line := range strings.Lines(load().texts["go.mod"]) {
		if strings.HasPrefix(strings.TrimSpace(line), "replace") {
			t.Errorf("go.mod: %s", strings.TrimSpace(line))
		}
	}
}

// sleepers are packages whose tests may sleep outside of a bubble: real sockets have no fake clock.
var sleepers = map[string]bool{"internal/netio": true}

// TestNoSleepInTests allows time.Sleep only in a file that uses testing/synctest, where it takes no time.
func TestNoSleepInTests(t *testing.T) {
	tr := load()
	tr.each(true, func(f *file) {
		for _, spec := range f.syntax.Imports {
			if spec.Path.Value == `"testing/synctest"` {
				return
			}
		}
		if sleepers[f.dir] {
			return
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s: time.Sleep in a test outside of a synctest bubble", tr.at(n))
				}
			}
			return true
		})
	})
}
