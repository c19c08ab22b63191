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
		return logError(kafkawire.ErrInvalidTopic, "a topic needs a name")
	case name == "." || name == "..":
		return logError(kafkawire.ErrInvalidTopic, "a topic cannot be named %q", name)
	case len(name) > maxTopicName:
		return logError(kafkawire.ErrInvalidTopic, "the name of a topic has at most %d characters", maxTopicName)
	case name == metadataTopic:
		return logError(kafkawire.ErrInvalidTopic, "%s is the topic of controllers", name)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return logError(kafkawire.ErrInvalidTopic, "the name of a topic has letters and digits of ASCII, dots, underscores and dashes, and this is %q", name)
		}
	}
	return nil
}

// plainName is a name as metrics have it.
func plainName(name string) string { return strings.ReplaceAll(name, ".", "_") }
