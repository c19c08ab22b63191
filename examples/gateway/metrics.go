package main

import (
	"fmt"
	"io"
	"net/http"
	"runtime"

	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
)

// handler serves /healthz (the process is up), /readyz (it takes connections) and /metrics.
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
	return mux
}

// metric is a sample in Prometheus' text format, with what it means.
type metric struct {
	kind, name, labels, help string
	value                    float64
}

// writeMetrics writes the statistics of the broker and the server in Prometheus' text format.
func (g *gateway) writeMetrics(w io.Writer) {
	b, s := g.broker.Stats(), g.server.Stats()
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
		{"gauge", "go_goroutines", "", "Goroutines.", float64(runtime.NumGoroutine())},
	}
	if j := b.Journal; j != nil {
		samples = append(samples, journalMetrics(j)...)
	}
	last := ""
	for _, m := range samples {
		if m.name != last {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
			last = m.name
		}
		fmt.Fprintf(w, "%s%s %v\n", m.name, m.labels, m.value)
	}
}

// journalMetrics returns the statistics of -data.
func journalMetrics(j *mqttbroker.JournalStats) []metric {
	return []metric{
		{"counter", "quartet_journal_records_total", "", "Records that were written.", float64(j.Records)},
		{"counter", "quartet_journal_bytes_total", `{kind="written"}`, "Bytes that were written: of new records, and of those that were moved.", float64(j.Bytes)},
		{"counter", "quartet_journal_bytes_total", `{kind="rewritten"}`, "", float64(j.Rewritten)},
		{"gauge", "quartet_journal_live_bytes", "", "Bytes of records that are needed.", float64(j.LiveBytes)},
		{"gauge", "quartet_journal_dead_bytes", "", "Bytes of records that are not needed any more.", float64(j.DeadBytes)},
		{"gauge", "quartet_journal_disk_bytes", "", "Size of the files.", float64(j.DiskBytes)},
		{"gauge", "quartet_journal_segments", "", "Number of the files.", float64(j.Segments)},
		{"gauge", "quartet_journal_pending_bytes", "", "Bytes that are not durable yet.", float64(j.Pending)},
		{"gauge", "quartet_journal_free_bytes", "", "Bytes that are free on the file system.", float64(j.Free)},
		{"summary", "quartet_journal_sync_seconds", `{quantile="0.5"}`, "How long a sync takes.", j.SyncP50.Seconds()},
		{"summary", "quartet_journal_sync_seconds", `{quantile="0.99"}`, "", j.SyncP99.Seconds()},
		{"summary", "quartet_journal_sync_seconds", `{quantile="1"}`, "", j.SyncMax.Seconds()},
		{"counter", "quartet_journal_syncs_total", "", "Syncs.", float64(j.Syncs)},
	}
}
