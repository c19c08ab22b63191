package kafkaserver

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/quartet-mq/quartet/internal/netserve"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// copySize is the size up to which a response is copied next to others, so that many leave in one piece.
const copySize = 4 << 10

// reply is an answer that waits for its turn.
type reply struct {
	buf     *Buffer // nil: no response
	splices []Splice
	size    int
}

// startSize is the memory that a response begins with.
const startSize = 512

// start begins a response.
func (r *Request) start(key kafkawire.APIKey, version int16) []byte {
	r.started = NewBuffer(startSize)
	b := append(r.started.Bytes[:0], 0, 0, 0, 0)
	return kafkawire.AppendResponseHeader(b, key, version, r.CorrelationID)
}

var errLong = errors.New("kafkaserver: the response is too long")

// finish ends the response that start began.
func (r *Request) finish(b []byte, splices []Splice) {
	rep := reply{buf: r.started, size: len(b)}
	r.started = nil
	if rep.buf == nil {
		rep.buf = new(Buffer)
	}
	rep.buf.grown(b)
	if len(splices) > 0 {
		rep.splices = append([]Splice(nil), splices...)
	}
	for i := range splices {
		rep.size += len(splices[i].Data)
	}
	if rep.size-4 > math.MaxInt32 {
		rep.release()
		r.Fail(errLong)
		return
	}
	binary.BigEndian.PutUint32(b, uint32(rep.size-4))
	r.Conn.answered(r, rep)
}

// release gives everything back that the reply holds.
func (p *reply) release() {
	if p.buf != nil {
		p.buf.Release()
	}
	for i := range p.splices {
		if o := p.splices[i].Owner; o != nil {
			o.Release()
		}
	}
	*p = reply{}
}

// appendTo moves the reply to an output.
func (p *reply) appendTo(o *netserve.Output, chunks *netserve.Chunks) {
	if p.buf == nil {
		return
	}
	b := p.buf.Bytes
	if len(b) <= copySize {
		at := 0
		for i := range p.splices {
			s := &p.splices[i]
			if s.At > at {
				o.Append(chunks, b[at:s.At])
				at = s.At
			}
			o.Lend(chunks, s.Data, s.Owner)
		}
		if at < len(b) {
			o.Append(chunks, b[at:])
		}
		p.buf.Release()
		*p = reply{}
		return
	}
	at := 0
	for i := range p.splices {
		s := &p.splices[i]
		if s.At > at {
			o.Lend(chunks, b[at:s.At], nil)
			at = s.At
		}
		o.Lend(chunks, s.Data, s.Owner)
	}
	o.Lend(chunks, b[at:], p.buf) // even if it is empty: then the memory comes back
	*p = reply{}
}
