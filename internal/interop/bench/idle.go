package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/load"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// A transport opens a connection to the broker and logs in.
type transport func(e *env, id string) (io.Closer, error)

// idle opens n connections that say nothing after the handshake.
func idle(name string, n int, l peer.Listeners, open transport) scenario {
	return scenario{name: name, listeners: l, run: func(e *env) (*outcome, error) {
		n := e.count(n)
		var cs []io.Closer
		defer func() {
			for _, c := range cs {
				c.Close()
			}
		}()
		connect := func(n int) error {
			more, err := openAll(e, len(cs), n, open)
			cs = append(cs, more...)
			return err
		}
		// A few connections first, so that what a broker allocates once does not count.
		if err := connect(10); err != nil {
			return nil, err
		}
		before, err := e.settle()
		if err != nil {
			return nil, err
		}
		m, err := e.start()
		if err != nil {
			return nil, err
		}
		if err := connect(n); err != nil {
			return nil, err
		}
		r, err := m.stop(name+", connect", int64(n))
		if err != nil {
			return nil, err
		}
		after, err := e.settle()
		if err != nil {
			return nil, err
		}
		return &outcome{
			rows:    []row{r},
			figures: []figure{{name: name + ": RSS each, KiB", value: float64(after-before) / float64(n) / 1024}},
		}, nil
	}}
}

// openAll opens n connections, some of them at the same time, and returns those that are open. Their ids begin with first.
func openAll(e *env, first, n int, open transport) ([]io.Closer, error) {
	const parallel = 32
	cs := make([]io.Closer, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	var errs [parallel]error
	for w := range parallel {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				c, err := open(e, fmt.Sprintf("idle-%d", first+i))
				if err != nil {
					errs[w] = fmt.Errorf("connection %d: %w", first+i, err)
					return
				}
				cs[i] = c
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(cs, func(c io.Closer) bool { return c == nil }), errors.Join(errs[:]...)
}

func openTCP(e *env, id string) (io.Closer, error) { return load.Connect(e.TCP, id) }

func openTLS(e *env, id string) (io.Closer, error) {
	pem, err := os.ReadFile(e.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + e.CA)
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{RootCAs: roots}}
	c, err := d.Dial("tcp", e.TLS)
	if err != nil {
		return nil, err
	}
	return loggedIn(c, c, load.AppendConnect(nil, id, peer.User, peer.Password, true), 0)
}

// openWS opens a WebSocket: an upgrade request, then each packet in a binary frame.
func openWS(e *env, id string) (io.Closer, error) {
	c, err := net.DialTimeout("tcp", e.WS, 10*time.Second)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(c, "GET /mqtt HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", e.WS)
	br := bufio.NewReaderSize(c, 512)
	resp, err := http.ReadResponse(br, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("upgrade answered with %s", resp.Status)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	packet := load.AppendConnect(nil, id, peer.User, peer.Password, true)
	frame := append([]byte{0x82, 0x80 | byte(len(packet)), 0, 0, 0, 0}, packet...) // masked with zeros
	return loggedIn(c, br, frame, 2)
}

// loggedIn writes the CONNECT to c and checks the CONNACK, which follows skip bytes of a frame's header in r. It returns c.
func loggedIn(c net.Conn, r io.Reader, packet []byte, skip int) (io.Closer, error) {
	c.SetDeadline(time.Now().Add(patience))
	defer c.SetDeadline(time.Time{})
	_, err := c.Write(packet)
	ack := make([]byte, skip+4)
	if err == nil {
		_, err = io.ReadFull(r, ack)
	}
	if err == nil && !bytes.Equal(ack[skip:], []byte{load.ConnackByte, 2, 0, 0}) {
		err = fmt.Errorf("%w: CONNACK %x", load.ErrRefused, ack)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
