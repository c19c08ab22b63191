package interop

import (
	"path/filepath"
	"strings"
)

// javaKafkaClient is the producer, the consumer and the admin client of Apache Kafka.
var javaKafkaClient = kafkaClient{
	name:    "Java",
	version: kafkaJarVersion,
	need:    []string{"java", kafkaJars},
	run:     func(r *kafkaRun) { r.program("java", "-cp", kafkaPath, "interop.KafkaClients") },
}

func kafkaJarVersion() string {
	found, _ := filepath.Glob(filepath.Join(kafkaJars, "kafka-clients-*.jar"))
	if len(found) == 0 {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), "kafka-clients-"), ".jar")
}
