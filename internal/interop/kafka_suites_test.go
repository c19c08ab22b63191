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
	suite := compileSuite(t, dir)
	t.Run("all", func(t *testing.T) { kgoSuite(t, suite, p.Kafka, kgoTests, 20) })
	// With broken connections all the time.
	t.Run("chaos", func(t *testing.T) { kgoSuite(t, suite, p.Kafka, "^(TestGroupETL|TestTxnEtl)$", 2, "KGO_TEST_CHAOS=1") })
}

// kgoSuite runs tests of kgo, of which so many at least must pass. They give what they wait for a few seconds
// only: those that fail are run again, by themselves, and what is wrong fails again.
func kgoSuite(t *testing.T, suite, addr, match string, least int, env ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), suiteTimeout)
	defer cancel()
	passed := 0
	for try := 1; ; try++ {
		cmd := exec.CommandContext(ctx, suite, "-test.timeout=0", "-test.v", "-test.run", match)
		cmd.Dir = filepath.Dir(suite)
		cmd.Env = append(append(os.Environ(), "KGO_SEEDS="+addr, "KGO_TEST_RF=1", "KGO_TEST_UNSAFE=1", "KGO_TEST_RECORDS=10000",
			"KGO_TEST_MAX_TOPIC_PARTS=4", "KGO_LOG_LEVEL=none"), env...)
		cmd.WaitDelay = time.Second
		out, err := cmd.CombinedOutput()
		passed += len(regexp.MustCompile(`(?m)^--- PASS`).FindAll(out, -1))
		var names []string
		for _, m := range regexp.MustCompile(`(?m)^--- FAIL: (\w+)`).FindAllSubmatch(out, -1) {
			names = append(names, string(m[1]))
		}
		if len(out) > 20_000 {
			out = out[len(out)-20_000:]
		}
		switch {
		case err != nil && len(names) > 0 && try < 3:
			t.Logf("again: %v\n%s", names, out)
			match = "^(" + strings.Join(names, "|") + ")$"
			continue
		case err != nil || passed < least:
			t.Errorf("%v, %d passed\n%s\nfailed: %v", err, passed, out, names)
		default:
			t.Logf("%d tests passed", passed)
		}
		return
	}
}
