package mqttclient

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
)

// server is a server for one client session, on the session machine: it keeps what the client publishes, and sends what
// it is told to.
type server struct {
	t     testing.TB
	l     *memnet.Listener
	state mqtt.State
	known bool
	conns sync.WaitGroup

	mu       sync.Mutex
	received []string
	outgoing []*mqtt.Publish // sent in this order
	sent     int             // of outgoing
	settled  int
	cur      *serverConn
}

type serverConn struct {
	s    *server
	nc   net.Conn
	sess *mqtt.Session
	out  []byte
}

// serve accepts connections, one after the other, until the listener is closed.
func serve(t testing.TB, l *memnet.Listener) *server {
	s := &server{t: t, l: l}
	s.conns.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.conn(nc)
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		if s.cur != nil {
			s.cur.nc.Close()
		}
		s.mu.Unlock()
		s.conns.Wait()
	})
	return s
}

func (s *server) conn(nc net.Conn) {
	defer nc.Close()
	k := &serverConn{s: s, nc: nc, sess: mqtt.NewSession(mqtt.Config{Role: mqtt.Server})}
	s.mu.Lock()
	s.cur = k
	s.mu.Unlock()
	var in codec.Buffer
	dec := mqtt.Decoder{From: mqtt.Client}
	for {
		p, n, err := dec.Decode(in.Bytes(), k.sess.Version())
		if err != nil {
			s.t.Errorf("server: %v", err)
			return
		}
		if n == 0 {
			if _, err := in.Fill(nc); err != nil {
				s.mu.Lock()
				k.sess.Lost()
				s.mu.Unlock()
				return
			}
			continue
		}
		in.Discard(n)
		s.mu.Lock()
		if err := k.sess.Receive(time.Now(), 0, p); err != nil {
			s.t.Errorf("server: %v: %v", p, err)
		}
		k.events()
		out := k.out
		k.out = nil
		s.mu.Unlock()
		if len(out) > 0 {
			if _, err := nc.Write(out); err != nil {
				continue
			}
		}
	}
}

func (k *serverConn) events() {
	s := k.s
	for e, ok := k.sess.Next(); ok; e, ok = k.sess.Next() {
		switch e.Kind {
		case mqtt.EventSend:
			k.out, _ = e.AppendTo(k.out, k.sess.Version())
		case mqtt.EventConnect:
			c := e.Packet.(*mqtt.Connect)
			present := s.known && !c.CleanStart
			if !present {
				s.sent, s.settled = 0, 0
			}
			s.known = true
			k.sess.Accept(time.Now(), &mqtt.Connack{SessionPresent: present}, &s.state)
		case mqtt.EventPublish:
			p := e.Packet.(*mqtt.Publish)
			s.received = append(s.received, fmt.Sprintf("%s %s", p.Topic, p.Payload))
			if p.QoS > 0 {
				k.sess.Ack(time.Now(), p.ID, mqtt.ReasonSuccess, nil)
			}
		case mqtt.EventSubscribe:
			q := e.Packet.(*mqtt.Subscribe)
			ack := &mqtt.Suback{ID: q.ID}
			for _, f := range q.Filters {
				ack.Reasons = append(ack.Reasons, mqtt.ReasonCode(f.QoS))
			}
			k.sess.Suback(time.Now(), ack)
		case mqtt.EventUnsubscribe:
			q := e.Packet.(*mqtt.Unsubscribe)
			k.sess.Unsuback(time.Now(), &mqtt.Unsuback{ID: q.ID, Reasons: make([]mqtt.ReasonCode, len(q.Filters))})
		case mqtt.EventResend:
			p := *s.outgoing[e.Ref.(int)]
			if k.sess.Resend(time.Now(), 0, e.ID, &p) == nil {
				k.out, _ = mqtt.Append(k.out, &p, k.sess.Version())
			}
		case mqtt.EventSettled:
			s.settled++
		}
	}
	for s.sent < len(s.outgoing) {
		p := *s.outgoing[s.sent]
		if send, err := k.sess.Publish(time.Now(), 0, &p, s.sent); err != nil || !send {
			break
		}
		s.sent++
		k.out, _ = mqtt.Append(k.out, &p, k.sess.Version())
	}
}

// publish makes the server send messages.
func (s *server) publish(messages ...*mqtt.Publish) {
	s.mu.Lock()
	s.outgoing = append(s.outgoing, messages...)
	k := s.cur
	var out []byte
	if k != nil {
		k.events()
		out, k.out = k.out, nil
	}
	s.mu.Unlock()
	if len(out) > 0 {
		k.nc.Write(out)
	}
}

// got returns what the client has published.
func (s *server) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}
