package mqtttest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/mqtt"
)

// patience is how long a Peer waits for the other end.
const patience = 5 * time.Second

// history is how many packets a failure shows.
const history = 12

// Peer is one end of a connection that the test plays packet by packet, as a client or as a server. What does not go
// as the test says fails it at once, with the packets before in the message.
//
// The protocol version is that of the CONNECT that passes; before one it is 5. A Peer waits for 5 seconds at most. It is
// not safe for concurrent use, and its methods must be called from the test's goroutine.
type Peer struct {
	tb      testing.TB
	conn    net.Conn
	version mqtt.Version
	dec     mqtt.Decoder
	in      codec.Buffer
	log     []string
}

// NewPeer returns the peer that plays with conn. The conn is closed with the test.
func NewPeer(tb testing.TB, conn net.Conn) *Peer {
	tb.Cleanup(func() { _ = conn.Close() })
	return &Peer{tb: tb, conn: conn, version: mqtt.Version5, in: codec.Buffer{Max: mqtt.MaxPacketSize}}
}

// Conn returns the connection.
func (p *Peer) Conn() net.Conn { return p.conn }

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
	p.note("sent", fmt.Sprintf("% x", b))
	p.write(b)
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
			p.fatalf("cannot send %v: %v", packet, err)
		}
		p.note("sent", packet.String())
	}
	p.write(b)
}

func (p *Peer) write(b []byte) {
	p.tb.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.conn.Write(b); err != nil {
		p.fatalf("cannot send: %v", err)
	}
}

// Expect receives as many packets as are given and compares each with the one expected, byte for byte as it is
// encoded; properties may come in another order.
func (p *Peer) Expect(want ...mqtt.Packet) {
	p.tb.Helper()
	for _, w := range want {
		raw, got, err := p.next()
		if err != nil {
			p.fatalf("%v, want %v", err, w)
		}
		encoded, err := mqtt.AppendIllegal(nil, w, p.version)
		if err != nil {
			p.fatalf("cannot encode the expected %v: %v", w, err)
		}
		if bytes.Equal(raw, encoded) || p.sameButOrder(raw, encoded) {
			continue
		}
		if g, w := got.String(), w.String(); g != w {
			p.fatalf("got  %s\nwant %s\ndiff %s", g, w, diffWords(w, g))
		}
		p.fatalf("got  %s\nwant the same, but the bytes differ (- want, + got):\n%s", got, diffLines(hexText(encoded), hexText(raw)))
	}
}

// Receive receives a packet of a type and returns it for the test to look at. It is valid until the next call.
func (p *Peer) Receive(want mqtt.PacketType) mqtt.Packet {
	p.tb.Helper()
	_, got, err := p.next()
	if err != nil {
		p.fatalf("%v, want %v", err, want)
	}
	if got.Type() != want {
		p.fatalf("got %v, want %v", got, want)
	}
	return got
}

// Connect sends a CONNECT and expects a CONNACK without error, which it returns.
func (p *Peer) Connect(c *mqtt.Connect) *mqtt.Connack {
	p.tb.Helper()
	p.Send(c)
	ack := p.Receive(mqtt.TypeConnack).(*mqtt.Connack)
	if ack.Reason.IsError() || p.version < mqtt.Version5 && ack.Reason != 0 {
		p.fatalf("the connection is refused: %v", ack)
	}
	return ack
}

// ExpectSilence waits for a time in which nothing may come.
func (p *Peer) ExpectSilence(d time.Duration) {
	p.tb.Helper()
	_, got, err := p.nextUntil(time.Now().Add(d))
	switch {
	case err == nil:
		p.fatalf("got %v, want nothing for %v", got, d)
	case !errors.Is(err, os.ErrDeadlineExceeded):
		p.fatalf("%v, want nothing for %v", err, d)
	}
}

// ExpectClose expects the other end to close the connection without sending anything more.
func (p *Peer) ExpectClose() {
	p.tb.Helper()
	_, got, err := p.next()
	switch {
	case err == nil:
		p.fatalf("got %v, want the connection to be closed", got)
	case !closed(err):
		p.fatalf("%v, want the connection to be closed", err)
	}
}

// Close closes the connection without a word.
func (p *Peer) Close() { _ = p.conn.Close() }

// closed reports whether an error means that the other end closed the connection.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// next receives a packet, with its bytes.
func (p *Peer) next() (raw []byte, got mqtt.Packet, err error) {
	return p.nextUntil(time.Now().Add(patience))
}

func (p *Peer) nextUntil(deadline time.Time) (raw []byte, got mqtt.Packet, err error) {
	_ = p.conn.SetReadDeadline(deadline)
	for {
		got, n, err := p.dec.Decode(p.in.Bytes(), p.version)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot decode what came: %w\n%s", err, hexText(p.in.Bytes()))
		}
		if n > 0 {
			raw := p.in.Bytes()[:n]
			p.in.Discard(n)
			if c, ok := got.(*mqtt.Connect); ok {
				p.version = c.Version
			}
			p.note("got ", got.String())
			return raw, got, nil
		}
		if _, err := p.in.Fill(p.conn); err != nil {
			if p.in.Len() > 0 {
				err = fmt.Errorf("the connection ended within a packet: %w\n%s", err, hexText(p.in.Bytes()))
			}
			return nil, nil, err
		}
	}
}

// note keeps a line for the message of a failure.
func (p *Peer) note(verb, text string) {
	if len(p.log) == history {
		p.log = p.log[:copy(p.log, p.log[1:])]
	}
	p.log = append(p.log, verb+" "+text)
}

func (p *Peer) fatalf(format string, args ...any) {
	p.tb.Helper()
	message := fmt.Sprintf(format, args...)
	if len(p.log) > 0 {
		message += "\nthe last packets:\n\t" + strings.Join(p.log, "\n\t")
	}
	p.tb.Fatal(message)
}
