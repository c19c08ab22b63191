package mqttserver

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// orDefault returns v, def when it is zero, and none when it is negative.
func orDefault[T int | int64 | time.Duration](v, def, none T) T {
	switch {
	case v == 0:
		return def
	case v < 0:
		return none
	}
	return v
}

// withDefaults returns l with every field set to what holds.
func (l Limits) withDefaults() Limits {
	l.MaxConnections = orDefault(l.MaxConnections, 100_000, math.MaxInt)
	l.ConnectRate = orDefault(l.ConnectRate, 10_000, 0)
	l.ConnectTimeout = orDefault(l.ConnectTimeout, 10*time.Second, math.MaxInt64)
	l.MaxPacketSize = min(orDefault(l.MaxPacketSize, 1<<20, mqtt.MaxPacketSize), mqtt.MaxPacketSize)
	l.MaxInflight = min(orDefault(l.MaxInflight, 1024, math.MaxUint16), math.MaxUint16)
	l.MaximumQoS = min(orDefault(l.MaximumQoS, 2, 0), 2)
	l.MaxKeepAlive = orDefault(l.MaxKeepAlive, 0, 0)
	l.TopicAliases = min(orDefault(l.TopicAliases, 64, 0), math.MaxUint16)
	l.SendAliases = min(orDefault(l.SendAliases, 16, 0), math.MaxUint16)
	l.MaxTopicLevels = orDefault(l.MaxTopicLevels, 128, math.MaxInt)
	l.MaxTopicLength = orDefault(l.MaxTopicLength, 4096, math.MaxInt)
	l.MaxSubscriptions = orDefault(l.MaxSubscriptions, 131_072, math.MaxInt)
	l.PublishRate = orDefault(l.PublishRate, 0, 0)
	l.PublishBurst = orDefault(l.PublishBurst, max(l.PublishRate, 1), 1)
	l.SoftLimit = orDefault(l.SoftLimit, 512<<10, math.MaxInt)
	l.HardLimit = orDefault(l.HardLimit, 8<<20, math.MaxInt)
	l.MaxQueued = orDefault(l.MaxQueued, 65_536, math.MaxInt)
	l.MaxStreams = orDefault(l.MaxStreams, 256, math.MaxInt)
	l.PublisherPause = orDefault(l.PublisherPause, 100*time.Millisecond, 0)
	l.SlowTimeout = orDefault(l.SlowTimeout, time.Minute, 0)
	return l
}

// config is the configuration of a session machine within the limits.
func (l *Limits) config() mqtt.Config {
	return mqtt.Config{
		Role:              mqtt.Server,
		ReceiveMaximum:    uint16(l.MaxInflight),
		TopicAliasMaximum: uint16(l.TopicAliases),
		SendAliasMaximum:  uint16(l.SendAliases),
		MaximumPacketSize: uint32(l.MaxPacketSize),
		LimitQoS:          l.MaximumQoS < 2,
		MaximumQoS:        mqtt.QoS(l.MaximumQoS),
		ServerKeepAlive:   uint16(min((l.MaxKeepAlive+time.Second-1)/time.Second, math.MaxUint16)),
	}
}

// tooDeep reports whether a topic filter or name exceeds a limit. The share name of a shared subscription does not count
// as levels.
func tooDeep(topic string, l *Limits) bool {
	levels := l.MaxTopicLevels
	if strings.HasPrefix(topic, "$share/") && levels < math.MaxInt {
		levels += 2
	}
	return len(topic) > l.MaxTopicLength || strings.Count(topic, "/") >= levels
}

// memoryInterval is how often the use of memory is measured.
const memoryInterval = 100 * time.Millisecond

// memory watches the use of memory. It is measured by whoever asks when the last measure is old.
type memory struct {
	limit int64 // 0 is none
	used  func() int64
	epoch time.Time
	next  atomic.Int64 // when to measure, in nanoseconds since the epoch
	over  atomic.Bool
}

func (m *memory) init(l *Limits, epoch time.Time) {
	m.limit, m.used, m.epoch = l.MemoryLimit, l.MemoryUsed, epoch
	if m.limit == 0 {
		if process := debug.SetMemoryLimit(-1); process < math.MaxInt64 {
			m.limit = process / 10 * 9
		}
	}
	if m.used == nil {
		m.used = heapUsed
	}
}

// heapUsed returns the bytes of heap that objects take, dead ones that were not swept yet too.
func heapUsed() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// full reports whether the limit is exceeded.
func (m *memory) full(now time.Time) bool {
	if m.limit <= 0 {
		return false
	}
	at := int64(now.Sub(m.epoch))
	if next := m.next.Load(); at >= next && m.next.CompareAndSwap(next, at+int64(memoryInterval)) {
		m.over.Store(m.used() > m.limit)
	}
	return m.over.Load()
}
