package kafkabroker

import (
	"slices"
	"sort"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestConfigCatalogIsInOrder(t *testing.T) {
	for _, defs := range [][]configDef{topicDefs, brokerDefs} {
		if !sort.SliceIsSorted(defs, func(i, j int) bool { return defs[i].name < defs[j].name }) {
			t.Error("the catalogue is not in order")
		}
		for i := range defs {
			d := &defs[i]
			if d.doc == "" {
				t.Error(d.name, "has no text")
			}
			if d.def != "" {
				if err := d.check(d.def); err != nil {
					t.Error(err)
				}
			}
			if d.from != "" && findConfig(brokerDefs, d.from) == nil {
				t.Error(d.name, "has the default of", d.from)
			}
			for _, a := range d.alias {
				if findConfig(defs, a.name) == nil {
					t.Error(d.name, "is also", a.name)
				}
			}
		}
	}
}

func TestDefaultLogConfig(t *testing.T) {
	var c brokerConfigs
	c.static = map[string]string{}
	m := make(map[string]string)
	for _, f := range c.describeTopic(nil) {
		m[f.name] = f.value
	}
	got, want := parseLogConfig(m), defaultLogConfig()
	got.minInSync = 0
	if *got != *want {
		t.Errorf("%+v\n%+v", got, want)
	}
}

// describe asks for configs of a resource and returns them by their names.
func (p *peer) describe(of configResource, name string, keys ...string) (kafkawire.ErrorCode, map[string]kafkawire.DescribeConfigsResponseConfig) {
	p.t.Helper()
	req := &kafkawire.DescribeConfigsRequest{IncludeSynonyms: true, IncludeDocumentation: true, Resources: []kafkawire.DescribeConfigsRequestResource{{
		ResourceType: int8(of), ResourceName: name, ConfigurationKeys: keys,
	}}}
	res := ask[*kafkawire.DescribeConfigsResponse](p, req, 4).Results[0]
	m := make(map[string]kafkawire.DescribeConfigsResponseConfig)
	for _, c := range res.Configs {
		m[c.Name] = c
	}
	return res.ErrorCode, m
}

func TestDescribeConfigs(t *testing.T) {
	b := openBroker(t, &Options{Config: map[string]string{"log.retention.hours": "2", "log.segment.bytes": "1000000"}})
	p := connect(t, b)
	p.mustCreate("t", 1, "cleanup.policy", "compact")
	code, m := p.describe(configOfTopic, "t")
	if code != noError || len(m) != len(topicDefs) {
		t.Fatal(code, len(m))
	}
	for name, want := range map[string]struct {
		value  string
		source configSource
	}{
		"cleanup.policy":      {"compact", fromTopic},
		"retention.ms":        {"7200000", fromStatic},
		"segment.bytes":       {"1000000", fromStatic},
		"segment.ms":          {"604800000", fromDefault},
		"max.message.bytes":   {"1048588", fromDefault},
		"min.insync.replicas": {"1", fromDefault},
		"compression.type":    {"producer", fromDefault},
	} {
		c := m[name]
		if *c.Value != want.value || configSource(c.ConfigSource) != want.source || c.IsSensitive || c.ReadOnly || *c.Documentation == "" || c.ConfigType == 0 {
			t.Errorf("%s: %q %+v", name, *c.Value, c)
		}
	}
	s := m["cleanup.policy"].Synonyms
	if len(s) != 2 || s[0].Name != "cleanup.policy" || s[1].Name != "log.cleanup.policy" || s[1].Source != int8(fromDefault) {
		t.Errorf("%+v", s)
	}
	if _, m = p.describe(configOfTopic, "t", "retention.ms", "no.such.config"); len(m) != 1 {
		t.Error("of one key:", m)
	}
	// No keys are all, as in Apache Kafka.
	all := &kafkawire.DescribeConfigsRequest{Resources: []kafkawire.DescribeConfigsRequestResource{{
		ResourceType: int8(configOfTopic), ResourceName: "t", ConfigurationKeys: []string{},
	}}}
	if n := len(ask[*kafkawire.DescribeConfigsResponse](p, all, 4).Results[0].Configs); n != len(topicDefs) {
		t.Errorf("%d configs", n)
	}
	if code, _ = p.describe(configOfTopic, "none"); code != kafkawire.ErrUnknownTopicOrPartition {
		t.Error(code)
	}
	if code, _ = p.describe(configOfTopic, "a b"); code != kafkawire.ErrInvalidTopic {
		t.Error(code)
	}
	if code, _ = p.describe(configResource(99), "x"); code != kafkawire.ErrInvalidRequest {
		t.Error(code)
	}
	// A key that no broker has is not an error: Schema Registry asks for some.
	code, m = p.describe(configOfBroker, "1", "message.max.bytes", "confluent.license")
	if code != noError || len(m) != 1 {
		t.Error(code, m)
	}
	code, m = p.describe(configOfBroker, "1")
	if code != noError || len(m) != len(brokerDefs) || !m["node.id"].ReadOnly || m["log.retention.ms"].Value != nil || *m["node.id"].Value != "1" {
		t.Error(code, len(m), m["node.id"], m["log.retention.ms"])
	}
	for _, name := range []string{"2", "x", "-1"} {
		if code, _ = p.describe(configOfBroker, name); code != kafkawire.ErrInvalidRequest {
			t.Error(name, code)
		}
	}
	if code, m = p.describe(configOfBroker, ""); code != noError || len(m) != 0 {
		t.Error(code, m)
	}
}

func TestChangeConfigs(t *testing.T) {
	fs := vfs.NewMem()
	b, err := Open(&Options{Dir: "d", fs: fs, Authenticate: AllowAll})
	if err != nil {
		t.Fatal(err)
	}
	p := connect(t, b)
	p.mustCreate("t", 2, "retention.ms", "1000")
	change := func(of configResource, name string, check bool, changes ...kafkawire.IncrementalAlterConfigsRequestConfig) kafkawire.ErrorCode {
		t.Helper()
		req := &kafkawire.IncrementalAlterConfigsRequest{ValidateOnly: check, Resources: []kafkawire.IncrementalAlterConfigsRequestResource{{
			ResourceType: int8(of), ResourceName: name, Configs: changes,
		}}}
		return ask[*kafkawire.IncrementalAlterConfigsResponse](p, req, 1).Responses[0].ErrorCode
	}
	type c = kafkawire.IncrementalAlterConfigsRequestConfig
	value := func(of configResource, topic, name string) string {
		_, m := p.describe(of, topic, name)
		return *m[name].Value
	}
	for _, step := range []struct {
		what    string
		changes []c
		want    kafkawire.ErrorCode
	}{
		{"unknown", []c{{Name: "x", Value: new("1")}}, kafkawire.ErrInvalidConfig},
		{"bad value", []c{{Name: "retention.ms", Value: new("x")}}, kafkawire.ErrInvalidConfig},
		{"no value", []c{{Name: "retention.ms"}}, kafkawire.ErrInvalidRequest},
		{"not a list", []c{{Name: "retention.ms", ConfigOperation: 2, Value: new("1")}}, kafkawire.ErrInvalidConfig},
		{"bad element", []c{{Name: "cleanup.policy", ConfigOperation: 2, Value: new("x")}}, kafkawire.ErrInvalidConfig},
		{"operation", []c{{Name: "retention.ms", ConfigOperation: 4, Value: new("1")}}, kafkawire.ErrInvalidRequest},
		{"twice", []c{{Name: "retention.ms", Value: new("1")}, {Name: "retention.ms", ConfigOperation: 1}}, kafkawire.ErrInvalidRequest},
		{"good", []c{{Name: "retention.ms", Value: new("2000")}, {Name: "cleanup.policy", ConfigOperation: 2, Value: new("compact")}}, noError},
	} {
		for _, check := range []bool{true, false} {
			if code := change(configOfTopic, "t", check, step.changes...); code != step.want {
				t.Error(step.what, check, code)
			}
			if v := value(configOfTopic, "t", "retention.ms"); v != "1000" && (check || step.want != noError) {
				t.Error(step.what, "has changed it to", v)
			}
		}
	}
	if v := value(configOfTopic, "t", "cleanup.policy"); v != "delete,compact" {
		t.Error(v)
	}
	l := b.partition("t", 1).log.config()
	if l.retentionMs != 2000 || !l.compact || !l.delete {
		t.Errorf("%+v", l)
	}
	if code := change(configOfTopic, "t", false, c{Name: "cleanup.policy", ConfigOperation: 3, Value: new("delete")}, c{Name: "retention.ms", ConfigOperation: 1}); code != noError {
		t.Error(code)
	}
	if v := value(configOfTopic, "t", "retention.ms"); v != "604800000" || b.partition("t", 0).log.config().delete {
		t.Error(v)
	}
	if code := change(configOfTopic, "none", false, c{Name: "retention.ms", Value: new("1")}); code != kafkawire.ErrUnknownTopicOrPartition {
		t.Error(code)
	}
	// Of the broker: what all topics have that say nothing else.
	if code := change(configOfBroker, "1", false, c{Name: "num.partitions", Value: new("7")}); code != kafkawire.ErrInvalidRequest {
		t.Error("a config that is read only:", code)
	}
	if code := change(configOfBroker, "", false, c{Name: "log.retention.ms", Value: new("5000")}); code != noError {
		t.Error(code)
	}
	if code := change(configOfBroker, "1", false, c{Name: "message.max.bytes", Value: new("1234")}); code != noError {
		t.Error(code)
	}
	if b.partition("t", 0).log.config().retentionMs != 5000 {
		t.Error("the default of the broker does not reach the log")
	}
	// Old AlterConfigs replaces everything.
	old := &kafkawire.AlterConfigsRequest{Resources: []kafkawire.AlterConfigsRequestResource{{ResourceType: 2, ResourceName: "t", Configs: []kafkawire.AlterConfigsRequestConfig{{Name: "segment.bytes", Value: new("5000")}}}}}
	if a := ask[*kafkawire.AlterConfigsResponse](p, old, 2).Responses[0]; a.ErrorCode != noError {
		t.Errorf("%+v", a)
	}
	if l := b.partition("t", 0).log.config(); l.compact || l.segmentBytes != 5000 || l.maxMessage != 1234 {
		t.Errorf("%+v", l)
	}
	list := ask[*kafkawire.ListConfigResourcesResponse](p, &kafkawire.ListConfigResourcesRequest{}, 1).ConfigResources
	if !slices.ContainsFunc(list, func(r kafkawire.ListConfigResourcesResponseConfigResource) bool {
		return r.ResourceName == "t" && r.ResourceType == 2
	}) || len(list) != 2 {
		t.Errorf("%+v", list)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = openBroker(t, &Options{Dir: "d", fs: fs})
	if l := b.partition("t", 0).log.config(); l.compact || l.segmentBytes != 5000 || l.maxMessage != 1234 || l.retentionMs != 5000 {
		t.Errorf("after opening again: %+v", l)
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []*Options{
		{Config: map[string]string{"no.such.config": "1"}},
		{Config: map[string]string{"message.max.bytes": "x"}},
		{Nodes: []Node{{ID: 1}, {ID: 1}}},
		{Nodes: []Node{{ID: -1}}},
	} {
		if b, err := Open(o); err == nil {
			t.Errorf("%+v", o)
			_ = b.Close()
		}
	}
}

// TestConfigsWithSpaces: spaces around a value are nothing, as in Apache Kafka. A time for which records are kept was taken for 0
// because of one.
func TestConfigsWithSpaces(t *testing.T) {
	b := openBroker(t, &Options{Config: map[string]string{
		"log.retention.minutes": " 7 ", "num.partitions": " 3", "auto.create.topics.enable": " true", "log.segment.bytes": "5000 ",
	}})
	p := connect(t, b)
	p.mustCreate("t", -1, "retention.bytes", " 123456 ", "min.cleanable.dirty.ratio", " 0.25", "compression.type", " gzip ",
		"compression.gzip.level", " 7", "cleanup.policy", " compact , delete ", "message.timestamp.type", "LogAppendTime ")
	l := b.partition("t", 2).log.config()
	if l.retentionMs != 7*60_000 || l.retentionBytes != 123456 || l.segmentBytes != 5000 || l.minDirtyRatio != 0.25 || l.level != 7 ||
		!l.recompress || !l.compact || !l.delete || !l.appendTime {
		t.Errorf("%+v", l)
	}
	req := &kafkawire.IncrementalAlterConfigsRequest{Resources: []kafkawire.IncrementalAlterConfigsRequestResource{{
		ResourceType: 2, ResourceName: "t", Configs: []kafkawire.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: new(" 604800000")}},
	}}}
	if a := ask[*kafkawire.IncrementalAlterConfigsResponse](p, req, 1).Responses[0]; a.ErrorCode != noError {
		t.Error(a.ErrorCode)
	}
	if n := b.partition("t", 2).log.config().retentionMs; n != 604800000 {
		t.Error(n)
	}
	if a := ask[*kafkawire.MetadataResponse](p, &kafkawire.MetadataRequest{
		Topics: []kafkawire.MetadataRequestTopic{{Name: new(kafkawire.TopicName("auto"))}}, AllowAutoTopicCreation: true}, 12).Topics[0]; a.ErrorCode != noError || len(a.Partitions) != 3 {
		t.Error(a.ErrorCode, len(a.Partitions))
	}
}
