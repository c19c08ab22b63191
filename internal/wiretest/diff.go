package wiretest

import (
	"encoding/hex"
	"strings"
)

// HexText returns bytes in hexadecimal, 16 in a line.
func HexText(b []byte) string { return strings.TrimRight(hex.Dump(b), "\n") }

// DiffLines returns the lines of both texts, those only in want with "- ", those only in got with "+ " before them.
func DiffLines(want, got string) string {
	return diff(strings.Split(strings.TrimRight(want, "\n"), "\n"), strings.Split(strings.TrimRight(got, "\n"), "\n"),
		"- ", "+ ", "  ", "\n")
}

// DiffWords does the same with the words of two lines: [-only in want-] {+only in got+}.
func DiffWords(want, got string) string {
	text := diff(strings.Split(want, " "), strings.Split(got, " "), "\x00", "\x01", "", " ")
	words := strings.Split(text, " ")
	for i, w := range words {
		switch {
		case strings.HasPrefix(w, "\x00"):
			words[i] = "[-" + w[1:] + "-]"
		case strings.HasPrefix(w, "\x01"):
			words[i] = "{+" + w[1:] + "+}"
		}
	}
	return strings.Join(words, " ")
}

// diff merges two lists along a longest common subsequence and marks each element.
func diff(want, got []string, less, more, same, sep string) string {
	common := make([][]int, len(want)+1) // length of the longest common subsequence of the rests
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if want[i] == got[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	for i, j := 0, 0; i < len(want) || j < len(got); {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			out = append(out, same+want[i])
			i++
			j++
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			out = append(out, less+want[i])
			i++
		default:
			out = append(out, more+got[j])
			j++
		}
	}
	return strings.Join(out, sep)
}
