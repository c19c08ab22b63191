package quicnet

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// TestDatagramSize finds the largest datagram, which grows with the path's MTU.
func TestDatagramSize(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		var large *DatagramTooLargeError
		err := c.SendDatagram(make([]byte, 10_000))
		if !errors.As(err, &large) || large.Size != 10_000 || large.Max < 1150 || large.Max > 1452 {
			e.Fatalf("got %v", err)
		}
		want := pattern(large.Max)
		if err := c.SendDatagram(want); err != nil {
			e.Fatal(err)
		}
		want[0] ^= 0 // the slice is the caller's again
		got, err := s.ReceiveDatagram(e.Context())
		if err != nil || !bytes.Equal(got, want) {
			e.Errorf("%d bytes, %v", len(got), err)
		}
		if err := c.SendDatagram(make([]byte, large.Max+1)); err == nil && large.Max < 1400 {
			pause(time.Second)
			if c.Stats().DatagramsDropped != 0 {
				e.Error("a datagram was dropped")
			}
		}
	})
}

// TestDatagramFlood sends more than anybody takes: SendDatagram never waits, and what this side drops is counted.
func TestDatagramFlood(t *testing.T) {
	var sent, received atomic.Int64
	trace := &Trace{DatagramDropped: func(_ *Conn, size int, in bool) {
		if size != 1000 {
			t.Errorf("dropped %d bytes", size)
		}
		if in {
			received.Add(1)
		} else {
			sent.Add(1)
		}
	}}
	bubble(t, &ListenOptions{Config: Config{Trace: trace}}, &Dialer{Config: Config{Trace: trace}}, func(e *env) {
		const n = 2000
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		start := time.Now()
		for range n {
			if err := c.SendDatagram(pattern(1000)); err != nil {
				e.Fatal(err)
			}
		}
		if took := time.Since(start); took != 0 {
			e.Errorf("SendDatagram waited %v", took)
		}
		pause(time.Second)
		st := c.Stats()
		if st.DatagramsSent+st.DatagramsDropped != n || st.DatagramsDropped != uint64(sent.Load()) || st.DatagramsSent < 128 {
			e.Errorf("%+v, traced %d", st, sent.Load())
		}
		if in := s.Stats().DatagramsDropped; in != uint64(received.Load()) || in != st.DatagramsSent-128 {
			e.Errorf("the receiver dropped %d of %d, traced %d", in, st.DatagramsSent, received.Load())
		}
		for range 128 {
			if _, err := s.ReceiveDatagram(e.Context()); err != nil {
				e.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(e.Context(), time.Second)
		defer cancel()
		if _, err := s.ReceiveDatagram(ctx); !errors.Is(err, context.DeadlineExceeded) {
			e.Errorf("got %v", err)
		}
	})
}

// TestNoDatagrams is a peer that takes none.
func TestNoDatagrams(t *testing.T) {
	bubble(t, &ListenOptions{Config: Config{NoDatagrams: true}}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		var op *net.OpError
		for _, x := range []*Conn{c, s} {
			if err := x.SendDatagram([]byte{1}); !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &op) {
				e.Errorf("got %v", err)
			}
		}
		if _, err := s.ReceiveDatagram(e.Context()); !errors.Is(err, errors.ErrUnsupported) {
			e.Errorf("got %v", err)
		}
	})
}
