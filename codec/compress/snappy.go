package compress

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/golang/snappy"

	"github.com/quartet-mq/quartet/codec"
)

// xerial is how the blocks of snappy-java begin: a magic, then the version and the lowest compatible version, 1 and 1.
var xerial = []byte("\x82SNAPPY\x00")

const (
	xerialHead  = 16
	xerialBlock = 32 << 10
)

func appendSnappy(dst, src []byte) []byte {
	n := len(dst)
	dst = slices.Grow(dst, snappy.MaxEncodedLen(len(src)))
	return dst[:n+len(snappy.Encode(dst[n:cap(dst)], src))]
}

// AppendXerial compresses src with Snappy in the framing of snappy-java, as the Java clients do. [Decode] takes both.
func AppendXerial(dst, src []byte) []byte {
	dst = append(dst, xerial...)
	dst = append(dst, 0, 0, 0, 1, 0, 0, 0, 1)
	for len(src) > 0 {
		n := min(len(src), xerialBlock)
		at := len(dst)
		dst = appendSnappy(append(dst, 0, 0, 0, 0), src[:n])
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
		src = src[n:]
	}
	return dst
}

func decodeSnappy(dst, src []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(src, xerial) {
		return decodeSnappyBlock(dst, src, limit)
	}
	if len(src) < xerialHead {
		return nil, ErrCorrupt
	}
	start := len(dst)
	for src = src[xerialHead:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, ErrCorrupt
		}
		// Frames may follow each other, headers and all.
		if bytes.HasPrefix(src, xerial) && len(src) >= xerialHead {
			src = src[xerialHead:]
			continue
		}
		n := binary.BigEndian.Uint32(src)
		if src = src[4:]; uint64(n) > uint64(len(src)) {
			return nil, ErrCorrupt
		}
		var err error
		if dst, err = decodeSnappyBlock(dst, src[:n], limit-(len(dst)-start)); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return dst, nil
}

func decodeSnappyBlock(dst, src []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(src)
	switch {
	case err != nil:
		return nil, ErrCorrupt
	case n > limit:
		return nil, codec.ErrLimit
	case n > 64*len(src)+64:
		return nil, ErrCorrupt // no element makes more than 64 bytes of 2
	}
	at := len(dst)
	dst = slices.Grow(dst, n)[:at+n]
	if _, err := snappy.Decode(dst[at:], src); err != nil {
		return nil, ErrCorrupt
	}
	return dst, nil
}
