package kafkabroker

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// configResource is a type of what has configs, in Kafka's numbers.
type configResource int8

// The types of what has configs here.
const (
	configOfTopic  configResource = 2
	configOfBroker configResource = 4
)

// describeConfigs lists configs.
func (s *session) describeConfigs(r *kafkaserver.Request) {
	var req kafkawire.DescribeConfigsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	var resp kafkawire.DescribeConfigsResponse
	room := maxAnswers
	for _, want := range req.Resources {
		a := kafkawire.DescribeConfigsResponseResult{ResourceType: want.ResourceType, ResourceName: want.ResourceName, Configs: []kafkawire.DescribeConfigsResponseConfig{}}
		var list []foundConfig
		err := logError(kafkawire.ErrInvalidRequest, "the request asks for more than %d configs", maxAnswers)
		if room > 0 {
			list, err = s.describeResource(configResource(want.ResourceType), want.ResourceName)
		}
		room -= len(list)
		a.ErrorCode, a.ErrorMessage = errorCode(err), errorText(err)
		for i := range list {
			if len(want.ConfigurationKeys) == 0 || slices.Contains(want.ConfigurationKeys, list[i].name) {
				a.Configs = append(a.Configs, list[i].describe(req.IncludeSynonyms, req.IncludeDocumentation))
			}
		}
		resp.Results = append(resp.Results, a)
	}
	r.Reply(&resp)
}

// describeResource returns the configs of a resource.
func (s *session) describeResource(t configResource, name string) ([]foundConfig, error) {
	switch t {
	case configOfTopic:
		if !s.allowed(opDescribeConfigs, resourceTopic, name) {
			return nil, kafkawire.ErrTopicAuthorizationFailed
		}
		if s.b.topic(name) == nil {
			if err := checkTopicName(name); err != nil {
				return nil, err
			}
			return nil, logError(kafkawire.ErrUnknownTopicOrPartition, "there is no topic %q", name)
		}
		return s.b.configs.describeTopic(s.b.configs.ofTopic(name)), nil
	case configOfBroker:
		if !s.allowed(opDescribeConfigs, resourceCluster, clusterName) {
			return nil, kafkawire.ErrClusterAuthorizationFailed
		}
		if name == "" {
			return s.b.configs.describeAll(), nil
		}
		if _, err := s.brokerID(name); err != nil {
			return nil, err
		}
		return s.b.configs.describeBroker(), nil
	}
	return nil, logError(kafkawire.ErrInvalidRequest, "there are no configs of type %d", t)
}

// brokerID reads the id of the broker that a client asks. Others must be asked themselves.
func (s *session) brokerID(name string) (int32, error) {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return 0, logError(kafkawire.ErrInvalidRequest, "%q is not the id of a broker", name)
	}
	if int32(id) != s.node.at.ID {
		return 0, logError(kafkawire.ErrInvalidRequest, "this is broker %d, not %d", s.node.at.ID, id)
	}
	return int32(id), nil
}

// describe returns what clients are told about a config.
func (c *foundConfig) describe(synonyms, documentation bool) kafkawire.DescribeConfigsResponseConfig {
	a := kafkawire.DescribeConfigsResponseConfig{
		Name: c.name, Value: c.shown(), ReadOnly: c.readOnly, ConfigSource: int8(c.source), IsSensitive: c.sensitive,
		Synonyms: []kafkawire.DescribeConfigsResponseSynonym{}, ConfigType: int8(c.typ),
	}
	if synonyms {
		for _, s := range c.synonyms {
			value := &s.value
			if c.sensitive {
				value = nil
			}
			a.Synonyms = append(a.Synonyms, kafkawire.DescribeConfigsResponseSynonym{Name: s.name, Value: value, Source: int8(s.source)})
		}
	}
	if documentation {
		a.Documentation = &c.doc
	}
	return a
}

// configOperation says how a config changes, in Kafka's numbers.
type configOperation int8

// The operations.
const (
	configSetTo    configOperation = 0
	configDelete   configOperation = 1
	configAppend   configOperation = 2
	configSubtract configOperation = 3
)

// configChange is a change of a config.
type configChange struct {
	name  string
	op    configOperation
	value *string
}

