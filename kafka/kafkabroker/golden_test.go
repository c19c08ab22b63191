package kafkabroker

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
)

var golden = flag.Bool("golden", false, "make the golden directory of the newest format, if there is none")

// TestGolden opens a directory that each version of the format has left, for ever.
func TestGolden(t *testing.T) {
	const newest = "testdata/golden/v1"
	if _, err := os.Stat(newest); *golden && err != nil {
		makeGolden(t, newest)
	}
	dirs, err := filepath.Glob("testdata/golden/v*")
	if err != nil || !slices.Contains(dirs, newest) {
		t.Fatal(dirs, err)
	}
	for _, dir := range dirs {
		disk := vfs.NewMem()
		err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			f, err := disk.Create("data/" + name)
			if err == nil {
				_, err = f.WriteAt(content, 0)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		b := openBroker(t, &Options{Dir: "data", fs: disk, metaSegment: 4 << 10})
		want, err := os.ReadFile(filepath.Join(dir, "state.txt"))
		if err != nil {
			t.Fatal(err)
		}
		if got := b.text(t); got != string(want) {
			t.Errorf("%s is\n%s\nand not\n%s", dir, got, want)
		}
	}
}

// text describes what a broker has, whatever the format.
func (b *Broker) text(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	fmt.Fprintln(&out, "cluster", b.ClusterID(), "node", b.opt.NodeID)
	for _, topic := range b.Topics() {
		fmt.Fprintln(&out, "topic", topic.Name, topic.ID, topic.Configs)
		for i, p := range topic.Partitions {
			fmt.Fprintln(&out, " partition", i, "leader", p.Leader, "epoch", p.LeaderEpoch, "replicas", p.Replicas, "offsets", p.Start, p.End)
			f, err := b.Fetch(t.Context(), topic.Name, int32(i), &Fetch{Offset: p.Start})
			if err != nil {
				t.Fatal(err)
			}
			for r, err := range f.Records() {
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "  %d %q %q\n", r.Offset, r.Key, r.Value)
			}
		}
	}
	for _, c := range b.configs.describeAll() {
		fmt.Fprintln(&out, "config", c.name, c.value)
	}
	for _, a := range b.ACLs(kafka.ACLFilter{Resource: kafka.ResourceAny, Pattern: kafka.PatternAny, Operation: kafka.OperationAny, Permission: kafka.PermissionAny}) {
		fmt.Fprintf(&out, "acl %+v\n", a)
	}
	for _, u := range b.Users() {
		fmt.Fprintln(&out, "user", u, b.CheckPassword(t.Context(), u, "secret"))
	}
	return out.String()
}

// makeGolden writes a directory with something of everything.
func makeGolden(t *testing.T, dir string) {
	disk := vfs.NewMem()
	b, err := Open(&Options{Dir: "data", fs: disk, metaSegment: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	note(b.CreateTopic("plain", &TopicOptions{Partitions: 2, Configs: map[string]string{"retention.ms": "-1", "message.timestamp.before.max.ms": "9223372036854775807"}}))
	note(b.CreateTopic("compacted", &TopicOptions{Configs: map[string]string{"cleanup.policy": "compact"}}))
	note(b.CreateTopic("gone", nil))
	note(b.DeleteTopic("gone"))
	note(b.AddPartitions("plain", 3))
	note(b.MoveLeader("plain", 1, 1))
	note(b.SetConfigs(map[string]*string{"log.segment.bytes": new("1000000")}))
	for _, topic := range []string{"plain", "compacted"} {
		_, err := b.Produce(t.Context(), topic, 0, Record{Key: []byte("k"), Value: []byte("one")}, Record{Key: []byte("l"), Value: []byte("two")})
		note(err)
	}
	_, err = b.DeleteRecords("plain", 0, 1)
	note(err)
	note(b.SetUser("alice", "secret"))
	note(b.AddACLs(kafka.ACL{
		Resource: kafka.ResourceTopic, Pattern: kafka.PatternPrefixed, Name: "pl", Principal: "User:alice", Host: "*",
		Operation: kafka.OperationRead, Permission: kafka.PermissionAllow,
	}))
	for i, err := range errs {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	text := b.text(t)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range disk.Names() {
		content, err := readFile(disk, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		write(strings.TrimPrefix(name, "data/"), content)
	}
	write("state.txt", []byte(text))
}
