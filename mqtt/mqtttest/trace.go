package mqtttest

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// Trace records the packets of connections as text, one line for each packet:
//
//	C CONNECT version=5 client="a"
//	S CONNACK reason=0x00
//
// C is sent by the client, S by the server. The packets of one connection are in the order in which the wrapped end
// sent and received them. Connections follow one another in the order in which they were wrapped, each after the first
// with a blank line before it. The zero value is ready to use. It is safe for concurrent use.
type Trace struct {
	mu    sync.Mutex
	conns []*tracedConn
}

// tracedConn is the record of one connection.
type tracedConn struct {
	version mqtt.Version
	lines   []string
}

// Wrap returns conn with its packets recorded. near is the role of the end that uses the result.
func (t *Trace) Wrap(conn net.Conn, near mqtt.Role) net.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := new(tracedConn)
	t.conns = append(t.conns, c)
	return newTap(conn, near, func(from mqtt.Role, packet []byte) Result {
		t.mu.Lock()
		defer t.mu.Unlock()
		c.record(from, packet)
		return Result{Data: packet}
	})
}

// record notes one packet.
func (c *tracedConn) record(from mqtt.Role, packet []byte) {
	d := mqtt.Decoder{From: from}
	p, _, err := d.Decode(packet, c.version)
	if connect, ok := p.(*mqtt.Connect); ok {
		c.version = connect.Version
	}
	sender := "C "
	if from == mqtt.Server {
		sender = "S "
	}
	if err != nil {
		c.lines = append(c.lines, fmt.Sprintf("%s% x (%v)", sender, packet, err))
		return
	}
	c.lines = append(c.lines, sender+p.String())
}

// String returns the record so far.
func (t *Trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for i, c := range t.conns {
		if i > 0 {
			b.WriteString("\n")
		}
		for _, line := range c.lines {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// Compare compares the record so far with a golden file, usually below testdata, and fails the test when they differ.
// The test flag -update writes the file instead, where the test's package has such a flag:
//
//	var _ = flag.Bool("update", false, "rewrite golden files")
func (t *Trace) Compare(tb testing.TB, path string) {
	tb.Helper()
	got := t.String()
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			tb.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		tb.Fatalf("golden trace: %v\nthe trace is:\n%s", err, got)
	}
	if want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")); string(want) != got {
		tb.Errorf("trace differs from %s (- want, + got):\n%s", path, diffLines(string(want), got))
	}
}

// hexText returns bytes in hexadecimal, 16 in a line.
func hexText(b []byte) string { return strings.TrimRight(hex.Dump(b), "\n") }
