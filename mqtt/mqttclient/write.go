package mqttclient

import "time"

// closeTimeout is how long the network has for the last bytes of a connection.
const closeTimeout = time.Second

// kick makes sure that somebody writes the output buffer. c.mu is held.
func (k *conn) kick() {
	if k.writing || len(k.out) == 0 && !k.closing || k.err != nil || k.gated && k.gate == 0 {
		return
	}
	k.writing = true
	go k.write()
}

// write writes the output buffer until it is empty, everybody's bytes at once. What is added meanwhile goes into a second
// buffer. The lock is never held across Write, so nobody but this goroutine waits for the network.
func (k *conn) write() {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(k.out) > 0 && k.err == nil && (!k.gated || k.gate > 0) {
		b := k.out
		if k.gated {
			b = b[:k.gate]
			k.spare = append(k.spare, k.out[k.gate:]...)
			k.gate = 0
		}
		k.out, k.spare = k.spare, nil
		if c.conn == k {
			c.sendQueued()
		}
		c.mu.Unlock()
		n, err := k.nc.Write(b)
		c.mu.Lock()
		c.stats.BytesSent += uint64(n)
		if err != nil {
			k.fail(err)
		}
		k.spare = b[:0]
	}
	k.writing = false
	if k.closing && !k.gated || k.err != nil {
		k.finish()
	}
}

// close closes the connection once the output buffer is written. c.mu is held.
func (k *conn) close() {
	if k.closing {
		return
	}
	k.closing = true
	if k.gated {
		time.AfterFunc(drainTimeout, k.overdue)
	} else {
		k.nc.SetWriteDeadline(time.Now().Add(closeTimeout))
	}
	if k.timer != nil {
		k.timer.Stop()
	}
	k.kick()
}

// finish ends the sending side after the last write. The reader goes on until the peer closes, too: closing at once
// could reset the connection before the peer has read the last packet.
func (k *conn) finish() {
	select {
	case <-k.flushed:
		return
	default:
	}
	close(k.flushed)
	if k.err == nil {
		go k.closeWrite()
	}
}

// closeWrite is finish without the lock: closing a TLS or WebSocket connection may wait for the network.
func (k *conn) closeWrite() {
	half, ok := k.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		k.nc.Close()
		return
	}
	k.nc.SetReadDeadline(time.Now().Add(closeTimeout))
}

// fail ends the connection because of err. c.mu is held.
func (k *conn) fail(err error) {
	if k.err == nil {
		k.err = err
	}
	k.closing = true
	if k.timer != nil {
		k.timer.Stop()
	}
	if !k.hungUp {
		k.hungUp = true
		go k.nc.Close()
	}
	if !k.writing {
		k.finish()
	}
}
