package amqpserver_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// TestIdleHTTP: a connection of a WebSocket listener that asks for something else, or for nothing, does not stay.
func TestIdleHTTP(t *testing.T) {
	for _, request := range []string{
		"",
		"GET / HTTP/1.1\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx",
	} {
		bubble(t, func(t *testing.T) {
			s, _ := serve(t, new(queues), nil)
			p := dial(t, also(s, &amqpserver.ListenerOptions{WebSocket: true}))
			p.raw([]byte(request))
			start := time.Now()
			p.nc.SetReadDeadline(start.Add(time.Hour))
			if _, err := io.Copy(io.Discard, p.nc); err != nil {
				t.Errorf("%q: %v", request, err)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("%q: the end comes after %v", request, took)
			}
			synctest.Wait()
			equal(t, "connections", s.Stats().Connections, 0)
		})
	}
}

// TestManyHTTP: connections that are not WebSocket yet are limited, too.
func TestManyHTTP(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serve(t, new(queues), &amqpserver.Options{Limits: amqpserver.Limits{MaxConnections: 3}})
		l := also(s, &amqpserver.ListenerOptions{WebSocket: true})
		open := 0
		for range 10 {
			p := dial(t, l)
			synctest.Wait()
			p.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := p.nc.Read(make([]byte, 1)); err != io.EOF {
				open++
			}
		}
		equal(t, "connections", open, 3)
	})
}
