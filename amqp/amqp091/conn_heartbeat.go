package amqp091

import "time"

// Timeout returns when Advance must be called, the zero time for never. It changes with all that is received and sent; a
// shell may as well ask again when the time has come.
func (c *Conn) Timeout() time.Time {
	if !c.deadline.IsZero() || c.interval == 0 || c.isDown() {
		return c.deadline
	}
	at := c.sent.Add(c.interval / 2)
	if dead := c.heard.Add(2 * c.interval); !c.paused && dead.Before(at) {
		at = dead
	}
	return at
}

// Advance lets time pass: it sends a heartbeat when nothing was sent for half an interval, ends the connection when nothing
// came for two, and ends the wait for the answer to connection.close.
func (c *Conn) Advance(now time.Time) {
	at := c.Timeout()
	if at.IsZero() || now.Before(at) {
		return
	}
	switch {
	case !c.deadline.IsZero():
		c.end()
	case !c.paused && !now.Before(c.heard.Add(2*c.interval)):
		peer := "server"
		if c.cfg.Role == Server {
			peer = "client"
		}
		c.err = &Error{Code: ConnectionForced, Hard: true, Text: "missed heartbeats from " + peer + ", timeout: " +
			utoa(uint64(c.interval/time.Second)) + "s"}
		c.down()
		c.end()
	default:
		c.trim()
		c.sendFrame(now, sendHeartbeat)
	}
}

// Pause tells the machine that the shell does not read on purpose (paused is true), so that the peer's silence means
// nothing, or that it reads again.
func (c *Conn) Pause(now time.Time, paused bool) {
	c.paused = paused
	c.heard = now
}

// Sent tells the machine that something was sent that made no event, so that no heartbeat is due. The verbs that send
// messages do that themselves.
func (c *Conn) Sent(now time.Time) { c.said(now) }
