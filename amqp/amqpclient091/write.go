package amqpclient091

import "time"

// closeTimeout is how long the network and the server have for the end of a connection.
const closeTimeout = time.Second

// kick makes sure that somebody writes the output. c.mu is held.
func (k *conn) kick() {
	if m := k.mux; m != nil {
		for i := 0; i < len(m.queued); i++ {
			o := m.queued[i]
			m.queued[i], o.queued = nil, false
			if !o.writing && k.err == nil && (o.broken == nil && len(o.out)+len(o.dirty) > 0 || o.over && !o.closed) {
				o.writing = true
				go o.writer()
			}
		}
		m.queued = m.queued[:0]
	}
	o := &k.main
	if o.writing || len(o.out) == 0 && len(o.dirty) == 0 && !k.closing || k.err != nil {
		return
	}
	if o.broken != nil {
		if k.closing {
			k.finish()
		}
		return
	}
	o.writing = true
	go o.writer()
}

// write writes the output until it is empty, everybody's bytes at once. What is added meanwhile goes into a second
// buffer. The lock is never held across Write, so nobody but this goroutine waits for the network.
func (o *lane) write() {
	k := o.k
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.nc == nil && !o.openStream() {
		o.writing = false
		return
	}
	for k.err == nil && o.broken == nil {
		o.flushAcks()
		if len(o.out) == 0 {
			break
		}
		b := o.out
		o.out, o.spare = o.spare, nil
		k.answers -= o.answers
		o.answers = 0
		o.touch()
		if c.conn == k {
			c.sendQueued()
		}
		c.mu.Unlock()
		n, err := o.nc.Write(b)
		c.mu.Lock()
		c.stats.BytesSent += uint64(n)
		if err != nil {
			o.breakOff(err)
		}
		if cap(b) <= keepBuffer && (o.l == nil || cap(b) <= keepStream) {
			o.spare = b[:0]
		}
	}
	o.writing = false
	if o.l != nil {
		o.finish()
	} else if k.closing || k.err != nil {
		k.finish()
	}
}

// finish closes the stream of a channel that has ended. c.mu is held, but not meanwhile.
func (o *lane) finish() {
	if !o.over || o.closed {
		return
	}
	o.closed = true
	o.k.c.mu.Unlock()
	o.nc.Close()
	o.k.c.mu.Lock()
}

// breakOff takes note that nothing can be written any more. The reader has a little time to find out why: the server may
// have said so before it closed the connection. c.mu is held.
func (o *lane) breakOff(err error) {
	if o.broken == nil {
		o.broken = err
		o.out, o.spare = nil, nil
		o.touch()
		o.setReadDeadline(time.Now().Add(closeTimeout))
		o.unpause()
	}
}

// flushAcks encodes the acknowledgements that were put off. c.mu is held.
func (o *lane) flushAcks() {
	for i, l := range o.dirty {
		o.dirty[i] = nil
		l.flush()
	}
	o.dirty = o.dirty[:0]
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
	if m := k.mux; m != nil {
		m.cancel()
		if m.leaving {
			m.leaving = false
			m.patient.Stop()
		}
	}
	if !k.main.writing {
		k.finish()
	}
}
