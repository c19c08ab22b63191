package main

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// A stamp names a message: its payload begins with it.
type stamp struct {
	stream uint32 // number of the stream in the ledger
	n      uint32 // number of the message in its stream
}

// stampSize is the size of a stamp with its checksum, in bytes.
const stampSize = 4 + 4 + 4

// payload returns a payload with the stamp, of random size.
func (s stamp) payload(r *rand.Rand) []byte {
	b := make([]byte, stampSize+r.IntN(600))
	binary.BigEndian.PutUint32(b, s.stream)
	binary.BigEndian.PutUint32(b[4:], s.n)
	for i := stampSize; i < len(b); i++ {
		b[i] = byte(s.n) + byte(i)
	}
	binary.BigEndian.PutUint32(b[8:], checksum(b))
	return b
}

// readStamp returns the stamp of a payload; ok is false when the payload is not what was sent.
func readStamp(b []byte) (s stamp, ok bool) {
	if len(b) < stampSize || binary.BigEndian.Uint32(b[8:]) != checksum(b) {
		return stamp{}, false
	}
	return stamp{stream: binary.BigEndian.Uint32(b), n: binary.BigEndian.Uint32(b[4:])}, true
}

func checksum(b []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(b[:8]), crc32.IEEETable, b[stampSize:])
}
