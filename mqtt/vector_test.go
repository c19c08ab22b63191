package mqtt_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/script"
	"github.com/quartet-mq/quartet/mqtt"
)

// TestVectors decodes every packet of testdata/vectors, in full and cut at every place, and encodes it again.
func TestVectors(t *testing.T) {
	script.Run(t, "testdata/vectors/*.txt", func(t *testing.T) func(*script.Command) string {
		return func(c *script.Command) string {
			if c.Name != "decode" {
				t.Fatalf("line %d: no command %s", c.Line, c.Name)
			}
			in := parseHex(t, c.Input)
			d := mqtt.Decoder{From: roles(t)[c.String("from", "")], MaxSize: c.Int(t, "max", 0)}
			long, more, name := c.Has("long"), c.Has("more"), c.String("name", "")
			out := ""
			for i, version := range strings.Split(c.String("version", ""), ",") {
				t.Run(name+"/"+version, func(t *testing.T) {
					got := ""
					if more {
						got = needsMore(t, d, in, parseVersion(t, version))
					} else {
						got = decodeVector(t, d, in, parseVersion(t, version), long)
					}
					if i > 0 && got != out {
						t.Errorf("another result than in other versions: %s", got)
					}
					out = got
				})
			}
			return out
		}
	})
}

// needsMore checks that a decoder waits for more than in.
func needsMore(t *testing.T, d mqtt.Decoder, in []byte, v mqtt.Version) string {
	t.Helper()
	p, n, err := d.Decode(in, v)
	if p != nil || n != 0 || err != nil {
		t.Errorf("Decode = %v, %d, %v; want to wait for more", p, n, err)
	}
	return "more"
}

func decodeVector(t *testing.T, d mqtt.Decoder, in []byte, v mqtt.Version, long bool) string {
	t.Helper()
	for cut := range in {
		if p, n, err := d.Decode(in[:cut], v); p != nil && p.Type() != mqtt.TypeConnect || n != 0 {
			t.Fatalf("Decode of the first %d bytes = %v, %d, %v", cut, p, n, err)
		}
	}
	p, n, err := d.Decode(append(in[:len(in):len(in)], "and more"...), v)
	if err != nil {
		if connect, ok := p.(*mqtt.Connect); p != nil && !ok || n != 0 {
			t.Errorf("Decode = %v, %d beside an error", p, n)
		} else if ok {
			return fmt.Sprintf("%s\nasked for version %d", errorText(t, err), connect.Version)
		}
		return errorText(t, err)
	}
	if n != len(in) {
		t.Errorf("Decode took %d bytes of %d", n, len(in))
	}
	if size, err := mqtt.FrameSize(in); size != n || err != nil {
		t.Errorf("FrameSize = %d, %v; want %d", size, err, n)
	}
	text := p.String()
	again, err := mqtt.Append([]byte("before"), p, v)
	if err != nil {
		t.Fatalf("Append(%s): %v", p, err)
	}
	if again = again[len("before"):]; !long && !bytes.Equal(again, in) {
		t.Errorf("Append = %x\nwant     %x", again, in)
	}
	if illegal, err := mqtt.AppendIllegal(nil, p, v); err != nil || !bytes.Equal(illegal, again) {
		t.Errorf("AppendIllegal = %x, %v\nAppend        = %x", illegal, err, again)
	}
	if p, _, err = d.Decode(again, v); err != nil || p.String() != text {
		t.Errorf("decoded again: %v, %v", p, err)
	}
	return text
}

// errorText tells the code of an error and what is wrong, on one line.
func errorText(t *testing.T, err error) string {
	t.Helper()
	var e *mqtt.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is a %T", err, err)
	}
	text := e.Reason
	if e.Err != nil {
		text = strings.TrimPrefix(text+": "+e.Err.Error(), ": ")
	}
	return fmt.Sprintf("error 0x%02X %s", uint8(e.Code), text)
}

// parseHex takes bytes in hexadecimal and text in quotes.
func parseHex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if quoted, err := strconv.QuotedPrefix(s); err == nil {
			text, _ := strconv.Unquote(quoted)
			out = append(out, text...)
			s = s[len(quoted):]
			continue
		}
		word, rest, _ := strings.Cut(s, " ")
		b, err := hex.DecodeString(word)
		if err != nil {
			t.Fatalf("%q: %v", word, err)
		}
		out, s = append(out, b...), rest
	}
	return out
}

func roles(t testing.TB) map[string]mqtt.Role {
	t.Helper()
	return map[string]mqtt.Role{"": 0, "client": mqtt.Client, "server": mqtt.Server}
}

func parseVersion(t testing.TB, s string) mqtt.Version {
	t.Helper()
	for _, v := range []mqtt.Version{mqtt.Version31, mqtt.Version311, mqtt.Version5} {
		if v.String() == s {
			return v
		}
	}
	if s != "none" {
		t.Fatalf("no version %q", s)
	}
	return 0
}
