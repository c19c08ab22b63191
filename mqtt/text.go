package mqtt

import "strconv"

// textLimit is how many bytes of a payload the text of a packet shows.
const textLimit = 64

// appendBlob appends binary data as its length and its first bytes, quoted.
func appendBlob(dst, b []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(b)), 10)
	dst = append(dst, ':')
	dst = strconv.AppendQuote(dst, string(b[:min(len(b), textLimit)]))
	if len(b) > textLimit {
		dst = append(dst, "..."...)
	}
	return dst
}

// appendSecret appends the length of b and stars.
func appendSecret(dst, b []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(b)), 10)
	return append(dst, ":***"...)
}

// appendNumber appends a space, the key, '=' and the number.
func appendNumber[T ~uint8 | ~uint16 | ~uint32](dst []byte, key string, v T) []byte {
	dst = append(append(append(dst, ' '), key...), '=')
	return strconv.AppendUint(dst, uint64(v), 10)
}

// appendString appends a space, the key, '=' and the quoted string.
func appendString(dst []byte, key, v string) []byte {
	dst = append(append(append(dst, ' '), key...), '=')
	return strconv.AppendQuote(dst, v)
}

// appendFlag appends a space and the key when set.
func appendFlag(dst []byte, key string, set bool) []byte {
	if !set {
		return dst
	}
	return append(append(dst, ' '), key...)
}

// appendReason appends a space and the reason in hexadecimal, as the standard writes it.
func appendReason(dst []byte, c ReasonCode) []byte {
	return appendHex(append(dst, " reason="...), c)
}

func appendHex(dst []byte, c ReasonCode) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '0', 'x', digits[c>>4], digits[c&15])
}

// appendReasons appends a list of reasons in brackets.
func appendReasons(dst []byte, list []ReasonCode) []byte {
	dst = append(dst, " reasons=["...)
	for i, c := range list {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = appendHex(dst, c)
	}
	return append(dst, ']')
}
