package quicnet

import (
	"io"
	"testing"
	"time"
)

// TestSlice sends bytes to and fro on stream 0, on a further stream and in datagrams, and closes.
func TestSlice(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		start := time.Now()
		l := e.listener.Protocol("mqtt", "other")
		c, s := e.pair(l, "mqtt")
		if took := time.Since(start); took != rtt+rtt/2 {
			e.Errorf("handshake and first byte took %v", took)
		}
		if c.Protocol() != "mqtt" || s.Protocol() != "mqtt" || s.RemoteAddr().String() != clientAddr {
			e.Error(c.Protocol(), s.Protocol(), s.RemoteAddr())
		}
		<-c.Confirmed()
		<-s.Confirmed()
		cs, err := c.OpenStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		io.WriteString(cs, "data")
		ss, err := s.AcceptStream(e.Context())
		if err != nil || ss.ID() != 4 || cs.ID() != 4 {
			e.Fatal(err, ss.ID(), cs.ID())
		}
		cs.CloseWrite()
		if b, err := io.ReadAll(ss); string(b) != "data" || err != nil {
			e.Fatalf("%q, %v", b, err)
		}
		io.WriteString(ss, "answer")
		ss.Close()
		if b, err := io.ReadAll(cs); string(b) != "answer" || err != nil {
			e.Fatalf("%q, %v", b, err)
		}
		cs.Close()
		if err := c.SendDatagram([]byte("gram")); err != nil {
			e.Fatal(err)
		}
		if b, err := s.ReceiveDatagram(e.Context()); string(b) != "gram" || err != nil {
			e.Fatalf("%q, %v", b, err)
		}
		io.WriteString(c, "last words")
		c.Close()
		if b, err := io.ReadAll(s); string(b) != "last words" || err != nil {
			e.Fatalf("%q, %v", b, err)
		}
		closed := time.Now()
		s.Close()
		<-c.Done()
		<-s.Done()
		if took := time.Since(closed); took > 2*rtt {
			e.Errorf("closing took %v", took)
		}
	})
}
