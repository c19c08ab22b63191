package amqpserver

import (
	"encoding/binary"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Deliver sends a message to a consumer. It is false, and nothing is sent, when the consumer or the channel has no credit,
// the output of the connection waits beyond its soft limit, or they have ended; Session.Ready tells when to try again,
// except after the end. ref comes back in Session.Settled or CloseChannel, unless the consumer needs no acknowledgement.
func (ch *Channel) Deliver(b *Batch, consumer *Consumer, d *Delivery, ref any) bool {
	c := ch.c
	now := b.Now()
	c.mu.Lock()
	if c.crowded(ch.o, len(d.Body)) {
		if ch.m.Open() && !ch.starved {
			ch.starved, ch.wanted = true, len(d.Body)
			c.starved = append(c.starved, ch)
		}
		c.mu.Unlock()
		return false
	}
	tag, ok := ch.m.Deliver(now, consumer.m, ref)
	if !ok {
		c.mu.Unlock()
		return false
	}
	f := content{kind: amqp091.IDBasicDeliver, consumer: consumer.m.Tag(), tag: tag}
	sent := c.put(b, ch, &f, d)
	if sent {
		c.counts.delivered++
	}
	c.unlock(b)
	return sent || !consumer.m.NoAck() // else ref comes back
}

// GetOK answers basic.get with a message; count is how many are still ready. ref comes back as that of Deliver, unless
// noAck is true. It is false, and nothing is sent, when the channel has closed. Credit does not count.
//
// Properties that do not fit into a frame of the client close the channel with 311 CONTENT_TOO_LARGE; that holds for
// Deliver and Return, too. (RabbitMQ sends a frame that is larger than the client has allowed.)
func (ch *Channel) GetOK(b *Batch, d *Delivery, count uint32, ref any, noAck bool) bool {
	c := ch.c
	now := b.Now()
	c.mu.Lock()
	tag, ok := ch.m.Get(now, noAck, ref)
	if ok {
		f := content{kind: amqp091.IDBasicGetOK, tag: tag, count: count}
		if c.put(b, ch, &f, d) {
			c.counts.got++
		} else {
			ok = !noAck // else ref comes back
		}
	}
	c.unlock(b)
	return ok
}

// Return returns a message to its publisher: code is NoRoute for one that was Mandatory. Call it before Confirm.
func (ch *Channel) Return(b *Batch, code amqp091.Code, text string, d *Delivery) {
	c := ch.c
	now := b.Now()
	c.mu.Lock()
	if ch.m.Return(now) {
		f := content{kind: amqp091.IDBasicReturn, code: code, text: amqp091.CutShort(text)}
		if c.put(b, ch, &f, d) {
			c.counts.returned++
		}
	}
	c.unlock(b)
}

// content is what comes before a message on the wire.
type content struct {
	kind     amqp091.MethodID
	consumer string
	tag      uint64
	count    uint32
	code     amqp091.Code
	text     string
}

// fixedContent is more than what a message takes on the wire beside names, properties and body: a method frame and a
// header frame.
const fixedContent = 64

// appendTo appends the method and the header of a message.
func (f *content) appendTo(dst []byte, channel uint16, d *Delivery) (_ []byte, err error) {
	switch f.kind {
	case amqp091.IDBasicDeliver:
		dst, err = amqp091.AppendDeliver(dst, channel, f.consumer, f.tag, d.Redelivered, d.Exchange, d.RoutingKey)
	case amqp091.IDBasicGetOK:
		dst, err = amqp091.AppendGetOK(dst, channel, f.tag, d.Redelivered, d.Exchange, d.RoutingKey, f.count)
	default:
		dst, err = amqp091.AppendReturn(dst, channel, f.code, f.text, d.Exchange, d.RoutingKey)
	}
	if err != nil {
		return dst, err
	}
	return amqp091.AppendContentHeader(dst, channel, uint64(len(d.Body)), d.Properties), nil
}

// put puts a message in the output, with c.mu held. It is false when the message cannot be sent, and closes the channel or
// the connection then.
func (c *Conn) put(b *Batch, ch *Channel, f *content, d *Delivery) bool {
	const header = 32 // more than a header frame has beside the properties
	frameMax := c.machine.FrameMax()
	if len(d.Properties)+header > int(frameMax) {
		// The properties cannot be split. Whoever else wants the message may have a larger frame-max.
		ch.m.Close(b.Now(), amqp091.SoftError(amqp091.ContentTooLarge, "properties of %d bytes exceed frame_max", len(d.Properties)))
		c.drain(nil)
		return false
	}
	size := fixedContent + len(f.consumer) + len(f.text) + len(d.Exchange) + len(d.RoutingKey) + len(d.Properties)
	small := len(d.Body) <= LargeBody
	if small {
		size += amqp091.BodySize(len(d.Body), frameMax)
	}
	id := ch.m.ID()
	o := ch.o
	t := o.out.Room(c.srv.chunks, size)
	start := len(t.Buf)
	buf, err := f.appendTo(t.Buf, id, d)
	if err != nil {
		c.log("backend sends an invalid message", err)
		c.machine.Close(b.Now(), internalError(f.kind))
		c.drain(nil)
		return false
	}
	if small {
		buf = amqp091.AppendBody(buf, id, d.Body, frameMax)
	}
	t.Buf = buf
	o.added(len(buf) - start)
	c.traceSent(buf[start:])
	if !small {
		o.putBody(id, d.Body, frameMax)
	}
	if b != nil {
		b.bytes += len(d.Body) + fixedContent
	}
	return true
}

// putBody puts a body in the output without copying it.
func (o *outlet) putBody(channel uint16, body []byte, frameMax uint32) {
	c := o.c
	pool := c.srv.chunks
	for len(body) > 0 {
		var part []byte
		part, body = amqp091.SplitBody(body, frameMax)
		t := o.out.Room(pool, 8)
		t.Buf = append(t.Buf, byte(amqp091.FrameBody), byte(channel>>8), byte(channel))
		t.Buf = binary.BigEndian.AppendUint32(t.Buf, uint32(len(part)))
		o.share(part)
		t = o.out.Room(pool, 1)
		t.Buf = append(t.Buf, amqp091.FrameEnd)
		o.added(amqp091.FrameOverhead)
		if f := c.srv.trace.Sent; f != nil {
			f(c, amqp091.Frame{Type: amqp091.FrameBody, Channel: channel, Payload: part})
		}
	}
}
