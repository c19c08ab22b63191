package archtest

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPureRoots looks for goroutines, channels and the clock where there are none.
func TestPureRoots(t *testing.T) {
	tr := load()
	tr.each(false, func(f *file) {
		if r, _ := ruleOf(f.dir); !r.pure {
			return
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: goroutine in a pure package", tr.at(n))
			case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s: channel in a pure package", tr.at(n))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
					t.Errorf("%s: time.%s in a pure package; time is an argument", tr.at(n), n.Sel.Name)
				}
			}
			return true
		})
	})
}

// TestNoPanic: input never makes a pure package panic, and nothing else does on purpose.
func TestNoPanic(t *testing.T) {
	tr := load()
	tr.each(false, func(f *file) {
		if r, _ := ruleOf(f.dir); !r.pure {
			return
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok {
				if x, ok := c.Fun.(*ast.Ident); ok && x.Name == "panic" {
					t.Errorf("%s: panic in a pure package", tr.at(n))
				}
			}
			return true
		})
	})
}

func TestNoInit(t *testing.T) {
	tr := load()
	tr.each(false, func(f *file) {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: init function", tr.at(fn))
			}
		}
	})
}

var (
	errorName = regexp.MustCompile(`^(err|Err)[A-Z]?`)
	// shared are types whose values change even when the variable is not assigned.
	shared = []string{"sync", "atomic", "rand"}
)

// TestPackageVariables allows error values, interface checks (var _ T = ...), values and tables that nothing changes,
// a sync.Pool in a package that is not pure, and the flags of packages for tests.
func TestPackageVariables(t *testing.T) {
	tr := load()
	changed := make(map[string]map[string]bool) // directory to names that its code assigns or points to
	tr.each(false, func(f *file) {
		if changed[f.dir] == nil {
			changed[f.dir] = make(map[string]bool)
		}
		noteChanges(f.syntax, changed[f.dir])
	})
	tr.each(false, func(f *file) {
		if slices.Contains(flags, f.dir) || strings.HasPrefix(f.dir, "examples/") && f.syntax.Name.Name == "main" {
			return
		}
		for _, d := range f.syntax.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				spec := s.(*ast.ValueSpec)
				for i, name := range spec.Names {
					if why := mutable(f, spec, i, changed[f.dir]); why != "" {
						t.Errorf("%s: package variable %s: %s", tr.at(name), name.Name, why)
					}
				}
			}
		}
	})
}

// noteChanges adds the names that a file assigns, increments, or takes the address of.
func noteChanges(n ast.Node, names map[string]bool) {
	note := func(e ast.Expr) {
		for {
			switch x := e.(type) {
			case *ast.IndexExpr:
				e = x.X
			case *ast.SelectorExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.Ident:
				names[x.Name] = true
				return
			default:
				return
			}
		}
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					note(e)
				}
			}
		case *ast.IncDecStmt:
			note(n.X)
		}
		return true
	})
}

// mutable returns why a variable may not be one of a package, or nothing.
func mutable(f *file, spec *ast.ValueSpec, i int, changed map[string]bool) string {
	name := spec.Names[i].Name
	if name == "_" {
		return ""
	}
	if changed[name] {
		return "the package changes it (or a local one of its name)"
	}
	if len(spec.Values) == 0 {
		return "it has no value, so somebody must change it"
	}
	value := spec.Values[min(i, len(spec.Values)-1)]
	if errorName.MatchString(name) {
		return ""
	}
	r, _ := ruleOf(f.dir)
	why := ""
	ast.Inspect(value, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				why = "it points to something that can be changed"
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && slices.Contains(shared, x.Name) && (r.pure || n.Sel.Name != "Pool") {
				why = "it holds shared state: " + x.Name + "." + n.Sel.Name
			}
		case *ast.CallExpr:
			if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "make" || fn.Name == "new") {
				why = "it is made empty, so somebody must change it"
			}
		}
		return true
	})
	return why
}
