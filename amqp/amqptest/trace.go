package amqptest

import (
	"net"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/wiretest"
)

// Trace records the frames of connections as text, one line for each:
//
//	C AMQP 0-9-1
//	S 0 connection.start(version-minor=9, mechanisms="PLAIN AMQPLAIN", locales="en_US")
//	C 1 basic.publish(routing-key="q")
//	C 1 header(body-size=5)
//	C 1 body 5:"hello"
//
// C is sent by the client, S by the server; then comes the channel. The frames of one connection are in the order in which
// the wrapped end sent and received them. Connections follow one another in the order in which they were wrapped, each
// after the first with a blank line before it. The zero value is ready to use. It is safe for concurrent use.
type Trace struct {
	// NoHandshake leaves out how connections are opened: the protocol header and the methods from connection.start to
	// connection.open-ok, which tell the versions of client and server. It must not change once connections are wrapped.
	NoHandshake bool

	transcript wiretest.Transcript
}

// Wrap returns conn with its frames recorded. near is the role of the end that uses the result.
func (t *Trace) Wrap(conn net.Conn, near amqp091.Role) net.Conn {
	record := t.transcript.Conn()
	return tap(conn, near, func(from amqp091.Role) wiretest.Effect {
		sender := "C "
		if from == amqp091.Server {
			sender = "S "
		}
		return func(unit []byte) wiretest.Result {
			if !t.NoHandshake || !handshake(unit) {
				record.Note(func() string { return sender + unitText(unit) })
			}
			return wiretest.Result{Data: unit}
		}
	})
}

// handshake reports whether a frame or protocol header is of the opening of a connection.
func handshake(unit []byte) bool {
	if isHeader(unit) {
		return true
	}
	f, _ := frameOf(unit)
	switch methodOf(f) {
	case amqp091.IDConnectionStart, amqp091.IDConnectionStartOK, amqp091.IDConnectionSecure, amqp091.IDConnectionSecureOK,
		amqp091.IDConnectionTune, amqp091.IDConnectionTuneOK, amqp091.IDConnectionOpen, amqp091.IDConnectionOpenOK:
		return true
	}
	return false
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
