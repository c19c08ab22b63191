package quicnet

import (
	"errors"
	"maps"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// ConnStats is what one connection has seen so far.
type ConnStats struct {
	// Handshake is how long the handshake took; zero while it is under way.
	Handshake time.Duration

	// RTT is the smoothed round trip time, with its least value, its last sample and the mean deviation (RFC 9002,
	// section 5). They are of the path in use.
	RTT, MinRTT, LastRTT, RTTDeviation time.Duration

	// CongestionWindow is how many bytes may be under way.
	CongestionWindow uint64

	// Bytes and packets of QUIC, without UDP headers; those sent again count again. A packet that was declared lost and
	// arrives later is taken off the lost ones.
	BytesSent, BytesReceived, BytesLost       uint64
	PacketsSent, PacketsReceived, PacketsLost uint64

	// Streams is how many streams there are, with stream 0 and with those that are still delivering after Close.
	Streams int

	// StreamsOpened and StreamsAccepted count the further streams of this side and of the peer.
	StreamsOpened, StreamsAccepted uint64

	// DatagramsSent counts datagrams that went out, DatagramsDropped those that this side dropped: when too many were
	// waiting to be sent, and, where Config.Trace.DatagramDropped is set, to be received.
	DatagramsSent, DatagramsDropped uint64

	// Migrations counts changes of the peer's address on a server, and of the path on a client.
	Migrations uint64

	// KeyUpdates counts changes of the keys (RFC 9001, section 6), where Config.Trace.KeyUpdated is set.
	KeyUpdates uint64
}

// Stats returns what the connection has seen so far. It may be called after the end too.
func (c *Conn) Stats() ConnStats {
	c.checkMoved()
	q := c.qc.ConnectionStats()
	c.mu.Lock()
	streams := len(c.streams)
	c.mu.Unlock()
	return ConnStats{
		Handshake:        time.Duration(c.counters.handshake.Load()),
		RTT:              q.SmoothedRTT,
		MinRTT:           q.MinRTT,
		LastRTT:          q.LatestRTT,
		RTTDeviation:     q.MeanDeviation,
		CongestionWindow: q.CongestionWindow,
		BytesSent:        q.BytesSent,
		BytesReceived:    q.BytesReceived,
		BytesLost:        q.BytesLost,
		PacketsSent:      q.PacketsSent,
		PacketsReceived:  q.PacketsReceived,
		PacketsLost:      q.PacketsLost,
		Streams:          streams,
		StreamsOpened:    c.counters.opened.Load(),
		StreamsAccepted:  c.counters.accepted.Load(),
		DatagramsSent:    c.counters.gramsSent.Load(),
		DatagramsDropped: c.counters.gramsDropped.Load(),
		Migrations:       c.counters.migrations.Load(),
		KeyUpdates:       c.counters.keyUpdates.Load(),
	}
}

// connCounters are what a Conn counts itself.
type connCounters struct {
	handshake               atomic.Int64 // a time.Duration
	opened, accepted        atomic.Uint64
	gramsSent, gramsDropped atomic.Uint64
	migrations, keyUpdates  atomic.Uint64
}

// add adds the counters of a connection, but not what there is only one of.
func (s *ConnStats) add(o ConnStats) {
	s.BytesSent += o.BytesSent
	s.BytesReceived += o.BytesReceived
	s.BytesLost += o.BytesLost
	s.PacketsSent += o.PacketsSent
	s.PacketsReceived += o.PacketsReceived
	s.PacketsLost += o.PacketsLost
	s.StreamsOpened += o.StreamsOpened
	s.StreamsAccepted += o.StreamsAccepted
	s.DatagramsSent += o.DatagramsSent
	s.DatagramsDropped += o.DatagramsDropped
	s.Migrations += o.Migrations
	s.KeyUpdates += o.KeyUpdates
}

// Stats is what a Listener or Dialer has seen so far. Counters begin with it and only grow, but for those of losses.
type Stats struct {
	// Conns is how many connections there are, with those that are still delivering after Close, and Streams how many
	// streams they have.
	Conns   int
	Streams int

	// Handshakes is how many handshakes of clients are under way (Listener).
	Handshakes int

	// Connected counts connections that an application got; Failed, dials that failed (Dialer).
	Connected, Failed uint64

	// Retries counts first packets whose senders were asked to prove their address; Refused, those that MaxHandshakes or
	// MaxConns kept out. A client may send two of them at once. Silent counts clients that opened no stream in time;
	// Overloaded, those that no Accept took (Listener).
	Retries, Refused, Silent, Overloaded uint64

	// Fallbacks counts calls of DialURL that ended with TLS over TCP (Dialer).
	Fallbacks uint64

	// EarlyAccepted counts connections whose early data (0-RTT) the server took. On a Dialer EarlyRejected counts those
	// of which it was refused and sent again, EarlyResent the bytes of that, and EarlyFailed those that ended before
	// either was known. On a Listener EarlyReplayed counts tickets that had been used before, and EarlyRejected those
	// that the Guard refused for other reasons, with or without early data.
	EarlyAccepted, EarlyRejected, EarlyReplayed, EarlyFailed, EarlyResent uint64

	// Resumed counts dials with a session ticket of the Dialer's store.
	Resumed uint64

	// ProbesFailed counts attempts to move to another path that had no answer, and PathsGone connections that ended
	// because no path was left (Dialer). Total.Migrations counts the moves that succeeded.
	ProbesFailed, PathsGone uint64

	// Handshake is how long handshakes took, and RTT the smoothed round trip times at the end of connections.
	Handshake, RTT Histogram

	// Closed counts connections by what ended them. Graceful is those of them that either side ended with CodeOK.
	Closed   map[Kind]uint64
	Graceful uint64

	// Total is the sum of the counters of all connections, those that are gone too. Its other fields are zero.
	Total ConnStats
}

// Histogram counts durations.
type Histogram struct {
	Count uint64
	Sum   time.Duration

	// Buckets count durations below 1 ms, 2 ms, 4 ms and so on, each without those of the buckets before; the last one
	// counts all from 16.384 s on.
	Buckets [16]uint64
}

func (h *Histogram) add(d time.Duration) {
	h.Count++
	h.Sum += d
	h.Buckets[min(bits.Len64(uint64(max(0, d)/time.Millisecond)), len(h.Buckets)-1)]++
}

// groupStats are what a group counts besides its connections.
type groupStats struct {
	connected, failed                           atomic.Uint64
	retries, refused, silent, overloaded        atomic.Uint64
	fallbacks                                   atomic.Uint64
	earlyAccepted, earlyRejected, earlyReplayed atomic.Uint64
	earlyFailed, earlyResent, resumed           atomic.Uint64
	probesFailed, pathsGone                     atomic.Uint64

	mu             sync.Mutex
	handshake, rtt Histogram
	closed         map[Kind]uint64
	graceful       uint64
	gone           ConnStats
}

// ended counts the end of a connection.
func (s *groupStats) ended(st ConnStats, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone.add(st)
	s.rtt.add(st.RTT)
	if e, ok := errors.AsType[*Error](err); ok {
		if s.closed == nil {
			s.closed = make(map[Kind]uint64)
		}
		s.closed[e.Kind]++
		if e.Kind == KindApplication && e.Code == uint64(CodeOK) {
			s.graceful++
		}
	}
}

// snapshot returns the state of the group.
func (g *group) snapshot() Stats {
	s := &g.stats
	out := Stats{
		Connected: s.connected.Load(), Failed: s.failed.Load(), Retries: s.retries.Load(), Refused: s.refused.Load(),
		Silent: s.silent.Load(), Overloaded: s.overloaded.Load(), Fallbacks: s.fallbacks.Load(),
		EarlyAccepted: s.earlyAccepted.Load(), EarlyRejected: s.earlyRejected.Load(), EarlyReplayed: s.earlyReplayed.Load(),
		EarlyFailed: s.earlyFailed.Load(), EarlyResent: s.earlyResent.Load(), Resumed: s.resumed.Load(),
		ProbesFailed: s.probesFailed.Load(), PathsGone: s.pathsGone.Load(),
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	out.Conns = len(g.conns)
	for c := range g.conns {
		st := c.Stats()
		out.Streams += st.Streams
		out.Total.add(st)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Handshake, out.RTT, out.Graceful = s.handshake, s.rtt, s.graceful
	out.Closed = maps.Clone(s.closed)
	out.Total.add(s.gone)
	return out
}

// Stats returns what the Listener has seen so far. It looks at every connection.
func (l *Listener) Stats() Stats {
	s := l.group.snapshot()
	s.Handshakes = int(l.pending.Load())
	return s
}

// Stats returns what the Dialer has seen so far. It looks at every connection.
func (d *Dialer) Stats() Stats { return d.group.snapshot() }
