package kafkaclient

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// ConfigResource is what has configs.
type ConfigResource struct {
	Type ConfigResourceType
	Name string // for a broker its number; empty for what holds for all brokers
}

// ConfigResourceType is a type of what has configs.
type ConfigResourceType int8

// The types of what has configs.
const (
	ConfigTopic         ConfigResourceType = 2
	ConfigBroker        ConfigResourceType = 4
	ConfigBrokerLogger  ConfigResourceType = 8
	ConfigClientMetrics ConfigResourceType = 16
	ConfigGroup         ConfigResourceType = 32
)

// String returns the type and the name.
func (r ConfigResource) String() string {
	kind := "type " + strconv.Itoa(int(r.Type))
	switch r.Type {
	case ConfigTopic:
		kind = "topic"
	case ConfigBroker:
		kind = "broker"
	case ConfigBrokerLogger:
		kind = "broker logger"
	case ConfigClientMetrics:
		kind = "client metrics"
	case ConfigGroup:
		kind = "group"
	}
	return kind + " " + r.Name
}

// broker is the broker that knows about the resource, -1 when any does.
func (r ConfigResource) broker() kafkawire.BrokerID {
	if r.Type == ConfigBroker || r.Type == ConfigBrokerLogger {
		if id, err := strconv.Atoi(r.Name); err == nil {
			return kafkawire.BrokerID(id)
		}
	}
	return -1
}

// Config is a config of a resource.
type Config struct {
	Name      string
	Value     *string // nil when there is none, or when it is a secret
	Source    ConfigSource
	ReadOnly  bool
	Sensitive bool
	Doc       string
}

// ConfigSource says where the value of a config comes from.
type ConfigSource int8

// The sources of values.
const (
	SourceTopic          ConfigSource = 1 // of the topic
	SourceBroker         ConfigSource = 2 // dynamic, of the broker
	SourceBrokers        ConfigSource = 3 // dynamic, of all brokers
	SourceFile           ConfigSource = 4 // the broker's file
	SourceDefault        ConfigSource = 5
	SourceBrokerLogger   ConfigSource = 6
	SourceClientMetrics  ConfigSource = 7
	SourceGroup          ConfigSource = 8
	SourceUnknownOrOther ConfigSource = 0
)

// Configs describes the configs of resources, with their documentation where brokers have it.
func (a *Admin) Configs(ctx context.Context, resources ...ConfigResource) (map[ConfigResource][]Config, error) {
	var errs ItemErrors
	out := make(map[ConfigResource][]Config)
	for id, list := range byConfigBroker(resources, func(r ConfigResource) ConfigResource { return r }) {
		req := &kafkawire.DescribeConfigsRequest{IncludeSynonyms: true, IncludeDocumentation: true}
		for _, r := range list {
			req.Resources = append(req.Resources, kafkawire.DescribeConfigsRequestResource{ResourceType: int8(r.Type), ResourceName: r.Name})
		}
		resp, err := a.askConfigs(ctx, id, &describeConfigs{req})
		if err != nil {
			for _, r := range list {
				errs.add(r.String(), err)
			}
			continue
		}
		for _, x := range resp.(*kafkawire.DescribeConfigsResponse).Results {
			r := ConfigResource{ConfigResourceType(x.ResourceType), x.ResourceName}
			if x.ErrorCode != 0 {
				errs.add(r.String(), remote(x.ErrorCode, x.ErrorMessage))
				continue
			}
			configs := make([]Config, 0, len(x.Configs))
			for _, c := range x.Configs {
				n := Config{Name: c.Name, Value: c.Value, Source: ConfigSource(max(c.ConfigSource, 0)), ReadOnly: c.ReadOnly, Sensitive: c.IsSensitive}
				if c.Documentation != nil {
					n.Doc = *c.Documentation
				}
				configs = append(configs, n)
			}
			slices.SortFunc(configs, func(a, b Config) int { return compareNames(a.Name, b.Name) })
			out[r] = configs
		}
	}
	return out, errs.err()
}

