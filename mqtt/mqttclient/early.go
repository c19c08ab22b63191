package mqttclient

import (
	"net"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
)

// drainTimeout is how long the last packet of a connection waits for what waits in other streams, or for the end of the
// handshake.
const drainTimeout = 5 * time.Second

// awaitConfirmed finds out whether what is written now is early data, which somebody could send a second time, and waits
// for the end of that.
func (k *conn) awaitConfirmed() {
	e, ok := k.nc.(netio.EarlyData)
	if !ok {
		return
	}
	confirmed := e.Confirmed()
	select {
	case <-confirmed:
		return
	default:
	}
	k.early = true
	go func() {
		select {
		case <-confirmed:
		case <-k.flushed:
			return
		}
		k.c.mu.Lock()
		defer k.c.mu.Unlock()
		k.early = false
		k.lift()
		for _, s := range k.streams {
			s.kick()
		}
	}()
}

// hold lets a packet that is about to be added to out, and what follows it, wait for the end of the handshake when it
// must not travel in early data.
func (k *conn) hold(p mqtt.Packet) {
	switch mqtt.EarlyData(p) {
	case mqtt.EarlySafe, mqtt.EarlyGuarded:
	case mqtt.EarlyOptIn:
		if !k.c.o.EarlyPublish {
			k.block()
		}
	default:
		k.block()
	}
}

// earlyBytes is how many bytes of messages follow CONNECT in early data, before the server says what it allows.
const earlyBytes = 4 << 10

// publishEarly sends messages of QoS 0 that wait right behind CONNECT, where Options.EarlyPublish allows that: the server
// has them with the first packet of the network. They stay in the queue until CONNACK. c.mu is held.
func (k *conn) publishEarly() {
	c := k.c
	if !k.early || k.gated || !c.o.EarlyPublish || c.out.inflight > 0 {
		return
	}
	left := earlyBytes
	for i := range c.out.queue.Len() {
		p := c.out.queue.At(i)
		k.pub = p.pub
		if k.version < mqtt.Version5 {
			k.pub.Properties = nil
		}
		if p.pub.QoS > mqtt.QoS0 || p.pub.Retain || !p.age(&k.pub) {
			return
		}
		if left -= mqtt.PublishSize(&k.pub, k.version); left < 0 || k.appendPublish(&c.out.lane) != nil {
			return
		}
		k.sentEarly = append(k.sentEarly, p)
	}
}

// keepEarly takes out of the queue what the server has got before CONNACK.
func (k *conn) keepEarly() {
	for _, p := range k.sentEarly {
		if p.stage == stageQueued {
			k.c.out.removeQueued(p)
			k.c.finish(p, 0, nil)
		}
	}
	k.sentEarly = nil
}

// block lets what is added to out from now on wait.
func (k *conn) block() {
	if !k.gated {
		k.gated, k.gate = true, len(k.out)
	}
}

// lift lets go what has waited, when there is nothing to wait for any more.
func (k *conn) lift() {
	if !k.gated || k.early || k.parting {
		return
	}
	k.gated = false
	if k.closing {
		k.nc.SetWriteDeadline(time.Now().Add(closeTimeout))
	}
	k.kick()
}

// disconnectStreams is disconnect for a connection with data streams: DISCONNECT follows when the server has read what
// they carry and closed its side of them, lest it close the connection before. c.mu is held.
func (k *conn) disconnectStreams(d *mqtt.Disconnect) error {
	gated, gate := k.gated, k.gate
	k.block()
	k.parting = true
	if err := k.sess.Disconnect(time.Now(), d); err != nil {
		k.parting, k.gated, k.gate = false, gated, gate
		return err
	}
	k.events()
	for _, s := range k.streams {
		s.end()
	}
	k.kick()
	return nil
}

// parted ends the wait for the data streams.
func (k *conn) parted() {
	k.parting = false
	k.lift()
}

// overdue ends the wait of a connection that is to be closed.
func (k *conn) overdue() {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	switch {
	case !k.gated:
	case k.early:
		k.fail(net.ErrClosed)
	default:
		k.parted()
	}
}
