package quicnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
)

// rawClient runs f with a connection of a client that is not ours, and our end of it. The client has written one byte.
func rawClient(t *testing.T, o *ListenOptions, f func(e *env, qc *quic.Conn, q *quic.Stream, s *Conn)) {
	t.Helper()
	bubble(t, o, nil, func(e *env) {
		pc := e.net.listen("10.0.2.2:2")
		tr := &quic.Transport{Conn: pc}
		defer pc.Close()
		defer tr.Close()
		l := e.listener.Protocol("mqtt")
		config := clientTLS()
		config.NextProtos = []string{"mqtt"}
		addr := net.UDPAddrFromAddrPort(e.listener.pc.(*packetConn).addr)
		qc, err := tr.Dial(e.Context(), addr, config, &quic.Config{EnableDatagrams: true})
		if err != nil {
			e.Fatal(err)
		}
		q, err := qc.OpenStream()
		if err != nil {
			e.Fatal(err)
		}
		q.Write([]byte{1})
		s := e.accept(l)
		if _, err := s.Read(make([]byte, 1)); err != nil {
			e.Fatal(err)
		}
		f(e, qc, q, s)
	})
}

// TestRawReset is a client that resets stream 0, or refuses to read it. The other direction goes on.
func TestRawReset(t *testing.T) {
	rawClient(t, nil, func(e *env, qc *quic.Conn, q *quic.Stream, s *Conn) {
		q.CancelWrite(5)
		_, err := s.Read(make([]byte, 1))
		var x *Error
		if !errors.As(err, &x) || *x != (Error{Kind: KindStream, Code: 5, Remote: true}) || !errors.Is(err, syscall.ECONNRESET) {
			e.Errorf("got %v", err)
		}
		io.WriteString(s, "hello")
		b := make([]byte, 5)
		if _, err := io.ReadFull(q, b); err != nil || string(b) != "hello" {
			e.Errorf("%q, %v", b, err)
		}
		q.CancelRead(6)
		pause(time.Second)
		_, err = s.Write([]byte("anybody?"))
		if !errors.As(err, &x) || *x != (Error{Kind: KindStream, Code: 6, Remote: true}) {
			e.Errorf("got %v", err)
		}
		start := time.Now()
		s.Close()
		<-s.Done()
		if took := time.Since(start); took > 10*time.Second+rtt {
			e.Errorf("the end took %v", took)
		}
	})
}

// TestRawGraceful is a client that ends as the specification of MQTT over QUIC wants: it ends its stream, and closes when
// the server has ended it too.
func TestRawGraceful(t *testing.T) {
	rawClient(t, nil, func(e *env, qc *quic.Conn, q *quic.Stream, s *Conn) {
		go func() {
			q.Write(pattern(10_000))
			q.Close()
			io.Copy(io.Discard, q)
			qc.CloseWithError(0, "")
		}()
		if b, err := io.ReadAll(s); len(b) != 10_000 || err != nil {
			e.Errorf("%d bytes, %v", len(b), err)
		}
		start := time.Now()
		s.Close()
		<-s.Done()
		if took := time.Since(start); took > 2*rtt {
			e.Errorf("the end took %v", took)
		}
		synctest.Wait() // it is counted after that
		if st := e.listener.Stats(); st.Graceful != 1 {
			e.Errorf("%+v", st)
		}
	})
}

// TestRawEmptyStreams opens streams without a byte, which our side learns nothing of, and streams that are reset at once.
func TestRawEmptyStreams(t *testing.T) {
	rawClient(t, &ListenOptions{Config: Config{MaxStreams: 10}}, func(e *env, qc *quic.Conn, q *quic.Stream, s *Conn) {
		for range 9 {
			x, err := qc.OpenStream()
			if err != nil {
				e.Fatal(err)
			}
			x.CancelWrite(1)
			x.CancelRead(1)
		}
		if _, err := qc.OpenStream(); err == nil {
			e.Error("an eleventh stream was opened")
		}
		if _, err := qc.OpenUniStream(); err == nil {
			e.Error("a unidirectional stream was opened")
		}
		for range 9 {
			x, err := s.AcceptStream(e.Context())
			if err != nil {
				e.Fatal(err)
			}
			if _, err := x.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				e.Errorf("got %v", err)
			}
			x.Close()
		}
		pause(time.Second)
		for range 9 { // the streams are the client's again
			x, err := qc.OpenStream()
			if err != nil {
				e.Fatal(err)
			}
			x.Write([]byte{1})
		}
		if st := s.Stats(); st.Streams != 1 {
			e.Errorf("%+v", st)
		}
		io.WriteString(q, "x")
		if _, err := s.Read(make([]byte, 1)); err != nil {
			e.Error(err)
		}
	})
}

// TestRawAbrupt is a client that closes without ending its streams: what was read before stays read, and the error says
// who closed and why.
func TestRawAbrupt(t *testing.T) {
	for _, code := range []quic.ApplicationErrorCode{0, 3} {
		rawClient(t, nil, func(e *env, qc *quic.Conn, q *quic.Stream, s *Conn) {
			stopped := make(chan error)
			go func() {
				_, err := s.Write(make([]byte, 10<<20)) // more than the client takes
				stopped <- err
			}()
			pause(time.Second)
			qc.CloseWithError(code, "bye")
			for name, err := range map[string]error{
				"Read":  func() error { _, err := s.Read(make([]byte, 1)); return err }(),
				"Write": <-stopped,
				"Open":  func() error { _, err := s.OpenStream(e.Context()); return err }(),
				"Gram":  func() error { _, err := s.ReceiveDatagram(e.Context()); return err }(),
			} {
				var x *Error
				if !errors.As(err, &x) || *x != (Error{Kind: KindApplication, Code: uint64(code), Remote: true, Reason: "bye"}) {
					e.Errorf("%s: %v", name, err)
				}
				if errors.Is(err, syscall.ECONNRESET) != (code != 0) || !errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
					e.Errorf("%s: %v", name, err)
				}
			}
			if err := s.Close(); err != nil {
				e.Error(err)
			}
			<-s.Done()
		})
	}
}
