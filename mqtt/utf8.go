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
	hashes   = '#' * low
	plusBit  = ('+' ^ '#') * low // the one bit in which the two wildcards differ
	filler   = 0x6161616161616161
	wordSize = 8
)

// validText reports whether b is a UTF-8 encoded string: well-formed, without surrogates and without U+0000 (section
// 1.5.4).
func validText(b []byte) bool {
	w := lastWord(b)
	odd := w | (w - low)
	for rest := b; len(rest) > wordSize; rest = rest[wordSize:] {
		w = binary.LittleEndian.Uint64(rest)
		odd |= w | (w - low)
	}
	return odd&high == 0 || validTextSlow(b)
}

func validTextSlow(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// plainName reports whether b is ASCII text without the wildcards of topic filters. When it is not, b needs a closer
// look.
func plainName(b []byte) bool {
	w := lastWord(b)
	odd := w | (w - low) | (((w &^ plusBit) ^ hashes) - low)
	for rest := b; len(rest) > wordSize; rest = rest[wordSize:] {
		w = binary.LittleEndian.Uint64(rest)
		odd |= w | (w - low) | (((w &^ plusBit) ^ hashes) - low)
	}
	return odd&high == 0
}

// lastWord returns the last eight bytes of b, or all of b filled up with letters, in any order and perhaps more than
// once.
func lastWord(b []byte) uint64 {
	n := len(b)
	switch {
	case n >= wordSize:
		return binary.LittleEndian.Uint64(b[n-wordSize:])
	case n >= wordSize/2:
		return uint64(binary.LittleEndian.Uint32(b))<<32 | uint64(binary.LittleEndian.Uint32(b[n-wordSize/2:]))
	case n == 0:
		return filler
	}
	return filler&^0xffffff | uint64(b[0])<<16 | uint64(b[n/2])<<8 | uint64(b[n-1])
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
