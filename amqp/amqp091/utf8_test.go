package amqp091

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValidShort(t *testing.T) {
	for n := range 40 {
		for at := range n + 1 {
			for _, s := range []string{"", "\x7f", "é", "\x80", "\xff", "𝄞", "\xed\xa0\x80", "\xc3"} {
				text := strings.Repeat("x", at) + s + strings.Repeat("y", n-at)
				if got, want := validShort(text), utf8.ValidString(text); got != want || validShort([]byte(text)) != want {
					t.Errorf("%q: %t, want %t", text, got, want)
				}
			}
		}
	}
	long := strings.Repeat("é", 127)
	if n := testing.AllocsPerRun(10, func() { validShort(long) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
