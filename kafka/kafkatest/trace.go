package kafkatest

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/quartet-mq/quartet/internal/wiretest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Role is one of the two ends of a connection.
type Role uint8

// The two roles.
const (
	Client Role = iota + 1
	Server
)

// Trace records the requests and responses of connections as text, one line for each:
//
//	C Metadata/12 Topics=[{Name="t"}]
//	S Metadata/12 Brokers=[{NodeID=1 Host="broker-1" Port=9092}] ClusterID=cluster#1
//
// C is sent by the client, S by the server; then comes what the request is with its version, and the fields as [Text] shows
// them. So that the record of one run is that of the next, correlation ids are left out, and what is random or a time is named:
// ids of topics uuid#1 and so on, of members member#1, of fetch sessions session#1, all times time. The lines of one
// connection are in the order in which the wrapped end sent and received them. Connections follow one another in the order in
// which they were wrapped, each after the first with a blank line before it. The zero value is ready to use. It is safe for
// concurrent use.
type Trace struct {
	// NoHandshake leaves out what opens connections: APIVersions, whose response tells the versions of the server, and SASL.
	// It must not change once connections are wrapped.
	NoHandshake bool

	transcript wiretest.Transcript
	mu         sync.Mutex
	texter     *texter
}

// Wrap returns conn with its requests and responses recorded. near is the role of the end that uses the result.
func (t *Trace) Wrap(conn net.Conn, near Role) net.Conn {
	c := &tracedConn{t: t, record: t.transcript.Conn()}
	client, server := c.see(c.request), c.see(c.response)
	if near == Server {
		client, server = server, client
	}
	return wiretest.Tap(conn, frameSize, client, server)
}

// tracedConn is a connection of a Trace.
type tracedConn struct {
	t      *Trace
	record *wiretest.Record

	mu      sync.Mutex
	waiting []kafkawire.RequestHeader // requests without a response so far
	raw     bool                      // tokens without headers may follow, as after SASLHandshake version 0
}

// see returns the effect that notes what text returns.
func (c *tracedConn) see(text func(frame []byte) string) wiretest.Effect {
	return func(unit []byte) wiretest.Result {
		c.record.Note(func() string {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.t.mu.Lock()
			defer c.t.mu.Unlock()
			if c.t.texter == nil {
				c.t.texter = newTexter()
				c.t.texter.exact = false
			}
			return text(unit)
		})
		return wiretest.Result{Data: unit}
	}
}

// hidden reports whether requests of a key are left out.
func (c *tracedConn) hidden(key kafkawire.APIKey) bool {
	switch key {
	case kafkawire.KeyAPIVersions, kafkawire.KeySASLHandshake, kafkawire.KeySASLAuthenticate:
		return c.t.NoHandshake
	}
	return false
}

// request returns the line of a request.
func (c *tracedConn) request(frame []byte) string {
	h, m, err := decodeRequest(frame)
	switch {
	case err != nil && c.raw:
		return c.token("C", frame)
	case err != nil:
		return fmt.Sprintf("C % x (%v)", frame, err)
	}
	c.raw = false
	produce, ok := m.(*kafkawire.ProduceRequest)
	if !ok || produce.Acks != 0 {
		h.ClientID, h.UnknownTags = nil, nil // parts of the frame
		c.waiting = append(c.waiting, h)
	}
	if c.hidden(h.Key) {
		return ""
	}
	return line("C ", h, c.t.texter.text(m))
}

// response returns the line of a response.
func (c *tracedConn) response(frame []byte) string {
	switch {
	case len(c.waiting) == 0 && c.raw:
		return c.token("S", frame)
	case len(c.waiting) == 0:
		return fmt.Sprintf("S % x (no request waits)", frame)
	}
	h := c.waiting[0]
	c.waiting = c.waiting[1:]
	m, id, err := decodeResponse(frame, h)
	switch {
	case err != nil:
		return fmt.Sprintf("S % x (%v)", frame, err)
	case id != h.CorrelationID:
		return fmt.Sprintf("S % x (correlation id %d, want %d)", frame, id, h.CorrelationID)
	}
	c.raw = h.Key == kafkawire.KeySASLHandshake && h.Version == 0
	if c.hidden(h.Key) {
		return ""
	}
	return line("S ", h, c.t.texter.text(m))
}

// token returns the line of a SASL token, which is nobody's business.
func (c *tracedConn) token(sender string, frame []byte) string {
	if c.t.NoHandshake {
		return ""
	}
	return fmt.Sprintf("%s token <%d bytes>", sender, len(frame)-4)
}

// line returns a line of a trace.
func line(sender string, h kafkawire.RequestHeader, text string) string {
	s := fmt.Sprintf("%s%v/%d", sender, h.Key, h.Version)
	if text != "" {
		s += " " + text
	}
	return s
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
