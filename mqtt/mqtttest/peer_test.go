package mqtttest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqtttest"
)

// pair returns two peers that play with each other.
func pair(tb testing.TB) (client, server *mqtttest.Peer) {
	c, s := memnet.Pipe()
	return mqtttest.NewPeer(tb, c), mqtttest.NewPeer(tb, s)
}

func hello(text string) *mqtt.Publish {
	return &mqtt.Publish{Topic: []byte("a/b"), Payload: []byte(text)}
}

func TestPeersConverse(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.Version31, mqtt.Version311, mqtt.Version5} {
		t.Run(v.String(), func(t *testing.T) {
			client, server := pair(t)
			connect := &mqtt.Connect{Version: v, ClientID: "c1", CleanStart: true, KeepAlive: 30}
			client.Send(connect)
			server.Expect(connect)
			server.Send(&mqtt.Connack{})
			client.Expect(&mqtt.Connack{})
			publish := hello("one")
			publish.QoS, publish.ID = mqtt.QoS1, 7
			client.Send(publish, hello("two"))
			server.Expect(publish, hello("two"))
			server.Send(&mqtt.Puback{ID: 7})
			if got := client.Receive(mqtt.TypePuback).(*mqtt.Puback); got.ID != 7 {
				t.Errorf("got %v", got)
			}
			client.Send(&mqtt.Disconnect{})
			client.Close()
			server.Expect(&mqtt.Disconnect{})
			server.ExpectClose()
		})
	}
}

func TestPeerIgnoresTheOrderOfProperties(t *testing.T) {
	client, server := pair(t)
	a, b := hello("x"), hello("x")
	a.Properties = a.Properties.AppendUser("k", "1").AppendString(mqtt.PropContentType, "text").AppendUser("k", "2")
	b.Properties = b.Properties.AppendString(mqtt.PropContentType, "text").AppendUser("k", "1").AppendUser("k", "2")
	client.Send(a)
	server.Expect(b)
}

// failing is a TB that keeps the message of Fatal.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper() {}

func (f *failing) Cleanup(func()) {}

func (f *failing) Fatal(args ...any) {
	f.message = fmt.Sprint(args...)
	runtime.Goexit()
}

func (f *failing) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }

func (f *failing) Errorf(format string, args ...any) { f.message = fmt.Sprintf(format, args...) }

// failure returns the message with which do fails a test.
func failure(t *testing.T, do func(tb testing.TB)) string {
	t.Helper()
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(f)
	}()
	<-done
	return f.message
}

func TestPeerFailures(t *testing.T) {
	id := func(n uint16) *mqtt.Publish {
		p := hello("x")
		p.QoS, p.ID = mqtt.QoS1, n
		return p
	}
	tests := []struct {
		name string
		play func(client, server *mqtttest.Peer)
		want []string
	}{
		{"other packet", func(c, s *mqtttest.Peer) { c.Send(&mqtt.Pingreq{}, id(1)); s.Expect(&mqtt.Pingreq{}, id(2)) },
			[]string{"got  PUBLISH id=1", "want PUBLISH id=2", "diff PUBLISH [-id=2-] {+id=1+} qos=1", "the last packets:\n\tgot  PINGREQ\n\tgot  PUBLISH id=1"}},
		{"other payload beyond the text", func(c, s *mqtttest.Peer) {
			long := strings.Repeat("x", 100)
			c.Send(hello(long + "a"))
			s.Expect(hello(long + "b"))
		}, []string{"the bytes differ (- want, + got)", "- 00000060", "+ 00000060"}},
		{"other type", func(c, s *mqtttest.Peer) { c.Send(&mqtt.Pingreq{}); s.Receive(mqtt.TypePublish) },
			[]string{"got PINGREQ, want PUBLISH"}},
		{"nothing", func(c, s *mqtttest.Peer) { s.Expect(&mqtt.Pingreq{}) },
			[]string{"timeout, want PINGREQ"}},
		{"close", func(c, s *mqtttest.Peer) { c.Close(); s.Expect(&mqtt.Pingreq{}) },
			[]string{"EOF, want PINGREQ"}},
		{"close within a packet", func(c, s *mqtttest.Peer) { c.SendBytes(0x30, 5, 0); c.Close(); s.Expect(&mqtt.Pingreq{}) },
			[]string{"ended within a packet", "30 05 00"}},
		{"malformed", func(c, s *mqtttest.Peer) { c.SendBytes(0xc1, 0); s.Expect(&mqtt.Pingreq{}) },
			[]string{"cannot decode what came", "c1 00"}},
		{"packet instead of silence", func(c, s *mqtttest.Peer) { c.Send(&mqtt.Pingreq{}); s.ExpectSilence(time.Second) },
			[]string{"got PINGREQ, want nothing for 1s"}},
		{"close instead of silence", func(c, s *mqtttest.Peer) { c.Close(); s.ExpectSilence(time.Second) },
			[]string{"EOF, want nothing for 1s"}},
		{"packet instead of close", func(c, s *mqtttest.Peer) { c.Send(&mqtt.Pingreq{}); s.ExpectClose() },
			[]string{"got PINGREQ, want the connection to be closed"}},
		{"no close", func(c, s *mqtttest.Peer) { s.ExpectClose() },
			[]string{"timeout, want the connection to be closed"}},
		{"illegal", func(c, s *mqtttest.Peer) { c.Send(id(0)) },
			[]string{"cannot send PUBLISH"}},
		{"refused", func(c, s *mqtttest.Peer) {
			s.Send(&mqtt.Connack{Reason: mqtt.ReasonNotAuthorized})
			c.Connect(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c"})
		}, []string{"the connection is refused: CONNACK", "sent CONNECT"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				message := failure(t, func(tb testing.TB) {
					client, server := pair(tb)
					tt.play(client, server)
				})
				for _, want := range tt.want {
					if !strings.Contains(message, want) {
						t.Errorf("the message lacks %q:\n%s", want, message)
					}
				}
			})
		})
	}
}

func TestPeerSendsIllegalPackets(t *testing.T) {
	client, server := pair(t)
	bad := hello("x")
	bad.QoS = mqtt.QoS1 // with identifier 0
	client.SendIllegal(bad)
	message := failure(t, func(tb testing.TB) { mqtttest.NewPeer(tb, server.Conn()).Receive(mqtt.TypePublish) })
	if !strings.Contains(message, "packet identifier is 0") {
		t.Errorf("got %q", message)
	}
}

func TestPeerSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair(t)
		start := time.Now()
		client.ExpectSilence(time.Hour)
		if d := time.Since(start); d != time.Hour {
			t.Errorf("waited %v", d)
		}
		server.Send(&mqtt.Pingresp{})
		client.Expect(&mqtt.Pingresp{})
	})
}
