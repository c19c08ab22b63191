package interop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// Other people's Kafka clients do the same things on our broker and on Apache Kafka. A thing is a feature: a line of the table
// in docs/interop-kafka.md. TestKafkaClients has the clients use our broker and compares what works with the page;
// QUARTET_INTEROP_BROKER=kafka has them use Apache Kafka. With -kafka.table it does both and writes the page.

var kafkaTable = flag.Bool("kafka.table", false, "run Kafka's clients against Apache Kafka and ours, and rewrite docs/interop-kafka.md")

// A kafkaClient is somebody's client, or some tools.
type kafkaClient struct {
	name    string
	version func() string
	// need are the programs and files without which it cannot run.
	need []string
	run  func(r *kafkaRun)
}

func kafkaClients() []kafkaClient {
	return []kafkaClient{franzClient, saramaClient, kafkaGoClient, javaKafkaClient, kafkaTools, kcatClient, confluentClient, kafkajsClient}
}

// A kafkaRun is one client on one broker.
type kafkaRun struct {
	t *testing.T
	// open lets everybody in, closed lets in who logs in as peer.User and who has been made a SCRAM user. Both have TLS too.
	open, closed *peer.Proc
	// prefix begins the names of topics, groups and so on, so that clients do not meet.
	prefix string

	mu      sync.Mutex
	results map[string]error // by feature
}

// name returns a name of a topic, group or the like that is only this client's.
func (r *kafkaRun) name(s string) string { return r.prefix + "-" + s }

// check lets the client do something and notes how it went.
func (r *kafkaRun) check(feature string, f func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), checkPatience)
	defer cancel()
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
			if err != nil {
				err = fmt.Errorf("not done after %v: %w", checkPatience, err)
			}
		case <-time.After(20 * time.Second):
			err = fmt.Errorf("hangs after %v", checkPatience)
		}
	}
	r.note(feature, time.Since(begin), err)
}

// kafkaPatience is how long something may take before it counts as hanging: a busy machine is slow. A check may start eight Java
// programs, one after the other.
const (
	kafkaPatience = 5 * time.Minute
	checkPatience = 3 * kafkaPatience
)

func (r *kafkaRun) note(feature string, took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(kafkaFeatures, feature) {
		r.t.Errorf("unknown feature %q", feature)
	}
	if _, ok := r.results[feature]; ok {
		r.t.Errorf("feature %q twice", feature)
	}
	r.results[feature] = err
	if err != nil {
		r.t.Logf("%s: FAIL %s: %v", r.prefix, feature, err)
	} else {
		r.t.Logf("%s: ok %s (%.1f s)", r.prefix, feature, took.Seconds())
	}
}

// program runs a program that prints a line "ok feature" or "FAIL feature: why" for each thing that it does.
func (r *kafkaRun) program(name string, args ...string) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*kafkaPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "USER_NAME="+peer.User, "PASSWORD="+peer.Password, "PREFIX="+r.prefix,
		"OPEN="+r.open.Kafka, "OPEN_TLS="+r.open.Kafkas, "CLOSED="+r.closed.Kafka, "CLOSED_TLS="+r.closed.Kafkas,
		"CA="+r.open.CA, "CLOSED_CA="+r.closed.CA)
	cmd.WaitDelay = time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	n, last := 0, time.Now()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if feature, ok := strings.CutPrefix(line, "ok "); ok {
			r.note(feature, time.Since(last), nil)
		} else if text, ok := strings.CutPrefix(line, "FAIL "); ok {
			feature, why := cutFeature(text)
			r.note(feature, time.Since(last), errors.New(why))
		} else {
			fmt.Fprintln(&errs, line)
			continue
		}
		n, last = n+1, time.Now()
	}
	if err := cmd.Wait(); err != nil || n == 0 {
		r.t.Errorf("%s: %v, %d things done\n%s", name, err, n, errs.String())
	} else if errs.Len() > 0 {
		r.t.Logf("%s", errs.String())
	}
}

// cutFeature cuts a line after the name of a feature.
func cutFeature(text string) (feature, why string) {
	for _, f := range kafkaFeatures {
		if rest, ok := strings.CutPrefix(text, f+": "); ok && len(f) > len(feature) {
			feature, why = f, rest
		}
	}
	if feature == "" {
		return text, "failed"
	}
	return feature, why
}

// startKafkaPeer starts the two brokers that the clients of a run use.
func startKafkaPeer(t *testing.T, b peer.Broker) (open, closed *peer.Proc) {
	t.Helper()
	open = start(t, b, peer.Listeners{Kafka: true, TLS: true})
	closed = start(t, b, peer.Listeners{Kafka: true, TLS: true, SASL: true})
	return open, closed
}

// runKafkaClients lets all clients use a broker and returns what they could do: by client, then by feature.
func runKafkaClients(t *testing.T, b peer.Broker) map[string]map[string]error {
	all := make(map[string]map[string]error)
	t.Run(b.Name, func(t *testing.T) {
		open, closed := startKafkaPeer(t, b)
		if err := addSCRAMUsers(t.Context(), closed.Kafka); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*peer.Proc{open, closed} {
			go func() {
				select {
				case <-p.Done():
					if t.Context().Err() == nil { // or else the test has ended it
						t.Errorf("the broker %s has ended:\n%s", p.Name, p.Log())
					}
				case <-t.Context().Done():
				}
			}()
		}
		for _, c := range kafkaClients() {
			results := make(map[string]error)
			all[c.name] = results
			t.Run(c.name, func(t *testing.T) {
				need(t, c.need...)
				t.Parallel()
				prefix := strings.Map(func(r rune) rune {
					if r >= 'a' && r <= 'z' {
						return r
					}
					return -1
				}, strings.ToLower(c.name))
				c.run(&kafkaRun{t: t, open: open, closed: closed, prefix: prefix, results: results})
			})
		}
	})
	return all
}

func TestKafkaClients(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	if testing.Short() {
		t.Skip("starts brokers")
	}
	if *kafkaTable {
		page := kafkaPage(runKafkaClients(t, peer.ApacheKafka()), runKafkaClients(t, peer.Quartet()))
		if err := os.WriteFile(kafkaPageFile, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b := peer.Quartet()
	if os.Getenv("QUARTET_INTEROP_BROKER") == "kafka" {
		b = peer.ApacheKafka()
	}
	known, err := readKafkaPage()
	if err != nil {
		t.Fatal(err)
	}
	for client, results := range runKafkaClients(t, b) {
		for feature, err := range results {
			if err != nil && !known[[2]string{client, feature}] {
				t.Errorf("%s: %s: %v", client, feature, err)
			}
		}
	}
}

// jars is what java/install.sh gathers for Kafka.
var kafkaJars = filepath.FromSlash("java/kafka/target/dependency")

// goVersion returns the version of a module that is required.
func goVersion(path string) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", path).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
