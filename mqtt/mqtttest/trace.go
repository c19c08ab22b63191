package mqtttest

import (
	"fmt"
	"net"
	"testing"

	"github.com/quartet-mq/quartet/internal/wiretest"
	"github.com/quartet-mq/quartet/mqtt"
)

// Trace records the packets of connections as text, one line for each packet:
//
//	C CONNECT version=5 client="a"
//	S CONNACK reason=0x00
//
// C is sent by the client, S by the server. On a data stream the number of the stream follows, as in C[4], and in a datagram
// a D, as in C[D]. The packets of one connection are in the order in which the wrapped end sent and received them; of packets
// on different streams at the same time either may be the first. Connections follow one another in the order in which they
// were wrapped, each after the first with a blank line before it. The zero value is ready to use. It is safe for concurrent
// use.
type Trace struct{ transcript wiretest.Transcript }

// Wrap returns conn with its packets recorded. near is the role of the end that uses the result.
func (t *Trace) Wrap(conn net.Conn, near mqtt.Role) net.Conn {
	record := t.transcript.Conn()
	var version mqtt.Version
	return tap(conn, near, func(stream int64, from mqtt.Role, packet []byte) wiretest.Result {
		record.Note(func() string { return text(stream, from, packet, &version) })
		return wiretest.Result{Data: packet}
	})
}

// text returns the line of one packet.
func text(stream int64, from mqtt.Role, packet []byte, version *mqtt.Version) string {
	d := mqtt.Decoder{From: from}
	p, _, err := d.Decode(packet, *version)
	if connect, ok := p.(*mqtt.Connect); ok {
		*version = connect.Version
	}
	sender := "C"
	if from == mqtt.Server {
		sender = "S"
	}
	switch {
	case stream > 0:
		sender += fmt.Sprintf("[%d]", stream)
	case stream == Datagrams:
		sender += "[D]"
	}
	sender += " "
	if err != nil || p == nil {
		return fmt.Sprintf("%s% x (%v)", sender, packet, err)
	}
	return sender + p.String()
}

// String returns the record so far.
func (t *Trace) String() string { return t.transcript.String() }

// Compare compares the record so far with a golden file, usually below testdata, and fails the test when they differ.
// The test flag -update writes the file instead, where the test's package has such a flag:
//
//	var _ = flag.Bool("update", false, "rewrite golden files")
func (t *Trace) Compare(tb testing.TB, path string) {
	tb.Helper()
	t.transcript.Compare(tb, path)
}
