package netserve_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netserve"
)

// doorman is a server that tells each connection why it is refused, and then does nothing.
type doorman struct {
	*netserve.Door[net.Conn]
	closed error
}

func newDoorman(most, told int) *doorman {
	m := &doorman{closed: errors.New("closed")}
	m.Door = netserve.NewDoor[net.Conn](netserve.DoorOptions{
		Closed: m.closed, Timeout: time.Second, Max: most, Told: told, Logger: slog.New(slog.DiscardHandler),
		Start: func(nc net.Conn, o *netserve.ListenerOptions, refuse uint8, deadline time.Time) {
			if !m.Add(nc) {
				nc.Close()
				return
			}
			go func() {
				nc.Write([]byte{'0' + refuse})
				io.Copy(io.Discard, nc)
				m.Remove(nc, func() bool { return refuse != 0 })
				nc.Close()
			}()
		},
	})
	return m
}

func (m *doorman) look(t *testing.T, open int, accepted, refused int64) {
	t.Helper()
	synctest.Wait()
	m.Look(func(conns map[net.Conn]struct{}, n netserve.Counts) {
		if want := (netserve.Counts{Open: open, Accepted: accepted, Refused: refused}); n != want {
			t.Errorf("%+v, want %+v", n, want)
		}
	})
}

func TestDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newDoorman(2, 1)
		l := memnet.Listen("door")
		served := make(chan error, 1)
		go func() { served <- m.Serve(l, nil) }()
		dial := func() net.Conn {
			nc, err := l.Dial(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			return nc
		}
		says := func(nc net.Conn, want string) {
			t.Helper()
			nc.SetReadDeadline(time.Now().Add(time.Second))
			b := make([]byte, 1)
			n, err := nc.Read(b)
			if string(b[:n]) != want || want == "" && err != io.EOF {
				t.Errorf("%q, %v, want %q", b[:n], err, want)
			}
		}
		var conns []net.Conn
		for _, want := range []string{"0", "0", "1", ""} {
			nc := dial()
			says(nc, want)
			conns = append(conns, nc)
		}
		m.look(t, 3, 4, 1)
		conns[2].Close()
		m.look(t, 2, 4, 2)
		conns[0].Close()
		m.look(t, 1, 4, 2)

		// One that does not say who it is has a second.
		near, far := memnet.Pipe()
		m.ServeConn(far, &netserve.ListenerOptions{ProxyProtocol: true})
		m.look(t, 2, 5, 2)
		time.Sleep(time.Second)
		m.look(t, 1, 5, 3)
		near.Close()

		near, far = memnet.Pipe()
		m.ServeConn(far, &netserve.ListenerOptions{ProxyProtocol: true})
		idle, rest := m.Stop()
		m.look(t, 1, 6, 4)
		if err := <-served; err != m.closed || len(rest) != 1 || !m.Stopping() {
			t.Errorf("Serve: %v, %d connections", err, len(rest))
		}
		if err := m.Serve(memnet.Listen("late"), nil); err != m.closed {
			t.Errorf("Serve after Stop: %v", err)
		}
		select {
		case <-idle:
			t.Error("there is a connection")
		default:
		}
		conns[1].Close()
		<-idle
		near.Close()
		m.Close()
		if m.Context().Err() == nil {
			t.Error("the context goes on")
		}
		near, far = memnet.Pipe()
		m.ServeConn(far, nil)
		says(near, "")
	})
}
