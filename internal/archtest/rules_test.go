package archtest

import (
	"slices"
	"strings"
)

const module = "github.com/quartet-mq/quartet"

// rule says what the non-test files of a package, or of a whole subtree ("dir/..."), may import besides the standard
// library.
type rule struct {
	dir     string
	own     []string // packages of this module; "dir/..." means a subtree, "*" all
	foreign []string // modules of others
	pure    bool     // no I/O, goroutine, lock, clock or random source
	std     []string // exceptions for a pure package
}

// core is what every protocol stands on.
var core = []string{"codec", "topic", "topic/delivery"}

// rules is the tree. The first rule that fits a directory holds.
var rules = slices.Concat(
	[]rule{
		{dir: "codec", pure: true},
		{dir: "codec/compress", own: []string{"codec"}, foreign: []string{
			"github.com/klauspost/compress", "github.com/golang/snappy", "github.com/pierrec/lz4/v4"}},
		// The indexes of topics are read without a lock by many goroutines.
		{dir: "topic", pure: true, std: []string{"sync", "sync/atomic", "unsafe"}},
		{dir: "topic/delivery", pure: true},
	},
	protocol("mqtt", "mqtt"),
	[]rule{
		{dir: "amqp", own: core, pure: true},
		{dir: "amqp/amqp091", own: with(core, "amqp"), pure: true},
		{dir: "amqp/amqp10", own: with(core, "amqp"), pure: true},
		shell("amqp/amqpclient091", "amqp", "amqp/amqp091"),
		shell("amqp/amqpclient10", "amqp", "amqp/amqp10"),
		shell("amqp/amqpserver", "amqp", "amqp/amqp091", "amqp/amqp10"),
		broker("amqp/amqpbroker", "amqp", "amqp/amqp091", "amqp/amqp10", "amqp/amqpserver"),
		{dir: "amqp/amqptest", own: with(core, "amqp/...", "internal/memnet", "internal/netio", "internal/wiretest")},
		{dir: "kafka/kafkawire/...", own: core, pure: true},
		{dir: "kafka", own: with(core, "kafka/kafkawire", "codec/compress"), pure: true},
	},
	protocol("kafka", "kafka", "kafka/kafkawire"),
	[]rule{
		{dir: "quic", own: core, pure: true},
		{dir: "quic/qpack", own: core, pure: true},
		{dir: "quic/quicnet", own: []string{"quic", "internal/netio"}, foreign: []string{"github.com/quic-go/quic-go"}},
		{dir: "examples/...", own: []string{"*"}},

		{dir: "internal/netio", foreign: []string{"golang.org/x/sys"}},
		{dir: "internal/memnet", own: []string{"internal/netio"}},
		{dir: "internal/wsconn", foreign: []string{"github.com/coder/websocket"}},
		{dir: "internal/proxyproto"},
		{dir: "internal/netserve", own: []string{"internal/netio", "internal/proxyproto", "internal/wsconn"}},
		{dir: "internal/vfs", foreign: []string{"golang.org/x/sys"}},
		{dir: "internal/journal", own: with(core, "internal/vfs")},
		{dir: "internal/ring"},
		{dir: "internal/sasl"},
		{dir: "internal/wiretest", own: core},
		{dir: "internal/alloctest"},
		{dir: "internal/perturb"},
		{dir: "internal/script"},
		{dir: "internal/sim"},
		{dir: "internal/archtest"},
		{dir: "internal/gen/...", own: core},
	},
)

// protocol returns the rules of a protocol with one root and four suffixed packages. The pure packages are what the
// shells build on.
func protocol(name string, pure ...string) []rule {
	at := func(suffix string) string { return name + "/" + name + suffix }
	return []rule{
		{dir: name, own: core, pure: true},
		shell(at("client"), pure...),
		shell(at("server"), pure...),
		broker(at("broker"), with(pure, at("server"))...),
		{dir: at("test"), own: with(core, name+"/...", "internal/memnet", "internal/netio", "internal/wiretest")},
	}
}

// shell is the rule of a client or server: no broker, no other protocol.
func shell(dir string, own ...string) rule {
	return rule{dir: dir, own: with(core, with(own,
		"codec/compress", "internal/netio", "internal/netserve", "internal/wsconn", "internal/proxyproto", "internal/sasl",
		"internal/journal", "internal/ring", "internal/vfs")...)}
}

// broker is the rule of a broker: its server, and no transport of its own.
func broker(dir string, own ...string) rule {
	return rule{dir: dir, own: with(core, with(own, "codec/compress", "internal/journal", "internal/vfs", "internal/sasl")...)}
}

func with(list []string, more ...string) []string { return slices.Concat(list, more) }

// ruleOf returns the rule of a directory.
func ruleOf(dir string) (rule, bool) {
	i := slices.IndexFunc(rules, func(r rule) bool { return fits(r.dir, dir) })
	if i < 0 {
		return rule{}, false
	}
	return rules[i], true
}

// fits reports whether a pattern of rule covers a directory.
func fits(pattern, dir string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return dir == tree || strings.HasPrefix(dir, tree+"/")
	}
	return pattern == "*" || pattern == dir
}

// impure are the packages of the standard library, with what is below them, that a pure package must not import.
var impure = []string{"net", "os", "log", "sync", "syscall", "runtime", "math/rand", "crypto/rand", "context", "unsafe", "io/fs",
	"path/filepath", "embed", "plugin", "database", "testing"}

// clock are the functions of package time that read or wait for the clock.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// testForeign are modules that any test may import.
var testForeign = []string{"github.com/google/go-cmp"}

// tools are packages for tests only.
var tools = []string{"internal/alloctest", "internal/script", "internal/sim"}

// flags are packages for tests only, whose flags are variables of the package.
var flags = []string{"internal/script", "internal/sim"}
