package interop

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// The versions as mosquitto's clients name them.
var mosquittoVersions = []string{"mqttv31", "mqttv311", "mqttv5"}

// A mosquitto is how its clients reach the broker: the options that all calls have.
type mosquitto []string

// mosquittoTo returns the options for the broker at addr.
func mosquittoTo(t *testing.T, addr, version string, more ...string) mosquitto {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return append(mosquitto{"-h", host, "-p", port, "-V", version, "-u", peer.User, "-P", peer.Password}, more...)
}

// pub runs mosquitto_pub.
func (m mosquitto) pub(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "mosquitto_pub", slices.Concat(m, args)...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub %q: %v\n%s", args, err, out)
	}
}

// A listening is a running mosquitto_sub.
type listening struct {
	cmd      *exec.Cmd
	out, log bytes.Buffer
	ready    chan struct{} // closed when it has subscribed
}

// start starts mosquitto_sub.
func (m mosquitto) start(t *testing.T, args ...string) *listening {
	t.Helper()
	l := &listening{ready: make(chan struct{})}
	// Its output is buffered when it is not a terminal, unless stdbuf forbids that.
	line := slices.Concat([]string{"-oL", "mosquitto_sub"}, m, []string{"-d", "-W", "120"}, args)
	l.cmd = exec.CommandContext(t.Context(), "stdbuf", line...)
	l.cmd.Stdout = &watcher{w: &l.out, want: "Subscribed (mid", found: l.ready}
	l.cmd.Stderr = &l.log
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return l
}

// sub starts mosquitto_sub and waits until it has subscribed, which it says in its debug output.
func (m mosquitto) sub(t *testing.T, args ...string) *listening {
	t.Helper()
	l := m.start(t, args...)
	select {
	case <-l.ready:
	case <-time.After(waitTime):
		l.cmd.Process.Kill()
		l.cmd.Wait()
		t.Fatalf("mosquitto_sub %q has not subscribed\n%s%s", args, &l.out, &l.log)
	}
	return l
}

// wait waits for mosquitto_sub to end and returns the lines of its messages.
func (l *listening) wait(t *testing.T) []string {
	t.Helper()
	if err := l.cmd.Wait(); err != nil {
		t.Fatalf("mosquitto_sub: %v\n%s%s", err, &l.out, &l.log)
	}
	var lines []string
	for line := range strings.Lines(l.out.String()) {
		if m, ok := strings.CutPrefix(line, messageMark); ok {
			lines = append(lines, strings.TrimSuffix(m, "\n"))
		}
	}
	return lines
}

// messageMark tells the lines of messages from mosquitto_sub's debug output.
const messageMark = "message: "

// A watcher closes found when it has seen want.
type watcher struct {
	w     *bytes.Buffer
	want  string
	found chan struct{}
}

func (w *watcher) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	if w.want != "" && strings.Contains(w.w.String(), w.want) {
		w.want = ""
		close(w.found)
	}
	return n, err
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestMosquittoClients(t *testing.T) {
	need(t, "mosquitto_pub", "mosquitto_sub", "stdbuf")
	p := startOurs(t, peer.Listeners{TLS: true})
	for _, v := range mosquittoVersions {
		t.Run("TCP/"+v, func(t *testing.T) { checkMosquitto(t, mosquittoTo(t, p.TCP, v), v) })
		t.Run("TLS/"+v, func(t *testing.T) { checkMosquitto(t, mosquittoTo(t, p.TLS, v, "--cafile", p.CA), v) })
	}
}

