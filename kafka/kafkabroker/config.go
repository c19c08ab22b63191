package kafkabroker

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/codec"
)

// configSource says where a value comes from, in Kafka's numbers.
type configSource int8

// The sources.
const (
	fromTopic         configSource = 1 // set for the topic
	fromBroker        configSource = 2 // set for this broker while it ran
	fromAllBrokers    configSource = 3 // set for all brokers while they ran
	fromStatic        configSource = 4 // in Options
	fromDefault       configSource = 5
	configVersion                  = 1 // of the format in the metadata journal
	allBrokersKey                  = "broker/"
	topicConfigPrefix              = "topic/"
)

// brokerConfigs are all configs. It is safe for concurrent use. The maps in it are never changed, only replaced.
type brokerConfigs struct {
	now atomic.Pointer[configSet] // of the broker

	mu     sync.RWMutex
	static map[string]string
	every  map[string]string            // set for all brokers
	own    map[string]string            // set for the broker
	topics map[string]map[string]string // set for topics
}

// configSet is the configs of a broker as they are. It is never changed.
type configSet struct{ m map[string]string }

// broker returns the configs of the broker.
func (c *brokerConfigs) broker() *configSet { return c.now.Load() }

func (s *configSet) bool(name string) bool { return strings.EqualFold(s.m[name], "true") }

func (s *configSet) int64(name string) int64 {
	n, _ := strconv.ParseInt(s.m[name], 10, 64) // it was checked
	return n
}

func (s *configSet) int32(name string) int32 { return int32(s.int64(name)) }

// foundConfig is a config with its value and where that comes from.
type foundConfig struct {
	*configDef
	value     string
	null      bool
	source    configSource
	readOnly  bool
	sensitive bool
	synonyms  []configSynonym
}

// configSynonym is a value that a config has or would have if those before it were not set.
type configSynonym struct {
	name, value string
	source      configSource
}

// shown returns the value as clients see it.
func (c *foundConfig) shown() *string {
	if c.null || c.sensitive {
		return nil
	}
	return &c.value
}

// brokerSynonyms returns the values that a config of the broker has, the one that holds first. The caller holds mu.
func (c *brokerConfigs) brokerSynonyms(d *configDef) (list []configSynonym) {
	for _, from := range []struct {
		m      map[string]string
		source configSource
	}{{c.own, fromBroker}, {c.every, fromAllBrokers}, {c.static, fromStatic}} {
		if v, ok := from.m[d.name]; ok {
			list = append(list, configSynonym{d.name, v, from.source})
		}
		for _, a := range d.alias {
			if v, ok := from.m[a.name]; ok {
				list = append(list, configSynonym{a.name, v, from.source})
			}
		}
	}
	for _, a := range d.alias {
		if o := findConfig(brokerDefs, a.name); o.def != "" {
			list = append(list, configSynonym{a.name, o.def, fromDefault})
		}
	}
	if !d.null {
		list = append(list, configSynonym{d.name, d.def, fromDefault})
	}
	return list
}

// inUnit returns the value of a synonym in the unit of the config.
func (d *configDef) inUnit(s configSynonym) string {
	for _, a := range d.alias {
		if a.name == s.name {
			if n, err := strconv.ParseInt(strings.TrimSpace(s.value), 10, 64); err == nil && n > 0 {
				return strconv.FormatInt(n*a.factor, 10)
			}
		}
	}
	return s.value
}

// findBroker returns a config of the broker. The caller holds mu.
func (c *brokerConfigs) findBroker(d *configDef) foundConfig {
	f := foundConfig{configDef: d, null: true, source: fromDefault, readOnly: !d.dynamic, sensitive: d.typ == typePassword}
	f.synonyms = c.brokerSynonyms(d)
	for _, s := range f.synonyms {
		// An alias is a config of its own: it counts only where it is looked up for another.
		if s.name == d.name {
			f.value, f.null, f.source = s.value, false, s.source
			break
		}
	}
	return f
}

// findTopic returns a config of a topic, of which those in set are set. The caller holds mu.
func (c *brokerConfigs) findTopic(d *configDef, set map[string]string) foundConfig {
	f := foundConfig{configDef: d, value: d.def, source: fromDefault}
	if v, ok := set[d.name]; ok {
		f.value, f.source = v, fromTopic
		f.synonyms = append(f.synonyms, configSynonym{d.name, v, fromTopic})
	}
	if d.from == "" {
		return f
	}
	b := findConfig(brokerDefs, d.from)
	list := c.brokerSynonyms(b)
	if len(list) > 0 && f.source != fromTopic {
		f.value, f.source = b.inUnit(list[0]), list[0].source
	}
	f.synonyms = append(f.synonyms, list...)
	return f
}

// describeTopic returns all configs of a topic, of which those in set are set.
func (c *brokerConfigs) describeTopic(set map[string]string) []foundConfig {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]foundConfig, len(topicDefs))
	for i := range topicDefs {
		list[i] = c.findTopic(&topicDefs[i], set)
	}
	return list
}

