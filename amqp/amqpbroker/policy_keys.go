package amqpbroker

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// policyKey is a key that the definition of a policy may have.
type policyKey struct {
	operator bool // an operator's policy may have it too
	check    func(v any) bool
	what     string // a value that check does not like is not a valid one
}

// policyKeys are RabbitMQ's. Those about replication and federation are taken, so that its definitions load, and do
// nothing.
func policyKeyOf(key string) (policyKey, bool) {
	switch key {
	case "alternate-exchange":
		return policyKey{false, policyText, "alternate exchange name"}, true
	case "dead-letter-exchange":
		return policyKey{false, policyText, "dead letter exchange name"}, true
	case "dead-letter-routing-key":
		return policyKey{false, policyRoutingKey, "dead letter routing key"}, true
	case "dead-letter-strategy":
		return policyKey{false, policyOneOf("at-most-once", "at-least-once"), "dead letter strategy"}, true
	case "message-ttl":
		return policyKey{true, policyNotNegative, "message TTL"}, true
	case "expires":
		return policyKey{true, policyPositive, "queue expiry"}, true
	case "max-length":
		return policyKey{true, policyNotNegative, "maximum length"}, true
	case "max-length-bytes":
		return policyKey{true, policyNotNegative, "maximum length in bytes"}, true
	case "max-in-memory-length":
		return policyKey{true, policyNotNegative, "maximum memory in messages"}, true
	case "max-in-memory-bytes":
		return policyKey{true, policyNotNegative, "maximum memory in bytes"}, true
	case "delivery-limit":
		return policyKey{true, policyInteger, "delivery limit"}, true
	case "consumer-timeout":
		return policyKey{true, policyPositive, "consumer timeout"}, true
	case "overflow":
		return policyKey{true, policyOneOf("drop-head", "reject-publish", "reject-publish-dlx"), "overflow value"}, true
	case "queue-mode":
		return policyKey{false, policyOneOf("default", "lazy"), "queue-mode value"}, true
	case "queue-version":
		return policyKey{true, policyOneOf(int64(1), int64(2)), "queue-version value"}, true
	case "queue-master-locator", "queue-leader-locator":
		return policyKey{false, policyText, "queue leader locator value"}, true
	case "initial-cluster-size", "target-group-size":
		return policyKey{true, policyPositive, "cluster size"}, true
	case "max-age":
		return policyKey{true, policyText, "max age"}, true
	case "stream-max-segment-size-bytes", "stream-filter-size-bytes":
		return policyKey{false, policyNotNegative, "segment size"}, true
	}
	for _, prefix := range []string{"ha-", "federation-upstream"} {
		if strings.HasPrefix(key, prefix) {
			return policyKey{strings.HasPrefix(key, "ha-"), func(any) bool { return true }, ""}, true
		}
	}
	return policyKey{}, false
}

// checkPolicyDefinition checks the keys and values of a policy.
func checkPolicyDefinition(def Arguments, operator bool) error {
	if len(def) == 0 {
		return invalid("no policy provided")
	}
	var unknown []string
	for _, f := range def {
		k, known := policyKeyOf(f.Key)
		if !known || operator && !k.operator {
			unknown = append(unknown, "{<<\""+f.Key+"\">>,"+erlangTerm(f.Value)+"}")
		}
	}
	if unknown != nil {
		slices.Sort(unknown)
		return invalid("[%s] are not recognised policy settings", strings.Join(unknown, ","))
	}
	for _, f := range def {
		if k, _ := policyKeyOf(f.Key); !k.check(f.Value) {
			return invalid("%s is not a valid %s", erlangTerm(f.Value), k.what)
		}
	}
	return nil
}

func policyText(v any) bool { _, ok := v.(string); return ok }

func policyRoutingKey(v any) bool { s, ok := v.(string); return ok && len(s) <= maxKey }

func policyInteger(v any) bool { _, ok := integer(v); return ok }

func policyNotNegative(v any) bool { n, ok := integer(v); return ok && n >= 0 }

func policyPositive(v any) bool { n, ok := integer(v); return ok && n > 0 }

func policyOneOf(values ...any) func(any) bool {
	return func(v any) bool { return slices.Contains(values, v) }
}

// erlangTerm writes a value as RabbitMQ's error texts do.
func erlangTerm(v any) string {
	switch v := v.(type) {
	case string:
		return "<<\"" + v + "\">>"
	case amqp091.Table, []any:
		return string(mustJSON(jsonValue(v)))
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(b)
}
