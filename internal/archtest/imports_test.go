package archtest

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestImports(t *testing.T) {
	tr := load()
	seen := make(map[string]bool)
	for _, f := range tr.files {
		r, ok := ruleOf(f.dir)
		if !ok {
			if !seen[f.dir] {
				t.Errorf("package %s has no rule; say in rules_test.go what it may import", f.dir)
			}
			seen[f.dir] = true
			continue
		}
		for _, spec := range f.syntax.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if why := forbidden(f, r, path); why != "" {
				t.Errorf("%s: import of %s: %s", tr.at(spec), path, why)
			}
		}
	}
}

// forbidden returns why a file must not import path, or nothing.
func forbidden(f *file, r rule, path string) string {
	own, isOwn := strings.CutPrefix(path, module)
	own = strings.TrimPrefix(own, "/")
	first, _, _ := strings.Cut(path, "/")
	switch {
	case isOwn:
		if !f.test && own != f.dir && !slices.ContainsFunc(r.own, func(p string) bool { return fits(p, own) }) {
			return "not among what " + f.dir + " stands on"
		}
		if isTool := slices.Contains(tools, own); isTool && !f.test {
			return "for tests only"
		}
	case strings.Contains(first, "."):
		within := func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") }
		if !slices.ContainsFunc(r.foreign, within) && !(f.test && slices.ContainsFunc(testForeign, within)) {
			return "a package of others; DESIGN names who uses which"
		}
	case f.test:
	case path == "reflect":
		return "reflection"
	case r.pure && !slices.Contains(r.std, path):
		for _, p := range impure {
			if path == p || strings.HasPrefix(path, p+"/") {
				return "this package is pure"
			}
		}
	}
	return ""
}

func TestRulesAreKept(t *testing.T) {
	// The rules themselves: what must never be possible.
	for _, tt := range []struct {
		dir, path string
		ok        bool
	}{
		{"mqtt", module + "/codec", true},
		{"mqtt", module + "/mqtt/mqttserver", false},
		{"mqtt", "time", true},
		{"mqtt", "net", false},
		{"mqtt", "net/url", false},
		{"mqtt", "log/slog", false},
		{"mqtt", "sync/atomic", false},
		{"topic", "sync/atomic", true},
		{"codec", module + "/topic", false},
		{"mqtt/mqttserver", "log/slog", true},
		{"mqtt/mqttserver", "reflect", false},
		{"mqtt/mqttserver", module + "/internal/wsconn", true},
		{"mqtt/mqttserver", module + "/mqtt/mqttbroker", false},
		{"mqtt/mqttclient", module + "/mqtt/mqttserver", false},
		{"mqtt/mqttbroker", module + "/mqtt/mqttserver", true},
		{"mqtt/mqttbroker", module + "/kafka", false},
		{"mqtt/mqttbroker", module + "/internal/memnet", false},
		{"mqtt/mqtttest", module + "/internal/memnet", true},
		{"mqtt/mqttserver", "github.com/coder/websocket", false},
		{"internal/wsconn", "github.com/coder/websocket", true},
		{"kafka/kafkawire", module + "/kafka", false},
		{"kafka", module + "/kafka/kafkawire", true},
		{"amqp/amqpbroker", module + "/amqp/amqp10", true},
		{"quic", "github.com/quic-go/quic-go", false},
		{"quic/quicnet", "github.com/quic-go/quic-go", true},
	} {
		r, ok := ruleOf(tt.dir)
		if !ok {
			t.Fatalf("no rule for %s", tt.dir)
		}
		why := forbidden(&file{dir: tt.dir}, r, tt.path)
		if (why == "") != tt.ok {
			t.Errorf("%s imports %s: %q, want allowed %v", tt.dir, tt.path, why, tt.ok)
		}
	}
}
