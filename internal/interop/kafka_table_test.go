package interop

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

const kafkaPageFile = "../../docs/interop-kafka.md"

// kafkaFeatures are the lines of the table.
var kafkaFeatures = []string{
	"produce: acks=0",
	"produce: acks=1",
	"produce: acks=all",
	"produce: gzip",
	"produce: snappy",
	"produce: lz4",
	"produce: zstd",
	"produce: headers, null keys and values",
	"produce: idempotent",
	"produce: too large is refused",
	"produce: the topic comes into being",
	"produce: null key to a compacted topic is refused",
	"consume: from an offset",
	"consume: from a timestamp",
	"consume: out of range",
	"group: commit and resume",
	"group: rebalance, eager",
	"group: rebalance, cooperative",
	"group: static member",
	"group: pattern of topics",
	"group: consumer protocol (KIP-848)",
	"group: share group (KIP-932)",
	"transaction: commit and abort",
	"transaction: consumed offsets",
	"transaction: older producer is fenced",
	"admin: topics",
	"admin: errors of topics",
	"admin: partitions",
	"admin: configs of topics",
	"admin: configs of brokers",
	"admin: wrong config is refused",
	"admin: cluster",
	"admin: offsets",
	"admin: delete records",
	"admin: groups",
	"admin: offsets of groups",
	"admin: remove members",
	"admin: ACLs",
	"admin: SCRAM users",
	"admin: producers and transactions",
	"admin: log directories",
	"admin: quotas",
	"security: SASL PLAIN",
	"security: wrong password",
	"security: SCRAM-SHA-256",
	"security: SCRAM-SHA-512",
	"security: TLS",
	"security: SASL over TLS",
	"security: an ACL forbids",
	"tool: kafka-topics",
	"tool: kafka-console-producer and -consumer",
	"tool: kafka-consumer-groups",
	"tool: kafka-configs",
	"tool: kafka-acls",
	"tool: kafka-get-offsets",
	"tool: kafka-delete-records",
	"tool: kafka-transactions",
	"tool: kafka-producer-perf-test",
	"tool: kafka-consumer-perf-test",
	"tool: kafka-verifiable-producer and -consumer",
	"tool: kafka-broker-api-versions",
	"tool: kafka-cluster",
	"tool: kafka-log-dirs",
	"tool: kafka-groups",
	"tool: kafka-features",
	"tool: kafka-leader-election",
	"tool: kafka-reassign-partitions",
	"tool: kafka-metadata-quorum",
}

const kafkaPageHead = `# Interop: Kafka

What other people's Kafka clients and tools do on Apache Kafka and on Quartet: the same programs on both, in one run.

This page is generated: ` + "`cd internal/interop && go test . -run TestKafkaClients -kafka.table`" + ` runs the clients and notes what works.
Without the flag the test fails when something does not work on Quartet that works according to this page.

✓ works on both. K works on Apache Kafka only, Q on Quartet only, ✗ on neither; an empty cell: the client has no such thing, or
the check of it is another client's. What "works" means is in the tests: each check looks at the result, not only for an error.
`

// kafkaPage makes the page of the results on Apache Kafka and ours.
func kafkaPage(theirs, ours map[string]map[string]error) string {
	var b strings.Builder
	b.WriteString(kafkaPageHead)
	clients := kafkaClients()
	b.WriteString("\n| client | version | checks | work on Apache Kafka | work on Quartet |\n|---|---|--:|--:|--:|\n")
	for _, c := range clients {
		checks, k, q := 0, 0, 0
		for _, f := range kafkaFeatures {
			errK, hasK := theirs[c.name][f]
			errQ, hasQ := ours[c.name][f]
			if hasK || hasQ {
				checks++
			}
			if hasK && errK == nil {
				k++
			}
			if hasQ && errQ == nil {
				q++
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d |\n", c.name, c.version(), checks, k, q)
	}
	var notes strings.Builder
	// mark says where a client can do something.
	mark := func(client, feature string) string {
		errK, hasK := theirs[client][feature]
		errQ, hasQ := ours[client][feature]
		if hasK && errK != nil {
			fmt.Fprintf(&notes, "- %s, %s on Apache Kafka: %s\n", client, feature, oneLine(errK.Error()))
		}
		if hasQ && errQ != nil {
			fmt.Fprintf(&notes, "- %s, %s on Quartet: %s\n", client, feature, oneLine(errQ.Error()))
		}
		switch k, q := hasK && errK == nil, hasQ && errQ == nil; {
		case !hasK && !hasQ:
			return ""
		case k && q:
			return "✓"
		case k:
			return "K"
		case q:
			return "Q"
		}
		return "✗"
	}
	table := func(clients []kafkaClient, which func(feature string) bool) {
		b.WriteString("\n| |")
		for _, c := range clients {
			fmt.Fprintf(&b, " %s |", c.name)
		}
		b.WriteString("\n|---|" + strings.Repeat(":-:|", len(clients)) + "\n")
		for _, f := range kafkaFeatures {
			if !which(f) {
				continue
			}
			fmt.Fprintf(&b, "| %s |", f)
			for _, c := range clients {
				fmt.Fprintf(&b, " %s |", mark(c.name, f))
			}
			b.WriteString("\n")
		}
	}
	isTool := func(f string) bool { return strings.HasPrefix(f, "tool: ") }
	table(slices.DeleteFunc(kafkaClients(), func(c kafkaClient) bool { return c.name == kafkaTools.name }), func(f string) bool { return !isTool(f) })
	table([]kafkaClient{kafkaTools}, isTool)
	if notes.Len() > 0 {
		b.WriteString("\nWhat does not work, and what the client says then:\n\n" + notes.String())
	}
	return b.String()
}

// onlyOnce are parts of texts that are different in each run.
var onlyOnce = regexp.MustCompile(`127\.0\.0\.1:[0-9]+|%[0-9]\|[0-9.]+\|`)

// oneLine makes a text short enough for the page, and such that the next run has the same.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(onlyOnce.ReplaceAllString(s, "…")), " ")
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}

// readKafkaPage returns what does not work on ours, by client and feature.
func readKafkaPage() (map[[2]string]bool, error) {
	b, err := os.ReadFile(kafkaPageFile)
	if err != nil {
		return nil, err
	}
	known := make(map[[2]string]bool)
	var clients []string
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case len(cells) > 3 && cells[1] == "" && cells[0] == "":
			clients = cells[2 : len(cells)-1]
		case clients != nil && len(cells) == len(clients)+3:
			for i, c := range clients {
				if mark := cells[2+i]; mark == "K" || mark == "✗" {
					known[[2]string{c, cells[1]}] = true
				}
			}
		}
	}
	return known, nil
}
