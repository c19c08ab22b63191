package amqp091

import (
	"encoding/binary"
	"unicode/utf8"
)

// validShort reports whether a short string is UTF-8. Names are short and nearly always ASCII, for which it is quicker
// than package utf8: it looks at eight bytes at a time, the last eight overlapping what comes before.
func validShort[S []byte | string](s S) bool {
	b := []byte(s)
	const high = 0x8080808080808080
	n := len(b)
	if n < 8 {
		var or byte
		for _, c := range b {
			or |= c
		}
		return or < utf8.RuneSelf || utf8.Valid(b)
	}
	or := binary.LittleEndian.Uint64(b[n-8:])
	for i := 0; i+8 < n; i += 8 {
		or |= binary.LittleEndian.Uint64(b[i : i+8])
	}
	return or&high == 0 || utf8.Valid(b)
}
