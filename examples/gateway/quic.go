package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"

	"github.com/quartet-mq/quartet/quic/quicnet"
)

// quicSide is the UDP port on which every protocol is served; clients say which one they want (ALPN).
type quicSide struct{ listener *quicnet.Listener } // nil without -quic

// listen opens the port and returns its address.
func (q *quicSide) listen(addr string, t *tls.Config, log *slog.Logger) (_ net.Addr, err error) {
	q.listener, err = quicnet.Listen("udp", addr, &quicnet.ListenOptions{
		Config:    quicnet.Config{TLS: t, Logger: log},
		EarlyData: quicnet.NewGuard(nil),
	})
	if err != nil {
		return nil, err
	}
	return q.listener.Addr(), nil
}

// protocols returns the listeners for the brokers. docs/quic-profiles.md has the names.
func (q *quicSide) protocols() (mqtt, amqp, kafka net.Listener) {
	l := q.listener
	return l.Protocol("mqtt"), l.Protocol("amqp-streams/1", "amqp"), l.Protocol("kafka-streams/1", "kafka")
}

// drain waits until the clients have what the brokers have sent, for a limited time. The brokers are drained before.
func (q *quicSide) drain() error {
	if q.listener == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := q.listener.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// close ends everything at once.
func (q *quicSide) close() {
	if q.listener != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		q.listener.Shutdown(ctx)
	}
}

// metrics returns the statistics of QUIC.
func (q *quicSide) metrics() []metric {
	if q.listener == nil {
		return nil
	}
	s := q.listener.Stats()
	mean := func(h quicnet.Histogram) float64 { return h.Sum.Seconds() / float64(max(h.Count, 1)) }
	return []metric{
		{"gauge", "quartet_quic_connections", "", "Open connections.", float64(s.Conns)},
		{"gauge", "quartet_quic_streams", "", "Open streams.", float64(s.Streams)},
		{"gauge", "quartet_quic_handshakes", "", "Handshakes that are under way.", float64(s.Handshakes)},
		{"counter", "quartet_quic_connections_total", `{result="accepted"}`, "Connections that clients began.", float64(s.Connected)},
		{"counter", "quartet_quic_connections_total", `{result="refused"}`, "", float64(s.Refused + s.Silent + s.Overloaded)},
		{"counter", "quartet_quic_retries_total", "", "Clients that had to prove their address first.", float64(s.Retries)},
		{"counter", "quartet_quic_early_data_total", `{result="accepted"}`, "Connections that came with early data.", float64(s.EarlyAccepted)},
		{"counter", "quartet_quic_early_data_total", `{result="rejected"}`, "", float64(s.EarlyRejected)},
		{"counter", "quartet_quic_early_data_total", `{result="replayed"}`, "", float64(s.EarlyReplayed)},
		{"gauge", "quartet_quic_handshake_seconds", "", "Mean time of a handshake.", mean(s.Handshake)},
		{"gauge", "quartet_quic_rtt_seconds", "", "Mean round trip time at the end of connections.", mean(s.RTT)},
		{"counter", "quartet_quic_packets_total", `{direction="received"}`, "Packets of QUIC.", float64(s.Total.PacketsReceived)},
		{"counter", "quartet_quic_packets_total", `{direction="sent"}`, "", float64(s.Total.PacketsSent)},
		{"gauge", "quartet_quic_lost_packets", "", "Packets sent that count as lost.", float64(s.Total.PacketsLost)},
		{"counter", "quartet_quic_bytes_total", `{direction="received"}`, "Bytes of QUIC.", float64(s.Total.BytesReceived)},
		{"counter", "quartet_quic_bytes_total", `{direction="sent"}`, "", float64(s.Total.BytesSent)},
		{"counter", "quartet_quic_migrations_total", "", "Changes of clients' addresses.", float64(s.Total.Migrations)},
		{"counter", "quartet_quic_datagrams_dropped_total", "", "Datagrams that this side dropped.", float64(s.Total.DatagramsDropped)},
	}
}
