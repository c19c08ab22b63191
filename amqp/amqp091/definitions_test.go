package amqp091_test

import (
	"os"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// wireTypes are the types of definitions.txt as they are on the wire.
var wireTypes = map[string]string{"code": "short", "bytes": "longstr", "secret": "longstr"}

// TestDefinitions compares definitions.txt, and what is generated from it, with the list of testdata/methods.txt.
func TestDefinitions(t *testing.T) {
	got, want := definitions(t), readLines(t, "testdata/methods.txt")
	if len(got) != 66 || len(got) != len(want) {
		t.Errorf("%d methods; %d in the list", len(got), len(want))
	}
	listed := make(map[string]bool)
	for _, line := range want {
		listed[line] = true
	}
	for _, line := range got {
		if !listed[line] {
			t.Errorf("not in the list: %s", line)
		}
	}
}

// TestMethodIDs compares what the code says about methods with the list.
func TestMethodIDs(t *testing.T) {
	known := make(map[amqp091.MethodID]string)
	for _, line := range readLines(t, "testdata/methods.txt") {
		words := strings.Fields(line)
		var class, method amqp091.MethodID
		numbers := strings.Split(words[0], ".")
		for i, p := range []*amqp091.MethodID{&class, &method} {
			for _, c := range numbers[i] {
				*p = *p*10 + amqp091.MethodID(c-'0')
			}
		}
		id := class<<16 | method
		known[id] = words[1]
		is := func(word string) bool { return len(words) > 2 && words[2] == word }
		if id.String() != words[1] || id.Synchronous() != is("sync") || id.HasContent() != is("content") {
			t.Errorf("%s is %v, synchronous %t, content %t", line, id, id.Synchronous(), id.HasContent())
		}
		if id.Class() != uint16(class) || id.Method() != uint16(method) {
			t.Errorf("%s: %d, %d", line, id.Class(), id.Method())
		}
	}
	for class := range amqp091.MethodID(128) {
		for method := range amqp091.MethodID(256) {
			id := class<<16 | method
			_, err := amqp091.DecodeMethod([]byte{0, byte(class), 0, byte(method)})
			unknown := errorCode(err) == amqp091.NotImplemented
			if unknown != (known[id] == "") {
				t.Errorf("%v: %v", id, err)
			}
			if unknown && (id.Synchronous() || id.HasContent()) {
				t.Errorf("%v has properties of a method", id)
			}
		}
	}
}

// definitions returns definitions.txt in the form of the list.
func definitions(t *testing.T) (lines []string) {
	var class []string
	line := ""
	end := func() {
		if line != "" {
			lines = append(lines, line)
		}
		line = ""
	}
	for _, text := range readLines(t, "definitions.txt") {
		text, _, _ = strings.Cut(text, "--")
		words := strings.Fields(text)
		switch {
		case len(words) == 0:
		case words[0] == "class":
			end()
			class = words
		case words[0] == "method" && !strings.HasPrefix(text, "\t"):
			end()
			line = class[1] + "." + words[1] + " " + class[2] + "." + words[2]
			for _, flag := range words[3:] {
				line += " " + flag
			}
		case words[1] == "method-id":
			line += " class-id:short method-id:short"
		default:
			typ := words[1]
			if wire, ok := wireTypes[typ]; ok {
				typ = wire
			}
			line += " " + words[0] + ":" + typ
		}
	}
	end()
	return lines
}

// readLines returns the lines of a file that are neither empty nor comments.
func readLines(t *testing.T, path string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}
