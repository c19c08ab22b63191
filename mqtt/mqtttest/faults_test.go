package mqtttest_test

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqtttest"
)

// faultyPair returns two peers with faults at the end of one.
func faultyPair(t *testing.T, near mqtt.Role, rules ...mqtttest.Rule) (client, server *mqtttest.Peer) {
	c, s := memnet.Pipe()
	var f mqtttest.Faults
	for _, r := range rules {
		f.Add(r)
	}
	if near == mqtt.Client {
		c = f.Wrap(c, near)
	} else {
		s = f.Wrap(s, near)
	}
	return mqtttest.NewPeer(t, c), mqtttest.NewPeer(t, s)
}

// bothEnds runs f with the faults at either end: their effect must be the same.
func bothEnds(t *testing.T, f func(t *testing.T, near mqtt.Role)) {
	for _, near := range []mqtt.Role{mqtt.Client, mqtt.Server} {
		synctest.Test(t, func(t *testing.T) { f(t, near) })
	}
}

func TestDrop(t *testing.T) {
	bothEnds(t, func(t *testing.T, near mqtt.Role) {
		client, server := faultyPair(t, near, mqtttest.Rule{Type: mqtt.TypePublish, From: mqtt.Client, Skip: 1, Times: 1, Do: mqtttest.Drop})
		for _, text := range []string{"one", "two", "three"} {
			client.Send(hello(text))
			server.Send(hello(text))
		}
		server.Expect(hello("one"), hello("three"))
		client.Expect(hello("one"), hello("two"), hello("three"))
	})
}

func TestDelay(t *testing.T) {
	bothEnds(t, func(t *testing.T, near mqtt.Role) {
		client, server := faultyPair(t, near, mqtttest.Rule{Type: mqtt.TypePingreq, Do: mqtttest.Delay(3 * time.Second)})
		start := time.Now()
		go client.Send(hello("before"), &mqtt.Pingreq{}, hello("behind"))
		server.Expect(hello("before"))
		if d := time.Since(start); d != 0 {
			t.Errorf("the packet before took %v", d)
		}
		server.Expect(&mqtt.Pingreq{}, hello("behind"))
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("took %v", d)
		}
		synctest.Wait()
	})
}

func TestDelayEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := faultyPair(t, mqtt.Client, mqtttest.Rule{Do: mqtttest.Delay(time.Hour)})
		done := make(chan error)
		go func() { _, err := client.Conn().Write([]byte{0xc0, 0}); done <- err }()
		synctest.Wait()
		start := time.Now()
		client.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := faultyPair(t, mqtt.Client, mqtttest.Rule{Type: mqtt.TypePublish, Do: mqtttest.CutAfter(3)})
		if _, err := client.Conn().Write([]byte{0xc0, 0, 0x30, 5, 0, 1, 'a', 'b', 'c'}); err == nil {
			t.Error("no error")
		}
		if got, err := io.ReadAll(server.Conn()); string(got) != "\xc0\x00\x30\x05\x00" || err != nil {
			t.Errorf("the other end got % x, %v", got, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		client, server := faultyPair(t, mqtt.Server, mqtttest.Rule{Type: mqtt.TypePublish, Do: mqtttest.CutAfter(3)})
		client.SendBytes(0xc0, 0, 0x30, 5, 0, 1, 'a', 'b', 'c')
		if got, err := io.ReadAll(server.Conn()); string(got) != "\xc0\x00\x30\x05\x00" || err != nil {
			t.Errorf("the server got % x, %v", got, err)
		}
		client.ExpectClose()
	})
}

func TestCorrupt(t *testing.T) {
	bothEnds(t, func(t *testing.T, near mqtt.Role) {
		client, server := faultyPair(t, near, mqtttest.Rule{From: mqtt.Server, Do: mqtttest.Corrupt(-1)})
		server.Send(hello("x\x0f"))
		client.Expect(hello("x\xf0"))
	})
}

func TestOwnEffect(t *testing.T) {
	bothEnds(t, func(t *testing.T, near mqtt.Role) {
		twice := func(packet []byte) mqtttest.Result {
			return mqtttest.Result{Data: append(packet[:len(packet):len(packet)], packet...)}
		}
		client, server := faultyPair(t, near, mqtttest.Rule{Type: mqtt.TypePublish, Do: twice})
		client.Send(hello("x"))
		server.Expect(hello("x"), hello("x"))
	})
}

func TestPacketsPassWhole(t *testing.T) {
	bothEnds(t, func(t *testing.T, near mqtt.Role) {
		client, server := faultyPair(t, near)
		for _, b := range []byte{0x30, 6, 0, 1, 'a', 0, 'b'} {
			client.SendBytes(b)
		}
		server.ExpectSilence(time.Second)
		client.SendBytes('c')
		server.Expect(&mqtt.Publish{Topic: []byte("a"), Payload: []byte("bc")})
		client.SendBytes(0x30, 5, 0)
		client.Close()
		if _, err := io.ReadAll(server.Conn()); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsNoPacketPasses(t *testing.T) {
	bothEnds(t, func(t *testing.T, near mqtt.Role) {
		client, server := faultyPair(t, near)
		client.SendBytes(0x30, 0xff, 0xff, 0xff, 0xff, 1, 2, 3)
		client.SendBytes(4)
		client.Close()
		if got, err := io.ReadAll(server.Conn()); string(got) != "\x30\xff\xff\xff\xff\x01\x02\x03\x04" || err != nil {
			t.Errorf("got % x, %v", got, err)
		}
	})
}

func TestFaultsOnOpenConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f mqtttest.Faults
		c, s := memnet.Pipe()
		client, server := mqtttest.NewPeer(t, c), mqtttest.NewPeer(t, f.Wrap(s, mqtt.Server))
		hits := f.Add(mqtttest.Rule{Do: mqtttest.Drop})
		client.Send(&mqtt.Pingreq{}, hello("x"))
		server.ExpectSilence(time.Second)
		if n := hits(); n != 2 {
			t.Errorf("%d packets hit", n)
		}
		f.Clear()
		client.Send(&mqtt.Pingreq{})
		server.Expect(&mqtt.Pingreq{})
	})
}

func TestListenerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f mqtttest.Faults
		inner := memnet.Listen("x")
		l := f.Listener(inner)
		defer l.Close()
		f.Refuse(1)
		accepted := make(chan net.Conn)
		go func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		first, _ := inner.Dial(t.Context())
		if _, err := first.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("refused connection: %v", err)
		}
		second, _ := inner.Dial(t.Context())
		defer second.Close()
		(<-accepted).Close()
	})
}
