package main

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// stampSize is the size of what a body begins with: the number of the message and a checksum.
const stampSize = 4 + 4

// body returns a body for the message of that number, of random size.
func body(number uint32, r *rand.Rand) []byte {
	b := make([]byte, stampSize+r.IntN(600))
	if r.IntN(500) == 0 {
		b = make([]byte, stampSize+r.IntN(300_000)) // several frames
	}
	binary.BigEndian.PutUint32(b, number)
	for i := stampSize; i < len(b); i++ {
		b[i] = byte(number) + byte(i)
	}
	binary.BigEndian.PutUint32(b[4:], checksum(b))
	return b
}

// readStamp returns the number of a message; ok is false when the body is not what was sent.
func readStamp(b []byte) (number uint32, ok bool) {
	if len(b) < stampSize || binary.BigEndian.Uint32(b[4:]) != checksum(b) {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

func checksum(b []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(b[:4]), crc32.IEEETable, b[stampSize:])
}
