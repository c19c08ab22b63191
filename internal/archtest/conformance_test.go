package archtest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// docs/conformance-mqtt.md says which tests hold each normative statement. With -update it is made from a run of the
// tests: those that pass and have the statement's id in their name. Without, TestConformance compares it with the
// sources, which takes no time: each id in a string or a file name of a test is on the page, and what is on the page is
// in the sources.

var update = flag.Bool("update", false, "run the tests that name statements and rewrite docs/conformance-mqtt.md")

const (
	conformancePage = "docs/conformance-mqtt.md"
	statementsFile  = "internal/archtest/testdata/mqtt-statements.txt"
	modulePath      = "github.com/quartet-mq/quartet/"
	maxWords        = 13
)

var statementID = regexp.MustCompile(`MQTT(?:311)?-\d+\.\d+(?:\.\d+)?-\d+`)

// statement is a normative statement: what it says, and why no test can hold it, or "".
type statement struct{ id, text, reason string }

func readStatements(t *testing.T) (all []statement) {
	t.Helper()
	for line := range strings.Lines(load().texts[statementsFile]) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		id, text, _ := strings.Cut(line, " ")
		text, reason, _ := strings.Cut(text, " | ")
		if statementID.FindString(id) != id || text == "" || len(strings.Fields(text)) > maxWords {
			t.Errorf("%s: %q", statementsFile, line)
		}
		all = append(all, statement{id, text, reason})
	}
	return all
}

// holder is a test, or a part of one, that holds a statement.
type holder struct {
	dir  string // of the package, as "mqtt/mqttbroker"
	test string // its name for go test -run, with nothing but the id in the last part
}

func (h holder) String() string { return h.dir + " " + h.test }

// mentions are the ids in the sources of tests of one package.
type mentions struct {
	tests  map[string]bool            // its test functions
	within map[string]map[string]bool // id to the test functions with it in a string, "" for other strings and file names
	begun  []string                   // strings that are the beginning of an id, as "MQTT-6.0.0-"
}

var begunID = regexp.MustCompile(`^MQTT(?:311)?-\d+\.\d+(?:\.\d+)?-$`)

func (m *mentions) add(text, function string) {
	if begunID.MatchString(text) {
		m.begun = append(m.begun, text)
	}
	for _, id := range statementID.FindAllString(text, -1) {
		if m.within[id] == nil {
			m.within[id] = make(map[string]bool)
		}
		m.within[id][function] = true
	}
}

// has reports whether the sources may make a part with an id of a test.
func (m *mentions) has(id, function string) bool {
	return m.tests[function] && (m.within[id][function] || m.within[id][""]) || slices.ContainsFunc(m.begun, func(s string) bool { return strings.HasPrefix(id, s) })
}

// findMentions returns them by directory, for the packages that have any.
func findMentions() map[string]*mentions {
	found := make(map[string]*mentions)
	tr := load()
	tr.each(true, func(f *file) {
		m := found[f.dir]
		if m == nil {
			m = &mentions{tests: make(map[string]bool), within: make(map[string]map[string]bool)}
			found[f.dir] = m
		}
		for _, d := range f.syntax.Decls {
			function := ""
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil && strings.HasPrefix(d.Name.Name, "Test") {
				function = d.Name.Name
				m.tests[function] = true
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil {
						m.add(s, function)
					}
				}
				return true
			})
		}
	})
	for name := range tr.texts {
		if dir, script, ok := strings.Cut(name, "/testdata/session/"); ok && found[dir] != nil {
			found[dir].add(strings.TrimSuffix(script, ".txt"), "")
		}
	}
	maps.DeleteFunc(found, func(dir string, m *mentions) bool {
		return len(m.within)+len(m.begun) == 0 || dir == "internal/archtest"
	})
	return found
}

// runTests runs the tests of directories and returns what holds each statement, in a fixed order.
func runTests(t *testing.T, dirs []string) map[string][]holder {
	t.Helper()
	args := []string{"test", "-json"}
	for _, dir := range dirs {
		args = append(args, "./"+dir)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	held := make(map[string][]holder)
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var e struct{ Action, Package, Test string }
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e.Action == "pass" {
			note(held, strings.TrimPrefix(e.Package, modulePath), e.Test)
		}
	}
	for _, list := range held {
		slices.SortFunc(list, func(a, b holder) int { return strings.Compare(a.String(), b.String()) })
	}
	return held
}

// note adds a test to what holds the statements in its name.
func note(held map[string][]holder, dir, test string) {
	parts := strings.Split(test, "/")
	for i, part := range parts {
		for _, id := range statementID.FindAllString(part, -1) {
			h := holder{dir, strings.Join(append(parts[:i:i], id), "/")}
			if !slices.Contains(held[id], h) {
				held[id] = append(held[id], h)
			}
		}
	}
}

