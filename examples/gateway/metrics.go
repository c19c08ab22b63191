package main

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
)

// handler serves /healthz (the process is up), /readyz (it takes connections), /metrics and the management API.
func (g *gateway) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !g.ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		g.writeMetrics(w)
	})
	mux.Handle("/api/", g.management())
	return mux
}

// metric is a sample in Prometheus' text format, with what it means.
type metric struct {
	kind, name, labels, help string
	value                    float64
}

// writeMetrics writes the statistics of the brokers and the servers in Prometheus' text format.
func (g *gateway) writeMetrics(w io.Writer) {
	samples := append(g.mqtt.metrics(), g.amqp.metrics()...)
	samples = append(samples, g.kafka.metrics()...)
	samples = append(samples, g.quic.metrics()...)
	samples = append(samples, metric{"gauge", "go_goroutines", "", "Goroutines.", float64(runtime.NumGoroutine())})
	// The samples of one name go together, whichever broker they are of.
	slices.SortStableFunc(samples, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	last := ""
	for _, m := range samples {
		if m.name != last {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
			last = m.name
		}
		fmt.Fprintf(w, "%s%s %v\n", m.name, m.labels, m.value)
	}
}

// metrics returns the statistics of MQTT.
func (m *mqttSide) metrics() []metric {
	b, s := m.broker.Stats(), m.server.Stats()
	samples := []metric{
		{"gauge", "quartet_uptime_seconds", "", "Time since the start.", b.Uptime.Seconds()},
		{"gauge", "quartet_mqtt_connections", "", "Open connections.", float64(s.Connections)},
		{"counter", "quartet_mqtt_connections_total", `{result="accepted"}`, "Connections that were opened.", float64(s.Accepted - s.Refused)},
		{"counter", "quartet_mqtt_connections_total", `{result="refused"}`, "", float64(s.Refused)},
		{"gauge", "quartet_mqtt_clients", "", "Clients that are connected.", float64(b.Connected)},
		{"gauge", "quartet_mqtt_sessions", "", "Sessions, those of absent clients included.", float64(b.Sessions)},
		{"counter", "quartet_mqtt_sessions_expired_total", "", "Sessions that expired.", float64(b.SessionsExpired)},
		{"gauge", "quartet_mqtt_subscriptions", "", "Subscriptions of clients.", float64(b.Subscriptions)},
		{"gauge", "quartet_mqtt_shared_subscriptions", "", "Shared subscriptions among them.", float64(b.SharedSubscriptions)},
		{"counter", "quartet_mqtt_packets_total", `{direction="received"}`, "Control packets.", float64(s.PacketsReceived)},
		{"counter", "quartet_mqtt_packets_total", `{direction="sent"}`, "", float64(s.PacketsSent)},
		{"counter", "quartet_mqtt_bytes_total", `{direction="received"}`, "Bytes on the connections.", float64(s.BytesReceived)},
		{"counter", "quartet_mqtt_bytes_total", `{direction="sent"}`, "", float64(s.BytesSent)},
		{"counter", "quartet_mqtt_messages_total", `{direction="received"}`, "Application messages.", float64(b.Received)},
		{"counter", "quartet_mqtt_messages_total", `{direction="sent"}`, "", float64(b.Sent)},
		{"counter", "quartet_mqtt_messages_rejected_total", "", "Messages that nobody got: not authorized, or over a limit.", float64(b.Rejected)},
		{"counter", "quartet_mqtt_messages_dropped_total", `{reason="queue_full"}`, "Messages that did not reach a subscriber.", float64(b.DroppedQueueFull)},
		{"counter", "quartet_mqtt_messages_dropped_total", `{reason="expired"}`, "", float64(b.DroppedExpired)},
		{"counter", "quartet_mqtt_messages_dropped_total", `{reason="too_large"}`, "", float64(b.DroppedTooLarge)},
		{"counter", "quartet_mqtt_messages_dropped_total", `{reason="slow"}`, "", float64(b.DroppedSlow)},
		{"counter", "quartet_mqtt_messages_dropped_total", `{reason="ended"}`, "", float64(b.DroppedEnded)},
		{"counter", "quartet_mqtt_messages_dropped_total", `{reason="denied"}`, "", float64(b.DroppedDenied)},
		{"gauge", "quartet_mqtt_retained_messages", "", "Retained messages.", float64(b.Retained)},
		{"gauge", "quartet_mqtt_retained_bytes", "", "Bytes of retained messages.", float64(b.RetainedBytes)},
		{"gauge", "quartet_mqtt_output_bytes", "", "Bytes that wait for slow connections.", float64(s.Buffered)},
		{"gauge", "quartet_mqtt_slow_connections", "", "Connections that are slow now.", float64(s.Slow)},
	}
	if b.Journal != nil {
		samples = append(samples, journalMetrics("mqtt", (*journalStats)(b.Journal))...)
	}
	return samples
}

// metrics returns the statistics of AMQP.
func (a *amqpSide) metrics() []metric {
	b, s := a.broker.Stats(), a.server.Stats()
	samples := []metric{
		{"gauge", "quartet_amqp_connections", "", "Open connections.", float64(s.Connections)},
		{"counter", "quartet_amqp_connections_total", `{result="accepted"}`, "Connections that were opened.", float64(s.Accepted - s.Refused)},
		{"counter", "quartet_amqp_connections_total", `{result="refused"}`, "", float64(s.Refused)},
		{"gauge", "quartet_amqp_blocked_connections", "", "Connections that must not publish now.", float64(s.Blocked)},
		{"gauge", "quartet_amqp_channels", "", "Open channels.", float64(s.Channels)},
		{"gauge", "quartet_amqp_consumers", "", "Consumers.", float64(b.Consumers)},
		{"gauge", "quartet_amqp_exchanges", "", "Exchanges.", float64(b.Exchanges)},
		{"gauge", "quartet_amqp_queues", "", "Queues.", float64(b.Queues)},
		{"gauge", "quartet_amqp_queue_messages", `{state="ready"}`, "Messages in queues.", float64(b.Ready)},
		{"gauge", "quartet_amqp_queue_messages", `{state="unacked"}`, "", float64(b.Unacked)},
		{"gauge", "quartet_amqp_ready_bytes", "", "Bytes of the bodies of ready messages.", float64(b.ReadyBytes)},
		{"counter", "quartet_amqp_bytes_total", `{direction="received"}`, "Bytes on the connections.", float64(s.BytesReceived)},
		{"counter", "quartet_amqp_bytes_total", `{direction="sent"}`, "", float64(s.BytesSent)},
		{"counter", "quartet_amqp_published_total", "", "Messages from clients.", float64(s.Published)},
		{"counter", "quartet_amqp_confirmed_total", "", "Messages from clients that were confirmed or refused.", float64(s.Confirmed)},
		{"counter", "quartet_amqp_returned_total", "", "Messages that were returned to their publishers.", float64(s.Returned)},
		{"counter", "quartet_amqp_unroutable_total", "", "Messages that went to no queue and were not returned.", float64(b.Unroutable)},
		{"counter", "quartet_amqp_delivered_total", "", "Messages that went to consumers.", float64(b.Delivered)},
		{"counter", "quartet_amqp_redelivered_total", "", "Those among them that were delivered before.", float64(b.Redelivered)},
		{"counter", "quartet_amqp_acked_total", "", "Messages that consumers acknowledged.", float64(b.Acked)},
		{"counter", "quartet_amqp_dead_lettered_total", "", "Messages that went to a dead letter exchange.", float64(b.DeadLettered)},
		{"counter", "quartet_amqp_dropped_total", "", "Messages that were dropped for lack of room or time.", float64(b.Dropped)},
		{"counter", "quartet_amqp_refused_total", "", "Messages that full queues refused.", float64(b.Refused)},
		{"gauge", "quartet_amqp_output_bytes", "", "Bytes that wait for slow connections.", float64(s.Buffered)},
		{"gauge", "quartet_amqp_alarm", `{resource="memory"}`, "1 while publishers are blocked.", number(b.MemoryAlarm)},
		{"gauge", "quartet_amqp_alarm", `{resource="disk"}`, "", number(b.DiskAlarm)},
	}
	if b.Journal != nil {
		samples = append(samples, journalMetrics("amqp", (*journalStats)(b.Journal))...)
	}
	return samples
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// journalStats are the same for every broker.
type journalStats mqttbroker.JournalStats

// journalMetrics returns the statistics of a broker's part of -data.
func journalMetrics(broker string, j *journalStats) []metric {
	with := func(labels string) string {
		if labels != "" {
			labels = "," + labels
		}
		return `{broker="` + broker + `"` + labels + "}"
	}
	return []metric{
		{"counter", "quartet_journal_records_total", with(""), "Records that were written.", float64(j.Records)},
		{"counter", "quartet_journal_bytes_total", with(`kind="written"`), "Bytes that were written: of new records, and of those that were moved.", float64(j.Bytes)},
		{"counter", "quartet_journal_bytes_total", with(`kind="rewritten"`), "", float64(j.Rewritten)},
		{"gauge", "quartet_journal_live_bytes", with(""), "Bytes of records that are needed.", float64(j.LiveBytes)},
		{"gauge", "quartet_journal_dead_bytes", with(""), "Bytes of records that are not needed any more.", float64(j.DeadBytes)},
		{"gauge", "quartet_journal_disk_bytes", with(""), "Size of the files.", float64(j.DiskBytes)},
		{"gauge", "quartet_journal_segments", with(""), "Number of the files.", float64(j.Segments)},
		{"gauge", "quartet_journal_pending_bytes", with(""), "Bytes that are not durable yet.", float64(j.Pending)},
		{"gauge", "quartet_journal_free_bytes", with(""), "Bytes that are free on the file system.", float64(j.Free)},
		{"summary", "quartet_journal_sync_seconds", with(`quantile="0.5"`), "How long a sync takes.", j.SyncP50.Seconds()},
		{"summary", "quartet_journal_sync_seconds", with(`quantile="0.99"`), "", j.SyncP99.Seconds()},
		{"summary", "quartet_journal_sync_seconds", with(`quantile="1"`), "", j.SyncMax.Seconds()},
		{"counter", "quartet_journal_syncs_total", with(""), "Syncs.", float64(j.Syncs)},
	}
}
