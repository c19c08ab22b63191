package sasl

import "slices"

// Prepare is the part of SASLprep (RFC 4013) that leaves strings as they are. It returns s when SASLprep would: when s
// consists of printable ASCII, and of letters and some signs of Latin, Greek, Cyrillic, Kana, Han and Hangul that are not
// affected by normalisation form KC, in their composed form (é as one character). It refuses every other string with
// [CodeUnprepared], as RFC 5802, section 2.2, allows to those who have no tables for normalisation: control characters,
// other spaces, decomposed and compatibility characters, scripts written from right to left; and the empty string. So a string that is accepted
// here is the same for each implementation of SASLprep.
func Prepare(s string) (string, error) {
	for _, r := range s {
		if r >= ' ' && r <= '~' {
			continue
		}
		if !isUnaffected(r) {
			return "", fail(CodeUnprepared, "a character is outside of what is supported of SASLprep: %U", r)
		}
	}
	if s == "" {
		return "", fail(CodeUnprepared, "empty")
	}
	return s, nil
}

// isUnaffected reports whether r is in the table.
func isUnaffected(r rune) bool {
	i, exact := slices.BinarySearchFunc(unaffected[:], r, func(e [2]rune, r rune) int { return int(e[0] - r) })
	return exact || i > 0 && r <= unaffected[i-1][1]
}

// unaffected are ranges of characters of Unicode 3.2 with combining class 0 and NFKC_Quick_Check=Yes, none of them mapped,
// prohibited or written from right to left. internal/interop compares it with an implementation that has the tables.
var unaffected = [...][2]rune{
	{0x00A1, 0x00A7}, // Latin-1
	{0x00A9, 0x00A9},
	{0x00AB, 0x00AC},
	{0x00AE, 0x00AE},
	{0x00B0, 0x00B1},
	{0x00B6, 0x00B7},
	{0x00BB, 0x00BB},
	{0x00BF, 0x0131}, // and Latin Extended-A and -B, without ligatures and digraphs
	{0x0134, 0x013E},
	{0x0141, 0x0148},
	{0x014A, 0x017E},
	{0x0180, 0x01C3},
	{0x01CD, 0x01F0},
	{0x01F4, 0x0220},
	{0x0222, 0x0233},
	{0x0386, 0x0386}, // Greek
	{0x0388, 0x038A},
	{0x038C, 0x038C},
	{0x038E, 0x03A1},
	{0x03A3, 0x03CE},
	{0x0400, 0x0481}, // Cyrillic
	{0x048A, 0x04CE},
	{0x04D0, 0x04F5},
	{0x04F8, 0x04F9},
	{0x1E00, 0x1E99}, // Latin Extended Additional
	{0x1EA0, 0x1EF9},
	{0x20AC, 0x20AC}, // the euro sign
	{0x3041, 0x3096}, // Hiragana
	{0x30A1, 0x30FE}, // Katakana
	{0x4E00, 0x9FA5}, // Han
	{0xAC00, 0xD7A3}, // Hangul syllables
}
