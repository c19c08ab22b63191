package main

import (
	"encoding/binary"
	"time"
)

// stampSize is the least size of a payload.
const stampSize = 16

// A stamp is the begin of each payload: which message it is and when it was published.
type stamp struct {
	flow, seq uint32
	sent      time.Duration
}

func (s *stamp) put(b []byte) {
	binary.BigEndian.PutUint32(b, s.flow)
	binary.BigEndian.PutUint32(b[4:], s.seq)
	binary.BigEndian.PutUint64(b[8:], uint64(s.sent))
}

// readStamp returns false for a payload that has none.
func readStamp(b []byte) (stamp, bool) {
	if len(b) < stampSize {
		return stamp{}, false
	}
	return stamp{
		flow: binary.BigEndian.Uint32(b),
		seq:  binary.BigEndian.Uint32(b[4:]),
		sent: time.Duration(binary.BigEndian.Uint64(b[8:])),
	}, true
}
