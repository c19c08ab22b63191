package amqpserver

import (
	"errors"
	"math"
	"runtime/debug"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

var errNoCertificate = errors.New("amqpserver: EXTERNAL without a verified certificate")

// orDefault returns v, def when it is zero, and none when it is negative.
func orDefault[T int | time.Duration](v, def, none T) T {
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
	l.HandshakeTimeout = orDefault(l.HandshakeTimeout, 10*time.Second, 1<<55)
	l.AuthFailureDelay = orDefault(l.AuthFailureDelay, 3*time.Second, 1)
	l.FrameMax = max(min(orDefault(l.FrameMax, amqp091.DefaultFrameMax, math.MaxInt32), math.MaxInt32), amqp091.FrameMinSize)
	l.ChannelMax = min(orDefault(l.ChannelMax, amqp091.DefaultChannelMax, math.MaxUint16), math.MaxUint16)
	l.Heartbeat = min(orDefault(l.Heartbeat, time.Minute, 0), math.MaxUint16*time.Second)
	l.MaxMessage = min(orDefault(l.MaxMessage, amqp091.DefaultMaxMessage, math.MaxInt/8), math.MaxInt/8)
	l.SoftLimit = min(orDefault(l.SoftLimit, 512<<10, math.MaxInt/8), math.MaxInt/8)
	l.HardLimit = max(min(orDefault(l.HardLimit, 16<<20, math.MaxInt/4), math.MaxInt/4), 2*l.SoftLimit)
	l.SlowTimeout = orDefault(l.SlowTimeout, time.Minute, 0)
	return l
}

// config is the configuration of a machine within the limits.
func (l *Limits) config() amqp091.Config {
	return amqp091.Config{
		Role:         amqp091.Server,
		FrameMax:     uint32(l.FrameMax),
		ChannelMax:   uint16(l.ChannelMax),
		Heartbeat:    l.Heartbeat,
		MaxMessage:   l.MaxMessage,
		CloseTimeout: l.HandshakeTimeout,
		RefuseDelay:  l.AuthFailureDelay,
	}
}

// properties are the server's in connection.start.
func properties(own amqp091.Table) amqp091.Table {
	t := amqp091.Table{
		{Key: "capabilities", Value: amqp091.Table{
			{Key: "publisher_confirms", Value: true},
			{Key: "exchange_exchange_bindings", Value: true},
			{Key: "basic.nack", Value: true},
			{Key: "consumer_cancel_notify", Value: true},
			{Key: "connection.blocked", Value: true},
			{Key: "consumer_priorities", Value: true},
			{Key: "authentication_failure_close", Value: true},
			{Key: "per_consumer_qos", Value: true},
			{Key: "direct_reply_to", Value: true},
		}},
		{Key: "product", Value: "Quartet"},
		{Key: "version", Value: version()},
		{Key: "platform", Value: "Go"},
	}
	for _, f := range own {
		t.Set(f.Key, f.Value)
	}
	return t
}

// version returns the version of this module that the program was built with, "devel" when it has none.
func version() string {
	const module = "github.com/quartet-mq/quartet"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if v, ok := strings.CutPrefix(m.Version, "v"); ok && m.Path == module {
			return v
		}
	}
	return "devel"
}
