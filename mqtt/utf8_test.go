package mqtt

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestText compares the walk over words with the plain meaning, for every length around the words and with every odd
// byte at every place.
func TestText(t *testing.T) {
	for size := range 40 {
		for at := -1; at < size; at++ {
			for _, odd := range []byte{0, 1, '"', '#', '$', '*', '+', ',', 0x7f, 0x80, 0xa3, 0xab, 0xc3, 0xff} {
				b := bytes.Repeat([]byte("z"), size)
				if at >= 0 {
					b[at] = odd
				}
				checkText(t, b)
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		b := make([]byte, r.IntN(30))
		for i := range b {
			b[i] = "abc/+#\x00\x01\x80\xc3\xa9\xff"[r.IntN(12)]
		}
		checkText(t, b)
	}
}

func checkText(t *testing.T, b []byte) {
	t.Helper()
	valid := utf8.Valid(b) && !strings.Contains(string(b), "\x00")
	if got := validText(b); got != valid {
		t.Fatalf("validText(%q) = %t", b, got)
	}
	name := valid && !strings.ContainsAny(string(b), "+#")
	if got := checkName(b) == nil; got != name {
		t.Fatalf("checkName(%q) is nil: %t", b, got)
	}
	ascii := !strings.ContainsFunc(string(b), func(r rune) bool { return r >= utf8.RuneSelf })
	if got := plainName(b); got != (name && ascii) {
		t.Fatalf("plainName(%q) = %t", b, got)
	}
}
