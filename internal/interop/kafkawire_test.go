package interop

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// kafkaPath is what java/install.sh makes.
const kafkaPath = "java/kafka/target/classes:java/kafka/target/dependency/*"

const kafkaVectors = "../../kafka/kafkawire/testdata/vectors.txt"

var updateVectors = flag.Bool("kafka.update", false, "write down what Kafka's classes find in the vectors of kafkawire")

// TestKafkaVectors gives every message that kafkawire wrote to the classes of Apache Kafka. They must write the same bytes
// again; what they find in them is in the file too, and a test of kafkawire compares it with what that finds.
func TestKafkaVectors(t *testing.T) {
	need(t, "java", "java/kafka/target/dependency")
	file, err := os.ReadFile(kafkaVectors)
	if err != nil {
		t.Fatal(err)
	}
	var questions, out bytes.Buffer
	var lines [][]string
	for line := range strings.Lines(string(file)) {
		words := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if strings.HasPrefix(line, "#") {
			out.WriteString(line)
			continue
		}
		lines = append(lines, words)
		fmt.Fprintln(&questions, javaMessage(words[0]), javaVersion(words[0], words[1]), words[2])
	}
	cmd := javaCommand(t.Context(), "-cp", kafkaPath, "interop.KafkaWire")
	cmd.Stdin, cmd.Stderr = &questions, os.Stderr
	answers, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := strings.Split(strings.TrimSuffix(string(answers), "\n"), "\n")
	if len(found) != len(lines) {
		t.Fatalf("%d answers to %d questions", len(found), len(lines))
	}
	for i, words := range lines {
		again, content, _ := strings.Cut(found[i], " ")
		switch {
		case again != words[2]:
			t.Errorf("%s %s\nours  %s\nKafka %s", words[0], words[1], words[2], found[i])
		case content != words[3] && !*updateVectors:
			t.Errorf("%s %s\nfile  %s\nKafka %s", words[0], words[1], words[3], content)
		}
		fmt.Fprintln(&out, words[0], words[1], words[2], content)
	}
	if *updateVectors && !t.Failed() {
		if err := os.WriteFile(kafkaVectors, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// javaMessage is how Kafka spells the name of a message.
func javaMessage(name string) string {
	if name == "ControlRecordKey" {
		return "ControlRecordTypeSchema"
	}
	if strings.HasSuffix(name, "Request") || strings.HasSuffix(name, "Response") {
		name += "Data"
	}
	return strings.NewReplacer("ACL", "Acl", "API", "Api", "ID", "Id", "SASL", "Sasl", "SCRAM", "Scram").Replace(name)
}

// javaVersion is the version in Kafka 4, where what comes before a key in a record is a type.
func javaVersion(name, version string) string {
	if name == "OffsetCommitKey" || name == "GroupMetadataKey" {
		return "0"
	}
	return version
}
