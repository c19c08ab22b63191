package pathem_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/pathem"
)

func newPath(t *testing.T, o *pathem.Options) *pathem.Path {
	t.Helper()
	p, err := pathem.New(o)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// patience bounds each test. A busy machine may need a while.
const patience = 2 * time.Minute

// udp returns a socket in the space.
func udp(t *testing.T, s *pathem.Space, a netip.Addr) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := s.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// echo answers every packet.
func echo(c *net.UDPConn) {
	b := make([]byte, 2000)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		c.WriteToUDPAddrPort(b[:n], from)
	}
}

func TestDelay(t *testing.T) {
	p := newPath(t, pathem.Symmetric(20*time.Millisecond, 0, 1))
	server, client := udp(t, p.Server, pathem.ServerAddr), udp(t, p.Client, pathem.ClientAddr)
	go echo(server)
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	best := time.Hour
	b := make([]byte, 100)
	// A busy machine delays most packets, but not all of them.
	for n := 0; n < 5 || n < 300 && best > 40*time.Millisecond; n++ {
		begin := time.Now()
		client.WriteToUDPAddrPort([]byte("x"), to)
		if _, _, err := client.ReadFromUDPAddrPort(b); err != nil {
			t.Fatal(err)
		}
		d := time.Since(begin)
		if d < 20*time.Millisecond {
			t.Errorf("there and back in %v", d)
		}
		best = min(best, d)
	}
	if best > 40*time.Millisecond {
		t.Errorf("there and back in %v at best", best)
	}
}

// TestLossAndOrder sends numbered packets and looks at what arrives.
func TestLossAndOrder(t *testing.T) {
	const n = 2000
	var first []uint32
	for range 2 {
		p := newPath(t, &pathem.Options{Up: pathem.Way{Loss: 0.1, Burst: 2}, Seed: 3})
		server, client := udp(t, p.Server, pathem.ServerAddr), udp(t, p.Client, pathem.ClientAddr)
		to := server.LocalAddr().(*net.UDPAddr).AddrPort()
		var got []uint32
		b := make([]byte, 100)
		for i := range uint32(n) {
			client.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, i), to)
			for { // keeps the socket's buffer small
				server.SetReadDeadline(time.Now().Add(time.Millisecond))
				if up, _ := p.Stats(); int64(len(got)) == up.Sent-up.Lost && up.Sent == int64(i+1) {
					break
				}
				if _, _, err := server.ReadFromUDPAddrPort(b); err == nil {
					got = append(got, binary.BigEndian.Uint32(b))
				}
			}
		}
		for i := 1; i < len(got); i++ {
			if got[i] <= got[i-1] {
				t.Fatalf("%d came after %d", got[i], got[i-1])
			}
		}
		if lost := n - len(got); lost < n/20 || lost > n/5 {
			t.Errorf("%d of %d lost", lost, n)
		}
		if first == nil {
			first = got
		} else if fmt.Sprint(first) != fmt.Sprint(got) {
			t.Error("the same seed lost other packets")
		}
	}
}

// TestTCP sends a file through a slow path.
func TestTCP(t *testing.T) {
	w := pathem.Way{Delay: 5 * time.Millisecond, Rate: 40_000_000}
	p := newPath(t, &pathem.Options{Up: w, Down: w})
	var l net.Listener
	err := p.Server.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(pathem.ServerAddr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := bytes.Repeat([]byte("0123456789"), 100_000) // 200 ms
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Write(want)
			c.Close()
		}
	}()
	begin := time.Now()
	var c net.Conn
	if err := p.Client.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", l.Addr().String(), patience)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if d := time.Since(begin); d < 200*time.Millisecond {
		t.Errorf("%d bytes in %v", len(want), d)
	}
}

func TestBlock(t *testing.T) {
	p := newPath(t, &pathem.Options{})
	server := udp(t, p.Server, pathem.ServerAddr)
	go echo(server)
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	one, other := udp(t, p.Client, pathem.ClientAddr), udp(t, p.Client, pathem.OtherClientAddr)
	// answers reports whether an answer comes: soon, when it must not, or at all.
	answers := func(c *net.UDPConn, must bool) bool {
		d := 50 * time.Millisecond
		if must {
			d = patience
		}
		c.SetDeadline(time.Now().Add(d))
		c.WriteToUDPAddrPort([]byte("x"), to)
		_, _, err := c.ReadFromUDPAddrPort(make([]byte, 10))
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, x := range []struct {
		blocked    netip.Addr
		one, other bool
	}{
		{netip.Addr{}, true, true},
		{pathem.ClientAddr, false, true},
		{pathem.OtherClientAddr, true, false},
	} {
		p.Block(x.blocked)
		if a, b := answers(one, x.one), answers(other, x.other); a != x.one || b != x.other {
			t.Errorf("with %v blocked: %v, %v", x.blocked, a, b)
		}
	}
}

// TestStart runs a program in a namespace.
func TestStart(t *testing.T) {
	p := newPath(t, &pathem.Options{})
	cmd := exec.Command("cat", "/proc/self/net/dev")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := p.Client.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !bytes.Contains(out.Bytes(), []byte("path:")) {
		t.Errorf("%v\n%s", err, out.Bytes())
	}
}
