package quicnet

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// Close ends the connection. It never waits: reads, writes and everything else fail from now on, and what was written
// to any stream, closed or not, is delivered in the background. Done is closed when that is over.
//
// QUIC has nothing that does this: a CONNECTION_CLOSE frame ends everything at once, and a peer that has not read all it
// got loses the rest (RFC 9000, section 10.2). So Close ends all streams, waits until the peer has ended them as well,
// which it does after reading to their end, and only then sends CONNECTION_CLOSE with CodeOK. Where the peer's end came
// too early to be an answer, it waits until the peer sends that frame itself. Both waits are bounded by Config.Linger:
// a peer that reads more slowly than that loses the rest. A peer that ends its side of a stream of its own accord, while
// what this side wrote is still under way, and reads on, may lose the rest too.
//
// A program that is about to exit waits for Done, or calls Dialer.Shutdown or Listener.Shutdown.
func (c *Conn) Close() error {
	streams, ok := c.beginClose()
	if !ok {
		return c.opError("close", net.ErrClosed)
	}
	if c.cfg.linger() == 0 {
		go c.qc.CloseWithError(quic.ApplicationErrorCode(CodeOK), "")
		return nil
	}
	for _, s := range streams {
		s.shut()
	}
	go c.linger(streams)
	return nil
}

// Abort ends the connection at once with a CONNECTION_CLOSE frame of the code. What is under way in either direction is
// lost.
func (c *Conn) Abort(code Code, reason string) {
	c.beginClose()
	_ = c.qc.CloseWithError(quic.ApplicationErrorCode(code), reason)
}

// beginClose makes the connection refuse everything new and returns its streams. It returns false when that was done
// before.
func (c *Conn) beginClose() ([]*stream, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false
	}
	c.closed = true
	c.cancel()
	streams := make([]*stream, 0, len(c.streams))
	for s := range c.streams {
		streams = append(streams, s)
	}
	return streams, true
}

// linger waits until the peer has got everything, and sends CONNECTION_CLOSE.
func (c *Conn) linger(streams []*stream) {
	ctx, cancel := context.WithTimeout(c.qc.Context(), c.cfg.linger())
	defer cancel()
	deadline := time.Now().Add(c.cfg.linger())
	var (
		all     sync.WaitGroup
		mu      sync.Mutex
		theirs  bool // the peer is to end the connection
		crossed bool // or both sides ended at the same time
	)
	drain := func(s *stream) {
		confirmed := s.drain(deadline)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case confirmed:
		case s.crossed():
			crossed = true
		default:
			theirs = true
		}
	}
	for _, s := range streams {
		all.Go(func() { drain(s) })
	}
	go c.refuse(ctx, deadline)
	all.Wait()
	switch {
	case theirs:
		<-ctx.Done()
	case crossed:
		c.settle(ctx)
	}
	_ = c.qc.CloseWithError(quic.ApplicationErrorCode(CodeOK), "")
}

// maxAckDelay is how long a peer may take to acknowledge a packet (RFC 9000, section 18.2).
const maxAckDelay = 25 * time.Millisecond

// settle waits until nothing has moved for so long that everything must have arrived: what is lost is sent again after
// one, three and seven times the probe timeout (RFC 9002, section 6.2).
func (c *Conn) settle(ctx context.Context) {
	var before quic.ConnectionStats
	for {
		now := c.qc.ConnectionStats()
		if now.PacketsSent == before.PacketsSent && now.PacketsReceived == before.PacketsReceived {
			return
		}
		before = now
		pto := now.SmoothedRTT + max(4*now.MeanDeviation, time.Millisecond) + maxAckDelay
		t := time.NewTimer(6 * pto)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// refuse ends the streams that the peer has opened and nobody has accepted, so that the peer's Close does not wait for
// them.
func (c *Conn) refuse(ctx context.Context, deadline time.Time) {
	for {
		q, err := c.src.acceptStream(ctx)
		if err != nil {
			return
		}
		s := newStream(c, q)
		s.shut()
		go s.drain(deadline)
	}
}
