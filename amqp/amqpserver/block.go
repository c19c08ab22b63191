package amqpserver

// Block makes the connection stop publishing until Unblock. With the next message, or with the one that the Session is handed,
// the client is told why, if it knows connection.blocked; if it goes on, or does not know it, it is not read any more. The
// messages that were read until then are still handed to the Session. Block may be called again: the first reason counts.
func (c *Conn) Block(b *Batch, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blocked || c.down {
		return
	}
	c.blocked, c.reason = true, reason
	c.unblocked = make(chan struct{})
	c.toTell.Store(!c.told && c.machine.BlockedNotify())
}

// Unblock ends what Block began.
func (c *Conn) Unblock(b *Batch) {
	c.mu.Lock()
	if c.blocked {
		c.release()
		if c.told {
			c.told = false
			c.machine.Unblock(b.Now())
			c.drain(nil)
		}
	}
	c.unlock(b)
}

// Blocked reports whether Block was called, and Unblock was not since.
func (c *Conn) Blocked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocked
}

// release lets the reader of a blocked connection go on, with c.mu held.
func (c *Conn) release() {
	if c.blocked {
		c.blocked, c.reason = false, ""
		c.toTell.Store(false)
		close(c.unblocked)
		c.unblocked = nil
	}
}

// publishing notes, with c.mu held, that a blocked connection publishes. It reports whether it is not to be read any more.
func (c *Conn) publishing(b *Batch) (stop bool) {
	if !c.blocked {
		return false
	}
	if !c.told && c.machine.BlockedNotify() {
		c.told = true
		c.toTell.Store(false)
		c.machine.Block(b.Now(), c.reason)
		return false
	}
	return true
}

// tell tells a client that is blocked, after a message.
func (c *Conn) tell(b *Batch) {
	c.mu.Lock()
	if c.blocked && !c.told && !c.ended {
		c.publishing(b)
		c.drain(nil)
	}
	c.unlock(b)
}

// waitUnblocked waits until a connection that is not to be read is not blocked any more, or ends.
func (c *Conn) waitUnblocked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.blocked && !c.down {
		wait := c.unblocked
		c.pause(func() { <-wait })
	}
}

// catchUp waits while the client does not take the answers to what it sends.
func (c *Conn) catchUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.main.out.Size() > c.srv.limits.HardLimit/2 && !c.ended {
		if c.recovered == nil {
			c.recovered = make(chan struct{})
		}
		wait := c.recovered
		c.pause(func() { <-wait })
	}
}

// pause calls wait without c.mu, which is held before and after. Meanwhile the client's silence means nothing.
func (c *Conn) pause(wait func()) {
	c.setPaused(true)
	c.mu.Unlock()
	wait()
	c.mu.Lock()
	c.setPaused(false)
}
