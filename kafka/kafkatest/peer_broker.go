package kafkatest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/wiretest"
)

// PeerBroker is a broker in memory whose connections the test plays by hand. Its methods other than Dial must be called from
// the test's goroutine.
type PeerBroker struct {
	tb       testing.TB
	listener *memnet.Listener
	conns    chan net.Conn
}

// peerAddr is the address of a PeerBroker.
const peerAddr = "peer:9092"

// NewPeerBroker returns a broker that ends with the test.
func NewPeerBroker(tb testing.TB) *PeerBroker {
	b := &PeerBroker{tb, memnet.Listen(peerAddr), make(chan net.Conn)}
	done := make(chan struct{})
	tb.Cleanup(func() {
		_ = b.listener.Close()
		close(done)
	})
	go func() {
		for {
			nc, err := b.listener.Accept()
			if err != nil {
				return
			}
			select {
			case b.conns <- nc:
			case <-done:
				_ = nc.Close()
				return
			}
		}
	}()
	return b
}

// Addrs returns the address, for kafkaclient.Options.
func (b *PeerBroker) Addrs() []string { return []string{peerAddr} }

// Dial connects to the broker whatever the address is, so that responses may name any. It is what kafkaclient.Options need.
func (b *PeerBroker) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return b.listener.Dial(ctx)
}

// Accept waits for the next connection, for 5 seconds at most.
func (b *PeerBroker) Accept() *Peer {
	b.tb.Helper()
	timer := time.NewTimer(wiretest.Patience)
	defer timer.Stop()
	select {
	case nc := <-b.conns:
		return NewPeer(b.tb, nc)
	case <-timer.C:
		b.tb.Fatalf("no connection within %v", wiretest.Patience)
		return nil
	}
}

// ExpectNone waits for a time in which nobody may connect.
func (b *PeerBroker) ExpectNone(d time.Duration) {
	b.tb.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case nc := <-b.conns:
		_ = nc.Close()
		b.tb.Fatalf("a connection, want none for %v", d)
	case <-timer.C:
	}
}
