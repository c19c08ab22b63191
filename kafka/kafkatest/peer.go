package kafkatest

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/wiretest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Peer is one end of a connection that the test plays by hand: a broker, which expects requests and answers them, or a client,
// which sends requests and expects responses. What does not go as the test says fails it at once, with what was sent and
// received before in the message.
//
// A Peer waits for 5 seconds at most. It is not safe for concurrent use, and its methods must be called from the test's
// goroutine.
type Peer struct {
	// ClientID is what a client calls itself.
	ClientID string

	tb      testing.TB
	play    *wiretest.Player
	last    int32                     // correlation id of the last request that was sent
	waiting []kafkawire.RequestHeader // requests of a client that have no response
}

// PeerRequest is a request that a broker's end has received.
type PeerRequest struct {
	// Header has the version, the correlation id and who the client says that it is.
	Header kafkawire.RequestHeader

	// Message is the request. For a version of APIVersions that is not known it is empty.
	Message kafkawire.Request
}

// NewPeer returns the peer that plays with conn. The conn is closed with the test.
func NewPeer(tb testing.TB, conn net.Conn) *Peer {
	return &Peer{ClientID: "peer", tb: tb, play: wiretest.NewPlayer(tb, conn, "frame", maxFrame)}
}

// Conn returns the connection.
func (p *Peer) Conn() net.Conn { return p.play.Conn }

// Next receives a request, whatever it is.
func (p *Peer) Next() *PeerRequest {
	p.tb.Helper()
	return p.request("a request")
}

// Receive receives a request that must be of a kind.
func (p *Peer) Receive(key kafkawire.APIKey) *PeerRequest {
	p.tb.Helper()
	r := p.request(key.String())
	if r.Header.Key != key {
		p.play.Fatalf("got %s, want %v", requestText(r.Header, r.Message), key)
	}
	return r
}

// Expect receives a request and compares it with the one expected, byte for byte as the version of the one that came encodes
// it. It returns what came.
func (p *Peer) Expect(want kafkawire.Request) *PeerRequest {
	p.tb.Helper()
	r := p.request(want.Key().String() + " " + Text(want))
	wantText, gotText := requestText(kafkawire.RequestHeader{Key: want.Key(), Version: r.Header.Version}, want), requestText(r.Header, r.Message)
	if r.Header.Key != want.Key() {
		p.play.Fatalf("got  %s\nwant %s", gotText, wantText)
	}
	a, err := want.Append(nil, r.Header.Version)
	if err != nil {
		p.play.Fatalf("got %s, and version %d cannot express the expected %s: %v", gotText, r.Header.Version, wantText, err)
	}
	b, err := r.Message.Append(nil, r.Header.Version)
	if err != nil {
		p.play.Fatalf("cannot encode %s again: %v", gotText, err)
	}
	if !bytes.Equal(a, b) {
		p.play.Differs(a, b, wantText, gotText)
	}
	return r
}

// request receives a request.
func (p *Peer) request(want string) *PeerRequest {
	p.tb.Helper()
	frame, err := p.frame(time.Now().Add(wiretest.Patience))
	if err != nil {
		p.play.Fatalf("%v, want %s", err, want)
	}
	h, m, err := decodeRequest(frame)
	if err != nil {
		p.play.Fatalf("cannot decode what came: %v, want %s\n%s", err, want, wiretest.HexText(frame))
	}
	p.play.Note("got ", requestText(h, m))
	return &PeerRequest{Header: h, Message: m}
}

// Answer sends the response to a request.
func (p *Peer) Answer(r *PeerRequest, m kafkawire.Response) {
	p.tb.Helper()
	version := r.Header.Version
	if !r.Header.Key.Supports(version) {
		version = 0 // APIVersions
	}
	b, err := kafkawire.AppendResponse(nil, r.Header.CorrelationID, m, version)
	if err != nil {
		p.play.Fatalf("version %d cannot express %v %s: %v", version, m.Key(), Text(m), err)
	}
	p.play.Note("sent", line("", r.Header, Text(m)))
	p.play.Write(b)
}