// alterConfigs replaces all configs of resources.
func (s *session) alterConfigs(r *kafkaserver.Request) {
	var req kafkawire.AlterConfigsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	count := make(map[configName]int)
	for _, t := range req.Resources {
		count[configName{configResource(t.ResourceType), t.ResourceName}]++
	}
	var resp kafkawire.AlterConfigsResponse
	for _, t := range req.Resources {
		n := configName{configResource(t.ResourceType), t.ResourceName}
		var changes []configChange
		for _, c := range t.Configs {
			changes = append(changes, configChange{c.Name, configSetTo, c.Value})
		}
		err := s.alterResource(n, count[n], changes, true, req.ValidateOnly)
		resp.Responses = append(resp.Responses, kafkawire.AlterConfigsResponseResource{
			ErrorCode: errorCode(err), ErrorMessage: errorText(err), ResourceType: t.ResourceType, ResourceName: t.ResourceName,
		})
	}
	r.Reply(&resp)
}

// incrementalAlterConfigs changes single configs of resources.
func (s *session) incrementalAlterConfigs(r *kafkaserver.Request) {
	var req kafkawire.IncrementalAlterConfigsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	count := make(map[configName]int)
	for _, t := range req.Resources {
		count[configName{configResource(t.ResourceType), t.ResourceName}]++
	}
	var resp kafkawire.IncrementalAlterConfigsResponse
	for _, t := range req.Resources {
		n := configName{configResource(t.ResourceType), t.ResourceName}
		var changes []configChange
		for _, c := range t.Configs {
			changes = append(changes, configChange{c.Name, configOperation(c.ConfigOperation), c.Value})
		}
		err := s.alterResource(n, count[n], changes, false, req.ValidateOnly)
		resp.Responses = append(resp.Responses, kafkawire.IncrementalAlterConfigsResponseResource{
			ErrorCode: errorCode(err), ErrorMessage: errorText(err), ResourceType: t.ResourceType, ResourceName: t.ResourceName,
		})
	}
	r.Reply(&resp)
}

// configName names what has configs.
type configName struct {
	resource configResource
	name     string
}

// alterResource changes configs of a resource, which is in the request n times.
func (s *session) alterResource(to configName, n int, changes []configChange, replace, check bool) error {
	if n > 1 {
		return logError(kafkawire.ErrInvalidRequest, "the request has this resource more than once")
	}
	switch to.resource {
	case configOfTopic:
		if !s.allowed(opAlterConfigs, resourceTopic, to.name) {
			return kafkawire.ErrTopicAuthorizationFailed
		}
	case configOfBroker:
		if !s.allowed(opAlterConfigs, resourceCluster, clusterName) {
			return kafkawire.ErrClusterAuthorizationFailed
		}
		if to.name != "" {
			if _, err := s.brokerID(to.name); err != nil {
				return err
			}
		}
	default:
		return logError(kafkawire.ErrInvalidRequest, "there are no configs of type %d", to.resource)
	}
	return s.b.changeConfigs(to, changes, replace, check)
}

// changeConfigs changes the configs of a topic or broker, durably. With replace those that are not among the changes lose
// their values. With check it is only looked at whether that would work.
func (b *Broker) changeConfigs(to configName, changes []configChange, replace, check bool) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	defs := brokerDefs
	var old map[string]string
	key := allBrokersKey
	b.configs.mu.RLock()
	switch {
	case to.resource == configOfTopic:
		defs, old, key = topicDefs, b.configs.topics[to.name], topicConfigKey(to.name)
	case to.name == "":
		old = b.configs.every
	default:
		old, key = b.configs.own, allBrokersKey+strconv.Itoa(int(b.opt.NodeID))
	}
	b.configs.mu.RUnlock()
	t := b.topic(to.name)
	if to.resource == configOfTopic && t == nil {
		return logError(kafkawire.ErrUnknownTopicOrPartition, "there is no topic %q", to.name)
	}
	m, err := b.applyChanges(defs, old, changes, to, replace)
	if err != nil || check {
		return err
	}
	change := metaChange{metaConfig, key, encodeConfigs(m)}
	if len(m) == 0 {
		change.value = nil
	}
	if err := b.setMeta(change); err != nil {
		return err
	}
	if to.resource == configOfTopic {
		b.configs.setTopic(to.name, m)
		b.refreshLogs(t)
	} else {
		b.configs.setBroker(to.name == "", m)
		for _, t := range b.allTopics() {
			b.refreshLogs(t)
		}
	}
	if f := b.opt.Events.ConfigChanged; f != nil {
		name := ""
		if to.resource == configOfTopic {
			name = to.name
		}
		f(name)
	}
	return nil
}

