package mqtttest

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/wiretest"
	"github.com/quartet-mq/quartet/mqtt"
)

// Peer is one end of a connection that the test plays packet by packet, as a client or as a server. What does not go
// as the test says fails it at once, with the packets before in the message.
//
// The protocol version is that of the CONNECT that passes; before one it is 5. A Peer waits for 5 seconds at most. It is
// not safe for concurrent use, and its methods must be called from the test's goroutine.
type Peer struct {
	tb      testing.TB
	play    *wiretest.Player
	version mqtt.Version
	dec     mqtt.Decoder
}

// NewPeer returns the peer that plays with conn. The conn is closed with the test.
func NewPeer(tb testing.TB, conn net.Conn) *Peer {
	return &Peer{tb: tb, play: wiretest.NewPlayer(tb, conn, "packet", mqtt.MaxPacketSize), version: mqtt.Version5}
}

// Conn returns the connection.
func (p *Peer) Conn() net.Conn { return p.play.Conn }

// Send sends packets, which must be legal.
func (p *Peer) Send(packets ...mqtt.Packet) {
	p.tb.Helper()
	p.send(mqtt.Append, packets)
}

// SendIllegal sends packets whatever their values are.
func (p *Peer) SendIllegal(packets ...mqtt.Packet) {
	p.tb.Helper()
	p.send(mqtt.AppendIllegal, packets)
}

// SendBytes sends bytes as they are.
func (p *Peer) SendBytes(b ...byte) {
	p.tb.Helper()
	p.play.SendBytes(b)
}

func (p *Peer) send(encode func([]byte, mqtt.Packet, mqtt.Version) ([]byte, error), packets []mqtt.Packet) {
	p.tb.Helper()
	var b []byte
	for _, packet := range packets {
		if c, ok := packet.(*mqtt.Connect); ok && c.Version != 0 {
			p.version = c.Version
		}
		var err error
		if b, err = encode(b, packet, p.version); err != nil {
			p.play.Fatalf("cannot send %v: %v", packet, err)
		}
		p.play.Note("sent", packet.String())
	}
	p.play.Write(b)
}

// Expect receives as many packets as are given and compares each with the one expected, byte for byte as it is
// encoded; properties may come in another order.
func (p *Peer) Expect(want ...mqtt.Packet) {
	p.tb.Helper()
	for _, w := range want {
		raw, got, err := p.next()
		if err != nil {
			p.play.Fatalf("%v, want %v", err, w)
		}
		encoded, err := mqtt.AppendIllegal(nil, w, p.version)
		if err != nil {
			p.play.Fatalf("cannot encode the expected %v: %v", w, err)
		}
		if bytes.Equal(raw, encoded) || p.sameButOrder(raw, encoded) {
			continue
		}
		p.play.Differs(encoded, raw, w.String(), got.String())
	}
}

// Receive receives a packet of a type and returns it for the test to look at. It is valid until the next call.
func (p *Peer) Receive(want mqtt.PacketType) mqtt.Packet {
	p.tb.Helper()
	_, got, err := p.next()
	if err != nil {
		p.play.Fatalf("%v, want %v", err, want)
	}
	if got.Type() != want {
		p.play.Fatalf("got %v, want %v", got, want)
	}
	return got
}

// Connect sends a CONNECT and expects a CONNACK without error, which it returns.
func (p *Peer) Connect(c *mqtt.Connect) *mqtt.Connack {
	p.tb.Helper()
	p.Send(c)
	ack := p.Receive(mqtt.TypeConnack).(*mqtt.Connack)
	if ack.Reason.IsError() || p.version < mqtt.Version5 && ack.Reason != 0 {
		p.play.Fatalf("the connection is refused: %v", ack)
	}
	return ack
}

// ExpectSilence waits for a time in which nothing may come.
func (p *Peer) ExpectSilence(d time.Duration) {
	p.tb.Helper()
	p.play.ExpectSilence(d, p.nextText)
}

// ExpectClose expects the other end to close the connection without sending anything more.
func (p *Peer) ExpectClose() {
	p.tb.Helper()
	p.play.ExpectClose(p.nextText)
}

// Close closes the connection without a word.
func (p *Peer) Close() { _ = p.play.Conn.Close() }

// next receives a packet, with its bytes.
func (p *Peer) next() (raw []byte, got mqtt.Packet, err error) {
	return p.nextUntil(time.Now().Add(wiretest.Patience))
}

func (p *Peer) nextUntil(deadline time.Time) (raw []byte, got mqtt.Packet, err error) {
	_ = p.play.Conn.SetReadDeadline(deadline)
	for {
		got, n, err := p.dec.Decode(p.play.In.Bytes(), p.version)
		if err != nil {
			return nil, nil, p.play.Undecodable(err)
		}
		if n > 0 {
			raw := p.play.In.Bytes()[:n]
			p.play.In.Discard(n)
			if c, ok := got.(*mqtt.Connect); ok {
				p.version = c.Version
			}
			p.play.Note("got ", got.String())
			return raw, got, nil
		}
		if err := p.play.Fill(); err != nil {
			return nil, nil, err
		}
	}
}

// nextText receives a packet and returns its text.
func (p *Peer) nextText(deadline time.Time) (string, error) {
	_, got, err := p.nextUntil(deadline)
	if err != nil {
		return "", err
	}
	return got.String(), nil
}
