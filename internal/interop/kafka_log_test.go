package interop

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
)

// TestKafkaLogDirectory moves a directory of logs from Apache Kafka to ours and back, each time with records from whoever has
// it, and lets Kafka's own tool look at every file. Whoever reads it finds the same.
func TestKafkaLogDirectory(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	need(t, "java", "java/kafka/target/dependency")
	address := freeAddress(t)
	k := newApacheKafka(t, address, address, "log.cleaner.backoff.ms=200\nbroker.session.timeout.ms=9000\n") // it is killed
	k.start()
	kafkaLog(t, "create", address, "0")
	kafkaLog(t, "fill", address, "first", "2000")
	theirs := kafkaLog(t, "read", address)
	if _, err := (vfs.OS{}).LockRange(filepath.Join(k.data, ".lock")); !errors.Is(err, vfs.ErrLocked) {
		t.Error("Apache Kafka has the directory open:", err)
	}
	k.stop(syscall.SIGTERM)
	sameRecords(t, "what Apache Kafka wrote", ourLog(t, k.data, "read"), theirs)

	// Ours goes on, compacts and is closed.
	ourLog(t, k.data, "append")
	dumpLogs(t, k.data)
	ours := ourLog(t, k.data, "read")
	k.start()
	theirs = kafkaLog(t, "read", address)
	sameRecords(t, "what ours added", ours, theirs)

	// Apache Kafka goes on and is killed: recovery on our side.
	kafkaLog(t, "fill", address, "second", "1000")
	theirs = kafkaLog(t, "read", address)
	k.stop(os.Kill)
	sameRecords(t, "what Apache Kafka left when it was killed", ourLog(t, k.data, "read"), theirs)

	// Ours goes on and is not closed: recovery on Kafka's side.
	ours = ourLog(t, k.data, "leave")
	k.start()
	theirs = kafkaLog(t, "read", address)
	sameRecords(t, "what ours left", ours, theirs)
	kafkaLog(t, "fill", address, "third", "100")
	k.stop(syscall.SIGTERM)
	dumpLogs(t, k.data)
	ourLog(t, k.data, "append")
	dumpLogs(t, k.data)
}

// TestKafkaDirectoryServed gives a directory that Apache Kafka wrote to our broker, which serves it to Kafka's client and adds
// to it, and back.
func TestKafkaDirectoryServed(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	need(t, "java", "java/kafka/target/dependency")
	address := freeAddress(t)
	k := newApacheKafka(t, address, address, "")
	k.start()
	kafkaLog(t, "create", address, "3600000") // nobody compacts between two looks
	kafkaLog(t, "fill", address, "first", "2000")
	theirs := kafkaLog(t, "read", address)
	k.stop(syscall.SIGTERM)

	dir := t.TempDir()
	if err := os.Symlink(k.data, filepath.Join(dir, "logs")); err != nil {
		t.Fatal(err)
	}
	b, err := kafkabroker.Open(&kafkabroker.Options{Dir: dir, Authenticate: kafkabroker.AllowAll})
	if err != nil {
		t.Fatal(err)
	}
	srv := kafkaserver.New(b, nil)
	served := make(chan error, 1)
	go func() { served <- srv.ListenAndServe(address, nil) }()
	ours := kafkaLog(t, "read", address)
	sameRecords(t, "what Apache Kafka wrote", ours, theirs)
	kafkaLog(t, "fill", address, "second", "1000")
	ours = kafkaLog(t, "read", address)
	_ = srv.Close()
	<-served
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	dumpLogs(t, k.data)
	k.start()
	sameRecords(t, "what our broker added", ours, kafkaLog(t, "read", address))
}

