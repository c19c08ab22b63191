package mqttbroker

import (
	"sync/atomic"
	"time"
)

// Stats are counts of a [Broker] since New and what it holds now. A Stats is a snapshot.
type Stats struct {
	Uptime time.Duration

	Connected           int64 // clients
	ConnectedMax        int64
	Sessions            int64 // of clients that are connected or away
	SessionsExpired     int64
	Subscriptions       int64 // of clients; shared ones included
	SharedSubscriptions int64

	Received      int64 // messages from clients, wills and Broker.Publish
	ReceivedBytes int64 // their payloads
	Rejected      int64 // among them those that nobody got: not authorized, rejected by a hook, over a limit
	Sent          int64 // messages sent to clients and in-process subscribers, or queued for them
	SentBytes     int64 // their payloads

	DroppedQueueFull  int64
	DroppedExpired    int64
	DroppedTooLarge   int64
	DroppedSlow       int64
	DroppedEnded      int64
	DroppedDenied     int64
	DroppedUnreadable int64

	Retained      int64
	RetainedBytes int64 // topics, properties and payloads

	// Journal is about the directory of Options.Dir; nil without one.
	Journal *JournalStats
}

// Dropped returns the number of messages that did not reach a client that had subscribed to them, for any reason.
func (s *Stats) Dropped() int64 {
	return s.DroppedQueueFull + s.DroppedExpired + s.DroppedTooLarge + s.DroppedSlow + s.DroppedEnded + s.DroppedDenied + s.DroppedUnreadable
}

// counters are counts of messages. There are several, so that connections seldom share a cache line.
type counters struct {
	receivedN, receivedBytes atomic.Int64
	rejected                 atomic.Int64
	sentN, sentBytes         atomic.Int64
	_                        [64]byte
}

// stripes is how many counters there are.
const stripes = 16

func (c *counters) received(bytes int) {
	c.receivedN.Add(1)
	c.receivedBytes.Add(int64(bytes))
}

func (c *counters) sent(n, bytes int) {
	if n > 0 {
		c.sentN.Add(int64(n))
		c.sentBytes.Add(int64(bytes))
	}
}

// gauges are counts of what there is.
type gauges struct {
	connected, connectedMax atomic.Int64
	expired                 atomic.Int64
	subscriptions, shared   atomic.Int64
	retained, retainedBytes atomic.Int64
}

// Stats returns a snapshot.
func (b *Broker) Stats() Stats {
	s := Stats{
		Uptime:              time.Since(b.started),
		Connected:           b.gauges.connected.Load(),
		ConnectedMax:        b.gauges.connectedMax.Load(),
		SessionsExpired:     b.gauges.expired.Load(),
		Subscriptions:       b.gauges.subscriptions.Load(),
		SharedSubscriptions: b.gauges.shared.Load(),
		DroppedQueueFull:    b.drops[DropQueueFull].Load(),
		DroppedExpired:      b.drops[DropExpired].Load(),
		DroppedTooLarge:     b.drops[DropTooLarge].Load(),
		DroppedSlow:         b.drops[DropSlow].Load(),
		DroppedEnded:        b.drops[DropEnded].Load(),
		DroppedDenied:       b.drops[DropDenied].Load(),
		DroppedUnreadable:   b.drops[DropUnreadable].Load(),
		Retained:            b.gauges.retained.Load(),
		RetainedBytes:       b.gauges.retainedBytes.Load(),
	}
	for i := range b.counters {
		c := &b.counters[i]
		s.Received += c.receivedN.Load()
		s.ReceivedBytes += c.receivedBytes.Load()
		s.Rejected += c.rejected.Load()
		s.Sent += c.sentN.Load()
		s.SentBytes += c.sentBytes.Load()
	}
	b.mu.Lock()
	s.Sessions = int64(len(b.sessions))
	b.mu.Unlock()
	if f, ok := b.opts.Journal.(fileJournal); ok {
		j := JournalStats(f.Journal.Stats())
		s.Journal = &j
	}
	return s
}
