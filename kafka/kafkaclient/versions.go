package kafkaclient

import "github.com/quartet-mq/quartet/kafka/kafkawire"

// versions are what a broker supports.
type versions struct {
	min, max [kafkawire.Keys]int16 // max is -1 for what it does not
	features []feature             // finalised ones
}

// feature is a feature of the cluster with its level.
type feature struct {
	name  string
	level int16
}

func newVersions(m *kafkawire.APIVersionsResponse) (v versions) {
	for i := range v.max {
		v.max[i] = -1
	}
	for _, k := range m.APIKeys {
		if k.APIKey >= 0 && int(k.APIKey) < kafkawire.Keys && k.MinVersion <= k.MaxVersion {
			v.min[k.APIKey], v.max[k.APIKey] = k.MinVersion, k.MaxVersion
		}
	}
	for _, f := range m.FinalizedFeatures {
		v.features = append(v.features, feature{f.Name, f.MaxVersionLevel})
	}
	return v
}

// pick returns the highest version of a request that both sides have, no higher than limit unless that is negative.
func (v *versions) pick(key kafkawire.APIKey, limit int16) (version int16, ok bool) {
	if key < 0 || int(key) >= kafkawire.Keys {
		return 0, false
	}
	version = min(key.MaxVersion(), v.max[key])
	if limit >= 0 {
		version = min(version, limit)
	}
	return version, version >= 0 && version >= key.MinVersion() && version >= v.min[key]
}

// level is that of a finalised feature, zero when it is not.
func (v *versions) level(name string) int16 {
	for _, f := range v.features {
		if f.name == name {
			return f.level
		}
	}
	return 0
}