// AnswerBytes sends a response whose header is right, and whose body is these bytes.
func (p *Peer) AnswerBytes(r *PeerRequest, body ...byte) {
	p.tb.Helper()
	b := kafkawire.AppendResponseHeader(make([]byte, 4), r.Header.Key, r.Header.Version, r.Header.CorrelationID)
	b = append(b, body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	p.SendBytes(b...)
}

// Versions answers the APIVersions that a client begins with: with all that package kafkawire knows, but for the highest
// versions that limits gives, a negative one for a request that the broker does not know.
func (p *Peer) Versions(limits map[kafkawire.APIKey]int16) {
	p.tb.Helper()
	p.Answer(p.Receive(kafkawire.KeyAPIVersions), AllVersions(limits))
}

// AllVersions is the response that [Peer.Versions] sends.
func AllVersions(limits map[kafkawire.APIKey]int16) *kafkawire.APIVersionsResponse {
	m := new(kafkawire.APIVersionsResponse)
	m.Reset()
	for k := range kafkawire.APIKey(kafkawire.Keys) {
		high := k.MaxVersion()
		if limit, ok := limits[k]; ok {
			high = min(high, limit)
		}
		if high >= k.MinVersion() {
			m.APIKeys = append(m.APIKeys, kafkawire.APIVersionsResponseAPIKey{APIKey: int16(k), MinVersion: k.MinVersion(), MaxVersion: high})
		}
	}
	return m
}

// Send sends a request as a client, in a version.
func (p *Peer) Send(m kafkawire.Request, version int16) {
	p.tb.Helper()
	p.last++
	h := kafkawire.RequestHeader{Key: m.Key(), Version: version, CorrelationID: p.last, ClientID: []byte(p.ClientID)}
	b, err := kafkawire.AppendRequest(nil, h, m)
	if err != nil {
		p.play.Fatalf("cannot send %s: %v", requestText(h, m), err)
	}
	if produce, ok := m.(*kafkawire.ProduceRequest); !ok || produce.Acks != 0 {
		p.waiting = append(p.waiting, h)
	}
	p.play.Note("sent", requestText(h, m))
	p.play.Write(b)
}

// Response receives the response to the oldest request that has none, and returns it.
func (p *Peer) Response() kafkawire.Response {
	p.tb.Helper()
	m, _ := p.response("a response")
	return m
}

// ExpectResponse receives the response to the oldest request that has none, and compares it with the one expected, byte for
// byte as it is encoded.
func (p *Peer) ExpectResponse(want kafkawire.Response) {
	p.tb.Helper()
	got, h := p.response(want.Key().String() + " " + Text(want))
	wantText, gotText := line("", h, Text(want)), line("", h, Text(got))
	if got.Key() != want.Key() {
		p.play.Fatalf("the response is to %v, not to %v", got.Key(), want.Key())
	}
	a, err := want.Append(nil, h.Version)
	if err != nil {
		p.play.Fatalf("version %d cannot express the expected %s: %v", h.Version, wantText, err)
	}
	b, err := got.Append(nil, h.Version)
	if err != nil {
		p.play.Fatalf("cannot encode %s again: %v", gotText, err)
	}
	if !bytes.Equal(a, b) {
		p.play.Differs(a, b, wantText, gotText)
	}
}

// Call sends a request as a client and returns the response.
func (p *Peer) Call(m kafkawire.Request, version int16) kafkawire.Response {
	p.tb.Helper()
	p.Send(m, version)
	return p.Response()
}

// response receives a response.
func (p *Peer) response(want string) (kafkawire.Response, kafkawire.RequestHeader) {
	p.tb.Helper()
	if len(p.waiting) == 0 {
		p.play.Fatalf("no request waits for a response")
	}
	frame, err := p.frame(time.Now().Add(wiretest.Patience))
	if err != nil {
		p.play.Fatalf("%v, want %s", err, want)
	}
	h := p.waiting[0]
	p.waiting = p.waiting[1:]
	m, id, err := decodeResponse(frame, h)
	switch {
	case err != nil:
		p.play.Fatalf("cannot decode the response to %v/%d: %v\n%s", h.Key, h.Version, err, wiretest.HexText(frame))
	case id != h.CorrelationID:
		p.play.Fatalf("got a response with correlation id %d, want %d, that of %v/%d", id, h.CorrelationID, h.Key, h.Version)
	}
	p.play.Note("got ", line("", h, Text(m)))
	return m, h
}

// SendBytes sends bytes as they are.
func (p *Peer) SendBytes(b ...byte) {
	p.tb.Helper()
	p.play.SendBytes(b)
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

// nextText receives a frame and returns its bytes as text.
func (p *Peer) nextText(until time.Time) (string, error) {
	frame, err := p.frame(until)
	if err != nil {
		return "", err
	}
	if h, m, err := decodeRequest(frame); err == nil && len(p.waiting) == 0 {
		return requestText(h, m), nil
	}
	return "a frame\n" + wiretest.HexText(frame), nil
}

// frame receives a frame, which is the caller's.
func (p *Peer) frame(until time.Time) ([]byte, error) {
	_ = p.play.Conn.SetReadDeadline(until)
	for {
		n, err := frameSize(p.play.In.Bytes())
		switch {
		case err != nil:
			return nil, p.play.Undecodable(err)
		case n > 0 && n <= p.play.In.Len():
			b := bytes.Clone(p.play.In.Bytes()[:n])
			p.play.In.Discard(n)
			return b, nil
		}
		if err := p.play.Fill(); err != nil {
			return nil, err
		}
	}
}

// requestText returns a request as text.
func requestText(h kafkawire.RequestHeader, m kafkawire.Request) string { return line("", h, Text(m)) }
