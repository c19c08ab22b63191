package codec

import (
	"encoding/binary"
	"math/bits"
)

// MaxUvarint28 is the largest value of MQTT's variable byte integer.
const MaxUvarint28 = 1<<28 - 1

// Uvarint28 reads a variable byte integer of MQTT (5.0 section 1.5.5): at most
// four bytes, least significant group first. It fails with [ErrSyntax] when
// the value takes more bytes than it needs [MQTT-1.5.5-1] or more than four.
func (r *Reader) Uvarint28() uint32 {
	if uint(r.off) < uint(len(r.b)) && r.b[r.off] < 0x80 {
		v := r.b[r.off]
		r.off++
		return uint32(v)
	}
	return r.uvarint28()
}

func (r *Reader) uvarint28() uint32 {
	if r.off < 0 {
		return 0
	}
	v, n, err := PeekUvarint28(r.b[r.off:])
	if err == nil && n == 0 {
		err = ErrShort
	}
	if err != nil {
		r.Fail(err)
		return 0
	}
	r.off += n
	return v
}

// PeekUvarint28 decodes the variable byte integer of MQTT at the start of b
// and returns its value and length. When b ends within it, n and err are zero:
// more input is needed. The error is [ErrSyntax] for an illegal encoding.
func PeekUvarint28(b []byte) (v uint32, n int, err error) {
	for i := range min(len(b), 4) {
		c := b[i]
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, 0, ErrSyntax
			}
			return v, i + 1, nil
		}
	}
	if len(b) >= 4 {
		return 0, 0, ErrSyntax
	}
	return 0, 0, nil
}

// Uvarint32 reads an unsigned varint of Kafka: at most five bytes, least
// significant group first. Longer ones and values over 32 bits fail with
// [ErrSyntax]. As in Kafka itself an encoding need not be the shortest.
func (r *Reader) Uvarint32() uint32 {
	if uint(r.off) < uint(len(r.b)) && r.b[r.off] < 0x80 {
		v := r.b[r.off]
		r.off++
		return uint32(v)
	}
	return uint32(r.uvarint(5, 0x0f))
}

// Uvarint64 reads an unsigned varint of at most ten bytes. Longer ones and
// values over 64 bits fail with [ErrSyntax].
func (r *Reader) Uvarint64() uint64 {
	if uint(r.off) < uint(len(r.b)) && r.b[r.off] < 0x80 {
		v := r.b[r.off]
		r.off++
		return uint64(v)
	}
	return r.uvarint(10, 0x01)
}

// Varint32 reads a zigzag varint of at most five bytes, as [Reader.Uvarint32].
func (r *Reader) Varint32() int32 {
	u := r.Uvarint32()
	return int32(u>>1) ^ -int32(u&1)
}

// Varint64 reads a zigzag varint of at most ten bytes, as [Reader.Uvarint64].
func (r *Reader) Varint64() int64 {
	u := r.Uvarint64()
	return int64(u>>1) ^ -int64(u&1)
}

// uvarint reads a varint of at most size bytes, the last of which is at most
// last.
func (r *Reader) uvarint(size int, last byte) uint64 {
	if r.off < 0 {
		return 0
	}
	var v uint64
	b := r.b[r.off:]
	for i := range min(len(b), size) {
		c := b[i]
		if i == size-1 && c > last {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.off += i + 1
			return v
		}
	}
	if len(b) < size {
		r.short()
	} else {
		r.Fail(ErrSyntax)
	}
	return 0
}

// AppendUvarint28 appends v as a variable byte integer of MQTT. v is at most
// [MaxUvarint28]; bits above are dropped.
func AppendUvarint28(dst []byte, v uint32) []byte {
	return binary.AppendUvarint(dst, uint64(v&MaxUvarint28))
}

// AppendUvarint32 appends v as an unsigned varint.
func AppendUvarint32(dst []byte, v uint32) []byte {
	return binary.AppendUvarint(dst, uint64(v))
}

// AppendUvarint64 appends v as an unsigned varint.
func AppendUvarint64(dst []byte, v uint64) []byte {
	return binary.AppendUvarint(dst, v)
}

// AppendVarint32 appends v as a zigzag varint.
func AppendVarint32(dst []byte, v int32) []byte {
	return binary.AppendVarint(dst, int64(v))
}

// AppendVarint64 appends v as a zigzag varint.
func AppendVarint64(dst []byte, v int64) []byte {
	return binary.AppendVarint(dst, v)
}

// SizeUvarint28 returns how many bytes [AppendUvarint28] appends.
func SizeUvarint28(v uint32) int { return SizeUvarint64(uint64(v & MaxUvarint28)) }

// SizeUvarint32 returns how many bytes [AppendUvarint32] appends.
func SizeUvarint32(v uint32) int { return SizeUvarint64(uint64(v)) }

// SizeUvarint64 returns how many bytes [AppendUvarint64] appends.
func SizeUvarint64(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// SizeVarint32 returns how many bytes [AppendVarint32] appends.
func SizeVarint32(v int32) int { return SizeVarint64(int64(v)) }

// SizeVarint64 returns how many bytes [AppendVarint64] appends.
func SizeVarint64(v int64) int { return SizeUvarint64(uint64(v)<<1 ^ uint64(v>>63)) }
