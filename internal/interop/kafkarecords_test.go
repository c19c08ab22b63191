package interop

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
)

const kafkaBatches = "../../kafka/testdata/batches.txt"

// kafkaRecords runs the program with Kafka's own classes and returns the lines that it prints.
func kafkaRecords(t *testing.T, what string, lines ...string) []string {
	t.Helper()
	need(t, "java", "java/kafka/target/dependency")
	cmd := javaCommand(t.Context(), "-cp", kafkaPath, "interop.KafkaRecords", what)
	cmd.Stdin, cmd.Stderr = strings.NewReader(strings.Join(lines, "\n")), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// TestKafkaWritesBatches: the batches that the tests of package kafka read are what Kafka writes.
func TestKafkaWritesBatches(t *testing.T) {
	file, err := os.ReadFile(kafkaBatches)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(file), "\n")
	found := strings.Join(kafkaRecords(t, "write"), "\n") + "\n"
	if found == rest {
		return
	}
	if *updateVectors {
		if err := os.WriteFile(kafkaBatches, []byte(head+"\n"+found), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is not what Kafka writes; see -kafka.update", kafkaBatches)
}

// TestKafkaReadsBatches: Kafka reads what ours wrote.
func TestKafkaReadsBatches(t *testing.T) {
	var lines, want []string
	add := func(b []byte, err error, text string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		lines, want = append(lines, fmt.Sprintf("0x%x", b)), append(want, text)
	}
	const head = "magic=2 compression=%v append=false base=10 last=%d leader=-1 max=2000 producer=4711/3/0/%d" +
		" transactional=true control=false horizon=%d"
	value := bytes.Repeat([]byte("some text that repeats itself, "), 3000) // more than a block of LZ4 or snappy
	for m := compress.None; m <= compress.Zstd; m++ {
		for _, level := range []int{0, 1, 9} {
			var w kafka.BatchWriter
			w.Add(1000, []byte("key"), value, kafka.Header{Key: []byte("h"), Value: []byte("v")}, kafka.Header{Key: []byte("n")})
			w.Add(2000, nil, nil)
			b, err := w.Append(nil, &kafka.BatchOptions{
				Compression: m, Level: level, BaseOffset: 10, Transactional: true, Producer: &kafka.Producer{ID: 4711, Epoch: 3},
			})
			first := fmt.Sprintf(` [10 1000 "6b6579" "%x" h="76" n=null]`, value)
			add(b, err, fmt.Sprintf(head, m, 11, 1, -1)+first+" [11 2000 null null]")
			rewritten, _, err := w.Rewrite(nil, b, &kafka.RewriteOptions{DeleteHorizon: 5000}, func(r *kafka.Record) bool { return r.Offset == 11 })
			add(rewritten, err, fmt.Sprintf(head, m, 11, 1, 5000)+" [11 2000 null null]")
		}
	}
	marker, err := (&kafka.Marker{Type: kafka.ControlCommit, ProducerID: 1, ProducerEpoch: 2, CoordinatorEpoch: 3, Timestamp: 4}).Append(nil)
	add(marker, err, "magic=2 compression=none append=false base=0 last=0 leader=-1 max=4 producer=1/2/-1/-1"+
		` transactional=true control=true horizon=-1 [0 4 "00000001" "000000000003"] commit=3`)
	for i, got := range kafkaRecords(t, "read", lines...) {
		if got != want[i] {
			t.Errorf("%.300s\n%.300s\n%.300s", lines[i], got, want[i])
		}
	}
}

// TestKafkaMurmur2: the hash that chooses partitions is that of the Java client.
func TestKafkaMurmur2(t *testing.T) {
	var keys []string
	for i := range 200 {
		keys = append(keys, strings.Repeat("schlüssel-", i%7)+strconv.Itoa(i*i))
	}
	for i, got := range kafkaRecords(t, "murmur2", keys...) {
		if want := strconv.Itoa(int(int32(kafka.Murmur2([]byte(keys[i]))))); got != want {
			t.Errorf("%q: %s, ours %s", keys[i], got, want)
		}
	}
}
