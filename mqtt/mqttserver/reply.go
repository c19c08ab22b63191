package mqttserver

import (
	"net"
	"slices"

	"github.com/quartet-mq/quartet/mqtt"
)

// refusal is what the server has to add to the SUBACK for a SUBSCRIBE of which it took filters out.
type refusal struct {
	id      uint16
	reasons []mqtt.ReasonCode // of all filters; success for those that the backend answers
}

// Suback answers a SUBSCRIBE: p.ID is that of the SUBSCRIBE, p.Reasons has one reason for each of the filters that
// Session.Subscribe got. A nil batch sends at once.
func (c *Conn) Suback(b *Batch, p *mqtt.Suback) {
	c.mu.Lock()
	if i := slices.IndexFunc(c.refusals, func(r refusal) bool { return r.id == p.ID }); i >= 0 {
		merged := *p
		merged.Reasons = c.refusals[i].merge(p.Reasons)
		p = &merged
		c.refusals = slices.Delete(c.refusals, i, i+1)
	}
	c.replied(b, "SUBACK", c.machine.Suback(b.Now(), p))
}

// merge puts the backend's reasons where the server has none.
func (r *refusal) merge(backend []mqtt.ReasonCode) []mqtt.ReasonCode {
	out := make([]mqtt.ReasonCode, 0, len(r.reasons))
	for _, reason := range r.reasons {
		if reason.IsError() {
			out = append(out, reason)
		} else if len(backend) > 0 {
			out = append(out, backend[0])
			backend = backend[1:]
		}
	}
	return append(out, backend...)
}

// Unsuback answers an UNSUBSCRIBE: p.Reasons has one reason for each filter; it is not sent before version 5. A nil batch
// sends at once.
func (c *Conn) Unsuback(b *Batch, p *mqtt.Unsuback) {
	c.mu.Lock()
	c.replied(b, "UNSUBACK", c.machine.Unsuback(b.Now(), p))
}

// replied ends Suback and Unsuback, with c.mu held. An answer that cannot be sent leaves the client waiting for ever.
func (c *Conn) replied(b *Batch, what string, err error) {
	if err != nil && !c.ended {
		c.log("backend's "+what+" cannot be sent", err)
		c.machine.Fail(b.Now(), nil, &mqtt.Error{Code: mqtt.ReasonImplementationSpecificError})
	}
	c.drain(nil)
	c.unlock(b)
}

// Persisted tells that the change with this token, and those before it, are durable: see [Persister]. A nil batch sends
// at once.
func (c *Conn) Persisted(b *Batch, token uint64) {
	c.mu.Lock()
	c.machine.Persisted(b.Now(), token)
	c.drain(nil)
	c.unlock(b)
}

// Disconnect sends DISCONNECT, which only version 5 has, and ends the connection when the output is written; it does
// not wait for that. Session.Closed is called soon, from another goroutine, whether the client takes the output or
// not. A nil batch sends at once.
func (c *Conn) Disconnect(b *Batch, p *mqtt.Disconnect) {
	c.mu.Lock()
	if err := c.machine.Disconnect(b.Now(), p); err != nil && !c.ended {
		c.abort(&mqtt.Error{Code: p.Reason}) // not connected yet, or not a valid packet
	}
	c.drain(nil)
	c.unlock(b)
}

// Close ends the connection at once: what waits as output is lost. Session.Closed is called from another goroutine.
func (c *Conn) Close() {
	c.mu.Lock()
	c.abort(net.ErrClosed)
	c.unlock(nil)
}
