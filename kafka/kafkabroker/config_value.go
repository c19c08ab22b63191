package kafkabroker

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// findConfig returns a config by its name, or nil.
func findConfig(defs []configDef, name string) *configDef {
	i, ok := slices.BinarySearchFunc(defs, name, func(d configDef, name string) int { return strings.Compare(d.name, name) })
	if !ok {
		return nil
	}
	return &defs[i]
}

// check checks a value.
func (d *configDef) check(value string) error {
	value = strings.TrimSpace(value)
	bad := func(why string) error {
		return logError(kafkawire.ErrInvalidConfig, "%s cannot be %q: %s", d.name, value, why)
	}
	switch d.typ {
	case typeBool:
		if !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
			return bad("it is true or false")
		}
		value = strings.ToLower(value)
	case typeInt, typeShort, typeLong, typeDouble:
		return d.checkNumber(value, bad)
	case typeList:
		seen := make(map[string]bool)
		for _, e := range listOf(value) {
			if d.oneOf != nil && !slices.Contains(d.oneOf, e) {
				return bad("it is a list of " + strings.Join(d.oneOf, ", "))
			}
			if seen[e] {
				return bad("it has " + e + " twice")
			}
			seen[e] = true
		}
		return nil
	}
	if d.oneOf != nil && !slices.Contains(d.oneOf, value) {
		return bad("it is one of " + strings.Join(d.oneOf, ", "))
	}
	return nil
}

// checkNumber checks the value of a number.
func (d *configDef) checkNumber(value string, bad func(string) error) error {
	limit := d.max
	var v float64
	var err error
	if d.typ == typeDouble {
		v, err = strconv.ParseFloat(value, 64)
		if limit == 0 {
			limit = math.MaxFloat64
		}
	} else {
		bits := map[configType]int{typeInt: 32, typeShort: 16, typeLong: 64}[d.typ]
		var n int64
		n, err = strconv.ParseInt(value, 10, bits)
		if v = float64(n); limit == 0 {
			limit = math.MaxInt64
		}
	}
	switch {
	case err != nil || math.IsNaN(v):
		return bad("it is a number")
	case v < d.min:
		return bad("it is at least " + strconv.FormatFloat(d.min, 'f', -1, 64))
	case v > limit:
		return bad("it is at most " + strconv.FormatFloat(limit, 'f', -1, 64))
	}
	return nil
}

// listOf splits a list.
func listOf(value string) (list []string) {
	for e := range strings.SplitSeq(value, ",") {
		if e = strings.TrimSpace(e); e != "" {
			list = append(list, e)
		}
	}
	return list
}

// checkTopicConfigs checks the configs of a topic.
func checkTopicConfigs(m map[string]string) error {
	for name, value := range m {
		d := findConfig(topicDefs, name)
		if d == nil {
			return logError(kafkawire.ErrInvalidConfig, "topics have no config %q", name)
		}
		if err := d.check(value); err != nil {
			return err
		}
	}
	return nil
}

// checkBrokerConfigs checks the configs of a broker.
func checkBrokerConfigs(m map[string]string) error {
	for name, value := range m {
		d := findConfig(brokerDefs, name)
		if d == nil {
			return logError(kafkawire.ErrInvalidConfig, "brokers have no config %q", name)
		}
		if err := d.check(value); err != nil {
			return err
		}
	}
	return nil
}
