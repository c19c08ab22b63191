package kafkabroker

import (
	"errors"
	"fmt"
	"slices"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// handler serves the requests of a key.
type handler struct {
	key      kafkawire.APIKey
	min, max int16 // what clients are told
	serve    func(*session, *kafkaserver.Request)
}

// handlerList is all requests that the broker takes. APIVersions tells clients of them; nothing else is advertised.
func handlerList() []handler {
	return slices.Concat(
		dataHandlers(),
		topicHandlers(),
		groupHandlers(),
		txnHandlers(),
		securityHandlers(),
	)
}

// dataHandlers are those for records.
func dataHandlers() []handler {
	return []handler{
		// Versions 0 to 2 of Produce are gone, but librdkafka takes a broker without them for an old one (KAFKA-18659).
		{kafkawire.KeyProduce, 0, 13, (*session).produce},
		{kafkawire.KeyFetch, 4, 18, (*session).fetch},
		{kafkawire.KeyListOffsets, 1, 11, (*session).listOffsets},
		{kafkawire.KeyOffsetForLeaderEpoch, 2, 4, (*session).offsetForLeaderEpoch},
		{kafkawire.KeyDeleteRecords, 0, 2, (*session).deleteRecords},
		{kafkawire.KeyDescribeProducers, 0, 0, (*session).describeProducers},
	}
}

// topicHandlers are those for topics.
func topicHandlers() []handler {
	return []handler{
		{kafkawire.KeyMetadata, 0, 13, (*session).metadata},
		{kafkawire.KeyCreateTopics, 2, 7, (*session).createTopics},
		{kafkawire.KeyDeleteTopics, 1, 6, (*session).deleteTopics},
		{kafkawire.KeyCreatePartitions, 0, 3, (*session).createPartitions},
		{kafkawire.KeyDescribeTopicPartitions, 0, 0, (*session).describeTopicPartitions},
		{kafkawire.KeyDescribeConfigs, 1, 4, (*session).describeConfigs},
		{kafkawire.KeyAlterConfigs, 0, 2, (*session).alterConfigs},
		{kafkawire.KeyIncrementalAlterConfigs, 0, 1, (*session).incrementalAlterConfigs},
		{kafkawire.KeyListConfigResources, 0, 1, (*session).listConfigResources},
		{kafkawire.KeyDescribeCluster, 0, 2, (*session).describeCluster},
		{kafkawire.KeyDescribeLogDirs, 1, 5, (*session).describeLogDirs},
		{kafkawire.KeyElectLeaders, 0, 2, (*session).electLeaders},
		{kafkawire.KeyListPartitionReassignments, 0, 0, (*session).listPartitionReassignments},
	}
}

// handlerTable finds a handler by its key.
type handlerTable [kafkawire.Keys]*handler

func newHandlerTable() *handlerTable {
	t := new(handlerTable)
	for _, h := range handlerList() {
		t[h.key] = &h
	}
	return t
}

// versions is what clients are told.
func (t *handlerTable) versions() (list []kafkaserver.APIVersion) {
	for _, h := range t {
		if h != nil {
			list = append(list, kafkaserver.APIVersion{Key: h.key, Min: h.min, Max: h.max})
		}
	}
	return list
}

// features is what clients are told about the version of the cluster.
func (t *handlerTable) features() (list []kafkaserver.Feature) {
	return append(list, t.txnFeatures()...)
}

// Handle serves a request.
func (s *session) Handle(r *kafkaserver.Request) {
	var h *handler
	if r.Key >= 0 && int(r.Key) < len(s.b.handlers) {
		h = s.b.handlers[r.Key]
	}
	if h == nil || r.Version < h.min || r.Version > h.max {
		r.Fail(fmt.Errorf("kafkabroker: no such request: %w", kafkawire.ErrUnsupportedVersion))
		return
	}
	if r.Size() > maxRequestSize && r.Key != kafkawire.KeyProduce && r.Key != kafkawire.KeyFetch {
		r.Fail(logError(kafkawire.ErrInvalidRequest, "a request of %d bytes, and only those with records may have so many", r.Size()))
		return
	}
	s.b.stats.requests.Add(1)
	h.serve(s, r)
}

// maxRequestSize bounds the size in bytes of requests other than Produce and Fetch. Decoded, and with their answers, they
// have many times that.
const maxRequestSize = 16 << 20

// maxAnswers bounds how many configs, producers or partitions an answer lists where a small request can ask for the same ones
// again and again. What is beyond is answered with INVALID_REQUEST.
const maxAnswers = 1 << 20

// maxKept is how many partitions the memory for a request may have had that is used again.
const maxKept = 4096

// viewed is the error of decoding a view of a request. Bytes after the request are none, as for [kafkaserver.Request.Decode].
func viewed(err error) error {
	if e := (*kafkawire.Error)(nil); errors.As(err, &e) && e.Rest > 0 {
		return nil
	}
	return err
}
