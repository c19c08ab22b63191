// Package amqpload is the load generator of package load for AMQP 0-9-1: messages encoded beforehand, and a count of what
// comes back that looks at a few bytes of each frame.
package amqpload

import (
	"encoding/binary"
	"fmt"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/load"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// frameOverhead is the size of a frame without its payload.
const frameOverhead = 8

// Numbers of methods, class and method.
const (
	basicDeliver = 60<<16 | 60
	basicAck     = 60<<16 | 80
	basicNack    = 60<<16 | 120
)

// channel is the only channel of each connection.
const channel = 1

// PayloadSize is the size of every message's body in bytes.
const PayloadSize = load.PayloadSize

// Connect dials, logs in and opens the channel. The connection blocks until a loop has it.
func Connect(addr string) (*load.Conn, error) {
	c, err := load.Dial(addr)
	if err != nil {
		return nil, err
	}
	if err := login(c); err != nil {
		c.Close()
		return nil, fmt.Errorf("login: %w", err)
	}
	return c, nil
}

func login(c *load.Conn) error {
	if err := c.Write([]byte(amqpraw.Header)); err != nil {
		return err
	}
	if _, err := expect(c, "connection.start"); err != nil {
		return err
	}
	err := c.Write(amqpraw.AppendMethod(nil, 0, "connection.start-ok", "client-properties", amqpraw.Capabilities(),
		"mechanism", "PLAIN", "response", "\x00"+peer.AMQPUser+"\x00"+peer.AMQPPassword, "locale", "en_US"))
	if err != nil {
		return err
	}
	tune, err := expect(c, "connection.tune")
	if err != nil {
		return err
	}
	b := amqpraw.AppendMethod(nil, 0, "connection.tune-ok",
		"channel-max", tune.Args["channel-max"], "frame-max", tune.Args["frame-max"]) // without heartbeats
	b = amqpraw.AppendMethod(b, 0, "connection.open", "virtual-host", "/")
	if err := c.Write(b); err != nil {
		return err
	}
	if _, err := expect(c, "connection.open-ok"); err != nil {
		return err
	}
	_, err = Call(c, "channel.open")
	return err
}

// Call sends a method and waits for the answer, on a connection that blocks.
func Call(c *load.Conn, name string, args ...any) (amqpraw.Method, error) {
	if err := c.Write(amqpraw.AppendMethod(nil, channel, name, args...)); err != nil {
		return amqpraw.Method{}, err
	}
	return expect(c, name+"-ok")
}

// expect waits for a method.
func expect(c *load.Conn, name string) (amqpraw.Method, error) {
	b, err := Next(c)
	if err != nil {
		return amqpraw.Method{}, fmt.Errorf("waiting for %s: %w", name, err)
	}
	m, err := amqpraw.DecodeMethod(b[7 : len(b)-1])
	if err == nil && m.Name != name {
		err = fmt.Errorf("%s %v in place of %s", m.Name, m.Args, name)
	}
	return m, err
}

// Next waits for the next frame, on a connection that blocks. It reads not a byte more.
func Next(c *load.Conn) ([]byte, error) {
	b := make([]byte, 7, 64)
	for got := 0; ; {
		n, err := c.Read(b[got:])
		if err != nil {
			return nil, err
		}
		if got += n; got < len(b) {
			continue
		}
		size := int(binary.BigEndian.Uint32(b[3:])) + frameOverhead
		if size == got {
			return b, nil
		}
		b = append(b, make([]byte, size-got)...)
	}
}

// frame returns the size of the frame at the start of b, 0 when it is not complete.
func frame(b []byte) int {
	if len(b) < 7 {
		return 0
	}
	size := int(binary.BigEndian.Uint32(b[3:])) + frameOverhead
	if size > len(b) {
		return 0
	}
	return size
}

// methodID returns the number of the method in a frame.
func methodID(f []byte) uint32 {
	if len(f) < frameOverhead+4 {
		return 0
	}
	return binary.BigEndian.Uint32(f[7:])
}

// unexpected returns an error for a frame that must not come. A broker may say that it has blocked the connection and that
// heartbeats are due.
func unexpected(f []byte) error {
	switch f[0] {
	case amqpraw.FrameHeartbeat:
		return nil
	case amqpraw.FrameMethod:
	default:
		return fmt.Errorf("frame of type %d", f[0])
	}
	m, err := amqpraw.DecodeMethod(f[7 : len(f)-1])
	if err != nil || m.Name == "connection.blocked" || m.Name == "connection.unblocked" {
		return err
	}
	return fmt.Errorf("the broker sent %s %v", m.Name, m.Args)
}
