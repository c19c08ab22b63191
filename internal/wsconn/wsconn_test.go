package wsconn_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/wsconn"
)

// server is an HTTP server in memory that hands over what it accepts.
type server struct {
	listener *memnet.Listener
	conns    chan net.Conn
	errs     chan error
}

func serve(t *testing.T, o *wsconn.AcceptOptions) *server {
	t.Helper()
	s := &server{memnet.Listen("broker:80"), make(chan net.Conn, 1), make(chan error, 1)}
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := wsconn.Accept(w, r, o)
		if err != nil {
			s.errs <- err
			return
		}
		s.conns <- c
	})}
	go hs.Serve(s.listener)
	t.Cleanup(func() { hs.Close() })
	return s
}

var mqtt = &wsconn.AcceptOptions{Subprotocols: []string{"mqtt", "mqttv3.1"}}

func (s *server) dial(ctx context.Context, protocols []string, h http.Header) (*wsconn.Conn, error) {
	return wsconn.Dial(ctx, "ws://broker/mqtt", &wsconn.DialOptions{Subprotocols: protocols, Header: h, NetDial: s.listener.Dial})
}

// connect returns the two ends of a connection.
func (s *server) connect(t *testing.T) (client, accepted *wsconn.Conn) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	client, err := s.dial(ctx, []string{"mqtt"}, nil)
	cancel() // the context bounds the handshake only
	if err != nil {
		t.Fatal(err)
	}
	accepted = (<-s.conns).(*wsconn.Conn)
	t.Cleanup(func() { client.Close(); accepted.Close() })
	return client, accepted
}

// library returns a client of the WebSocket library, for what Conn does not send.
func (s *server) library(t *testing.T) (*websocket.Conn, net.Conn) {
	t.Helper()
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.listener.Dial(ctx)
	}}}
	ws, _, err := websocket.Dial(t.Context(), "ws://broker/mqtt", &websocket.DialOptions{HTTPClient: hc, Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	return ws, <-s.conns
}

func read(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, accepted := serve(t, mqtt).connect(t)
		large := strings.Repeat("0123456789", 50_000)
		for _, text := range []string{"x", "hello", large} {
			go client.Write([]byte(text))
			read(t, accepted, text)
			go accepted.Write([]byte(text))
			read(t, client, text)
		}
		if client.RemoteAddr().String() != "broker:80" || accepted.RemoteAddr() != client.LocalAddr() {
			t.Errorf("addresses: client %v to %v, server %v to %v",
				client.LocalAddr(), client.RemoteAddr(), accepted.LocalAddr(), accepted.RemoteAddr())
		}
		if client.TLS() != nil || accepted.TLS() != nil || accepted.Header().Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("TLS %v and %v, header %v", client.TLS(), accepted.TLS(), accepted.Header())
		}
	})
}

func TestFrames(t *testing.T) {
	each := func(t *testing.T, name string, f func(t *testing.T)) {
		for _, id := range []string{"MQTT-6.0.0-", "MQTT311-6.0.0-"} {
			t.Run(id+name, func(t *testing.T) { synctest.Test(t, f) })
		}
	}
	each(t, "1", func(t *testing.T) { // a text frame closes the connection
		ws, accepted := serve(t, mqtt).library(t)
		go ws.Write(t.Context(), websocket.MessageText, []byte{0xc0, 0})
		if n, err := accepted.Read(make([]byte, 10)); n != 0 || err == nil || err == io.EOF {
			t.Fatalf("Read = %d, %v", n, err)
		}
		_, _, err := ws.Read(t.Context())
		if got := websocket.CloseStatus(err); got != websocket.StatusUnsupportedData {
			t.Fatalf("closed with %v (%v)", got, err)
		}
		if _, err := accepted.Write([]byte{1}); err == nil {
			t.Fatal("Write works after a text frame")
		}
	})
	each(t, "2", func(t *testing.T) { // borders of frames mean nothing
		ws, accepted := serve(t, mqtt).library(t)
		go func() {
			ws.Write(t.Context(), websocket.MessageBinary, []byte("ab"))
			ws.Write(t.Context(), websocket.MessageBinary, nil)
			w, _ := ws.Writer(t.Context(), websocket.MessageBinary)
			w.Write([]byte("c"))
			w.Write([]byte("def"))
			w.Close()
			ws.Close(websocket.StatusNormalClosure, "")
		}()
		if got, err := io.ReadAll(accepted); string(got) != "abcdef" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	})
	each(t, "3", func(t *testing.T) { // a client that does not offer mqtt is refused
		s := serve(t, mqtt)
		for _, protocols := range [][]string{nil, {"amqp"}, {"MQTT"}, {"mqttv5"}} {
			if _, err := s.dial(t.Context(), protocols, nil); err == nil {
				t.Fatalf("%v was accepted", protocols)
			}
			<-s.errs
		}
	})
	each(t, "4", func(t *testing.T) { // the server returns mqtt
		s := serve(t, mqtt)
		for offer, want := range map[string]string{"mqtt": "mqtt", "mqttv3.1,mqtt": "mqtt", "mqttv3.1": "mqttv3.1", "mqtt, x ": "mqtt"} {
			c, err := s.dial(t.Context(), strings.Split(offer, ","), nil)
			if err != nil {
				t.Fatalf("%s: %v", offer, err)
			}
			accepted := <-s.conns
			if got := accepted.(*wsconn.Conn).Subprotocol(); got != want || c.Subprotocol() != want {
				t.Fatalf("%s: server chose %s, client sees %s", offer, got, c.Subprotocol())
			}
			c.Close()
			accepted.Close()
		}
	})
}

func TestServerWithoutSubprotocolIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("x")
		hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r, nil)
			if err == nil {
				ws.Read(t.Context())
			}
		})}
		go hs.Serve(l)
		defer hs.Close()
		_, err := wsconn.Dial(t.Context(), "ws://x/", &wsconn.DialOptions{Subprotocols: []string{"mqtt"}, NetDial: l.Dial})
		if err == nil || !strings.Contains(err.Error(), "subprotocol") {
			t.Fatalf("got %v", err)
		}
	})
}

func TestOrigin(t *testing.T) {
	for _, tt := range []struct {
		origin  string
		allowed []string
		ok      bool
	}{
		{"", nil, true},
		{"http://broker", nil, true},
		{"https://evil.example", nil, false},
		{"https://app.example.com", []string{"*.example.com"}, true},
		{"https://example.org", []string{"*.example.com"}, false},
		{"https://evil.example", []string{"*"}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, &wsconn.AcceptOptions{Subprotocols: []string{"mqtt"}, Origins: tt.allowed})
			h := http.Header{}
			if tt.origin != "" {
				h.Set("Origin", tt.origin)
			}
			c, err := s.dial(t.Context(), []string{"mqtt"}, h)
			if (err == nil) != tt.ok {
				t.Errorf("origin %q, allowed %q: %v", tt.origin, tt.allowed, err)
			}
			if err == nil {
				c.Close()
				(<-s.conns).Close()
			}
		})
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, accepted := serve(t, mqtt).connect(t)
		errs := make(chan error)
		go func() { _, err := accepted.Read(make([]byte, 1)); errs <- err }()
		synctest.Wait()
		start := time.Now()
		if err := accepted.Close(); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "Read under Close", <-errs, net.ErrClosed)
		_, err := client.Read(make([]byte, 1))
		wantErr(t, "the peer's Read", err, io.EOF)
		_, err = client.Write([]byte{1})
		wantErr(t, "the peer's Write", err, net.ErrClosed)
		_, err = accepted.Write([]byte{1})
		wantErr(t, "Write", err, net.ErrClosed)
		wantErr(t, "second Close", accepted.Close(), net.ErrClosed)
		if d := time.Since(start); d != 0 {
			t.Errorf("took %v", d)
		}
	})
}

// TestCloseWrite: what a peer sends until it has seen the close frame is read.
func TestCloseWrite(t *testing.T) {
	for _, role := range []string{"server", "client"} {
		t.Run(role, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				peer, conn := serve(t, mqtt).connect(t)
				if role == "client" {
					peer, conn = conn, peer
				}
				go io.WriteString(conn, "bye")
				read(t, peer, "bye")
				wantErr(t, "CloseWrite", conn.CloseWrite(), nil)
				for range 3 {
					time.Sleep(time.Minute)
					go peer.Write([]byte("more"))
					read(t, conn, "more")
				}
				_, err := conn.Write([]byte{1})
				wantErr(t, "Write", err, net.ErrClosed)
				_, err = peer.Read(make([]byte, 1))
				wantErr(t, "the peer's Read", err, io.EOF)
				_, err = conn.Read(make([]byte, 1))
				wantErr(t, "Read", err, io.EOF)
				wantErr(t, "second CloseWrite", conn.CloseWrite(), net.ErrClosed)
				conn.Close()
				wantErr(t, "CloseWrite after Close", peer.CloseWrite(), net.ErrClosed)
			})
		})
	}
}

// TestCloseAfterCloseWrite: a peer that does not answer is not waited for.
func TestCloseAfterCloseWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conn := serve(t, mqtt).connect(t)
		conn.CloseWrite()
		errs := make(chan error)
		go func() { _, err := conn.Read(make([]byte, 1)); errs <- err }()
		synctest.Wait()
		start := time.Now()
		wantErr(t, "Close", conn.Close(), nil)
		wantErr(t, "Read", <-errs, net.ErrClosed)
		if d := time.Since(start); d != 0 {
			t.Errorf("took %v", d)
		}
	})
}

func TestCloseWriteIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conn := serve(t, mqtt).connect(t) // the client reads nothing
		conn.SetWriteDeadline(time.Now().Add(time.Millisecond))
		conn.Write(make([]byte, 1<<20))
		start := time.Now()
		wantErr(t, "CloseWrite", conn.CloseWrite(), os.ErrDeadlineExceeded)
		if d := time.Since(start); d != wsconn.DefaultCloseTimeout {
			t.Errorf("took %v", d)
		}
	})
}

func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, accepted := serve(t, mqtt).connect(t) // the client reads nothing
		done := make(chan error)
		go func() {
			_, err := accepted.Write(make([]byte, 1<<20))
			done <- err
		}()
		synctest.Wait()
		start := time.Now()
		accepted.Close()
		if d := time.Since(start); d > wsconn.DefaultCloseTimeout {
			t.Errorf("Close took %v", d)
		}
		wantErr(t, "Write", <-done, net.ErrClosed)
	})
}

// TestCloseKeepsItsDeadlines: who reads or writes may set a deadline while another closes.
func TestCloseKeepsItsDeadlines(t *testing.T) {
	test := func(name string, end func(*wsconn.Conn) error, block func(*wsconn.Conn)) {
		synctest.Test(t, func(t *testing.T) {
			_, accepted := serve(t, mqtt).connect(t) // the client reads nothing
			block(accepted)
			start := time.Now()
			ended := make(chan time.Duration)
			go func() {
				end(accepted)
				ended <- time.Since(start)
			}()
			synctest.Wait()
			accepted.SetDeadline(start.Add(time.Minute))
			if d := <-ended; d > wsconn.DefaultCloseTimeout {
				t.Errorf("%s took %v", name, d)
			}
		})
	}
	test("Close", (*wsconn.Conn).Close, func(c *wsconn.Conn) {
		go c.Write(make([]byte, 1<<20))
		synctest.Wait()
	})
	test("CloseWrite", (*wsconn.Conn).CloseWrite, func(c *wsconn.Conn) {
		c.SetWriteDeadline(time.Now().Add(time.Second))
		c.Write(make([]byte, 1<<20))
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, accepted := serve(t, mqtt).connect(t)
		accepted.SetReadDeadline(time.Now().Add(time.Second))
		for range 2 {
			_, err := accepted.Read(make([]byte, 1))
			wantErr(t, "Read", err, os.ErrDeadlineExceeded)
			var ne net.Error
			if !errors.As(err, &ne) || !ne.Timeout() {
				t.Fatalf("not a timeout: %v", err)
			}
		}
		client.SetWriteDeadline(time.Now().Add(time.Second))
		_, err := client.Write(make([]byte, 1<<20))
		wantErr(t, "Write", err, os.ErrDeadlineExceeded)
	})
}

func TestReadLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, accepted := serve(t, &wsconn.AcceptOptions{Subprotocols: []string{"mqtt"}, ReadLimit: 100}).connect(t)
		go func() {
			client.Write(make([]byte, 100))
			client.Write(make([]byte, 101))
		}()
		if n, err := io.Copy(io.Discard, accepted); n < 100 || n > 201 || !errors.Is(err, websocket.ErrMessageTooBig) {
			t.Fatalf("read %d bytes, %v", n, err)
		}
	})
}

func TestPeerVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws, accepted := serve(t, mqtt).library(t)
		ws.CloseNow()
		if _, err := accepted.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Fatalf("without a close frame Read gives %v", err)
		}
	})
}

func TestTLS(t *testing.T) {
	conns := make(chan *wsconn.Conn, 1)
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := wsconn.Accept(w, r, mqtt)
		if err != nil {
			t.Error(err)
			return
		}
		conns <- c
	}))
	l := memnet.Listen("example.com:443")
	ts.Listener.Close()
	ts.Listener = l
	ts.StartTLS()
	defer ts.Close()
	roots := x509.NewCertPool()
	roots.AddCert(ts.Certificate())
	c, err := wsconn.Dial(t.Context(), "wss://example.com/mqtt", &wsconn.DialOptions{
		Subprotocols: []string{"mqtt"}, TLS: &tls.Config{RootCAs: roots}, NetDial: l.Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted := <-conns
	defer accepted.Close()
	if c.TLS() == nil || len(c.TLS().PeerCertificates) == 0 || accepted.TLS() == nil {
		t.Error("the TLS state is missing")
	}
	want := bytes.Repeat([]byte("secret"), 10_000)
	go c.Write(want)
	read(t, accepted, string(want))
	wantErr(t, "CloseWrite", c.CloseWrite(), nil)
	_, err = accepted.Read(make([]byte, 1))
	wantErr(t, "Read", err, io.EOF)
	_, err = c.Read(make([]byte, 1))
	wantErr(t, "Read of the answer", err, io.EOF)
}

func TestDialFails(t *testing.T) {
	refused := errors.New("refused")
	_, err := wsconn.Dial(t.Context(), "ws://x/", &wsconn.DialOptions{
		NetDial: func(context.Context) (net.Conn, error) { return nil, refused }})
	wantErr(t, "Dial", err, refused)
}
