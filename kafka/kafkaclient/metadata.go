package kafkaclient

import (
	"context"
	"errors"
	"maps"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// cluster is what is known about the cluster. It is never changed: each answer makes a new one.
type cluster struct {
	id         string
	controller kafkawire.BrokerID // -1: unknown
	brokers    map[kafkawire.BrokerID]brokerInfo
	topics     map[kafkawire.TopicName]*topicInfo
	all        bool // topics are all that there are
}

type brokerInfo struct {
	addr string
	rack string
}

// topicInfo is a topic. With an error partitions are what was known before, if anything.
type topicInfo struct {
	name       kafkawire.TopicName
	id         kafkawire.UUID // zero: unknown
	internal   bool
	err        kafkawire.ErrorCode
	partitions []partitionInfo // by index
}

// partitionInfo is a partition.
type partitionInfo struct {
	leader   kafkawire.BrokerID // -1: none
	epoch    int32              // -1: unknown
	stale    int8               // how often a lower epoch was reported in a row
	err      kafkawire.ErrorCode
	replicas []kafkawire.BrokerID
	isr      []kafkawire.BrokerID
	offline  []kafkawire.BrokerID
}

// metadata keeps what is known about the cluster up to date. One goroutine asks for it.
type metadata struct {
	c       *Client
	current atomic.Pointer[cluster]
	wake    chan struct{}

	mu       sync.Mutex
	wanted   map[kafkawire.TopicName]int // how many want the topic
	all      int                         // how many want all topics
	asked    bool                        // somebody asked for a refresh
	urgent   bool                        // without a pause
	awaited  bool                        // somebody waits for it
	round    uint64                      // counts refreshes that began
	over     chan struct{}               // closed when the next one has ended
	last     error                       // of the latest refresh
	watchers map[*func()]struct{}
}

func (m *metadata) init(c *Client) {
	m.c = c
	m.wake = make(chan struct{}, 1)
	m.wanted = make(map[kafkawire.TopicName]int)
	m.watchers = make(map[*func()]struct{})
	m.over = make(chan struct{})
	m.current.Store(&cluster{controller: -1})
}

// want keeps a topic up to date until forget.
func (m *metadata) want(topic kafkawire.TopicName) {
	m.mu.Lock()
	m.wanted[topic]++
	first := m.wanted[topic] == 1 && (m.all == 0 || m.current.Load().topics[topic] == nil)
	m.mu.Unlock()
	if first {
		m.ask(true)
	}
}

func (m *metadata) forget(topic kafkawire.TopicName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wanted[topic]--; m.wanted[topic] <= 0 {
		delete(m.wanted, topic)
	}
}

// wantAll keeps all topics up to date until forgetAll.
func (m *metadata) wantAll() {
	m.mu.Lock()
	m.all++
	first := m.all == 1
	m.mu.Unlock()
	if first {
		m.ask(true)
	}
}

func (m *metadata) forgetAll() {
	m.mu.Lock()
	m.all--
	m.mu.Unlock()
}

// watch calls f after each refresh, on a goroutine that must not wait.
func (m *metadata) watch(f func()) (cancel func()) {
	m.mu.Lock()
	m.watchers[&f] = struct{}{}
	m.mu.Unlock()
	return func() {
		m.mu.Lock()
		delete(m.watchers, &f)
		m.mu.Unlock()
	}
}

// refresh asks for a refresh soon, and does not wait.
func (m *metadata) refresh() { m.ask(false) }

func (m *metadata) ask(urgent bool) {
	m.mu.Lock()
	m.asked, m.urgent = true, m.urgent || urgent
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// await asks for a refresh and waits until one that began after the call has ended. It returns what came of it.
func (m *metadata) await(ctx context.Context) error {
	m.mu.Lock()
	over, round := m.over, m.round
	m.awaited = true
	m.mu.Unlock()
	m.ask(false)
	for {
		select {
		case <-over:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.c.alive.Done():
			return ErrClosed
		}
		m.mu.Lock()
		done, err := m.round > round, m.last
		over = m.over
		m.mu.Unlock()
		if done {
			return err
		}
	}
}

// controller returns the controller, after asking for it if need be.
func (m *metadata) controller(ctx context.Context) (kafkawire.BrokerID, error) {
	if m.current.Load().brokers == nil {
		if err := m.await(ctx); err != nil {
			return -1, err
		}
	}
	return m.current.Load().controller, nil
}

// run refreshes until the client is closed.
func (m *metadata) run() {
	timer := time.NewTimer(m.c.o.MetadataMaxAge)
	defer timer.Stop()
	var last time.Time
	failures, row := 0, 0
	for {
		select {
		case <-m.wake:
		case <-timer.C:
			m.ask(false)
		case <-m.c.alive.Done():
			return
		}
		m.mu.Lock()
		asked, urgent, awaited := m.asked, m.urgent, m.awaited
		m.mu.Unlock()
		if !asked {
			continue
		}
		// What fails again and again is asked for less and less often, and so is what does not change, such as a
		// partition without a leader.
		if since := time.Since(last); awaited || since > 2*m.c.o.Backoff.Max {
			row = 0
		}
		row++
		if wait := m.c.backoff(max(failures, row)) - time.Since(last); wait > 0 && !last.IsZero() && (!urgent || failures > 0) {
			t := time.NewTimer(wait)
			for waiting := true; waiting; {
				select {
				case <-t.C:
					waiting = false
				case <-m.wake:
					m.mu.Lock()
					waiting = (!m.urgent || failures > 0) && (!m.awaited || awaited)
					m.mu.Unlock()
				case <-m.c.alive.Done():
					t.Stop()
					return
				}
			}
			t.Stop()
		}
		last = time.Now()
		if err := m.fetch(); err != nil {
			failures++
			m.ask(false)
		} else {
			failures = 0
		}
		timer.Reset(m.c.o.MetadataMaxAge)
	}
}

// fetch asks once.
func (m *metadata) fetch() error {
	m.mu.Lock()
	m.asked, m.urgent, m.awaited = false, false, false
	m.round++
	req := new(kafkawire.MetadataRequest)
	req.Reset()
	req.AllowAutoTopicCreation = m.c.o.AutoCreateTopics
	all := m.all > 0
	if !all {
		req.Topics = make([]kafkawire.MetadataRequestTopic, 0, len(m.wanted))
		for name := range m.wanted {
			req.Topics = append(req.Topics, kafkawire.MetadataRequestTopic{Name: &name})
		}
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(m.c.alive, m.c.o.ConnectTimeout+m.c.o.RequestTimeout, ErrTimeout)
	defer cancel()
	resp, err := m.c.requestAny(ctx, req, nil)
	var watchers []*func()
	m.c.refreshes.Add(1)
	if r, ok := resp.(*kafkawire.MetadataResponse); ok && err == nil {
		if all && r.ErrorCode == 0 {
			err = m.fetchMissing(ctx, req, r)
		}
		if err == nil {
			err = m.set(r, all)
		}
	}
	if err != nil && m.c.isClosed() {
		err = ErrClosed
	}
	m.mu.Lock()
	m.last = err
	close(m.over)
	m.over = make(chan struct{})
	for f := range m.watchers {
		watchers = append(watchers, f)
	}
	m.mu.Unlock()
	if f := m.c.o.Trace.Metadata; f != nil {
		f(err)
	}
	if err == nil {
		for _, f := range watchers {
			(*f)()
		}
	} else if !errors.Is(err, ErrClosed) {
		m.c.o.Logger.Debug("no metadata", "err", err)
	}
	return err
}

// fetchMissing asks for those topics that are wanted and not among all that there are, by name: then brokers say why, and
// make them if they may.
func (m *metadata) fetchMissing(ctx context.Context, req *kafkawire.MetadataRequest, r *kafkawire.MetadataResponse) error {
	there := make(map[kafkawire.TopicName]bool, len(r.Topics))
	for i := range r.Topics {
		if r.Topics[i].Name != nil {
			there[*r.Topics[i].Name] = true
		}
	}
	m.mu.Lock()
	req.Topics = nil
	for name := range m.wanted {
		if !there[name] {
			req.Topics = append(req.Topics, kafkawire.MetadataRequestTopic{Name: &name})
		}
	}
	m.mu.Unlock()
	if len(req.Topics) == 0 {
		return nil
	}
	resp, err := m.c.requestAny(ctx, req, nil)
	if err != nil {
		return err
	}
	r.Topics = append(r.Topics, resp.(*kafkawire.MetadataResponse).Topics...)
	return nil
}

// set takes an answer in.
func (m *metadata) set(r *kafkawire.MetadataResponse, all bool) error {
	if r.ErrorCode == kafkawire.ErrRebootstrapRequired {
		m.c.setBrokers(nil)
		return remote(r.ErrorCode, nil)
	}
	if err := remote(r.ErrorCode, nil); err != nil {
		return err
	}
	if len(r.Brokers) == 0 {
		// As of a broker that has just started.
		return &ConnError{Broker: -1, Addr: m.c.o.addrs[0], Err: errors.New("metadata without brokers")}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.current.Load()
	now := &cluster{controller: r.ControllerID, all: all, brokers: make(map[kafkawire.BrokerID]brokerInfo, len(r.Brokers))}
	if r.ClusterID != nil {
		now.id = *r.ClusterID
	}
	for i := range r.Brokers {
		b := &r.Brokers[i]
		info := brokerInfo{addr: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))}
		if b.Rack != nil {
			info.rack = *b.Rack
		}
		now.brokers[b.NodeID] = info
	}
	now.topics = make(map[kafkawire.TopicName]*topicInfo, len(r.Topics))
	if !all {
		for name, t := range old.topics {
			if m.wanted[name] > 0 {
				now.topics[name] = t
			}
		}
	}
	for i := range r.Topics {
		if t := &r.Topics[i]; t.Name != nil {
			now.topics[*t.Name] = newTopicInfo(t, old.topics[*t.Name])
		}
	}
	m.current.Store(now)
	m.c.setBrokers(now.brokers)
	return nil
}

// newTopicInfo makes a topic of what a broker says and what was known.
func newTopicInfo(t *kafkawire.MetadataResponseTopic, old *topicInfo) *topicInfo {
	n := &topicInfo{name: *t.Name, id: t.TopicID, internal: t.IsInternal, err: t.ErrorCode}
	if old != nil && old.id != n.id && !n.id.IsZero() && !old.id.IsZero() {
		old = nil // the topic was made anew
	}
	if n.err != 0 {
		if old != nil {
			n.id, n.internal, n.partitions = old.id, old.internal, old.partitions
		}
		return n
	}
	most := int32(0)
	for i := range t.Partitions {
		if p := t.Partitions[i].PartitionIndex; p >= 0 && p < int32(len(t.Partitions)) {
			most = max(most, p+1)
		}
	}
	n.partitions = make([]partitionInfo, most)
	for i := range n.partitions {
		n.partitions[i] = partitionInfo{leader: -1, epoch: -1, err: kafkawire.ErrLeaderNotAvailable}
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if p.PartitionIndex < 0 || p.PartitionIndex >= most {
			continue
		}
		info := partitionInfo{leader: p.LeaderID, epoch: p.LeaderEpoch, err: p.ErrorCode, replicas: p.ReplicaNodes,
			isr: p.ISRNodes, offline: p.OfflineReplicas}
		if old != nil && int(p.PartitionIndex) < len(old.partitions) {
			// A broker that lags behind must not take the client back to an old leader. When it insists it is not that
			// one that lags: epochs can start over.
			if before := old.partitions[p.PartitionIndex]; info.epoch >= 0 && info.epoch < before.epoch && before.stale < 4 {
				info = before
				info.stale++
			}
		}
		n.partitions[p.PartitionIndex] = info
	}
	return n
}

// setLeader notes a leader that a broker named in the response to something else.
func (m *metadata) setLeader(topic kafkawire.TopicName, partition int32, leader kafkawire.BrokerID, epoch int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.current.Load()
	t := old.topics[topic]
	if t == nil || partition < 0 || int(partition) >= len(t.partitions) {
		return
	}
	p := t.partitions[partition]
	if _, known := old.brokers[leader]; !known || epoch < p.epoch || epoch == p.epoch && leader == p.leader {
		return
	}
	changed := *t
	changed.partitions = append([]partitionInfo(nil), t.partitions...)
	p.leader, p.epoch, p.stale, p.err = leader, epoch, 0, 0
	changed.partitions[partition] = p
	now := *old
	now.topics = maps.Clone(old.topics)
	now.topics[topic] = &changed
	m.current.Store(&now)
}

// addBroker notes a broker that was named in the response to something else.
func (m *metadata) addBroker(id kafkawire.BrokerID, host string, port int32, rack *string) {
	if id < 0 || host == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.current.Load()
	info := brokerInfo{addr: net.JoinHostPort(host, strconv.Itoa(int(port))), rack: old.brokers[id].rack}
	if rack != nil {
		info.rack = *rack
	}
	if old.brokers[id] == info {
		return
	}
	now := *old
	now.brokers = maps.Clone(old.brokers)
	if now.brokers == nil {
		now.brokers = make(map[kafkawire.BrokerID]brokerInfo)
	}
	now.brokers[id] = info
	m.current.Store(&now)
	m.c.setBrokers(now.brokers)
}

// setBrokers makes the brokers of the client those that there are. Connections to others are left to end by themselves.
func (c *Client) setBrokers(brokers map[kafkawire.BrokerID]brokerInfo) {
	known := make([]*broker, 0, len(brokers))
	c.mu.Lock()
	for id := range c.brokers {
		if _, ok := brokers[id]; !ok {
			delete(c.brokers, id)
		}
	}
	for id, info := range brokers {
		if b := c.brokers[id]; b != nil {
			known = append(known, b)
		} else {
			c.brokers[id] = c.newBroker(id, info.addr)
		}
	}
	c.mu.Unlock()
	for _, b := range known { // the lock of a broker comes before that of the client
		b.moved(brokers[b.id].addr)
	}
}

// leader returns the leader of a partition and its epoch as far as they are known.
func (m *metadata) leader(topic kafkawire.TopicName, partition int32) (id kafkawire.BrokerID, epoch int32, ok bool) {
	t := m.current.Load().topics[topic]
	if t == nil || partition < 0 || int(partition) >= len(t.partitions) {
		return -1, -1, false
	}
	p := &t.partitions[partition]
	return p.leader, p.epoch, p.leader >= 0
}
