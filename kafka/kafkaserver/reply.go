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
		rep.size += len(splices[i].Data) + splices[i].Size
	}
	if rep.size-4 > math.MaxInt32 {
		rep.release()
		r.Fail(errLong)
		return
	}
	binary.BigEndian.PutUint32(b, uint32(rep.size-4))
	r.st.answered(r, rep)
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

// appendTo moves the reply to an output. Small parts are copied, so that many of them leave in one piece; large ones are sent
// from where they are.
func (p *reply) appendTo(o *netserve.Output, chunks *netserve.Chunks) {
	if p.buf == nil {
		return
	}
	b := p.buf.Bytes
	copied := len(b) <= copySize
	at := 0
	head := func(end int) {
		if end <= at {
			return
		}
		if copied {
			o.Append(chunks, b[at:end])
		} else {
			o.Lend(chunks, b[at:end], nil)
		}
		at = end
	}
	for i := range p.splices {
		s := &p.splices[i]
		head(s.At)
		if s.Size > 0 {
			o.LendFile(chunks, netserve.FilePart{File: s.File, Offset: s.Offset, Size: s.Size}, s.Owner)
			continue
		}
		if len(s.Data) > copySize {
			o.Lend(chunks, s.Data, s.Owner)
			continue
		}
		if len(s.Data) > 0 {
			o.Append(chunks, s.Data)
		}
		if s.Owner != nil {
			s.Owner.Release()
		}
	}
	if head(len(b)); copied {
		p.buf.Release()
	} else {
		o.Lend(chunks, nil, p.buf) // the memory comes back when all of it is sent
	}
	*p = reply{}
}