// kafkaLog runs KafkaLog and returns what it prints.
func kafkaLog(t *testing.T, args ...string) string {
	t.Helper()
	cmd := javaCommand(t.Context(), append([]string{"-cp", kafkaPath, "interop.KafkaLog"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("KafkaLog %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// ourLog runs a test of kafkabroker that opens a directory and does something with it, and returns what it prints.
func ourLog(t *testing.T, dir, do string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", "^TestDirectoryOfOthers$", ".", "-args",
		"-log.dir="+dir, "-log.do="+do, "-log.out="+out)
	cmd.Dir = "../../kafka/kafkabroker"
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", do, err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sameRecords compares what two read.
func sameRecords(t *testing.T, what, ours, theirs string) {
	t.Helper()
	a, b := strings.Split(ours, "\n"), strings.Split(theirs, "\n")
	t.Logf("%s: %d lines", what, len(b))
	if len(b) < 1000 {
		t.Errorf("%s: only %.1000s", what, theirs)
	}
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			t.Fatalf("%s: line %d of %d and %d:\nours  %.200s\nKafka %.200s", what, i, len(a), len(b),
				strings.Join(a[min(i, len(a)):min(i+2, len(a))], " "), strings.Join(b[min(i, len(b)):min(i+2, len(b))], " "))
		}
	}
}

// dumpTrouble is what kafka-dump-log says when something is wrong with a file. Offsets that are not consecutive are not.
var dumpTrouble = regexp.MustCompile(`(?i)mismatch|corrupt|invalid|isvalid: false|exception|out of order|not found|no such`)

// dumpEmpty is what it says about batches of which compaction, Kafka's too, has left the head only.
var dumpEmpty = regexp.MustCompile(`Found timestamp mismatch in :.*\n(  Index timestamp: \d+, log timestamp: -1\n)+`)

// dumpLogs lets kafka-dump-log look at all files of all logs.
func dumpLogs(t *testing.T, dir string) {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.log", "*.index", "*.timeindex", "*.txnindex", "*.snapshot"} {
		for _, topic := range []string{"plain-0", "compacted-0"} {
			list, err := filepath.Glob(filepath.Join(dir, topic, pattern))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, list...)
		}
	}
	cmd := javaCommand(t.Context(), "-cp", kafkaPath, "org.apache.kafka.tools.DumpLogSegments",
		"--deep-iteration", "--files", strings.Join(files, ","))
	out, err := cmd.CombinedOutput()
	out = dumpEmpty.ReplaceAll(out, nil)
	if err != nil || dumpTrouble.Match(out) {
		at := dumpTrouble.FindIndex(out)
		if at == nil {
			at = []int{0, 0}
		}
		t.Fatalf("%v: %s", err, out[max(0, at[0]-300):min(len(out), at[1]+1000)])
	}
	t.Logf("%d files are as Kafka writes them: %d lines", len(files), strings.Count(string(out), "\n"))
	if len(files) < 10 || strings.Count(string(out), "\n") < 1000 {
		t.Errorf("%d files: %.1000s", len(files), out)
	}
}

// apacheDirectory is a small directory that Apache Kafka wrote. A test of kafkabroker opens it.
const apacheDirectory = "../../kafka/kafkabroker/testdata/apache-4.4.0"

// TestKafkaLogGolden makes that directory anew with -kafka.update.
func TestKafkaLogGolden(t *testing.T) {
	if !*updateVectors {
		t.Skip("without -kafka.update")
	}
	address := freeAddress(t)
	k := newApacheKafka(t, address, address, "")
	k.start()
	kafkaLog(t, "create", address, "0")
	kafkaLog(t, "fill", address, "golden", "4")
	expected := kafkaLog(t, "read", address)
	k.stop(syscall.SIGTERM)
	for _, pattern := range []string{"plain-0/*", "compacted-0/*", "*checkpoint", "meta.properties", ".kafka_cleanshutdown"} {
		names, err := filepath.Glob(filepath.Join(k.data, pattern))
		if err != nil || len(names) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range names {
			to := filepath.Join(apacheDirectory, strings.TrimPrefix(name, k.data))
			b, err := os.ReadFile(name)
			if err == nil {
				err = os.MkdirAll(filepath.Dir(to), 0o755)
			}
			if err == nil {
				err = os.WriteFile(to, b, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(apacheDirectory, "expected.txt"), []byte(expected), 0o644); err != nil {
		t.Fatal(err)
	}
}
