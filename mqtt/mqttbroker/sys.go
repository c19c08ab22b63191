package mqttbroker

import (
	"fmt"
	"iter"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// sysRoot is the topic below which a broker tells about itself. Clients may not publish there.
const sysRoot = "$SYS"

// sysVersion is what $SYS/broker/version says.
const sysVersion = "Quartet"

// sys publishes the topics below $SYS, under the names that mosquitto gave them, as retained messages.
type sys struct {
	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
	last    Stats
	load    [2][len(loadMinutes)]float64
}

// loadMinutes are the periods over which the load is averaged.
var loadMinutes = [...]int{1, 5, 15}

// startSys publishes what does not change and begins with the rest.
func (b *Broker) startSys() {
	if b.opts.SysInterval < 0 {
		return
	}
	b.publishSys("$SYS/broker/version", sysVersion)
	b.sys.mu.Lock()
	defer b.sys.mu.Unlock()
	b.sys.timer = time.AfterFunc(b.opts.SysInterval, b.tickSys)
}

func (b *Broker) stopSys() {
	b.sys.mu.Lock()
	defer b.sys.mu.Unlock()
	b.sys.stopped = true
	if b.sys.timer != nil {
		b.sys.timer.Stop()
	}
}

// tickSys publishes the topics once.
func (b *Broker) tickSys() {
	b.sys.mu.Lock()
	stopped := b.sys.stopped
	b.sys.mu.Unlock()
	if stopped {
		return
	}
	s := b.Stats()
	for name, n := range s.sysTopics() {
		b.publishSys("$SYS/broker/"+name, strconv.FormatInt(n, 10))
	}
	b.publishSys("$SYS/broker/uptime", fmt.Sprintf("%d seconds", int(s.Uptime.Seconds())))
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	b.publishSys("$SYS/broker/heap/current", strconv.FormatUint(mem.HeapAlloc, 10))
	b.publishLoad(s)
	if b.opts.Sys != nil {
		for name, text := range b.opts.Sys() {
			b.publishSys(name, text)
		}
	}
	b.sys.mu.Lock()
	defer b.sys.mu.Unlock()
	if !b.sys.stopped {
		b.sys.timer.Reset(b.opts.SysInterval)
	}
}

// sysTopics returns the counts by their names below $SYS/broker.
func (s *Stats) sysTopics() iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		_ = yield("clients/connected", s.Connected) &&
			yield("clients/active", s.Connected) &&
			yield("clients/disconnected", s.Sessions-s.Connected) &&
			yield("clients/inactive", s.Sessions-s.Connected) &&
			yield("clients/total", s.Sessions) &&
			yield("clients/maximum", s.ConnectedMax) &&
			yield("clients/expired", s.SessionsExpired) &&
			yield("messages/received", s.Received) &&
			yield("messages/sent", s.Sent) &&
			yield("messages/stored", s.Retained) &&
			yield("publish/messages/received", s.Received) &&
			yield("publish/messages/sent", s.Sent) &&
			yield("publish/messages/dropped", s.Dropped()) &&
			yield("publish/bytes/received", s.ReceivedBytes) &&
			yield("publish/bytes/sent", s.SentBytes) &&
			yield("retained messages/count", s.Retained) &&
			yield("store/messages/count", s.Retained) &&
			yield("store/messages/bytes", s.RetainedBytes) &&
			yield("subscriptions/count", s.Subscriptions) &&
			yield("shared_subscriptions/count", s.SharedSubscriptions)
	}
}

// publishLoad publishes the messages per minute, averaged over one, five and fifteen minutes.
func (b *Broker) publishLoad(s Stats) {
	passed := b.opts.SysInterval.Minutes()
	rates := [2]float64{
		float64(s.Received-b.sys.last.Received) / passed,
		float64(s.Sent-b.sys.last.Sent) / passed,
	}
	b.sys.last = s
	for i, kind := range []string{"received", "sent"} {
		for j, minutes := range loadMinutes {
			avg := &b.sys.load[i][j]
			*avg += (rates[i] - *avg) * min(1, passed/float64(minutes))
			b.publishSys(fmt.Sprintf("$SYS/broker/load/publish/%s/%dmin", kind, minutes), strconv.FormatFloat(*avg, 'f', 2, 64))
		}
	}
}

// publishSys publishes one topic, past the hooks and without a trace in the journal.
func (b *Broker) publishSys(name, text string) {
	bt := mqttserver.NewBatch()
	defer bt.Flush()
	sc := b.scratch(bt)
	sc.in = mqtt.Publish{Topic: []byte(name), Payload: []byte(text), Retain: true}
	sc.pub = publication{in: &sc.in, topic: name, stripe: new(counters)}
	b.distribute(bt, sc, &sc.pub)
	if sc.pub.open { // queued for somebody who is away
		b.rec.accepted(sc.pub.m, "", Token{})
	}
}
