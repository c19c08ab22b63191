package compress

import (
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/quartet-mq/quartet/codec"
)

// The types of package zstd have channels, and a channel that is made in a bubble of testing/synctest must not be used outside
// of it. So there is one decoder, which is made when the program starts and decodes as much at a time as there are
// processors, and encoders write streams, for which they need none.
var zstdDecoder = newZstdDecoder()

func newZstdDecoder() *zstd.Decoder {
	// What the output may take is known before: see zstdSize. History is in the output. The options are legal.
	d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxWindow(1<<31))
	return d
}

// zstdEncoders has a pool for each level of package zstd.
var zstdEncoders = [zstd.SpeedBestCompression + 1]sync.Pool{}

// zstdBlock is the most that a block decodes to.
const zstdBlock = 128 << 10

func appendZstd(dst, src []byte, level int) []byte {
	speed := zstd.SpeedDefault
	if level != 0 {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	if len(src) == 0 {
		return dst
	}
	pool := &zstdEncoders[speed]
	e, ok := pool.Get().(*zstd.Encoder)
	if !ok {
		// These options are legal.
		e, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(speed))
	}
	s := &sink{dst}
	e.ResetContentSize(s, int64(len(src)))
	e.Write(src) // a sink does not fail
	e.Close()
	e.Reset(nil)
	pool.Put(e)
	return s.b
}

func decodeZstd(dst, src []byte, limit int) ([]byte, error) {
	least, most, err := zstdSize(src)
	if err != nil {
		return nil, err
	}
	if least > limit {
		return nil, codec.ErrLimit
	}
	n := min(most, limit)
	dst = slices.Grow(dst, n)
	dst, err = zstdDecoder.DecodeAll(src, dst[:len(dst):len(dst)+n])
	switch {
	case err != nil && most > limit:
		return nil, codec.ErrLimit // or corrupt: who knows
	case err != nil:
		return nil, ErrCorrupt
	}
	return dst, nil
}

// zstdSize tells the least and the most bytes that the input decodes to, from the headers of frames and blocks.
func zstdSize(src []byte) (least, most int, err error) {
	for len(src) > 0 {
		var h zstd.Header
		if h.Decode(src) != nil || h.HeaderSize > len(src) {
			return 0, 0, ErrCorrupt
		}
		src = src[h.HeaderSize:]
		if h.Skippable {
			if uint64(h.SkippableSize) > uint64(len(src)) {
				return 0, 0, ErrCorrupt
			}
			src = src[h.SkippableSize:]
			continue
		}
		low, high, rest, err := zstdBlocks(src)
		if err != nil {
			return 0, 0, err
		}
		if h.HasFCS {
			if h.FrameContentSize < uint64(low) || h.FrameContentSize > uint64(high) {
				return 0, 0, ErrCorrupt
			}
			low, high = int(h.FrameContentSize), int(h.FrameContentSize)
		}
		least, most, src = least+low, most+high, rest
		if h.HasCheckSum {
			if len(src) < 4 {
				return 0, 0, ErrCorrupt
			}
			src = src[4:]
		}
	}
	return least, most, nil
}

// zstdBlocks goes over the blocks of a frame.
func zstdBlocks(src []byte) (least, most int, rest []byte, err error) {
	const raw, rle, compressed = 0, 1, 2
	for last := false; !last; {
		if len(src) < 3 {
			return 0, 0, nil, ErrCorrupt
		}
		head := uint32(src[0]) | uint32(src[1])<<8 | uint32(src[2])<<16
		last = head&1 != 0
		size := int(head >> 3)
		inside := size
		switch head >> 1 & 3 {
		case raw:
			least, most = least+size, most+size
		case rle:
			least, most = least+size, most+size
			inside = 1
		case compressed:
			most += zstdBlock
		default:
			return 0, 0, nil, ErrCorrupt
		}
		if src = src[3:]; inside > len(src) || size > zstdBlock {
			return 0, 0, nil, ErrCorrupt
		}
		src = src[inside:]
	}
	return least, most, src, nil
}
