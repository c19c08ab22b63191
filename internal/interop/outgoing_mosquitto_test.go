package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
	"github.com/quartet-mq/quartet/mqtt"
)

// complaint is what mosquitto logs about packets that it does not like.
var complaint = regexp.MustCompile(`(?i)protocol error|malformed|invalid|oversize|unexpected|duplicate|error:`)

// TestMosquittoHasNoComplaint runs all that our client does against a mosquitto that logs everything.
func TestMosquittoHasNoComplaint(t *testing.T) {
	b := peer.Mosquitto()
	command := b.Command
	b.Command = func(s *peer.Setup) (*exec.Cmd, error) {
		cmd, err := command(s)
		if err != nil {
			return nil, err
		}
		conf := filepath.Join(s.Dir, "mosquitto.conf")
		text, err := os.ReadFile(conf)
		if err != nil {
			return nil, err
		}
		return cmd, os.WriteFile(conf, []byte(strings.Replace(string(text), "log_type error", "log_type all", 1)), 0o600)
	}
	for _, v := range []mqtt.Version{mqtt.Version31, mqtt.Version311, mqtt.Version5} {
		t.Run(v.String(), func(t *testing.T) {
			p := start(t, b, peer.Listeners{})
			checkClient(t, p, "mqtt://"+p.TCP, v)
			p.Stop()
			lines := 0
			for line := range strings.Lines(p.Log()) {
				if lines++; complaint.MatchString(line) {
					t.Errorf("mosquitto: %s", line)
				}
			}
			if lines < 1000 || !strings.Contains(p.Log(), "Received PUBREL from") {
				t.Errorf("mosquitto has logged only %d lines", lines)
			}
		})
	}
}

// TestMosquittoProperties gives mosquitto's clients every property that they can send and checks what comes out.
func TestMosquittoProperties(t *testing.T) {
	need(t, "mosquitto_pub", "mosquitto_sub", "stdbuf")
	p := startOurs(t, peer.Listeners{})
	m := mosquittoTo(t, p.TCP, "mqttv5")
	connect := []string{
		"-D", "connect", "receive-maximum", "10", "-D", "connect", "topic-alias-maximum", "10",
		"-D", "connect", "maximum-packet-size", "100000", "-D", "connect", "request-problem-information", "1",
		"-D", "connect", "request-response-information", "1", "-D", "connect", "user-property", "client", "mosquitto",
		"-x", "60", // the session expiry interval
	}
	message := func(command string) []string {
		return []string{
			"-D", command, "payload-format-indicator", "1", "-D", command, "message-expiry-interval", "100",
			"-D", command, "content-type", "text/plain", "-D", command, "correlation-data", "abc",
			"-D", command, "response-topic", "answers", "-D", command, "user-property", "k", "v1", "-D", command, "user-property", "k", "v2",
		}
	}
	const format = messageMark + "%t %p %C %D %F %R %P %S %E"
	const want = "text/plain abc 1 answers k:v1 k:v2 5 "
	sub := func(t *testing.T, id, topic string, n int) *listening {
		t.Helper()
		return m.sub(t, slices.Concat(connect, []string{
			"-c", "-i", id, "-t", topic, "-q", "2", "-C", fmt.Sprint(n), "-F", format, "-U", "other",
			"-D", "subscribe", "subscription-identifier", "5", "-D", "subscribe", "user-property", "k", "v",
			"-D", "unsubscribe", "user-property", "k", "v",
			"-D", "disconnect", "session-expiry-interval", "1", "-D", "disconnect", "user-property", "k", "v",
		})...)
	}
	check := func(t *testing.T, begin time.Time, lines []string, begins ...string) {
		t.Helper()
		if len(lines) != len(begins) {
			t.Fatalf("got %q", lines)
		}
		least := 99 - int(time.Since(begin)/time.Second)
		slices.Sort(lines)           // each has a publisher of its own
		for i, line := range lines { // the rest is what is left of the expiry
			rest, ok := strings.CutPrefix(line, begins[i]+" "+want)
			left, err := strconv.Atoi(rest)
			if !ok || err != nil || left > 100 || left < least {
				t.Errorf("got %q, want %q", line, begins[i]+" "+want+"100")
			}
		}
	}
	t.Run("publish", func(t *testing.T) {
		begin := time.Now()
		s := sub(t, "props-sub", "props/+", 3)
		for qos := range 3 {
			m.pub(t, slices.Concat(connect, message("publish"), []string{
				"-c", "-i", "props-pub", "-t", fmt.Sprint("props/", qos), "-q", fmt.Sprint(qos), "-m", "x", "-D", "publish", "topic-alias", "1",
				"-D", "disconnect", "reason-string", "done", "-D", "disconnect", "user-property", "k", "v",
			})...)
		}
		check(t, begin, s.wait(t), "props/0 x", "props/1 x", "props/2 x")
	})
	t.Run("will", func(t *testing.T) {
		begin := time.Now()
		s := sub(t, "will-sub", "last/+", 1)
		dying := m.sub(t, slices.Concat(connect, message("will"), []string{
			"-c", "-i", "dying", "-t", "none", "--will-topic", "last/words", "--will-payload", "x", "--will-qos", "2",
			"-D", "will", "will-delay-interval", "1",
		})...)
		dying.cmd.Process.Kill()
		dying.cmd.Wait()
		check(t, begin, s.wait(t), "last/words x")
	})
	p.Stop()
	if log := p.Log(); complaint.MatchString(log) {
		t.Errorf("our broker says %s", log)
	}
}
