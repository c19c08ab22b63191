package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// TestChecks shows that the checks fire: each snippet breaks a rule or keeps it.
func TestChecks(t *testing.T) {
	for _, tt := range []struct {
		dir, src  string
		variables int // refused package variables
		names     int // undocumented names
	}{
		{"mqtt", `var table = [4]int{1, 2}`, 0, 0},
		{"mqtt", `var errX = errors.New("x")`, 0, 0},
		{"mqtt", `var _ error = (*T)(nil)`, 0, 0},
		{"mqtt", `var count int`, 1, 0},
		{"mqtt", `var table = [4]int{1, 2}; func f() { table[1] = 3 }`, 1, 0},
		{"mqtt", `var n = 1; func f() { n++ }`, 1, 0},
		{"mqtt", `var seen = make(map[string]bool)`, 1, 0},
		{"mqtt", `var d = &T{}`, 1, 0},
		{"mqtt", `var pool = sync.Pool{}`, 1, 0},
		{"mqtt/mqttserver", `var pool = sync.Pool{New: func() any { return new(T) }}`, 0, 0},
		{"mqtt/mqttserver", `var m = sync.Map{}`, 1, 0},
		{"mqtt/mqttserver", `var n = atomic.Int64{}`, 1, 0},
		{"mqtt", "func F() {}", 0, 1},
		{"mqtt", "// F is.\nfunc F() {}", 0, 0},
		{"mqtt", "func (t *t) F() {}", 0, 0},
		{"mqtt", "func (t *T[K]) F() {}", 0, 1},
		{"mqtt", "type (\n\t// A is.\n\tA int\n\tB int\n)", 0, 1},
		{"mqtt", "// All are.\nconst (\n\tA = 1\n\tB = 2\n)", 0, 0},
		{"mqtt", "const (\n\tA = 1 // one\n\tB = 2\n)", 0, 1},
	} {
		syntax, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+tt.src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		f := &file{dir: tt.dir, syntax: syntax}
		changed := make(map[string]bool)
		noteChanges(syntax, changed)
		variables, names := 0, 0
		for _, d := range syntax.Decls {
			names += len(undocumented(d))
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				if mutable(f, s.(*ast.ValueSpec), 0, changed) != "" {
					variables++
				}
			}
		}
		if variables != tt.variables || names != tt.names {
			t.Errorf("%s: %s\nrefused %d variables, want %d; missed %d comments, want %d",
				tt.dir, tt.src, variables, tt.variables, names, tt.names)
		}
	}
}