// describeConfigs is a DescribeConfigsRequest in every version.
type describeConfigs struct {
	*kafkawire.DescribeConfigsRequest
}

func (r *describeConfigs) Append(dst []byte, version int16) ([]byte, error) {
	req := *r.DescribeConfigsRequest
	req.IncludeDocumentation = version >= 3
	return req.Append(dst, version)
}

// askConfigs sends a request to a broker, or to any.
func (a *Admin) askConfigs(ctx context.Context, id kafkawire.BrokerID, req kafkawire.Request) (resp kafkawire.Response, err error) {
	if id < 0 {
		return a.c.Request(ctx, req)
	}
	err = a.c.retry(ctx, func(ctx context.Context) error {
		if a.c.broker(id) == nil {
			if err := a.c.meta.await(ctx); err != nil {
				return err
			}
			if a.c.broker(id) == nil {
				return remoteNot(kafkawire.ErrBrokerNotAvailable, "no such broker")
			}
		}
		var err error
		resp, err = a.c.RequestBroker(ctx, id, req)
		return err
	})
	return resp, err
}

// byConfigBroker groups things by the broker that knows about their resource.
func byConfigBroker[T any](list []T, resource func(T) ConfigResource) map[kafkawire.BrokerID][]T {
	out := make(map[kafkawire.BrokerID][]T)
	for _, x := range list {
		id := resource(x).broker()
		out[id] = append(out[id], x)
	}
	return out
}

// ConfigChange is a change of a resource's configs. Those that are not named stay as they are.
type ConfigChange struct {
	Resource ConfigResource
	Set      map[string]string
	Delete   []string            // back to the default
	Append   map[string][]string // to configs that are lists
	Subtract map[string][]string
}

// AlterConfigs changes configs of resources. Each resource is changed completely or not at all.
func (a *Admin) AlterConfigs(ctx context.Context, changes ...ConfigChange) error {
	return a.alterConfigs(ctx, changes, false)
}

// ValidateConfigs reports whether configs could be changed, and changes none.
func (a *Admin) ValidateConfigs(ctx context.Context, changes ...ConfigChange) error {
	return a.alterConfigs(ctx, changes, true)
}

func (a *Admin) alterConfigs(ctx context.Context, changes []ConfigChange, validate bool) error {
	var errs ItemErrors
	for id, list := range byConfigBroker(changes, func(c ConfigChange) ConfigResource { return c.Resource }) {
		req := &kafkawire.IncrementalAlterConfigsRequest{ValidateOnly: validate}
		for _, c := range list {
			x := kafkawire.IncrementalAlterConfigsRequestResource{ResourceType: int8(c.Resource.Type), ResourceName: c.Resource.Name}
			add := func(name string, op int8, value *string) {
				x.Configs = append(x.Configs, kafkawire.IncrementalAlterConfigsRequestConfig{Name: name, ConfigOperation: op, Value: value})
			}
			for _, k := range slices.Sorted(maps.Keys(c.Set)) {
				add(k, 0, new(c.Set[k]))
			}
			for _, k := range c.Delete {
				add(k, 1, nil)
			}
			for _, k := range slices.Sorted(maps.Keys(c.Append)) {
				add(k, 2, new(joinList(c.Append[k])))
			}
			for _, k := range slices.Sorted(maps.Keys(c.Subtract)) {
				add(k, 3, new(joinList(c.Subtract[k])))
			}
			req.Resources = append(req.Resources, x)
		}
		resp, err := a.askConfigs(ctx, id, req)
		if err != nil {
			for _, c := range list {
				errs.add(c.Resource.String(), err)
			}
			continue
		}
		for _, x := range resp.(*kafkawire.IncrementalAlterConfigsResponse).Responses {
			errs.add(ConfigResource{ConfigResourceType(x.ResourceType), x.ResourceName}.String(), remote(x.ErrorCode, x.ErrorMessage))
		}
	}
	return errs.err()
}

func joinList(list []string) string {
	s := ""
	for i, x := range list {
		if i > 0 {
			s += ","
		}
		s += x
	}
	return s
}
