package quicnet_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/quic/quicnet"
)

// certificate returns the configuration of a server on this host, and that of clients which trust it.
func certificate() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

// Two servers share one UDP port. Serve of our servers takes what Protocol returns.
func ExampleListener_Protocol() {
	serverTLS, clientTLS := certificate()
	l, err := quicnet.Listen("udp", "127.0.0.1:0", &quicnet.ListenOptions{Config: quicnet.Config{TLS: serverTLS}})
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{"mqtt", "kafka"} {
		pl := l.Protocol(name)
		go func() {
			for {
				conn, err := pl.Accept()
				if err != nil {
					return
				}
				go func() {
					io.Copy(conn, conn)
					fmt.Fprintf(conn, " over %s", name)
					conn.Close()
				}()
			}
		}()
	}

	d := &quicnet.Dialer{Config: quicnet.Config{TLS: clientTLS}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, name := range []string{"kafka", "mqtt"} {
		conn, err := d.Dial(ctx, name, l.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		io.WriteString(conn, "hello")
		conn.CloseWrite()
		b, err := io.ReadAll(conn)
		fmt.Println(string(b), err)
		conn.Close()
	}
	fmt.Println(d.Shutdown(ctx), l.Shutdown(ctx))
	// Output:
	// hello over kafka <nil>
	// hello over mqtt <nil>
	// <nil> <nil>
}

// DialURL is for Options.Dialers of a client, as in
//
//	mqttclient.Options{
//		Servers: []string{"mqtt+quic://broker.example"},
//		Dialers: map[string]mqttclient.DialFunc{"mqtt+quic": d.DialURL},
//	}
//
// Without an answer over QUIC it is TLS over TCP.
func ExampleDialer_DialURL() {
	serverTLS, clientTLS := certificate()
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS) // nobody listens on the UDP port of that number
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err == nil {
			io.WriteString(conn, "hello")
			conn.Close()
		}
	}()

	d := &quicnet.Dialer{Config: quicnet.Config{TLS: clientTLS}, FallbackDelay: 10 * time.Millisecond}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := d.DialURL(ctx, &url.URL{Scheme: "mqtt+quic", Host: l.Addr().String()})
	if err != nil {
		log.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	fmt.Printf("%s %v %T\n", b, err, conn)
	conn.Close()
	d.Shutdown(ctx)
	// Output: hello <nil> *tls.Conn
}

// A connection has further streams, which do not wait for each other, and datagrams. A server finds them by assertion.
func ExampleConn_OpenStream() {
	serverTLS, clientTLS := certificate()
	l, err := quicnet.Listen("udp", "127.0.0.1:0", &quicnet.ListenOptions{Config: quicnet.Config{TLS: serverTLS}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pl := l.Protocol("mqtt")
	go func() {
		conn, err := pl.Accept()
		if err != nil {
			return
		}
		streams := conn.(netio.Streams)
		for {
			s, err := streams.AcceptStream(ctx)
			if err != nil {
				return
			}
			fmt.Fprintf(s, "this is stream %d", s.ID())
			s.Close()
		}
	}()

	d := &quicnet.Dialer{Config: quicnet.Config{TLS: clientTLS}}
	conn, err := d.Dial(ctx, "mqtt", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	conn.Write([]byte{0}) // the server learns of a connection with its first byte, and so of a stream
	for range 2 {
		s, err := conn.OpenStream(ctx)
		if err != nil {
			log.Fatal(err)
		}
		s.CloseWrite()
		b, err := io.ReadAll(s)
		fmt.Println(string(b), err)
		s.Close()
	}
	conn.Abort(quicnet.CodeOK, "")
	d.Shutdown(ctx)
	l.Shutdown(ctx)
	// Output:
	// this is stream 4 <nil>
	// this is stream 8 <nil>
}

// A client that comes back sends its first bytes with the first packet, and has the answer after one round trip.
func ExampleGuard() {
	serverTLS, clientTLS := certificate()
	guard := quicnet.NewGuard(nil)
	l, err := quicnet.Listen("udp", "127.0.0.1:0", &quicnet.ListenOptions{
		Config:    quicnet.Config{TLS: serverTLS},
		EarlyData: guard,
	})
	if err != nil {
		log.Fatal(err)
	}
	pl := l.Protocol("mqtt")
	go func() {
		for {
			conn, err := pl.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tickets := quicnet.NewMemoryStore(nil) // or OpenDirStore, for a client that is started anew
	d := &quicnet.Dialer{Config: quicnet.Config{TLS: clientTLS}, EarlyData: 16 << 10, Store: tickets}
	for range 2 {
		conn, err := d.Dial(ctx, "mqtt", l.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprint(conn, "hello")
		conn.CloseWrite()
		if _, err := io.ReadAll(conn); err != nil {
			log.Fatal(err)
		}
		conn.Close()
		<-conn.Done()
	}
	fmt.Println(d.Stats().EarlyAccepted, guard.Stats().Accepted, guard.Stats().Replayed)
	d.Shutdown(ctx)
	l.Shutdown(ctx)
	// Output: 1 1 0
}

// A connection moves to another socket, as it does by itself when the network changes.
func ExampleConn_Migrate() {
	serverTLS, clientTLS := certificate()
	l, err := quicnet.Listen("udp", "127.0.0.1:0", &quicnet.ListenOptions{Config: quicnet.Config{TLS: serverTLS}})
	if err != nil {
		log.Fatal(err)
	}
	pl := l.Protocol("mqtt")
	go func() {
		conn, err := pl.Accept()
		if err != nil {
			return
		}
		io.Copy(conn, conn)
		conn.Close()
	}()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d := &quicnet.Dialer{Config: quicnet.Config{TLS: clientTLS}}
	conn, err := d.Dial(ctx, "mqtt", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(conn, "here, ")
	if err := conn.Migrate(ctx, nil); err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(conn, "there")
	conn.CloseWrite()
	b, err := io.ReadAll(conn)
	fmt.Println(string(b), err, conn.Stats().Migrations)
	conn.Close()
	d.Shutdown(ctx)
	l.Shutdown(ctx)
	// Output: here, there <nil> 1
}
