package mqttclient

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
)

// unread is a connection whose streams nobody reads, for input that a test brings itself.
type unread struct {
	net.Conn
	netio.Streams
}

func (*unread) Write(b []byte) (int, error)      { return len(b), nil }
func (*unread) SetWriteDeadline(time.Time) error { return nil }
func (*unread) Close() error                     { return nil }

// FuzzStreamInput gives a client bytes on a data stream, and as a datagram: it neither panics nor keeps more than it may,
// and what is not legal ends the connection, or is dropped when it is a datagram.
func FuzzStreamInput(f *testing.F) {
	for _, p := range []mqtt.Packet{
		message("t", "p", 0, 0), message("t", "p", 1, 1), message("t", "p", 2, 2), &mqtt.Puback{ID: 1}, &mqtt.Pubrec{ID: 2},
		&mqtt.Pubrel{ID: 2}, &mqtt.Pubcomp{ID: 2}, &mqtt.Suback{ID: 3, Reasons: []mqtt.ReasonCode{0}},
		&mqtt.Unsuback{ID: 4, Reasons: []mqtt.ReasonCode{0}}, &mqtt.Pingresp{}, &mqtt.Disconnect{}, &mqtt.Connack{},
	} {
		b, err := mqtt.AppendIllegal(nil, p, mqtt.Version5)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg, err := newConfig(&Options{Servers: []string{"mqtt://nowhere"}, Version: mqtt.Version5, Streams: &Streams{Idle: -1}})
		if err != nil {
			t.Fatal(err)
		}
		c := &Client{o: cfg, done: make(chan struct{}), up: make(chan struct{}), first: make(chan struct{}), cancel: func() {}}
		near, far := memnet.Pipe()
		defer near.Close()
		st, err := far.(netio.Streams).OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k := newConn(c, &unread{Streams: near.(netio.Streams)}, cfg.servers[0], mqtt.Version5)
		c.mu.Lock()
		if err := k.sess.Connect(time.Now(), &mqtt.Connect{Version: 5, ClientID: "c", CleanStart: true}, &c.state); err != nil {
			t.Fatal(err)
		}
		k.events()
		k.sess.Receive(time.Now(), 0, &mqtt.Connack{})
		k.events()
		k.activate()
		l := c.out.others.assign("t", 0, cfg.Streams.Max)
		s := k.addStream(l, st) // the test reads it
		c.mu.Unlock()
		publish := func(qos mqtt.QoS) {
			if _, err := c.PublishAsync(context.Background(), &Message{Topic: "t", QoS: qos}); err != nil {
				t.Fatal(err)
			}
		}
		publish(1)
		publish(2)
		s.in.Append(b)
		s.feed(len(b))
		s.feed(0) // what comes after the end is dropped
		k.receiveDatagram(&mqtt.Decoder{From: mqtt.Server}, b)
		if s.in.Len() > 0 && k.sess.Err() != nil {
			t.Errorf("%d bytes are kept after the end", s.in.Len())
		}
		if st := c.Stats(); st.Inflight > 2 || st.QueuedBytes > 10 {
			t.Errorf("%+v", st)
		}
		c.Close()
	})
}
