package amqp091

import (
	"time"

	"github.com/quartet-mq/quartet/topic/delivery"
)

// Outgoing is a message that a client publishes.
type Outgoing struct {
	Exchange   string
	RoutingKey string
	Mandatory  bool // the server returns it when it goes to no queue
	Properties RawProperties
	Body       []byte
}

// AppendTo encodes basic.publish and a content header, and the body if withBody is set, after dst and returns the extended
// slice. On error, an *[Error], dst is returned as it was.
func (m *Outgoing) AppendTo(dst []byte, channel uint16, frameMax uint32, withBody bool) ([]byte, error) {
	out, err := AppendPublish(dst, channel, m.Exchange, m.RoutingKey, m.Mandatory)
	if err != nil {
		return dst, err
	}
	out = AppendContentHeader(out, channel, uint64(len(m.Body)), m.Properties)
	if withBody {
		out = AppendBody(out, channel, m.Body, frameMax)
	}
	return out, nil
}

// published are the messages of a client's channel that the server has not confirmed, by their number minus one.
type published struct {
	window delivery.Window[publication]
}

// publication is one of them.
type publication struct {
	ref       any
	mark      uint64 // of a mandatory one
	mandatory bool   // and not returned
}

// Publish (client) counts a message. The caller then encodes it, for example with m.AppendTo, and sends it at once. When the
// channel confirms, seq is the message's number, from 1, and ref comes back in EventConfirm; otherwise seq is 0. The error
// is ErrState.
//
// basic.return does not say which message it returns. A mandatory one is recognised by its exchange, routing key, body,
// message-id and correlation-id; of several that agree in all of them, it is the first that was not returned.
func (ch *Channel) Publish(now time.Time, m *Outgoing, ref any) (seq uint64, err error) {
	if ch.state != channelOpen || ch.c.cfg.Role != Client {
		return 0, ErrState
	}
	ch.c.said(now)
	if ch.published == nil {
		return 0, nil
	}
	p := publication{ref: ref, mandatory: m.Mandatory}
	if m.Mandatory {
		p.mark = mark(m.Exchange, m.RoutingKey, m.Properties, m.Body)
	}
	return ch.published.window.Add(p) + 1, nil
}

// mark returns what a returned message is recognised by.
func mark[T string | []byte](exchange, key T, props RawProperties, body []byte) uint64 {
	message, _ := props.MessageID()
	correlation, _ := props.CorrelationID()
	return mix(mix(mix(mix(mix(0, exchange), key), message), correlation), body)
}

// mix adds a field to a hash.
func mix[T string | []byte](h uint64, b T) uint64 {
	const prime = 0x9E3779B97F4A7C15
	h = (h ^ uint64(len(b))) * prime
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := uint64(b[i]) | uint64(b[i+1])<<8 | uint64(b[i+2])<<16 | uint64(b[i+3])<<24 |
			uint64(b[i+4])<<32 | uint64(b[i+5])<<40 | uint64(b[i+6])<<48 | uint64(b[i+7])<<56
		h = (h ^ w) * prime
		h ^= h >> 29
	}
	for ; i < len(b); i++ {
		h = (h ^ uint64(b[i])) * prime
	}
	return h ^ h>>32
}

// returned finds the message that was returned.
func (p *published) returned(t *Content) (seq uint64, ref any) {
	mark := mark(t.Exchange, t.RoutingKey, t.Properties, t.Body)
	w := &p.window
	for seq := w.Low(); seq < w.Next(); seq++ {
		if m := w.Get(seq); m != nil && m.mandatory && m.mark == mark {
			m.mandatory = false
			return seq + 1, m.ref
		}
	}
	return 0, nil
}

// Unconfirmed (client) returns the references of messages that the server has not confirmed, in their order, and forgets
// them. It is for the end of the channel.
func (ch *Channel) Unconfirmed() []any {
	p := ch.published
	if p == nil || p.window.Len() == 0 {
		return nil
	}
	refs := make([]any, 0, p.window.Len())
	for _, m := range p.window.Unsettled() {
		refs = append(refs, m.ref)
	}
	p.window.Reset()
	return refs
}

// receiveConfirm takes basic.ack or basic.nack from a server.
func (ch *Channel) receiveConfirm(payload []byte) error {
	var v AckView
	if err := v.Decode(payload); err != nil {
		return err
	}
	p := ch.published
	if p == nil {
		return ch.unexpected(v.Method)
	}
	w, c := &p.window, ch.c
	if v.DeliveryTag > w.Next() {
		return &Error{Code: CommandInvalid, Hard: true, Method: v.Method, Text: "message " + utoa(v.DeliveryTag) + " was not published"}
	}
	last := v.DeliveryTag
	if v.Multiple && last == 0 {
		last = w.Next()
	}
	if v.Multiple {
		for w.Len() > 0 && w.Low() < last {
			m, _ := w.Settle(w.Low())
			c.refs = append(c.refs, m.ref)
		}
	} else if m, ok := w.Settle(last - 1); ok {
		c.refs = append(c.refs, m.ref)
	}
	if len(c.refs) > 0 {
		e := c.tell(EventConfirm, ch)
		e.Refs, e.Nack = c.refs, v.Method == IDBasicNack
	}
	return nil
}
