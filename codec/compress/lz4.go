package compress

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/pierrec/lz4/v4"

	"github.com/quartet-mq/quartet/codec"
)

// The LZ4 frame is taken apart here, and package lz4 does the blocks: a frame is little, its memory must be bounded by
// the caller, and Kafka's clients differ in what they put into it.
const (
	lz4Magic     = 0x184d2204
	lz4Block     = 64 << 10
	lz4Stored    = 1 << 31 // in the size of a block: it is not compressed
	lz4Window    = 64 << 10
	flagDict     = 1 << 0
	flagContent  = 1 << 2 // a checksum of the content at the end
	flagSize     = 1 << 3
	flagBlock    = 1 << 4 // a checksum after each block
	flagAlone    = 1 << 5 // blocks do not refer to each other
	lz4Version   = 1 << 6
	lz4Blocks64K = 4 << 4
)

var lz4Compressors = sync.Pool{New: func() any { return new(lz4.Compressor) }}

var lz4SlowCompressors = sync.Pool{New: func() any { return new(lz4.CompressorHC) }}

func appendLZ4(dst, src []byte, level int) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, lz4Magic)
	descriptor := [2]byte{lz4Version | flagAlone, lz4Blocks64K}
	dst = append(dst, descriptor[:]...)
	dst = append(dst, byte(xxh32(descriptor[:])>>8))
	compress := func(src, dst []byte) (int, error) {
		c := lz4Compressors.Get().(*lz4.Compressor)
		defer lz4Compressors.Put(c)
		return c.CompressBlock(src, dst)
	}
	if level > 1 {
		compress = func(src, dst []byte) (int, error) {
			c := lz4SlowCompressors.Get().(*lz4.CompressorHC)
			defer lz4SlowCompressors.Put(c)
			c.Level = lz4.CompressionLevel(1 << (7 + min(level, 12)*3/4))
			return c.CompressBlock(src, dst)
		}
	}
	for len(src) > 0 {
		part := src[:min(len(src), lz4Block)]
		src = src[len(part):]
		at := len(dst) + 4
		dst = slices.Grow(dst, 4+lz4.CompressBlockBound(len(part)))[:at]
		n, err := compress(part, dst[at:cap(dst)])
		size := uint32(n)
		if err != nil || n == 0 || n >= len(part) {
			n = copy(dst[at:cap(dst)], part)
			size = uint32(n) | lz4Stored
		}
		dst = dst[:at+n]
		binary.LittleEndian.PutUint32(dst[at-4:], size)
	}
	return append(dst, 0, 0, 0, 0)
}

// decodeLZ4 decodes frames that follow each other. Clients of Kafka before 0.10 computed the checksum of the descriptor
// wrongly.
func decodeLZ4(dst, src []byte, limit int, checkHead bool) ([]byte, error) {
	start := len(dst)
	for len(src) > 0 {
		f := lz4Frame{out: dst, start: len(dst), limit: limit - (len(dst) - start), checkHead: checkHead}
		rest, err := f.decode(src)
		if err != nil {
			return nil, err
		}
		dst, src = f.out, rest
	}
	return dst, nil
}

type lz4Frame struct {
	out       []byte
	start     int // of the frame in out
	limit     int
	checkHead bool
	flags     byte
	blockMax  int
	src       []byte
}

// uint32 takes a number from the input.
func (f *lz4Frame) uint32() (uint32, error) {
	if len(f.src) < 4 {
		return 0, ErrCorrupt
	}
	v := binary.LittleEndian.Uint32(f.src)
	f.src = f.src[4:]
	return v, nil
}

// decode decodes one frame and returns what comes after it.
func (f *lz4Frame) decode(src []byte) (rest []byte, err error) {
	f.src = src
	if err := f.head(); err != nil {
		return nil, err
	}
	for {
		size, err := f.uint32()
		if err != nil {
			return nil, err
		}
		if size == 0 {
			break
		}
		if err := f.block(size); err != nil {
			return nil, err
		}
	}
	if f.flags&flagContent != 0 {
		if sum, err := f.uint32(); err != nil || sum != xxh32(f.out[f.start:]) {
			return nil, ErrCorrupt
		}
	}
	return f.src, nil
}

func (f *lz4Frame) head() error {
	magic, err := f.uint32()
	if err != nil || magic != lz4Magic || len(f.src) < 3 {
		return ErrCorrupt
	}
	f.flags = f.src[0]
	n := 2
	if f.flags&flagSize != 0 {
		n += 8
	}
	code := f.src[1] >> 4 & 7
	if f.flags>>6 != 1 || f.flags&flagDict != 0 || code < 4 || len(f.src) <= n {
		return ErrCorrupt
	}
	if f.checkHead && f.src[n] != byte(xxh32(f.src[:n])>>8) {
		return ErrCorrupt
	}
	f.blockMax = 1 << (8 + 2*code)
	f.src = f.src[n+1:]
	return nil
}

func (f *lz4Frame) block(size uint32) error {
	n := int(size &^ lz4Stored)
	if n > len(f.src) || n > f.blockMax {
		return ErrCorrupt
	}
	b := f.src[:n]
	f.src = f.src[n:]
	if f.flags&flagBlock != 0 {
		if sum, err := f.uint32(); err != nil || sum != xxh32(b) {
			return ErrCorrupt
		}
	}
	left := f.limit - (len(f.out) - f.start)
	if size&lz4Stored != 0 {
		if n > left {
			return codec.ErrLimit
		}
		f.out = append(f.out, b...)
		return nil
	}
	if left == 0 {
		return codec.ErrLimit
	}
	// A byte makes at most 255, and a block no more than what the frame says.
	most := min(f.blockMax, 255*n)
	at := len(f.out)
	f.out = slices.Grow(f.out, min(most, left))[:at]
	var dict []byte
	if f.flags&flagAlone == 0 {
		dict = f.out[max(f.start, at-lz4Window):at]
	}
	got, err := lz4.UncompressBlockWithDict(b, f.out[at:at+min(most, left)], dict)
	switch {
	case err != nil && left < most:
		return codec.ErrLimit // or corrupt: who knows
	case err != nil:
		return ErrCorrupt
	}
	f.out = f.out[:at+got]
	return nil
}
