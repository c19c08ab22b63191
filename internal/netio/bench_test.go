package netio_test

import (
	"net"
	"testing"

	"github.com/quartet-mq/quartet/internal/netio"
)

// BenchmarkPingPong sends 256 bytes to and fro over loopback, with plain conns and with Conn.
func BenchmarkPingPong(b *testing.B) {
	msg := make([]byte, 256)
	b.Run("netio", func(b *testing.B) {
		own, peer := socketPair(b, "tcp", "127.0.0.1:0")
		defer own.Close()
		go echoConn(peer)
		c, s := netio.NewConn(own), newSpace(64<<10)
		chunks := [][]byte{msg}
		for b.Loop() {
			if _, err := c.TryWrite(chunks); err != nil {
				b.Fatal(err)
			}
			if _, err := c.Read(s); err != nil {
				b.Fatal(err)
			}
			s.Release()
		}
	})
	b.Run("net", func(b *testing.B) {
		own, peer := socketPair(b, "tcp", "127.0.0.1:0")
		defer own.Close()
		go echo(peer)
		buf := make([]byte, 64<<10)
		for b.Loop() {
			if _, err := own.Write(msg); err != nil {
				b.Fatal(err)
			}
			if _, err := own.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func echoConn(conn net.Conn) {
	defer conn.Close()
	c, s := netio.NewConn(conn), newSpace(64<<10)
	for {
		n, err := c.Read(s)
		if err != nil {
			return
		}
		if _, err := c.TryWrite([][]byte{s.buf[:n]}); err != nil {
			return
		}
		s.Release()
	}
}
