package amqp091

import (
	"slices"
	"time"

	"github.com/quartet-mq/quartet/topic/delivery"
)

// confirms is what a server's channel owes a client that has sent confirm.select.
//
// What is confirmed between two flushes goes out together, as RabbitMQ does it: one basic.ack with multiple for all that is
// below the first message that is not confirmed or was refused, single ones for what is above.
type confirms struct {
	on      bool
	queued  bool // among the pending channels of the connection
	moved   bool // acks that are not in singles have moved mark since the last flush: they are below all of refused
	next    uint64
	mark    delivery.Watermark // what is confirmed or refused
	acks    int                // since the last flush
	last    uint64             // of them
	singles []uint64           // of them, those that have not moved mark, or came after a refusal
	refused []uint64           // not flushed, or flushed above mark
	flushed int                // how many of refused are
}

// enable begins to number messages, from 1.
func (f *confirms) enable() {
	if !f.on {
		f.on = true
		f.mark.Reset(1)
	}
}

// number returns the number of the next message, 0 when nothing is confirmed.
func (f *confirms) number() uint64 {
	if !f.on {
		return 0
	}
	f.next++
	return f.next
}

// Confirm (server) confirms the message that EventPublish numbered seq, or refuses it when ack is false. It may be called in
// any order, once for each. AppendConfirms, or the end of the channel, sends it.
func (ch *Channel) Confirm(seq uint64, ack bool) {
	f := &ch.confirms
	if ch.state != channelOpen || seq == 0 || seq > f.next {
		return
	}
	if seq < f.mark.Low() {
		return
	}
	moved := f.mark.Done(seq)
	switch {
	case !ack:
		f.refused = append(f.refused, seq)
	case moved && len(f.refused) == 0:
		f.moved = true
	default:
		f.singles = append(f.singles, seq)
	}
	if ack {
		f.acks++
		f.last = seq
	}
	if !f.queued {
		f.queued = true
		ch.c.pending = append(ch.c.pending, ch)
	}
}

// UnconfirmedCount returns how many messages are not confirmed: of a server's channel by Confirm, of a client's by the server.
func (ch *Channel) UnconfirmedCount() int {
	if ch.published != nil {
		return ch.published.window.Len()
	}
	f := &ch.confirms
	if !f.on {
		return 0
	}
	return int(f.next+1-f.mark.Low()) - f.mark.Ahead()
}

// Confirms (server) returns how many bytes AppendConfirms appends at most.
func (c *Conn) Confirms() (size int) {
	for _, ch := range c.pending {
		size += ch.confirms.frames() * confirmSize
	}
	return size
}

// confirmSize is the size of a frame with basic.ack or basic.nack.
const confirmSize = frameHeaderSize + 4 + 8 + 1 + 1

// AppendConfirms (server) appends the frames that confirm what Confirm was called for, and returns the extended slice. The
// caller sends them at once.
func (c *Conn) AppendConfirms(now time.Time, dst []byte) []byte {
	if len(c.pending) == 0 {
		return dst
	}
	for i, ch := range c.pending {
		c.pending[i] = nil
		dst = ch.appendConfirms(dst)
	}
	c.pending = c.pending[:0]
	c.said(now)
	return dst
}

// appendConfirms appends the frames of a channel that is not pending any more.
func (ch *Channel) appendConfirms(dst []byte) []byte {
	ch.confirms.queued = false
	ch.confirms.flush(func(seq uint64, ack, multiple bool) {
		if ack {
			dst = AppendAck(dst, ch.id, seq, multiple)
		} else {
			dst = AppendNack(dst, ch.id, seq, multiple, false)
		}
	})
	return dst
}

// sendConfirms makes events of the channel's confirms, before its end.
func (ch *Channel) sendConfirms(now time.Time) {
	c := ch.c
	if !ch.confirms.queued {
		return
	}
	ch.confirms.queued = false
	c.pending = slices.DeleteFunc(c.pending, func(p *Channel) bool { return p == ch })
	ch.confirms.flush(func(seq uint64, ack, multiple bool) {
		e := c.events.push(EventSend)
		e.channel, e.Seq, e.multiple, e.frame = ch.id, seq, multiple, sendNack
		if ack {
			e.frame = sendAck
		}
		c.said(now)
	})
}

// sendConfirms does that for all channels, before the end of the connection.
func (c *Conn) sendConfirms(now time.Time) {
	for len(c.pending) > 0 {
		c.pending[0].sendConfirms(now)
	}
}

// frames returns how many frames a flush makes at most.
func (f *confirms) frames() int { return 1 + len(f.singles) + len(f.refused) - f.flushed }

// flush gives out what is to be sent: refusals, one ack for all below the first message that is not confirmed or was
// refused, single ones for what is above.
func (f *confirms) flush(emit func(seq uint64, ack, multiple bool)) {
	low := f.mark.Low()
	cutoff := low
	for i, seq := range f.refused {
		cutoff = min(cutoff, seq)
		if i >= f.flushed {
			emit(seq, false, false)
		}
	}
	if f.acks == 1 {
		emit(f.last, true, false)
	} else if f.acks > 1 {
		if f.moved || slices.ContainsFunc(f.singles, func(seq uint64) bool { return seq < cutoff }) {
			emit(cutoff-1, true, true)
		}
		for _, seq := range f.singles {
			if seq >= cutoff {
				emit(seq, true, false)
			}
		}
	}
	f.acks, f.moved, f.singles = 0, false, f.singles[:0]
	f.refused = slices.DeleteFunc(f.refused, func(seq uint64) bool { return seq < low })
	f.flushed = len(f.refused)
}

// trim gives back what is not needed.
func (f *confirms) trim() {
	if !f.queued {
		f.singles = nil
	}
}
