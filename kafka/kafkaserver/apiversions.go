package kafkaserver

import (
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// apiVersions answers APIVersions. Whoever asks in a version that is not known is told the known ones, in version 0.
func (c *Conn) apiVersions(r *Request) {
	apis := c.srv.backend.APIs()
	m := kafkawire.APIVersionsResponse{APIKeys: apis.list()}
	m.FinalizedFeaturesEpoch = -1
	if !r.Key.Supports(r.Version) {
		m.ErrorCode = kafkawire.ErrUnsupportedVersion
		c.replyVersions(r, &m, 0)
		return
	}
	var q kafkawire.APIVersionsRequest
	if err := r.Decode(&q); err != nil {
		r.Fail(err)
		return
	}
	m.ErrorCode = apis.checkVersions(&q, r.Version)
	if m.ErrorCode != 0 {
		m.APIKeys = nil
		c.replyVersions(r, &m, r.Version)
		return
	}
	if r.Version >= 3 {
		c.mu.Lock()
		c.software = [2]string{q.ClientSoftwareName, q.ClientSoftwareVersion}
		c.mu.Unlock()
		apis.features(&m, r.Version)
	}
	if !c.srv.requireSASL {
		c.mu.Lock()
		c.lenient = c.lenient || !c.sasl
		c.mu.Unlock()
	}
	c.replyVersions(r, &m, r.Version)
	if !c.srv.requireSASL {
		c.mu.Lock()
		if !c.sasl {
			c.admitStreams()
		}
		c.mu.Unlock()
	}
}

// replyVersions answers in a version that need not be that of the request.
func (c *Conn) replyVersions(r *Request, m *kafkawire.APIVersionsResponse, version int16) {
	out, err := m.Append(r.start(r.Key, version), version)
	if err != nil {
		r.Fail(err)
		return
	}
	r.finish(out, nil)
}

// list returns the versions of the backend and of the server.
func (a *APIs) list() []kafkawire.APIVersionsResponseAPIKey {
	list := make([]kafkawire.APIVersionsResponseAPIKey, 0, len(a.Versions)+3)
	own := [...]kafkawire.APIKey{kafkawire.KeySASLHandshake, kafkawire.KeyAPIVersions, kafkawire.KeySASLAuthenticate}
	for _, v := range a.Versions {
		if v.Key != own[0] && v.Key != own[1] && v.Key != own[2] {
			list = append(list, kafkawire.APIVersionsResponseAPIKey{APIKey: int16(v.Key), MinVersion: v.Min, MaxVersion: v.Max})
		}
	}
	for _, k := range own {
		list = append(list, kafkawire.APIVersionsResponseAPIKey{APIKey: int16(k), MinVersion: k.MinVersion(), MaxVersion: k.MaxVersion()})
	}
	return list
}

// features adds the features to a response. Before version 4 a feature whose lowest version is 0 cannot be told.
func (a *APIs) features(m *kafkawire.APIVersionsResponse, version int16) {
	for _, f := range a.Features {
		if version < 4 && f.Min == 0 {
			continue
		}
		m.SupportedFeatures = append(m.SupportedFeatures,
			kafkawire.APIVersionsResponseSupportedFeature{Name: f.Name, MinVersion: f.Min, MaxVersion: f.Max})
	}
	for _, f := range a.Features {
		if f.Level > 0 {
			m.FinalizedFeatures = append(m.FinalizedFeatures,
				kafkawire.APIVersionsResponseFinalizedFeature{Name: f.Name, MinVersionLevel: f.Level, MaxVersionLevel: f.Level})
		}
	}
	m.FinalizedFeaturesEpoch = a.Epoch
}

// checkVersions checks what a client says about itself and whom it expects.
func (a *APIs) checkVersions(q *kafkawire.APIVersionsRequest, version int16) kafkawire.ErrorCode {
	if version >= 3 && (!isSoftware(q.ClientSoftwareName) || !isSoftware(q.ClientSoftwareVersion)) {
		return kafkawire.ErrInvalidRequest
	}
	if q.ClusterID == nil {
		return 0 // then the node does not count either
	}
	if a.ClusterID != "" && *q.ClusterID != a.ClusterID || a.NodeID >= 0 && q.NodeID != a.NodeID {
		return kafkawire.ErrRebootstrapRequired
	}
	return 0
}

// isSoftware reports whether s is letters, digits, dots and hyphens, with a letter or digit at both ends.
func isSoftware(s string) bool {
	alnum := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' }
	for i := range len(s) {
		if !alnum(s[i]) && s[i] != '.' && s[i] != '-' {
			return false
		}
	}
	return s != "" && alnum(s[0]) && alnum(s[len(s)-1])
}
