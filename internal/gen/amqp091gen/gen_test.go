package main

import (
	"os"
	"path/filepath"
	"testing"
)

const target = "../../../amqp/amqp091"

// TestGenerated checks that what is in the tree is what the generator writes.
func TestGenerated(t *testing.T) {
	src, err := os.ReadFile(filepath.Join(target, "definitions.txt"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	here, err := filepath.Abs(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "definitions.txt"), src, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := run("definitions.txt"); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob("*.go")
	if err != nil || len(paths) != 9 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(here, path))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what the generator writes (%v): run go generate", path, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, src := range []string{
		"class x basic", "method 1 ack", "class 1 a\nmethod 1 b often", "class 1 a\n\tb bit", "class 1 a\nmethod 1 b\n\tc bits",
		"class 1 a\nmethod 1 b\n\tc", "class 1", "klass 1 a",
	} {
		if _, err := parse(src); err == nil {
			t.Errorf("%q is taken", src)
		}
	}
}
