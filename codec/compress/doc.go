// Package compress has the compression methods of Kafka's record batches: gzip, snappy in its raw form and in that of
// snappy-java, the LZ4 frame and Zstandard. It works on whole buffers.
//
// Decoding has a bound on the decoded size, and no input makes it allocate much more than that. The functions append to a
// buffer that the caller may use again. They are safe for concurrent use.
package compress

import (
	"errors"
	"strconv"

	"github.com/quartet-mq/quartet/codec"
)

// Method is a compression method. The values are those of the attributes of a record batch.
type Method uint8

// The compression methods.
const (
	None Method = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// String returns the name that Kafka's settings have for the method.
func (m Method) String() string {
	switch m {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return "Method(" + strconv.Itoa(int(m)) + ")"
}

// Parse returns the method of a name.
func Parse(name string) (Method, error) {
	for m := None; m <= Zstd; m++ {
		if m.String() == name {
			return m, nil
		}
	}
	return None, &Error{Err: ErrMethod}
}

var (
	// ErrMethod means that there is no such method.
	ErrMethod = errors.New("unknown compression method")

	// ErrCorrupt means that the input is not what the method makes.
	ErrCorrupt = errors.New("corrupt input")
)

// Error is the error of this package.
type Error struct {
	Method Method

	// Err is ErrMethod, ErrCorrupt, or [codec.ErrLimit] when the decoded size is beyond the bound.
	Err error
}

// Error returns the method and the reason in words.
func (e *Error) Error() string { return "compress: " + e.Method.String() + ": " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Append compresses src, appends that to dst and returns the extended slice. level is that of the method: 1 to 9 for gzip, 1
// to 12 for LZ4, of which above 1 are slow, 1 to 22 for Zstandard. Zero is the default, other levels are the nearest one,
// and Snappy has none.
func Append(dst, src []byte, m Method, level int) ([]byte, error) {
	switch m {
	case None:
		return append(dst, src...), nil
	case Gzip:
		return appendGzip(dst, src, level), nil
	case Snappy:
		return appendSnappy(dst, src), nil
	case LZ4:
		return appendLZ4(dst, src, level), nil
	case Zstd:
		return appendZstd(dst, src, level), nil
	}
	return dst, &Error{m, ErrMethod}
}

// Decode decodes src, appends that to dst and returns the extended slice. It fails with [codec.ErrLimit] when there are
// more than max bytes. After a failure it returns dst as it was; what is beyond its length may have been overwritten.
func Decode(dst, src []byte, m Method, max int) (out []byte, err error) {
	switch m {
	case None:
		if len(src) > max {
			err = codec.ErrLimit
		} else {
			out = append(dst, src...)
		}
	case Gzip:
		out, err = decodeGzip(dst, src, max)
	case Snappy:
		out, err = decodeSnappy(dst, src, max)
	case LZ4:
		out, err = decodeLZ4(dst, src, max, true)
	case Zstd:
		out, err = decodeZstd(dst, src, max)
	default:
		err = ErrMethod
	}
	if err != nil {
		return dst, &Error{m, err}
	}
	return out, nil
}

// DecodeOldLZ4 is Decode for the LZ4 of messages with magic 0, whose frames have a wrong checksum of their header.
func DecodeOldLZ4(dst, src []byte, max int) ([]byte, error) {
	out, err := decodeLZ4(dst, src, max, false)
	if err != nil {
		return dst, &Error{LZ4, err}
	}
	return out, nil
}

// corrupt hides the errors of other packages, except that of the bound.
func corrupt(err error) error {
	if err == nil || errors.Is(err, codec.ErrLimit) {
		return err
	}
	return ErrCorrupt
}
