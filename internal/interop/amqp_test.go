package interop

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// amqpURL returns the URL of a broker for clients that take one.
func amqpURL(scheme, addr string) string {
	return scheme + "://" + peer.AMQPUser + ":" + peer.AMQPPassword + "@" + addr
}

func TestPika(t *testing.T) {
	need(t, python)
	t.Parallel() // it waits most of the time
	p := startOurs(t, peer.Listeners{AMQP: true, TLS: true})
	t.Run("TCP", func(t *testing.T) { run(t, python, "py/check_pika.py", amqpURL("amqp", p.AMQP)+"/%2F") })
	t.Run("TLS", func(t *testing.T) { run(t, python, "py/check_pika.py", amqpURL("amqps", p.AMQPS)+"/%2F", p.CA) })
}

func TestAioPika(t *testing.T) {
	need(t, python)
	p := startOurs(t, peer.Listeners{AMQP: true})
	run(t, python, "py/check_aio_pika.py", amqpURL("amqp", p.AMQP)+"/%2F")
}

func TestAmqplib(t *testing.T) {
	need(t, "node", "js/node_modules/amqplib/package.json")
	t.Parallel() // it waits most of the time
	p := startOurs(t, peer.Listeners{AMQP: true, TLS: true})
	t.Run("TCP", func(t *testing.T) { run(t, "node", "js/check_amqplib.js", amqpURL("amqp", p.AMQP)) })
	t.Run("TLS", func(t *testing.T) { run(t, "node", "js/check_amqplib.js", amqpURL("amqps", p.AMQPS), p.CA) })
}

func TestRabbitMQJavaClient(t *testing.T) {
	need(t, "java", "java/clients/target/dependency")
	t.Parallel() // it waits most of the time
	p := startOurs(t, peer.Listeners{AMQP: true, HTTP: true})
	run(t, "java", "-cp", javaPath, "interop.CheckRabbitMQ", amqpURL("amqp", p.AMQP)+"/%2F", amqpURL("http", p.HTTP))
}

// TestAmqplibSuite runs the tests of amqplib that need a broker. The newest version that has its tests in the package is
// installed beside the newest one.
func TestAmqplibSuite(t *testing.T) {
	const pkg = "js/node_modules/amqplib-with-tests"
	need(t, "node", filepath.Join(pkg, "package.json"))
	p := startOurs(t, peer.Listeners{AMQP: true})
	dir := copyDir(t, pkg)
	// The tests of the callback API know the default address only.
	edit(t, filepath.Join(dir, "test", "callback_api.test.js"), "const { connect } = require('../callback_api');",
		"const connect = (cb) => require('../callback_api').connect(process.env.URL, cb);")
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--test", fmt.Sprint("--test-timeout=", waitTime.Milliseconds()), "--test-reporter=tap", "test/channel_api.test.js", "test/callback_api.test.js")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "URL="+amqpURL("amqp", p.AMQP))
	cmd.WaitDelay = waitTime
	out, err := cmd.CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^# pass [1-9]`).Match(out) {
		t.Errorf("%v\n%s", err, out)
	}
}

// amqp091Slow are tests of amqp091-go that take long and do not use the broker, and one that wants rabbitmqctl.
const amqp091Slow = "DispatchDropsNotification|TestChannelCounterShouldNotPanic|MemoryAlarm|^Fuzz|^Example"

// amqp091Recovery are tests of amqp091-go that drop connections with the management API.
const amqp091Recovery = "^TestConnectionRecovery"

func TestAMQP091GoSuite(t *testing.T)    { amqp091Suite(t, ".", amqp091Slow+"|"+amqp091Recovery) }
func TestAMQP091GoRecovery(t *testing.T) { amqp091Suite(t, amqp091Recovery, amqp091Slow) }

// amqp091Suite runs the tests of amqp091-go in a copy of the module.
func amqp091Suite(t *testing.T, match, skip string) {
	t.Parallel() // it waits most of the time
	p := startOurs(t, peer.Listeners{AMQP: true, HTTP: true})
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/rabbitmq/amqp091-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := copyDir(t, strings.TrimSpace(string(out)))
	_, port, err := net.SplitHostPort(p.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	const file = "internal/utils/http.go"
	edit(t, filepath.Join(dir, "recovery_test.go"), `"15672"`, `"`+port+`"`)
	edit(t, filepath.Join(dir, "integration_test.go"), `== "RabbitMQ"`, `== "Quartet"`)
	edit(t, filepath.Join(dir, file), "localhost:15672", "localhost:"+port)
	// They give a broker a fifth of a second for most things, and some of them a second.
	for _, name := range []string{"integration_test.go", "recovery_test.go"} {
		edit(t, filepath.Join(dir, name), "case <-time.After(", "case <-time.After(20 * ")
	}
	edit(t, filepath.Join(dir, "integration_test.go"), "<-time.After(200 * time.Millisecond) // wait", "<-time.After(4 * time.Second) // wait")
	edit(t, filepath.Join(dir, "integration_test.go"), "time.Sleep(200 * time.Millisecond)", "time.Sleep(2 * time.Second)")
	for _, begin := range []string{"timeout := time.After(", "timeout = time.After(", "loopDeadline := time.Now().Add("} {
		edit(t, filepath.Join(dir, "recovery_test.go"), begin, begin+"20 * ")
	}
	suite := compileSuite(t, dir, "-tags=integration")
	ctx, cancel := context.WithTimeout(t.Context(), suiteTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, suite, "-test.v", "-test.timeout=0", "-test.run", match, "-test.skip", skip)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "AMQP_URL="+amqpURL("amqp", p.AMQP)+"/")
	cmd.WaitDelay = waitTime
	out, err = cmd.CombinedOutput()
	passed := len(regexp.MustCompile(`(?m)^--- PASS`).FindAll(out, -1))
	failed := regexp.MustCompile(`(?m)^\s*--- FAIL.*`).FindAllString(string(out), -1)
	if err != nil || passed == 0 {
		t.Errorf("%v\n%s\n%s", err, out, strings.Join(failed, "\n"))
		return
	}
	t.Logf("%d tests passed", passed)
}

