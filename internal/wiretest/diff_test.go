package wiretest

import (
	"bytes"
	"strings"
	"testing"
)

func TestDiffLines(t *testing.T) {
	tests := []struct{ want, got, diff string }{
		{"", "", "  "},
		{"a\nb\n", "a\nb", "  a\n  b"},
		{"a\nb\nc", "a\nc", "  a\n- b\n  c"},
		{"a\nc", "a\nb\nc\n", "  a\n+ b\n  c"},
		{"a\nb", "c\nd", "- a\n- b\n+ c\n+ d"},
		{"a\nx\nb\ny\nc", "a\nz\nb\nc", "  a\n- x\n+ z\n  b\n- y\n  c"},
		{"a\na", "a", "  a\n- a"},
	}
	for _, tt := range tests {
		if got := DiffLines(tt.want, tt.got); got != tt.diff {
			t.Errorf("%q, %q:\n%s\nwant\n%s", tt.want, tt.got, got, tt.diff)
		}
	}
	many := strings.Repeat("a\n", diffMax/1000)
	if got := DiffLines(many+"b", strings.Repeat("c\n", 2000)); strings.Count(got, "\n- ")+strings.Count(got, "\n+ ") != diffMax/1000+2000 {
		t.Error("a large difference is not complete")
	}
}

func TestDiffWords(t *testing.T) {
	if got := DiffWords("ACK id=1 x", "ACK id=2 x y"); got != "ACK [-id=1-] {+id=2+} x {+y+}" {
		t.Errorf("got %s", got)
	}
}

func TestDiffBytes(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	got := bytes.Clone(want)
	got[0x8005] = 'x'
	lines := strings.Split(DiffBytes(want, got), "\n")
	if len(lines) != 65 || !strings.HasPrefix(lines[0], "  00007fd0  30 31") || !strings.HasPrefix(lines[3], "- 00008000") ||
		!strings.HasPrefix(lines[4], "+ 00008000") {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	if got := DiffBytes([]byte("ab"), nil); got != "- 00000000  61 62                                             |ab|\n+ " {
		t.Errorf("got %q", got)
	}
}

func TestHexText(t *testing.T) {
	if got := HexText(make([]byte, 5000)); !strings.HasSuffix(got, "... 5000 bytes in all") || len(got) > 24<<10 {
		t.Errorf("%d bytes:\n%s", len(got), got)
	}
}
