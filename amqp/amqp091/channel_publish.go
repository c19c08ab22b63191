package amqp091

import (
	"time"

	"github.com/quartet-mq/quartet/codec"
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
	sum       uint32 // of a mandatory one
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
	ch.c.sent = now
	if ch.published == nil {
		return 0, nil
	}
	p := publication{ref: ref, mandatory: m.Mandatory}
	if m.Mandatory {
		p.sum = checksum(checksumString(checksumString(0, m.Exchange), m.RoutingKey), m.Properties, m.Body)
	}
	return ch.published.window.Add(p) + 1, nil
}

// checksum is what a returned message is recognised by.
func checksum(sum uint32, props RawProperties, body []byte) uint32 {
	id, _ := props.MessageID()
	sum = codec.UpdateCRC32C(codec.UpdateCRC32C(sum, []byte{0}), id)
	id, _ = props.CorrelationID()
	sum = codec.UpdateCRC32C(codec.UpdateCRC32C(sum, []byte{0}), id)
	return codec.UpdateCRC32C(codec.UpdateCRC32C(sum, []byte{0}), body)
}

func checksumString(sum uint32, s string) uint32 {
	var b [256]byte
	n := copy(b[1:], s)
	return codec.UpdateCRC32C(sum, b[:n+1])
}

// returned finds the message that was returned.
func (p *published) returned(t *Content) (seq uint64, ref any) {
	sum := checksum(checksumString(checksumString(0, string(t.Exchange)), string(t.RoutingKey)), t.Properties, t.Body)
	w := &p.window
	for seq := w.Low(); seq < w.Next(); seq++ {
		if m := w.Get(seq); m != nil && m.mandatory && m.sum == sum {
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