// suiteTimeout ends the tests of somebody else.
const suiteTimeout = 15 * time.Minute

// compileSuite compiles the tests of a module that was copied. What it requires for them may have to be fetched first, for
// which there are several tries.
func compileSuite(t *testing.T, dir string, flags ...string) (program string) {
	t.Helper()
	program = filepath.Join(dir, "suite.test")
	var out []byte
	for try := range 3 {
		time.Sleep(time.Duration(try) * 5 * time.Second)
		args := append([]string{"test", "-mod=mod", "-vet=off", "-c", "-o", program}, flags...)
		cmd := exec.CommandContext(t.Context(), "go", append(args, ".")...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=")
		var err error
		if out, err = cmd.CombinedOutput(); err == nil {
			return program
		}
	}
	if strings.Contains(string(out), "dial tcp: lookup") {
		missing(t, "modules that the tests want:\n%s", out)
	}
	t.Fatalf("the tests do not compile:\n%s", out)
	return ""
}

// TestRabbitmqadmin runs the command line tool of RabbitMQ's management plugin.
func TestRabbitmqadmin(t *testing.T) {
	found, _ := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin")
	if len(found) == 0 {
		missing(t, "rabbitmqadmin is not installed")
	}
	need(t, "python3")
	p := startOurs(t, peer.Listeners{AMQP: true, HTTP: true})
	host, port, err := net.SplitHostPort(p.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	admin := func(want string, args ...string) {
		t.Helper()
		all := append([]string{found[0], "-H", host, "-P", port, "-u", peer.AMQPUser, "-p", peer.AMQPPassword}, args...)
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		defer cancel()
		out, err := exec.CommandContext(ctx, "python3", all...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("rabbitmqadmin %q: %v, want %q\n%s", args, err, want, out)
		}
	}
	admin("", "show", "overview")
	admin("exchange declared", "declare", "exchange", "name=admin", "type=topic")
	admin("queue declared", "declare", "queue", "name=admin", "durable=true", `arguments={"x-max-length": 10}`)
	admin("binding declared", "declare", "binding", "source=admin", "destination=admin", "routing_key=a.#")
	admin("Message published", "publish", "exchange=admin", "routing_key=a.b", "payload=hello")
	admin("NOT routed", "publish", "exchange=admin", "routing_key=b", "payload=hello")
	admin("hello", "get", "queue=admin", "ackmode=ack_requeue_false")
	admin("admin", "list", "queues", "name", "durable")
	admin("a.#", "list", "bindings")
	admin("amq.topic", "list", "exchanges")
	admin("guest", "list", "users")
	admin("vhost declared", "declare", "vhost", "name=other")
	admin("user declared", "declare", "user", "name=someone", "password=secret", "tags=monitoring")
	admin("permission declared", "declare", "permission", "vhost=other", "user=someone", "configure=.*", "write=.*", "read=.*")
	admin("policy declared", "declare", "policy", "name=ttl", "pattern=^admin$", `definition={"message-ttl": 1000}`, "apply-to=queues")
	admin("message-ttl", "list", "policies")
	file := filepath.Join(t.TempDir(), "definitions.json")
	admin("Exported definitions", "export", file)
	admin("queue purged", "purge", "queue", "name=admin")
	admin("queue deleted", "delete", "queue", "name=admin")
	admin("exchange deleted", "delete", "exchange", "name=admin")
	admin("vhost deleted", "delete", "vhost", "name=other")
	admin("user deleted", "delete", "user", "name=someone")
	admin("Uploaded definitions", "import", file)
	admin("admin", "list", "queues")
	admin("someone", "list", "users")
}

// copyDir copies a directory to where it may be changed.
func copyDir(t *testing.T, from string) (to string) {
	t.Helper()
	to = t.TempDir()
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// edit replaces text that must be in a file.
func edit(t *testing.T, name, old, with string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("no %q in %s", old, name)
	}
	if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(b), old, with)), 0o644); err != nil {
		t.Fatal(err)
	}
}