func checkMosquitto(t *testing.T, m mosquitto, version string) {
	format := messageMark + "%t %q %r %p"
	topic := func(t *testing.T) string { return strings.ToLower(t.Name()) }

	for qos := range 3 {
		t.Run(fmt.Sprint("QoS", qos), func(t *testing.T) {
			q, top := fmt.Sprint(qos), topic(t)
			s := m.sub(t, "-t", top+"/+", "-q", q, "-C", "3", "-F", format)
			for i := range 3 {
				m.pub(t, "-t", fmt.Sprintf("%s/%d", top, i), "-q", q, "-m", fmt.Sprintf("message %d", i))
			}
			var want []string
			for i := range 3 {
				want = append(want, fmt.Sprintf("%s/%d %d 0 message %d", top, i, qos, i))
			}
			got := s.wait(t)
			if qos == 0 {
				// Nothing tells a publisher that its message was passed on before the next publisher sends one.
				slices.Sort(got)
			}
			expect(t, got, want...)
		})
	}

	t.Run("many lines", func(t *testing.T) {
		s := m.sub(t, "-t", topic(t), "-q", "2", "-C", "1000", "-F", messageMark+"%p")
		var in strings.Builder
		var want []string
		for i := range 1000 {
			fmt.Fprintln(&in, i)
			want = append(want, fmt.Sprint(i))
		}
		cmd := exec.CommandContext(t.Context(), "mosquitto_pub", slices.Concat(m, []string{"-l", "-q", "2", "-t", topic(t)})...)
		cmd.Stdin = strings.NewReader(in.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		expect(t, s.wait(t), want...)
	})

	t.Run("retained", func(t *testing.T) {
		top := topic(t)
		m.pub(t, "-t", top, "-q", "1", "-r", "-m", "kept")
		expect(t, m.sub(t, "-t", top, "-q", "2", "-C", "1", "-F", format).wait(t), top+" 1 1 kept")
		m.pub(t, "-t", top, "-q", "1", "-r", "-n")
		s := m.sub(t, "-t", top, "-q", "1", "-C", "1", "-F", format)
		m.pub(t, "-t", top, "-q", "1", "-m", "live")
		expect(t, s.wait(t), top+" 1 0 live")
	})

	t.Run("will", func(t *testing.T) {
		top := topic(t)
		watch := m.sub(t, "-t", top, "-q", "1", "-C", "1", "-F", format)
		dying := m.sub(t, "-t", top+"/other", "--will-topic", top, "--will-payload", "gone", "--will-qos", "1")
		dying.cmd.Process.Kill()
		dying.cmd.Wait()
		expect(t, watch.wait(t), top+" 1 0 gone")
	})

	t.Run("session", func(t *testing.T) {
		top, id := topic(t), "mosq-"+version+fmt.Sprint(len(t.Name()))
		keep := []string{"-i", id, "-c", "-t", top, "-q", "1"}
		if version == "mqttv5" {
			keep = append(keep, "-x", "60")
		}
		m.sub(t, append(keep, "-E")...).wait(t) // subscribes and leaves
		for i := range 5 {
			m.pub(t, "-t", top, "-q", "1", "-m", fmt.Sprint(i))
		}
		s := m.start(t, append(keep, "-C", "5", "-F", messageMark+"%p")...)
		expect(t, s.wait(t), "0", "1", "2", "3", "4")
	})

	if version != "mqttv5" {
		return
	}
	t.Run("properties", func(t *testing.T) {
		top := topic(t)
		s := m.sub(t, "-t", top, "-q", "1", "-C", "1", "-D", "subscribe", "subscription-identifier", "5",
			"-F", messageMark+"%p %C %D %R %P %S")
		m.pub(t, "-t", top, "-q", "1", "-m", "with",
			"-D", "publish", "content-type", "text/plain",
			"-D", "publish", "correlation-data", "abc",
			"-D", "publish", "response-topic", "answers",
			"-D", "publish", "user-property", "k", "v")
		expect(t, s.wait(t), "with text/plain abc answers k:v 5")
	})
	t.Run("shared", func(t *testing.T) {
		top := topic(t)
		a := m.sub(t, "-t", "$share/group/"+top, "-q", "1", "-C", "2", "-F", messageMark+"%p")
		b := m.sub(t, "-t", "$share/group/"+top, "-q", "1", "-C", "2", "-F", messageMark+"%p")
		for i := range 4 {
			m.pub(t, "-t", top, "-q", "1", "-m", fmt.Sprint(i))
		}
		if got := append(a.wait(t), b.wait(t)...); len(got) != 4 {
			t.Errorf("got %q", got)
		}
	})
	t.Run("request and response", func(t *testing.T) {
		need(t, "mosquitto_rr")
		top := topic(t)
		s := m.sub(t, "-t", top+"/request", "-C", "1", "-F", messageMark+"%R %p")
		rr := exec.CommandContext(t.Context(), "mosquitto_rr",
			slices.Concat(m, []string{"-t", top + "/request", "-e", top + "/response", "-m", "question", "-W", "120"})...)
		var out, log bytes.Buffer
		rr.Stdout, rr.Stderr = &out, &log
		if err := rr.Start(); err != nil {
			t.Fatal(err)
		}
		expect(t, s.wait(t), top+"/response question")
		m.pub(t, "-t", top+"/response", "-m", "answer")
		if err := rr.Wait(); err != nil || strings.TrimSpace(out.String()) != "answer" {
			t.Errorf("mosquitto_rr: %v, %q, %q", err, &out, &log)
		}
	})
}
