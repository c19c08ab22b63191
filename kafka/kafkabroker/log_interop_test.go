package kafkabroker

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
)

var (
	othersDir = flag.String("log.dir", "", "a directory of logs that somebody else wrote")
	othersDo  = flag.String("log.do", "read", "what to do with it: read, append, or leave it without closing it")
	othersOut = flag.String("log.out", "", "where to write what is in it")
)

// TestDirectoryOfOthers opens a directory that Apache Kafka wrote. The tests in internal/interop run it.
func TestDirectoryOfOthers(t *testing.T) {
	if *othersDir == "" {
		t.Skip("no directory")
	}
	o := &logDirOptions{nodeID: 1, config: func(topic string) *logConfig {
		c := defaultLogConfig()
		c.segmentBytes, c.indexInterval = 1<<20, 1000
		if topic != "plain" {
			c.compact, c.delete = true, false
		}
		return c
	}}
	d, err := openLogDir(*othersDir, o)
	if err != nil {
		t.Fatal(err)
	}
	topics := []string{"plain", "compacted"}
	if *othersDo != "read" {
		for i, topic := range topics {
			appendAsOurs(t, d.get(partitionID{topic, 0}), int64(900_000+i))
		}
		l := d.get(partitionID{"compacted", 0})
		s, err := l.clean(new(offsetMap), time.Now().UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("compacted: %+v", s)
	}
	if err := os.WriteFile(*othersOut, []byte(recordsOfTopics(t, d, topics...)), 0o600); err != nil {
		t.Fatal(err)
	}
	if *othersDo == "leave" {
		return
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
}

// recordsOfTopics lists the records of topics as the program KafkaLog does.
func recordsOfTopics(t *testing.T, d *logDir, topics ...string) string {
	var out strings.Builder
	for _, topic := range topics {
		l := d.get(partitionID{topic, 0})
		for _, i := range []isolation{readUncommitted, readCommitted} {
			fmt.Fprintf(&out, "%s %s\n", topic, map[isolation]string{readUncommitted: "read_uncommitted", readCommitted: "read_committed"}[i])
			for _, r := range strings.Fields(contents(t, l, l.state().start, i)) {
				if !strings.Contains(r, "!") {
					fmt.Fprintln(&out, r)
				}
			}
		}
	}
	return out.String()
}

// appendAsOurs appends records in all ways, some segments of them.
func appendAsOurs(t *testing.T, l *partitionLog, producer int64) {
	epoch := int16(0)
	for _, p := range l.activeProducers() {
		if p.id == producer {
			epoch = p.epoch + 1
		}
	}
	leader := l.state().epoch
	put := func(records []byte, from appendOrigin) {
		if _, err := l.append(&appendRequest{records: records, origin: from, leaderEpoch: leader, now: time.Now().UnixMilli()}); err != nil {
			t.Fatal(err)
		}
	}
	sequence := int32(0)
	for i := range 400 {
		b := testBatch{method: compress.Method(i % 5), producer: producer, epoch: epoch, sequence: sequence, txn: i%8 >= 4}
		for j := range 20 {
			r := testRecord{time.Now().UnixMilli(), fmt.Sprint("k", (i+j)%60), fmt.Sprint("ours", i, "-", j, strings.Repeat("y", 10*j))}
			if j == 7 {
				r.value = "-"
			}
			b.records = append(b.records, r)
		}
		sequence += 20
		put(b.bytes(t), fromClient)
		if i%8 == 7 {
			put(marker(t, producer, epoch, kafka.ControlType(i/8%2), 0, time.Now().UnixMilli()), fromCoordinator)
		}
	}
	l.dir.flusher.wait()
}

// TestOldFormat reads entries of the formats before Kafka 0.11, which are left as they are.
func TestOldFormat(t *testing.T) {
	// A message of magic 1 at offset 0 with the time 5, key "k" and value "v".
	message := unhex(t, "0000000000000000 00000018 00000000 01 00 0000000000000005 00000001 6b 00000001 76")
	crc := crcIEEE(message[16:])
	copy(message[12:], []byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8), byte(crc)})
	m := vfs.NewMem()
	if err := writeFile(m, "d/t-0/"+segmentFile(0, logSuffix), message); err != nil {
		t.Fatal(err)
	}
	d := testDir(t, m, nil)
	l := d.get(testID)
	if s := l.state(); s.end != 1 {
		t.Errorf("%+v", s)
	}
	mustAppend(t, l, values("w").bytes(t))
	f, err := l.fetch(fetchRequest{maxBytes: 1000, isolation: readAll})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	b, err := f.read(make([]byte, f.size()))
	if err != nil || f.next != 2 || string(b[:len(message)]) != string(message) {
		t.Errorf("%x %v", b, err)
	}
	if o, found, err := l.offsetFor(5); err != nil || !found || o != (foundOffset{0, 5, -1}) {
		t.Error(o, found, err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// apacheDirectory is what a broker of Apache Kafka 4.4.0 wrote, and what a consumer read from it.
const apacheDirectory = "testdata/apache-4.4.0"

// TestApacheDirectory opens a directory that Apache Kafka has closed, and one that it has not.
func TestApacheDirectory(t *testing.T) {
	for _, clean := range []bool{true, false} {
		m := vfs.NewMem()
		err := fs.WalkDir(os.DirFS(apacheDirectory), ".", func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !clean && (name == cleanShutdownFile || name == recoveryPointFile) {
				return err
			}
			b, err := os.ReadFile(apacheDirectory + "/" + name)
			if err != nil {
				return err
			}
			return writeFile(m, "d/"+name, b)
		})
		if err != nil {
			t.Fatal(err)
		}
		c := smallConfig()
		c.indexInterval = 1000
		d := testDir(t, m, &logDirOptions{nodeID: 1, expireProducers: 1 << 60, config: func(string) *logConfig { return c }})
		if d.wasClean != clean || d.meta.directoryID.IsZero() || d.meta.clusterID != "AAAAAAAAAAAAAAAAAAAAAQ" {
			t.Errorf("%t %+v", d.wasClean, d.meta)
		}
		want, err := os.ReadFile(apacheDirectory + "/expected.txt")
		if err != nil {
			t.Fatal(err)
		}
		if got := recordsOfTopics(t, d, "plain", "compacted"); got != string(want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		l := d.get(partitionID{"plain", 0})
		if l.topicID.IsZero() || len(l.activeProducers()) != 6 {
			t.Errorf("%v, %+v", l.topicID, l.activeProducers())
		}
		list, err := l.abortedIn(0, l.state().end)
		if err != nil || len(list) != 3 {
			t.Errorf("%+v, %v", list, err)
		}
		before := m.Names()
		if err := d.close(); err != nil {
			t.Error(err)
		}
		for _, name := range before {
			was, err := os.ReadFile(apacheDirectory + "/" + strings.TrimPrefix(name, "d/"))
			now, err2 := readFile(m, name, 1<<20)
			if err != nil || err2 != nil || strings.HasSuffix(name, "checkpoint") {
				continue
			}
			if string(was) != string(now) {
				t.Errorf("%s: Kafka wrote\n%x, and ours\n%x", name, was, now)
			}
		}
	}
}