// applyChanges returns configs as they are after changes.
func (b *Broker) applyChanges(defs []configDef, old map[string]string, changes []configChange, to configName, replace bool) (map[string]string, error) {
	m := maps.Clone(old)
	if m == nil || replace {
		m = make(map[string]string)
	}
	seen := make(map[string]bool)
	for _, c := range changes {
		d := findConfig(defs, c.name)
		switch {
		case seen[c.name]:
			return nil, logError(kafkawire.ErrInvalidRequest, "the config %s is changed twice", c.name)
		case d == nil:
			return nil, logError(kafkawire.ErrInvalidConfig, "there is no config %q", c.name)
		case to.resource == configOfBroker && !d.dynamic:
			return nil, logError(kafkawire.ErrInvalidRequest, "the config %s cannot be changed while the broker runs", c.name)
		case c.op != configDelete && c.value == nil:
			return nil, logError(kafkawire.ErrInvalidRequest, "the config %s gets no value", c.name)
		case (c.op == configAppend || c.op == configSubtract) && d.typ != typeList:
			return nil, logError(kafkawire.ErrInvalidConfig, "the config %s is not a list", c.name)
		}
		seen[c.name] = true
		switch c.op {
		case configSetTo:
			m[c.name] = *c.value
		case configDelete:
			delete(m, c.name)
		case configAppend, configSubtract:
			m[c.name] = changeList(listOf(b.configs.valueOf(d, to, m)), listOf(*c.value), c.op)
		default:
			return nil, logError(kafkawire.ErrInvalidRequest, "there is no operation %d", c.op)
		}
		if v, ok := m[c.name]; ok {
			if err := d.check(v); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// changeList adds elements to a list, or takes them out.
func changeList(list, with []string, op configOperation) string {
	for _, e := range with {
		i := slices.Index(list, e)
		switch {
		case op == configAppend && i < 0:
			list = append(list, e)
		case op == configSubtract && i >= 0:
			list = slices.Delete(list, i, i+1)
		}
	}
	return strings.Join(list, ",")
}

// listConfigResources lists what has configs: topics and brokers.
func (s *session) listConfigResources(r *kafkaserver.Request) {
	var req kafkawire.ListConfigResourcesRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	var resp kafkawire.ListConfigResourcesResponse
	if !s.allowed(opDescribeConfigs, resourceCluster, clusterName) {
		resp.ErrorCode = kafkawire.ErrClusterAuthorizationFailed
		r.Reply(&resp)
		return
	}
	const metrics = 16 // subscriptions of clients to metrics, of which version 0 asks; there are none
	all := len(req.ResourceTypes) == 0 && r.Version > 0
	add := func(t configResource, name string) {
		resp.ConfigResources = append(resp.ConfigResources, kafkawire.ListConfigResourcesResponseConfigResource{ResourceName: name, ResourceType: int8(t)})
	}
	if all || slices.Contains(req.ResourceTypes, int8(configOfTopic)) {
		for _, t := range s.b.allTopics() {
			add(configOfTopic, t.name)
		}
	}
	if all || slices.Contains(req.ResourceTypes, int8(configOfBroker)) {
		for _, n := range s.b.nodes {
			add(configOfBroker, strconv.Itoa(int(n.at.ID)))
		}
	}
	for _, t := range req.ResourceTypes {
		if t != int8(configOfTopic) && t != int8(configOfBroker) && t != metrics {
			resp.ErrorCode, resp.ConfigResources = kafkawire.ErrUnsupportedVersion, nil
		}
	}
	r.Reply(&resp)
}
