package netserve_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netserve"
	"github.com/quartet-mq/quartet/internal/wsconn"
)

// TestDoorAllAtOnce lets connections of all kinds in while it stops: each is closed, and counted once.
func TestDoorAllAtOnce(t *testing.T) {
	for round := range 10 {
		synctest.Test(t, func(t *testing.T) {
			var d *netserve.Door[net.Conn]
			d = netserve.NewDoor[net.Conn](netserve.DoorOptions{
				Timeout: time.Second, Max: 10, Told: 3, Logger: slog.New(slog.DiscardHandler), Closed: io.EOF, Subprotocols: []string{"mqtt"},
				Start: func(nc net.Conn, o *netserve.ListenerOptions, refuse uint8, deadline time.Time) {
					if !d.Add(nc) {
						nc.Close()
						return
					}
					io.Copy(nc, nc)
					d.Remove(nc, func() bool { return refuse != 0 })
					nc.Close()
				},
			})
			var all sync.WaitGroup
			for i, o := range []*netserve.ListenerOptions{nil, {ProxyProtocol: true}, {WebSocket: true}} {
				l := memnet.Listen(fmt.Sprint(i))
				all.Go(func() { d.Serve(l, o) })
				for range 5 {
					all.Go(func() {
						for {
							var nc net.Conn
							var err error
							if o != nil && o.WebSocket {
								nc, err = wsconn.Dial(context.Background(), "ws://x/", &wsconn.DialOptions{Subprotocols: []string{"mqtt"}, NetDial: l.Dial})
							} else {
								nc, err = l.Dial(context.Background())
							}
							if err != nil {
								if d.Stopping() {
									return
								}
								time.Sleep(time.Millisecond)
								continue
							}
							if o != nil && o.ProxyProtocol {
								io.WriteString(nc, "PROXY TCP4 203.0.113.7 192.0.2.1 5555 5672\r\n")
							}
							if rand.IntN(8) == 0 {
								time.Sleep(rand.N(20 * time.Millisecond))
							}
							io.WriteString(nc, "x")
							nc.Read(make([]byte, 1))
							nc.Close()
						}
					})
				}
			}
			if round%2 == 0 {
				time.Sleep(rand.N(100 * time.Millisecond))
			}
			idle, conns := d.Stop()
			for _, nc := range conns {
				netserve.Close(nc)
			}
			<-idle
			d.Close()
			all.Wait()
			synctest.Wait()
			d.Look(func(conns map[net.Conn]struct{}, n netserve.Counts) {
				if n.Open != 0 || len(conns) != 0 {
					t.Errorf("%d of %+v are left", len(conns), n)
				}
			})
		})
	}
}
