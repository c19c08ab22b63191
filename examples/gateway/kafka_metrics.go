package main

import (
	"strconv"

	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// metrics returns the statistics of Kafka. What Apache Kafka has too is named as jmx_exporter names it.
func (k *kafkaSide) metrics() []metric {
	b, s := k.broker.Stats(), k.server.Stats()
	samples := []metric{
		{"gauge", "kafka_controller_kafkacontroller_globaltopiccount", "", "Topics.", float64(b.Topics)},
		{"gauge", "kafka_controller_kafkacontroller_globalpartitioncount", "", "Partitions.", float64(b.Partitions)},
		{"gauge", "kafka_server_replicamanager_partitioncount", "", "Partitions of this broker.", float64(b.Partitions)},
		{"gauge", "kafka_server_replicamanager_leadercount", "", "Partitions that this broker leads.", float64(b.Partitions)},
		{"gauge", "kafka_server_delayedoperationpurgatory_purgatorysize", `{delayedOperation="Fetch"}`, "Requests that wait.", float64(b.FetchesWaiting)},
		{"gauge", "kafka_server_fetchsessioncache_numincrementalfetchsessions", "", "Fetch sessions.", float64(b.FetchSessions)},
		{"gauge", "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached", "", "Partitions in fetch sessions.", float64(b.SessionParts)},
		{"counter", "kafka_log_logflushstats_logflushrateandtimems_count", "", "Rounds in which logs were made durable.", float64(b.LogFlushes)},
		{"gauge", "kafka_server_socket_server_metrics_connection_count", "", "Open connections.", float64(s.Connections)},
		{"counter", "quartet_kafka_connections_total", `{result="accepted"}`, "Connections that were opened.", float64(s.Accepted - s.Refused)},
		{"counter", "quartet_kafka_connections_total", `{result="refused"}`, "", float64(s.Refused)},
		{"counter", "quartet_kafka_bytes_total", `{direction="received"}`, "Bytes on the connections.", float64(s.BytesReceived)},
		{"counter", "quartet_kafka_bytes_total", `{direction="sent"}`, "", float64(s.BytesSent)},
		{"gauge", "quartet_kafka_inflight_requests", "", "Requests in process.", float64(s.Inflight)},
		{"gauge", "quartet_kafka_inflight_bytes", "", "Bytes of the requests in process.", float64(s.InflightBytes)},
		{"gauge", "quartet_kafka_output_bytes", "", "Bytes that wait for slow connections.", float64(s.Buffered)},
		{"gauge", "quartet_kafka_paused_connections", "", "Connections that are not read for now.", float64(s.Paused)},
		{"gauge", "quartet_kafka_fetch_bytes", "", "Bytes of records that are on their way to clients.", float64(b.FetchBytes)},
		{"gauge", "quartet_kafka_log_bytes", "", "Bytes of records in files.", float64(b.LogSize)},
		{"gauge", "quartet_kafka_alarm", `{resource="disk"}`, "1 while producers are refused.", number(b.DiskFull)},
		{"gauge", "quartet_kafka_alarm", `{resource="storage"}`, "", number(b.Failed)},
	}
	samples = append(samples, k.requestMetrics()...)
	return append(samples, k.topicMetrics(&b.All)...)
}

// requestMetrics returns those of the requests that were made.
func (k *kafkaSide) requestMetrics() (samples []metric) {
	for key := range kafkawire.APIKey(kafkawire.Keys) {
		if st := k.server.RequestStats(key); st.Requests > 0 {
			labels := `{request="` + requestName(key) + `"}`
			samples = append(samples,
				metric{"counter", "kafka_network_requestmetrics_requests_total", labels, "Requests.", float64(st.Requests)},
				metric{"counter", "quartet_kafka_request_seconds_total", labels, "Time that requests were in process.", st.Time.Seconds()})
		}
	}
	return samples
}

// requestName is a key as Apache Kafka spells it in metrics, where that is not what kafkawire says.
func requestName(key kafkawire.APIKey) string {
	switch key {
	case kafkawire.KeyAPIVersions:
		return "ApiVersions"
	case kafkawire.KeySASLHandshake:
		return "SaslHandshake"
	case kafkawire.KeySASLAuthenticate:
		return "SaslAuthenticate"
	case kafkawire.KeyInitProducerID:
		return "InitProducerId"
	case kafkawire.KeyDescribeACLs:
		return "DescribeAcls"
	case kafkawire.KeyCreateACLs:
		return "CreateAcls"
	case kafkawire.KeyDeleteACLs:
		return "DeleteAcls"
	case kafkawire.KeyDescribeUserSCRAMCredentials:
		return "DescribeUserScramCredentials"
	case kafkawire.KeyAlterUserSCRAMCredentials:
		return "AlterUserScramCredentials"
	}
	return key.String()
}

// topicMetrics returns BrokerTopicMetrics: of all topics together, without a label, and of each.
func (k *kafkaSide) topicMetrics(all *kafkabroker.TopicStats) (samples []metric) {
	add := func(labels string, values ...uint64) {
		for i, m := range [...]struct{ name, help string }{
			{"messagesin", "Records that were appended."}, {"bytesin", "Bytes of records that were appended."},
			{"bytesout", "Bytes of records that went to clients."},
			{"totalproducerequests", "Produce requests, counted for each partition."},
			{"totalfetchrequests", "Fetch requests, counted for each partition."},
			{"failedproducerequests", "Those among the produce requests that failed."},
			{"failedfetchrequests", "Those among the fetch requests that failed."},
		} {
			samples = append(samples, metric{"counter", "kafka_server_brokertopicmetrics_" + m.name + "_total", labels, m.help, float64(values[i])})
		}
	}
	add("", all.MessagesIn, all.BytesIn, all.BytesOut, all.TotalProduceRequests, all.TotalFetchRequests, all.FailedProduceRequests, all.FailedFetchRequests)
	for _, t := range k.broker.Topics() {
		if s, ok := k.broker.TopicStats(t.Name); ok {
			add("{topic="+strconv.Quote(t.Name)+"}", s.MessagesIn, s.BytesIn, s.BytesOut, s.TotalProduceRequests, s.TotalFetchRequests,
				s.FailedProduceRequests, s.FailedFetchRequests)
		}
	}
	return samples
}
