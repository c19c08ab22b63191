package main

import (
	"go/parser"
	"go/token"
	"testing"
)

// TestPerturbed: the changes fit the version of Go that is there.
func TestPerturbed(t *testing.T) {
	dir, err := source()
	if err != nil {
		t.Fatal(err)
	}
	files, err := perturbed(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 4 {
		t.Errorf("%d files", len(files))
	}
	for name, text := range files {
		if _, err := parser.ParseFile(token.NewFileSet(), name, text, 0); err != nil {
			t.Error(err)
		}
	}
}
