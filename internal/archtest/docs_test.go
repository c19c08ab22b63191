package archtest

import (
	"go/ast"
	"go/token"
	"testing"
)

// maxLines is the most lines of a file that is neither test nor generated.
const maxLines = 700

func TestFileLength(t *testing.T) {
	tr := load()
	tr.each(false, func(f *file) {
		if f.lines > maxLines && !f.generated {
			t.Errorf("%s has %d lines; at most %d", f.path, f.lines, maxLines)
		}
	})
}

func TestPackageComments(t *testing.T) {
	tr := load()
	documented := make(map[string]int) // directory to files with a package comment
	tr.each(false, func(f *file) {
		if f.syntax.Doc != nil {
			documented[f.dir]++
		} else {
			documented[f.dir] += 0
		}
	})
	for dir, n := range documented {
		switch {
		case n == 0:
			t.Errorf("package %s has no package comment", dir)
		case n > 1:
			t.Errorf("package %s has %d package comments", dir, n)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	tr := load()
	tr.each(false, func(f *file) {
		if f.syntax.Name.Name == "main" || f.generated {
			return
		}
		for _, d := range f.syntax.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s has no doc comment", tr.at(name), name.Name)
			}
		}
	})
}

// undocumented returns the exported names of a declaration that have no comment. In a group of constants or variables
// the comment of the group, of the entry, or at the end of its line will do.
func undocumented(d ast.Decl) (names []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || receiverExported(d.Recv)) {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen != token.NoPos) {
					names = append(names, s.Name)
				}
			case *ast.ValueSpec:
				if d.Doc != nil || s.Doc != nil || s.Comment != nil {
					continue
				}
				for _, name := range s.Names {
					if name.IsExported() {
						names = append(names, name)
					}
				}
			}
		}
	}
	return names
}

// receiverExported reports whether a method belongs to an exported type.
func receiverExported(recv *ast.FieldList) bool {
	typ := recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}
