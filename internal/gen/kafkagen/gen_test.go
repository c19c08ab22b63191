package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const target = "../../../kafka/kafkawire"

// TestGenerated checks that what is in the tree is what the generator writes.
func TestGenerated(t *testing.T) {
	dir := t.TempDir()
	if err := run(filepath.Join(target, "schema"), dir); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(target, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	have := 0
	for _, path := range paths {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(got), "// Code generated") {
			continue
		}
		have++
		want, err := os.ReadFile(filepath.Join(dir, filepath.Base(path)))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what the generator writes (%v): run go generate", path, err)
		}
	}
	written, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(written) != have || have < 80 {
		t.Errorf("%d generated files in the tree, %d written, %v", have, len(written), err)
	}
}

const head = "api 1 A 0-3 flexible 2+\n\t-- is.\nrequest\n"

func TestParseRefuses(t *testing.T) {
	for _, src := range []string{
		"api x A 0-3", "api 1 A 3-0", "api 1 A 0-3 flexible", "request", "data", "what 1 A 0",
		head + "\tX", head + "\tX int", head + "\t\tX int8", head + "\tX int8 4+", head + "\tX int8 often", head + "\tX int8 tag:a",
		head + "\tX int8\n\t\tY int8", head + "\tX int8 nullable:7",
	} {
		if _, err := parse(src); err == nil {
			t.Errorf("%q is taken", src)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	const response = "\nresponse\n\tX int8\n"
	for _, fields := range []string{
		"\tX S", "\tX int8 tag:0", "\tX int8 2+ tag:1", "\tX int8 nullable", "\tX S 2+\n\t\tY int8", "\tX []bool",
		"\tX string nullable =a", "\tX S 2+ nullable tag:0\n\t\tY int8",
	} {
		f, err := parse(head + fields + response)
		if err != nil {
			t.Fatalf("%q: %v", fields, err)
		}
		if err := f.check(); err == nil {
			t.Errorf("%q is taken", fields)
		}
	}
	if f, err := parse(head + "\tX int8\n"); err != nil || f.check() == nil {
		t.Errorf("a key without a response is taken: %v", err)
	}
}
