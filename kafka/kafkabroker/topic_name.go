package kafkabroker

import (
	"strings"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// maxTopicName is how long the name of a topic may be: with a partition's number it names a directory.
const maxTopicName = 249

// checkTopicName refuses names that topics cannot have.
func checkTopicName(name string) error {
	switch {
	case name == "":
		return logError(kafkawire.ErrInvalidTopic, "Topic name is invalid: the empty string is not allowed")
	case name == "." || name == "..":
		return logError(kafkawire.ErrInvalidTopic, "Topic name is invalid: '.' or '..' is not allowed")
	case len(name) > maxTopicName:
		return logError(kafkawire.ErrInvalidTopic, "Topic name is invalid: the length of '%.20s...' is longer than the max allowed length %d", name, maxTopicName)
	case name == metadataTopic:
		return logError(kafkawire.ErrInvalidTopic, "Topic name is invalid: '%s' is that of Kafka's controllers", name)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return logError(kafkawire.ErrInvalidTopic, "Topic name is invalid: '%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", name)
		}
	}
	return nil
}

// plainName is a name as metrics have it.
func plainName(name string) string { return strings.ReplaceAll(name, ".", "_") }
