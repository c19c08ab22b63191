package pathem

import (
	"math/rand/v2"
	"time"
)

// A Way describes one direction of a path. The zero Way delivers everything at once.
type Way struct {
	// Delay is the time that each packet takes.
	Delay time.Duration
	// Loss is the share of packets that are lost, from 0 to 1.
	Loss float64
	// Burst is the mean number of packets lost in a row. Zero loses each packet by itself; so does 1, nearly.
	// More makes the losses come together (a Gilbert model) at the same share.
	Burst float64
	// Rate is the bottleneck in bits per second, zero for none.
	Rate int64
	// Queue is how long a packet may wait for the bottleneck; what would wait longer is dropped. Zero is 100 ms.
	Queue time.Duration
}

// queue returns the longest wait before the bottleneck.
func (w *Way) queue() time.Duration {
	if w.Queue == 0 {
		return 100 * time.Millisecond
	}
	return w.Queue
}

// A lottery draws which packets are lost.
type lottery struct {
	rand *rand.Rand
	bad  bool // in the midst of a burst
}

// Each direction has a stream of the generator of its own.
func newLottery(seed, direction uint64) *lottery {
	return &lottery{rand: rand.New(rand.NewPCG(seed, direction))}
}

// lose draws for one packet.
func (l *lottery) lose(w *Way) bool {
	x := l.rand.Float64()
	if w.Burst <= 0 || w.Loss <= 0 || w.Loss >= 1 {
		return x < w.Loss
	}
	// In the bad state every packet is lost. It lasts Burst packets on average, and the chance to enter it makes the share
	// of all packets that meet it Loss.
	leave := 1 / max(w.Burst, 1)
	enter := leave * w.Loss / (1 - w.Loss)
	if l.bad {
		l.bad = x >= leave
	} else {
		l.bad = x < enter
	}
	return l.bad
}

// A bottleneck tells when a packet has left the sender.
type bottleneck struct {
	free time.Duration // when the line is free again
}

// pass returns when a packet of n bytes that came at now has passed, or false when it does not find room.
func (b *bottleneck) pass(w *Way, now time.Duration, n int) (time.Duration, bool) {
	if w.Rate <= 0 {
		return now, true
	}
	start := max(now, b.free)
	if start-now > w.queue() {
		return 0, false
	}
	b.free = start + time.Duration(int64(n)*8*int64(time.Second)/w.Rate)
	return b.free, true
}
