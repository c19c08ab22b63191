package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// Bytes are looked at eight at a time. In a word of ASCII characters, x-low sets the highest bit of a byte that is
// zero; so one test over the word itself and such differences finds everything that needs a closer look.
const (
	low      = 0x0101010101010101
	high     = 0x8080808080808080
	pluses   = '+' * low
	hashes   = '#' * low
	filler   = 'a' * low
	wordSize = 8
)

// validText reports whether b is a UTF-8 encoded string: well-formed, without surrogates and without U+0000 (section
// 1.5.4).
func validText(b []byte) bool {
	for len(b) >= wordSize {
		w := binary.LittleEndian.Uint64(b)
		if (w|(w-low))&high != 0 {
			return validTextSlow(b)
		}
		b = b[wordSize:]
	}
	w := tail(b)
	return (w|(w-low))&high == 0 || validTextSlow(b)
}

func validTextSlow(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// plainName reports whether b is text without the wildcards of topic filters, and all ASCII. When it is not, b needs a
// closer look.
func plainName(b []byte) bool {
	for len(b) >= wordSize {
		w := binary.LittleEndian.Uint64(b)
		if (w|(w-low)|((w^pluses)-low)|((w^hashes)-low))&high != 0 {
			return false
		}
		b = b[wordSize:]
	}
	w := tail(b)
	return (w|(w-low)|((w^pluses)-low)|((w^hashes)-low))&high == 0
}

// tail returns fewer than eight bytes as a word, filled up with a letter.
func tail(b []byte) uint64 {
	w := uint64(filler)
	for _, c := range b {
		w = w<<8 | uint64(c)
	}
	return w
}

// checkName returns an error when b, which is not empty, is not a topic name (section 4.7).
func checkName(b []byte) error {
	if plainName(b) {
		return nil
	}
	if !validTextSlow(b) {
		return errMalformed("topic name is not a UTF-8 encoded string")
	}
	if bytes.ContainsAny(b, "+#") {
		return errTopicName("topic name has a wildcard")
	}
	return nil
}
