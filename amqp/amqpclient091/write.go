package amqpclient091

import "time"

// closeTimeout is how long the network and the server have for the end of a connection.
const closeTimeout = time.Second

// kick makes sure that somebody writes the output buffer. c.mu is held.
func (k *conn) kick() {
	if k.writing || len(k.out) == 0 && len(k.dirty) == 0 && !k.closing || k.err != nil {
		return
	}
	if k.broken != nil {
		if k.closing {
			k.finish()
		}
		return
	}
	k.writing = true
	go k.writer()
}

// write writes the output buffer until it is empty, everybody's bytes at once. What is added meanwhile goes into a second
// buffer. The lock is never held across Write, so nobody but this goroutine waits for the network.
func (k *conn) write() {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for k.err == nil && k.broken == nil {
		k.flushAcks()
		if len(k.out) == 0 {
			break
		}
		b := k.out
		k.out, k.spare, k.answers = k.spare, nil, 0
		if c.conn == k {
			c.sendQueued()
		}
		c.mu.Unlock()
		n, err := k.nc.Write(b)
		c.mu.Lock()
		c.stats.BytesSent += uint64(n)
		if err != nil {
			k.breakOff(err)
		}
		if cap(b) <= keepBuffer {
			k.spare = b[:0]
		}
	}
	k.writing = false
	if k.closing || k.err != nil {
		k.finish()
	}
}

// breakOff takes note that nothing can be written any more. The reader has a little time to find out why: the server may
// have said so before it closed the connection. c.mu is held.
func (k *conn) breakOff(err error) {
	if k.broken == nil {
		k.broken = err
		k.out, k.spare = nil, nil
		k.nc.SetReadDeadline(time.Now().Add(closeTimeout))
		k.unpause()
	}
}

// flushAcks encodes the acknowledgements that were put off. c.mu is held.
func (k *conn) flushAcks() {
	for i, l := range k.dirty {
		k.dirty[i] = nil
		l.flush()
	}
	k.dirty = k.dirty[:0]
}

// close closes the network connection once the output buffer is written. c.mu is held.
func (k *conn) close() {
	if k.closing {
		return
	}
	k.closing = true
	k.nc.SetWriteDeadline(time.Now().Add(closeTimeout))
	if k.timer != nil {
		k.timer.Stop()
	}
	k.unpause()
	k.kick()
}

// finish ends the sending side after the last write. The reader goes on until the peer closes, too: closing at once
// could reset the connection before the peer has read the last frame.
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

// closeWrite is finish without the lock: closing a TLS connection may wait for the network.
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
	k.goDown()
	if !k.writing {
		k.finish()
	}
}
