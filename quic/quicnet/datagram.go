package quicnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/quic-go/quic-go"
)

// maxGrams is how many datagrams wait to be sent before further ones are dropped.
const maxGrams = 128

// oversized is a datagram that no packet has room for: quic-go makes none of more than 1452 bytes.
var oversized = [2 << 10]byte{}

// errNoDatagrams is returned when one side does not take datagrams.
var errNoDatagrams = fmt.Errorf("quicnet: datagrams are off: %w", errors.ErrUnsupported)

// datagrams is the sending side of a connection's datagrams. quic-go waits when 32 of them are queued; a goroutine of
// ours does that, so that a caller never does. It runs while there is something to send.
type datagrams struct {
	mu      sync.Mutex
	queue   [][]byte
	running bool
	max     int // the largest payload, as far as known
}

// SendDatagram sends one datagram without waiting and does not keep b (RFC 9221). It returns a *DatagramTooLargeError
// when b does not fit, and an error that wraps errors.ErrUnsupported when one of the peers takes no datagrams. When too
// many are waiting, or the path has become narrower since, the datagram is dropped, which Stats counts; what the
// network loses nobody counts. A client sends none before the handshake is complete, because what the server refuses
// then could not be sent again.
func (c *Conn) SendDatagram(b []byte) error {
	if c.isClosed() {
		return c.opError("write", net.ErrClosed)
	}
	if c.client && !c.handshaken() {
		return c.opError("write", errEarlyDatagram)
	}
	if err := context.Cause(c.qc.Context()); err != nil {
		return c.opError("write", c.errOf(err))
	}
	d := &c.grams
	full, err := c.queueDatagram(d, b)
	if err != nil {
		return c.opError("write", err)
	}
	if full {
		c.dropDatagram(len(b), false)
	}
	return nil
}

// queueDatagram queues b, unless it does not fit or too many wait.
func (c *Conn) queueDatagram(d *datagrams, b []byte) (full bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(b) > d.max { // it may be larger by now
		d.max = c.maxDatagram()
		switch {
		case d.max == 0:
			return false, errNoDatagrams
		case len(b) > d.max:
			return false, &DatagramTooLargeError{Size: len(b), Max: d.max}
		}
	}
	if len(d.queue) >= maxGrams {
		return true, nil
	}
	d.queue = append(d.queue, append([]byte(nil), b...))
	if !d.running {
		d.running = true
		go c.sendDatagrams()
	}
	return false, nil
}

// sendDatagrams sends what waits.
func (c *Conn) sendDatagrams() {
	d := &c.grams
	for {
		d.mu.Lock()
		batch := d.queue
		d.queue = nil
		d.running = len(batch) > 0
		d.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, b := range batch {
			err := c.qc.SendDatagram(b)
			if err == nil {
				c.counters.gramsSent.Add(1)
				continue
			}
			c.dropDatagram(len(b), false)
			if e, ok := errors.AsType[*quic.DatagramTooLargeError](err); ok {
				d.mu.Lock()
				d.max = int(e.MaxDatagramPayloadSize)
				d.mu.Unlock()
			}
		}
	}
}

// maxDatagram returns the largest payload now, or 0. quic-go says it only when refusing a larger one.
func (c *Conn) maxDatagram() int {
	if !c.state().datagrams {
		return 0
	}
	if e, ok := errors.AsType[*quic.DatagramTooLargeError](c.qc.SendDatagram(oversized[:])); ok {
		return int(e.MaxDatagramPayloadSize)
	}
	return 0
}

// ReceiveDatagram waits for the handshake and then for the next datagram. The caller owns the slice. When more than 128
// wait, further ones are dropped.
func (c *Conn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	if c.cfg.NoDatagrams {
		return nil, c.opError("read", errNoDatagrams)
	}
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	err := c.awaitConfirmed(both)
	if err == nil {
		var b []byte
		if b, err = c.qc.ReceiveDatagram(both); err == nil {
			return b, nil
		}
	}
	if ctx.Err() != nil {
		return nil, c.opError("read", context.Cause(ctx))
	}
	return nil, c.opError("read", c.errOf(err))
}
