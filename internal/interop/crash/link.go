package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
	"github.com/quartet-mq/quartet/mqtt"
)

// A link is a connection to the broker: packets on a socket, nothing more. Receive may be called beside the others.
type link struct {
	nc   net.Conn
	v    mqtt.Version
	dec  mqtt.Decoder
	in   []byte // read and not decoded
	used int    // of in, by the last packet
	out  []byte
}

// answerTime is how long the broker may take for an answer. A busy machine may need a while.
const answerTime = time.Minute

var errNoConnack = errors.New("no CONNACK")

// dial connects and logs in. The session is kept as long as the broker lives unless c.CleanStart is set.
func dial(addr string, c *mqtt.Connect) (*link, *mqtt.Connack, error) {
	nc, err := net.DialTimeout("tcp", addr, answerTime)
	if err != nil {
		return nil, nil, err
	}
	l := &link{nc: nc, v: c.Version}
	l.dec.From = mqtt.Server
	c.HasUsername, c.Username = true, peer.User
	c.HasPassword, c.Password = true, []byte(peer.Password)
	if c.Version == mqtt.Version5 && !c.CleanStart {
		c.Properties = c.Properties.AppendUint32(mqtt.PropSessionExpiryInterval, 0xFFFFFFFF)
	}
	nc.SetReadDeadline(time.Now().Add(answerTime))
	defer nc.SetReadDeadline(time.Time{})
	l.queue(c)
	err = l.flush()
	var p mqtt.Packet
	if err == nil {
		p, err = l.receive()
	}
	ack, ok := p.(*mqtt.Connack)
	switch {
	case err != nil:
	case !ok:
		err = fmt.Errorf("%w: %v", errNoConnack, p)
	case ack.Reason.IsError():
		err = fmt.Errorf("%w: %v", errNoConnack, ack.Reason)
	}
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return l, ack, nil
}

// queue encodes a packet, to be sent by flush.
func (l *link) queue(p mqtt.Packet) {
	out, err := mqtt.Append(l.out, p, l.v)
	if err != nil {
		panic(err) // this program's own fault
	}
	l.out = out
}

// flush sends what was queued.
func (l *link) flush() error {
	if len(l.out) == 0 {
		return nil
	}
	l.nc.SetWriteDeadline(time.Now().Add(answerTime))
	_, err := l.nc.Write(l.out)
	l.out = l.out[:0]
	return err
}

// receive returns the next packet, which is valid until the next call.
func (l *link) receive() (mqtt.Packet, error) {
	l.in, l.used = l.in[l.used:], 0
	for {
		p, n, err := l.dec.Decode(l.in, l.v)
		if err != nil {
			return nil, err
		}
		if p != nil {
			l.used = n
			return p, nil
		}
		var chunk [16 << 10]byte
		n, err = l.nc.Read(chunk[:])
		if err != nil {
			return nil, err
		}
		l.in = append(l.in, chunk[:n]...)
	}
}

// more reports whether another packet has come already, at least its begin.
func (l *link) more() bool { return len(l.in) > l.used }

// close closes the connection without DISCONNECT.
func (l *link) close() { l.nc.Close() }

// bye sends DISCONNECT. The broker closes the connection when it has read it.
func (l *link) bye() error {
	l.queue(&mqtt.Disconnect{})
	return l.flush()
}
