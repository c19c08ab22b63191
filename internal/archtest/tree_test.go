package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root is the directory of the module.
const root = "../.."

// file is one Go file of the root module.
type file struct {
	path      string // slash-separated, relative to root
	dir       string
	lines     int
	test      bool
	generated bool
	syntax    *ast.File
}

// tree is everything that the tests look at.
type tree struct {
	fset  *token.FileSet
	files []*file           // of the root module
	texts map[string]string // path to content of every text file, other modules included
	errs  []string
}

var load = sync.OnceValue(func() *tree {
	t := &tree{fset: token.NewFileSet(), texts: make(map[string]string)}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a file that went away meanwhile
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && rel != "." && rel != ".ci"
			if hidden || d.Name() == "node_modules" || d.Name() == "target" {
				return fs.SkipDir // among them what internal/interop installs
			}
			return nil
		}
		if isText(rel) && !strings.Contains(rel, "testdata/fuzz/") {
			t.add(rel)
		}
		return nil
	})
	if err != nil {
		t.errs = append(t.errs, err.Error())
	}
	return t
})

func isText(path string) bool {
	switch filepath.Ext(path) {
	case ".go", ".md", ".txt", ".sh", ".mod", ".yml", ".yaml", ".json", ".js", ".py", ".java", ".xml", ".conf":
		return true
	}
	return path == ".ci/run" || path == ".gitignore"
}

// add reads a text file, and parses it when it is Go of the root module.
func (t *tree) add(rel string) {
	src, err := os.ReadFile(filepath.Join(root, rel))
	if err != nil {
		return
	}
	t.texts[rel] = string(src)
	if !strings.HasSuffix(rel, ".go") || strings.HasPrefix(rel, "internal/interop/") {
		return
	}
	dir := "."
	if i := strings.LastIndexByte(rel, '/'); i >= 0 {
		dir = rel[:i]
	}
	syntax, err := parser.ParseFile(t.fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.errs = append(t.errs, err.Error())
		return
	}
	t.files = append(t.files, &file{
		path: rel, dir: dir, syntax: syntax,
		lines:     strings.Count(string(src), "\n"),
		test:      strings.HasSuffix(rel, "_test.go"),
		generated: ast.IsGenerated(syntax),
	})
}

// each calls f for the files that are not tests, or for the tests.
func (t *tree) each(tests bool, f func(*file)) {
	for _, x := range t.files {
		if x.test == tests {
			f(x)
		}
	}
}

// at is where a node is, for messages.
func (t *tree) at(n ast.Node) string { return t.fset.Position(n.Pos()).String() }

func TestSourcesParse(t *testing.T) {
	tr := load()
	for _, err := range tr.errs {
		t.Error(err)
	}
	if len(tr.files) < 10 {
		t.Errorf("only %d files found", len(tr.files))
	}
}
