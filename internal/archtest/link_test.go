package archtest

import (
	"go/ast"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestQUICIsLinkedByNameOnly lists what programs link: those that use our clients, servers and brokers but do not name
// quicnet have nothing of quic-go in them.
func TestQUICIsLinkedByNameOnly(t *testing.T) {
	const quicGo, quicnet = "github.com/quic-go/", module + "/quic/quicnet"
	foreign := func(p string) bool { return strings.HasPrefix(p, quicGo) || p == quicnet }

	// All packages but the examples together, as a program would that imports them all.
	var packages []string
	for _, p := range goList(t, "./...") {
		if p != quicnet && !strings.Contains(p, "/internal/") && !strings.Contains(p, "/examples/") {
			packages = append(packages, p)
		}
	}
	for _, want := range []string{"/mqtt/mqttclient", "/mqtt/mqttserver", "/mqtt/mqttbroker", "/amqp/amqpclient091",
		"/amqp/amqpserver", "/amqp/amqpbroker", "/kafka/kafkaclient", "/kafka/kafkaserver", "/kafka/kafkabroker"} {
		if !slices.Contains(packages, module+want) {
			t.Errorf("%s is not among %q", want, packages)
		}
	}
	for _, p := range goList(t, append([]string{"-deps"}, packages...)...) {
		if foreign(p) {
			t.Errorf("a program that does not name quicnet links %s", p)
		}
	}
	if !slices.ContainsFunc(goList(t, "-deps", quicnet), func(p string) bool { return strings.HasPrefix(p, quicGo) }) {
		t.Error("quicnet does not link quic-go: this test sees nothing")
	}
}

// goList returns the packages that go list prints.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	return strings.Fields(string(out))
}

// TestQuicGoStaysInside looks at what quicnet exports: no type of quic-go is part of it.
func TestQuicGoStaysInside(t *testing.T) {
	tr, seen := load(), 0
	tr.each(false, func(f *file) {
		if f.dir != "quic/quicnet" {
			return
		}
		theirs := make(map[string]bool)
		for _, spec := range f.syntax.Imports {
			if p, _ := strconv.Unquote(spec.Path.Value); strings.HasPrefix(p, "github.com/quic-go/") {
				name := strings.TrimSuffix(path.Base(p), "-go")
				if spec.Name != nil {
					name = spec.Name.Name
				}
				theirs[name] = true
			}
		}
		check := func(n ast.Node) {
			seen++
			ast.Inspect(n, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && theirs[x.Name] {
						t.Errorf("%s: %s.%s is exported", tr.at(s), x.Name, s.Sel.Name)
					}
				}
				return true
			})
		}
		for _, decl := range f.syntax.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || receiver(d).IsExported()) {
					check(d.Type)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					ts, ok := spec.(*ast.TypeSpec)
					if !ok || !ts.Name.IsExported() {
						continue
					}
					st, ok := ts.Type.(*ast.StructType)
					if !ok {
						check(ts.Type)
						continue
					}
					for _, field := range st.Fields.List {
						if len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
							check(field.Type)
						}
					}
				}
			}
		}
	})
	if seen < 50 {
		t.Errorf("only %d declarations were looked at", seen)
	}
}

// receiver returns the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) *ast.Ident {
	x := d.Recv.List[0].Type
	if star, ok := x.(*ast.StarExpr); ok {
		x = star.X
	}
	id, _ := x.(*ast.Ident)
	return id
}