const conformanceHead = `# Conformance: MQTT

Every normative statement of MQTT 5.0 and MQTT 3.1.1, in a few words of ours, and the tests that hold it: the package and
the name for ` + "`go test -run`" + `. The ids are those of the standards; MQTT311 stands for MQTT 3.1.1, whose list joins two statements to
others that are apart here (3.1.2-7 and 3.8.3-4).

This page is generated: ` + "`go test ./internal/archtest -run Conformance -update`" + ` runs the tests and notes those that pass.
`

// page writes the page.
func page(all []statement, held map[string][]holder) string {
	var b strings.Builder
	b.WriteString(conformanceHead)
	b.WriteString("\n| | statements | held by tests | not applicable |\n|---|---|---|---|\n")
	for _, v := range []string{"MQTT", "MQTT311"} {
		n, tested := 0, 0
		for _, s := range all {
			if strings.HasPrefix(s.id, v+"-") {
				n++
				if len(held[s.id]) > 0 {
					tested++
				}
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", titles[v], n, tested, n-tested)
	}
	version, chapter := "", ""
	for _, s := range all {
		v, number, _ := strings.Cut(s.id, "-")
		if v != version {
			version, chapter = v, ""
			fmt.Fprintf(&b, "\n## %s\n", titles[v])
		}
		if c := section(number); c != chapter {
			chapter = c
			fmt.Fprintf(&b, "\n### Section %s\n\n| statement | says | held by |\n|---|---|---|\n", c)
		}
		fmt.Fprintf(&b, "| %s | %s | ", s.id, s.text)
		for i, h := range held[s.id] {
			if i > 0 {
				b.WriteString("<br>")
			}
			fmt.Fprintf(&b, "%s `%s`", h.dir, h.test)
		}
		if len(held[s.id]) == 0 {
			fmt.Fprintf(&b, "not applicable: %s", s.reason)
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

var titles = map[string]string{"MQTT": "MQTT 5.0", "MQTT311": "MQTT 3.1.1"}

// section is the section of a number such as 3.14.2-1: two places of chapters 3 and 4, else the chapter.
func section(number string) string {
	number, _, _ = strings.Cut(number, "-")
	parts := strings.Split(number, ".")
	if parts[0] == "3" || parts[0] == "4" {
		return parts[0] + "." + parts[1]
	}
	return parts[0]
}

var pageRow = regexp.MustCompile(`(?m)^\| (MQTT\S+) \| .* \| (.*) \|$`)

// onPage reads back what holds each statement.
func onPage(text string) map[string][]holder {
	held := make(map[string][]holder)
	for _, row := range pageRow.FindAllStringSubmatch(text, -1) {
		for cell := range strings.SplitSeq(row[2], "<br>") {
			if dir, test, ok := strings.Cut(cell, " `"); ok {
				held[row[1]] = append(held[row[1]], holder{dir, strings.TrimSuffix(test, "`")})
			}
		}
	}
	return held
}

// TestConformance fails when a statement has neither a test nor a reason, and when the page is stale.
func TestConformance(t *testing.T) {
	all, found := readStatements(t), findMentions()
	text := load().texts[conformancePage]
	if *update {
		held := runTests(t, slices.Sorted(maps.Keys(found)))
		text = page(all, held)
		if err := os.WriteFile(filepath.Join(root, conformancePage), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	held := onPage(text)
	known := make(map[string]bool)
	for _, s := range all {
		known[s.id] = true
		switch n := len(held[s.id]); {
		case n == 0 && s.reason == "":
			t.Errorf("%s (%s) has neither a test nor a reason", s.id, s.text)
		case n > 0 && s.reason != "":
			t.Errorf("%s has a test now, its reason must go: %s", s.id, s.reason)
		}
	}
	stale := checkPage(t, known, held, found)
	if page(all, held) != text {
		t.Errorf("%s is not what comes out of its data", conformancePage)
		stale = true
	}
	if stale {
		t.Errorf("go test ./internal/archtest -run Conformance -update")
	}
}

// checkPage compares the page with the sources of the tests.
func checkPage(t *testing.T, known map[string]bool, held map[string][]holder, found map[string]*mentions) (stale bool) {
	t.Helper()
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		for id, functions := range found[dir].within {
			if !known[id] {
				t.Errorf("%s: there is no statement %s", dir, id)
				continue
			}
			for function := range functions {
				if !slices.ContainsFunc(held[id], func(h holder) bool {
					return h.dir == dir && (function == "" || strings.HasPrefix(h.test, function+"/"))
				}) {
					t.Errorf("%s: %s %s is not on the page", id, dir, function)
					stale = true
				}
			}
		}
	}
	for id, list := range held {
		for _, h := range list {
			function, _, _ := strings.Cut(h.test, "/")
			if m := found[h.dir]; m == nil || !m.has(id, function) {
				t.Errorf("%s: the page has %v, the sources have not", id, h)
				stale = true
			}
		}
	}
	return stale
}
