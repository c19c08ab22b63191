package interop

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
)

// confluentClient is librdkafka by way of confluent-kafka-python.
var confluentClient = kafkaClient{
	name: "librdkafka",
	version: func() string {
		out, _ := exec.Command(python, "-c", "import confluent_kafka as c; print(c.libversion()[0] + ', confluent-kafka-python ' + c.version())").Output()
		return strings.TrimSpace(string(out))
	},
	need: []string{python},
	run:  func(r *kafkaRun) { r.program(python, "py/check_kafka.py") },
}

// kafkajsClient is kafkajs.
var kafkajsClient = kafkaClient{
	name: "kafkajs",
	version: func() string {
		var v struct{ Version string }
		b, _ := os.ReadFile("js/node_modules/kafkajs/package.json")
		json.Unmarshal(b, &v)
		return v.Version
	},
	need: []string{"node", "js/node_modules/kafkajs/package.json"},
	run:  func(r *kafkaRun) { r.program("node", "js/check_kafkajs.js") },
}
