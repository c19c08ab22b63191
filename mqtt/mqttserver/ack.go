package mqttserver

import "github.com/quartet-mq/quartet/mqtt"

// Ack acknowledges one message from a client. The zero Ack, which comes with messages of QoS 0, does nothing.
type Ack struct {
	c      *Conn
	id     uint16
	stream uint32 // number of the stream, without the bits that tell its kind
}

// Done acknowledges the message with a reason code of PUBACK and PUBREC. Call it once, from any goroutine and in any
// order: the acknowledgements leave in the order of the messages. props, for version 5, may be nil and must not change
// any more. A nil batch flushes at once.
//
// After Session.Closed it still notes the acknowledgement in the State of the session. A backend that has given the State to
// another connection by then must not call it any more.
func (a Ack) Done(b *Batch, reason mqtt.ReasonCode, props mqtt.Properties) {
	c := a.c
	if c == nil {
		return
	}
	c.mu.Lock()
	if c.ext == nil {
		if c.machine.Ack(b.Now(), a.id, reason, props) == nil {
			c.drain(nil)
		}
	} else if c.machine.AckStream(b.Now(), uint64(a.stream)<<streamShift, a.id, reason, props) == nil {
		c.drain(nil)
	}
	c.unlock(b)
}
