package netio

import "io"

// smallRead is the size of the buffer that a plainReader holds while it waits.
const smallRead = 2 << 10

// plainReader is the fallback of Conn.Read. After a read that a small buffer would not have held, when more is likely
// to come at once, it waits with one of the caller's buffers instead.
type plainReader struct {
	r     io.Reader
	small []byte
	left  []byte // the part of small that the caller has not got yet
	last  int    // bytes of the last read
	err   error  // came with the last bytes
}

func (p *plainReader) read(s Space) (int, error) {
	for len(p.left) == 0 {
		switch {
		case p.err != nil:
			err := p.err
			p.err = nil // a deadline may be lifted
			return 0, err
		case p.last >= smallRead:
			b := s.Acquire()
			p.last, p.err = p.r.Read(b)
			if p.last > 0 {
				return p.last, nil
			}
			s.Release()
		default:
			if p.small == nil {
				p.small = make([]byte, smallRead)
			}
			p.last, p.err = p.r.Read(p.small)
			p.left = p.small[:p.last]
		}
	}
	n := copy(s.Acquire(), p.left)
	p.left = p.left[n:]
	return n, nil
}