// describeBroker returns all configs of the broker.
func (c *brokerConfigs) describeBroker() []foundConfig {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]foundConfig, len(brokerDefs))
	for i := range brokerDefs {
		list[i] = c.findBroker(&brokerDefs[i])
	}
	return list
}

// describeAll returns what is set for all brokers.
func (c *brokerConfigs) describeAll() (list []foundConfig) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i := range brokerDefs {
		d := &brokerDefs[i]
		if v, ok := c.every[d.name]; ok {
			list = append(list, foundConfig{
				configDef: d, value: v, source: fromAllBrokers, sensitive: d.typ == typePassword, synonyms: []configSynonym{{d.name, v, fromAllBrokers}},
			})
		}
	}
	return list
}

// valueOf returns the value that a config has when those in m are set.
func (c *brokerConfigs) valueOf(d *configDef, of configName, m map[string]string) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if of.resource == configOfTopic {
		return c.findTopic(d, m).value
	}
	if v, ok := m[d.name]; ok {
		return v
	}
	return c.findBroker(d).value
}

// setBroker replaces what is set for all brokers, or for this one.
func (c *brokerConfigs) setBroker(every bool, m map[string]string) {
	c.mu.Lock()
	if every {
		c.every = m
	} else {
		c.own = m
	}
	c.mu.Unlock()
	c.settle()
}

// ofTopic returns what is set for a topic. The map must not be changed.
func (c *brokerConfigs) ofTopic(name string) map[string]string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.topics[name]
}

// setTopic replaces what is set for a topic.
func (c *brokerConfigs) setTopic(name string, m map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(m) == 0 {
		delete(c.topics, name)
		return
	}
	c.topics[name] = m
}

// settle computes the configs of the broker anew.
func (c *brokerConfigs) settle() {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m := make(map[string]string, len(brokerDefs))
	for i := range brokerDefs {
		d := &brokerDefs[i]
		if list := c.brokerSynonyms(d); len(list) > 0 {
			m[d.name] = strings.TrimSpace(d.inUnit(list[0]))
		}
	}
	c.now.Store(&configSet{m})
}

// staticConfigs returns what the options say.
func (o *Options) staticConfigs() map[string]string {
	m := maps.Clone(o.Config)
	if m == nil {
		m = make(map[string]string)
	}
	number := func(name string, v int64) {
		if v > 0 {
			m[name] = strconv.FormatInt(v, 10)
		}
	}
	number("num.partitions", int64(o.DefaultPartitions))
	number("offsets.topic.num.partitions", int64(o.OffsetsPartitions))
	number("transaction.state.log.num.partitions", int64(o.TransactionPartitions))
	if o.NoAutoCreate {
		m["auto.create.topics.enable"] = "false"
	}
	_, messages := m["log.flush.interval.messages"]
	_, ms := m["log.flush.interval.ms"]
	if !messages && !ms {
		if o.Sync == SyncAcks {
			m["log.flush.interval.messages"] = "1"
		}
		if o.Sync != SyncNever {
			number("log.flush.interval.ms", max(o.SyncEvery.Milliseconds(), 1))
		}
	}
	return m
}

// loadConfigs reads which configs are set.
func (b *Broker) loadConfigs() error {
	c := &b.configs
	c.static, c.topics = b.opt.staticConfigs(), make(map[string]map[string]string)
	if err := checkBrokerConfigs(c.static); err != nil {
		return err
	}
	id := strconv.Itoa(int(b.opt.NodeID))
	c.static["node.id"], c.static["broker.id"] = id, id
	if b.opt.Dir != "" {
		c.static["log.dirs"] = b.logPath()
	}
	err := b.eachMeta(metaConfig, func(key string, value []byte) error {
		m, err := decodeConfigs(value)
		if err != nil {
			return err
		}
		name, isTopic := strings.CutPrefix(key, topicConfigPrefix)
		switch {
		case isTopic:
			c.topics[name] = m
		case key == allBrokersKey:
			c.every = m
		case key == allBrokersKey+id:
			c.own = m
		}
		return nil
	})
	c.settle()
	return err
}

func topicConfigKey(name string) string { return topicConfigPrefix + name }

// encodeConfigs returns the value of configs in the metadata journal.
func encodeConfigs(m map[string]string) []byte {
	b := []byte{configVersion}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		b = codec.AppendUvarint32(b, uint32(len(name)))
		b = append(b, name...)
		b = codec.AppendUvarint32(b, uint32(len(m[name])))
		b = append(b, m[name]...)
	}
	return b
}

// decodeConfigs reads what encodeConfigs writes.
func decodeConfigs(value []byte) (map[string]string, error) {
	r := codec.NewReader(value)
	m := make(map[string]string)
	version := r.Uint8()
	for r.Len() > 0 && version == configVersion {
		name := string(r.Bytes(int(r.Uvarint32())))
		m[name] = string(r.Bytes(int(r.Uvarint32())))
	}
	if r.Err() != nil || version != configVersion {
		return nil, &corruptError{"the metadata journal", 0, "configs"}
	}
	return m, nil
}
