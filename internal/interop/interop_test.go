// Package interop runs other people's clients against our broker and our client against other people's brokers.
//
// A test skips when its peer is not installed; install.sh in js, py and java installs the pinned versions.
// QUARTET_INTEROP_REQUIRE=1 turns such skips into failures. QUARTET_INTEROP_BROKER=mosquitto (or mochi) runs the clients
// against that broker instead of ours, which tells a fault of a test from a fault of ours.
package interop

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// testTimeout ends a client program that hangs.
const testTimeout = 5 * time.Minute

// binDir is where the brokers' programs are built, for all tests.
var binDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binDir = dir
	flag.Parse()
	parallel := false
	flag.Visit(func(f *flag.Flag) { parallel = parallel || f.Name == "test.parallel" })
	if !parallel {
		flag.Set("test.parallel", "16") // tests that run in parallel wait for clocks
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// prepared remembers for each broker whether it can run here.
var prepared sync.Map // name → func() error

// start starts a broker for the test and stops it at the end.
func start(t *testing.T, b peer.Broker, l peer.Listeners) *peer.Proc {
	t.Helper()
	prepare, _ := prepared.LoadOrStore(b.Name, sync.OnceValue(func() error {
		return b.Prepare(context.Background(), binDir)
	}))
	if err := prepare.(func() error)(); err != nil {
		if b.Name == "quartet" {
			t.Fatal(err)
		}
		missing(t, "the broker %s cannot run here: %v", b.Name, err)
	}
	p, err := peer.Start(t.Context(), b, binDir, t.TempDir(), l)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() && p.Log() != "" {
			t.Logf("%s said:\n%s", b.Name, p.Log())
		}
	})
	return p
}

// startOurs starts the broker that the clients of others are tested against.
func startOurs(t *testing.T, l peer.Listeners) *peer.Proc {
	t.Helper()
	name := cmp.Or(os.Getenv("QUARTET_INTEROP_BROKER"), "quartet")
	for _, b := range append(peer.All(), peer.RabbitMQ()) {
		if b.Name != name {
			continue
		}
		if l.AMQP && !b.AMQP || !l.AMQP && !b.MQTT {
			t.Skipf("%s does not speak the protocol", name)
		}
		return start(t, b, l)
	}
	t.Fatalf("no broker %q", name)
	return nil
}

// missing skips the test because something is not installed.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("QUARTET_INTEROP_REQUIRE") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// need skips the test when a program or file is not there.
func need(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		var err error
		if strings.ContainsRune(n, filepath.Separator) {
			_, err = os.Stat(n)
		} else {
			_, err = exec.LookPath(n)
		}
		if err != nil {
			missing(t, "%s is not installed", n)
		}
	}
}

// run runs a client program that prints a line "ok name" or "FAIL name: why" for each thing that it checks.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "USER_NAME="+peer.User, "PASSWORD="+peer.Password)
	cmd.WaitDelay = waitTime
	out, err := cmd.CombinedOutput()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no end after %v", testTimeout)
	}
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case !bytes.Contains(out, []byte("ok ")):
		t.Errorf("nothing checked:\n%s", out)
	default:
		t.Logf("%s", out)
	}
}
