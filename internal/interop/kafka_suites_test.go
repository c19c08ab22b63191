package interop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// kgoTests are the tests of franz-go's client that need a broker; the others are left out. Chains of groups and of
// transactions are among them.
const kgoTests = "^(TestGroupETL|TestTxnEtl|TestGroupSimple|TestConsume.*|TestIssue.*|TestPauseIssue.*|TestAddRemovePartitions|TestDirectPartitionPurge|" +
	"TestPooling|TestPing|TestHookPollStart|TestLookbackMilli|TestUnknownGroupOffsetFetchPinned|TestClient_Produce.*|TestMaxVersions|TestProcessHooks.*)$"

// TestFranzSuite runs tests of franz-go in a copy of the module.
func TestFranzSuite(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	t.Parallel()
	b := peer.Quartet()
	if os.Getenv("QUARTET_INTEROP_BROKER") == "kafka" {
		b = peer.ApacheKafka()
	}
	p := start(t, b, peer.Listeners{Kafka: true})
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/twmb/franz-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := copyDir(t, strings.TrimSpace(string(out)))
	dir = filepath.Join(dir, "pkg", "kgo")
	t.Run("all", func(t *testing.T) { kgoSuite(t, dir, p.Kafka, kgoTests, 20) })
	// With broken connections all the time.
	t.Run("chaos", func(t *testing.T) { kgoSuite(t, dir, p.Kafka, "^(TestGroupETL|TestTxnEtl)$", 2, "KGO_TEST_CHAOS=1") })
}

// kgoSuite runs tests of kgo in a directory, of which so many at least must pass.
func kgoSuite(t *testing.T, dir, addr, match string, least int, env ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-mod=mod", "-vet=off", "-timeout", "7m", "-v", "-run", match, ".")
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "KGO_SEEDS="+addr, "KGO_TEST_RF=1", "KGO_TEST_UNSAFE=1", "KGO_TEST_RECORDS=10000",
		"KGO_TEST_MAX_TOPIC_PARTS=4", "KGO_LOG_LEVEL=none", "GOFLAGS="), env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	passed := len(regexp.MustCompile(`(?m)^--- PASS`).FindAll(out, -1))
	if err != nil || passed < least {
		failed := regexp.MustCompile(`(?m)^\s*--- FAIL.*`).FindAllString(string(out), -1)
		if len(out) > 20_000 {
			out = out[len(out)-20_000:]
		}
		t.Errorf("%v, %d passed\n%s\n%s", err, passed, out, strings.Join(failed, "\n"))
		return
	}
	t.Logf("%d tests passed", passed)
}
