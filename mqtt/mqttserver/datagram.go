package mqttserver

import (
	"context"
	"errors"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// noAlias is a number that no stream has: the machine assigns topic aliases on stream 0 only, and what is lost must not be
// what the meaning of later packets depends on.
const noAlias = ^uint64(0)

// publish sends a message of QoS 0 as a datagram. When ok is false it must go on a stream, with c.mu still held; otherwise
// c.mu is unlocked.
func (x *extension) publish(now time.Time, p *mqtt.Publish) (r Result, ok bool) {
	c := x.c
	send, err := c.machine.Publish(now, noAlias, p, nil)
	if err != nil || !send {
		return 0, false // as on a stream
	}
	ch := c.srv.takeDatagram(mqtt.PublishSize(p, c.version))
	b, err := mqtt.AppendPublish(ch[:0], p, c.version)
	if err != nil {
		c.srv.giveDatagram(ch)
		return 0, false
	}
	c.mu.Unlock()
	err = x.nc.SendDatagram(b)
	c.srv.giveDatagram(b)
	c.mu.Lock()
	if errors.Is(err, errors.ErrUnsupported) { // the transport has none after all
		x.datagrams = false
		return 0, false
	}
	if err != nil {
		x.datagramsTooLarge++
		return 0, false
	}
	x.datagramsSent++
	c.counts.packetsSent++
	c.counts.messagesSent++
	c.counts.bytesSent += int64(len(b))
	if f := c.srv.trace.Sent; f != nil {
		f(c, p)
	}
	c.mu.Unlock()
	return Sent, true
}

// takeDatagram returns memory for a datagram of n bytes.
func (s *Server) takeDatagram(n int) []byte {
	if b, ok := s.datagrams.Get().(*[]byte); ok && cap(*b) >= n {
		return *b
	}
	return make([]byte, 0, max(n, 1500))
}

// giveDatagram takes it back.
func (s *Server) giveDatagram(b []byte) {
	if cap(b) <= readSize {
		s.datagrams.Put(&b)
	}
}

// receive handles datagrams until the connection ends.
func (x *extension) receive(ctx context.Context) {
	for {
		b, err := x.nc.ReceiveDatagram(ctx)
		if err != nil {
			return
		}
		rd := x.c.srv.takeReader()
		x.datagram(rd, b)
		pause := rd.throttle
		rd.batch.Flush()
		rd.batch.Wait()
		x.c.srv.giveReader(rd)
		if pause > 0 {
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			t.Stop()
		}
	}
}

// datagram handles a datagram. One that is not a whole PUBLISH of QoS 0 without a topic alias is dropped and counted: what
// comes by no stream cannot break the protocol.
func (x *extension) datagram(rd *reader, b []byte) {
	c := x.c
	rd.throttle, rd.ready = 0, false
	p := x.message(rd, b)
	if p == nil {
		c.mu.Lock()
		x.datagramsDropped++
		c.mu.Unlock()
		return
	}
	c.calls.Lock()
	defer c.calls.Unlock()
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	x.datagramsReceived++
	c.counts.bytesReceived += int64(len(b))
	c.received(p)
	err := c.machine.Receive(rd.batch.Now(), 0, p)
	ev := c.drain(rd)
	if err != nil && !c.ended {
		c.abort(err)
	}
	c.unlock(rd.batch)
	if ev.Kind != 0 {
		c.dispatch(rd, &ev)
	}
	for i := range rd.more {
		c.dispatch(rd, &rd.more[i])
		rd.more[i] = mqtt.Event{}
	}
	rd.more = rd.more[:0]
	c.call(rd.batch)
}

// message returns the message of a datagram, nil when there is none.
func (x *extension) message(rd *reader, b []byte) *mqtt.Publish {
	if len(b) == 0 || b[0]>>4 != byte(mqtt.TypePublish) || b[0]&0x0e != 0 {
		return nil
	}
	packet, n, err := rd.dec.Decode(b, x.c.version)
	if err != nil || n != len(b) {
		return nil
	}
	p, ok := packet.(*mqtt.Publish)
	if !ok || len(p.Topic) == 0 || p.Properties.Has(mqtt.PropTopicAlias) || x.premature(p) {
		return nil
	}
	return p
}
