package kafkawire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestTraffic decodes and encodes what the Java clients and Apache Kafka 4.4.0 said to each other.
func TestTraffic(t *testing.T) {
	keys := make(map[string]APIKey)
	for k := range APIKey(Keys) {
		keys[k.String()] = k
	}
	f, err := os.Open("testdata/traffic.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		var what, name, text string
		var version int16
		if _, err := fmt.Sscan(lines.Text(), &what, &name, &version, &text); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		b, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
		if err != nil {
			t.Fatal(err)
		}
		again, err := recode(b, what, keys[name], version)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s %s version %d: %v\n% x\n% x", what, name, version, err, again, b)
		}
		n++
	}
	if n < 100 {
		t.Errorf("only %d messages", n)
	}
}

// recode decodes a message with its header, and encodes it again.
func recode(b []byte, what string, key APIKey, version int16) ([]byte, error) {
	if what == "request" {
		var h RequestHeader
		body, err := h.Decode(b)
		if err != nil {
			return nil, err
		}
		m := NewRequest(h.Key)
		if err := m.Decode(body, h.Version); err != nil {
			return nil, err
		}
		out, err := AppendRequest(nil, h, m)
		if err == nil && int(binary.BigEndian.Uint32(out)) != len(out)-4 {
			err = fmt.Errorf("size %d", binary.BigEndian.Uint32(out))
		}
		return out[4:], err
	}
	id, body, err := DecodeResponseHeader(b, key, version)
	if err != nil {
		return nil, err
	}
	m := NewResponse(key)
	if err := m.Decode(body, version); err != nil {
		return nil, err
	}
	out, err := AppendResponse(nil, id, m, version)
	if err != nil {
		return nil, err
	}
	return out[4:], nil
}
