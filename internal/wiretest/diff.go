package wiretest

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// HexText returns bytes in hexadecimal, 16 in a line; of many only the beginning.
func HexText(b []byte) string {
	const most = 4 << 10
	if len(b) > most {
		return hexLines(b[:most], 0) + fmt.Sprintf("\n... %d bytes in all", len(b))
	}
	return hexLines(b, 0)
}

// hexLines returns bytes in hexadecimal whose first is at an offset, a multiple of 16.
func hexLines(b []byte, offset int) string {
	lines := strings.Split(strings.TrimRight(hex.Dump(b), "\n"), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = fmt.Sprintf("%08x", offset+16*i) + line[8:]
		}
	}
	return strings.Join(lines, "\n")
}

// DiffBytes returns how two byte slices differ, in hexadecimal as [DiffLines]: from shortly before the first difference
// on, 1 KiB at most.
func DiffBytes(want, got []byte) string {
	at := 0
	for at < len(want) && at < len(got) && want[at] == got[at] {
		at++
	}
	from := max(0, at/16-3) * 16
	window := func(b []byte) string { return hexLines(b[from:min(len(b), from+1<<10)], from) }
	return DiffLines(window(want), window(got))
}

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

// diffMax is the largest product of two numbers of elements that are compared each with each.
const diffMax = 1 << 22

// diff merges two lists along a longest common subsequence and marks each element.
func diff(want, got []string, less, more, same, sep string) string {
	var out, end []string
	for len(want) > 0 && len(got) > 0 && want[0] == got[0] {
		out = append(out, same+want[0])
		want, got = want[1:], got[1:]
	}
	for len(want) > 0 && len(got) > 0 && want[len(want)-1] == got[len(got)-1] {
		end = append(end, same+want[len(want)-1])
		want, got = want[:len(want)-1], got[:len(got)-1]
	}
	slices.Reverse(end)
	if len(want)*len(got) > diffMax {
		for _, w := range want {
			out = append(out, less+w)
		}
		for _, g := range got {
			out = append(out, more+g)
		}
	} else {
		out = merge(out, want, got, less, more, same)
	}
	return strings.Join(append(out, end...), sep)
}

// merge appends two lists, merged.
func merge(out, want, got []string, less, more, same string) []string {
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
	return out
}
