package amqpraw

import (
	"reflect"
	"testing"
	"time"
)

func TestMethods(t *testing.T) {
	b := AppendMethod(nil, 3, "queue.declare", "queue", "q", "durable", true, "auto-delete", true, "arguments", Table{
		"nil": nil, "bool": true, "b": int8(-1), "B": uint8(200), "s": int16(-2), "u": uint16(3), "I": int32(-4), "i": uint32(5),
		"l": int64(-6), "f": float32(1.5), "d": 2.5, "D": Decimal{2, 314}, "S": "text", "x": []byte{0, 1},
		"T": time.Unix(1e9, 0).UTC(), "F": Table{"a": "b"}, "A": []any{int32(1), "two", Table{}},
	})
	if b[0] != FrameMethod || b[2] != 3 || b[len(b)-1] != FrameEnd {
		t.Fatalf("frame %x", b)
	}
	m, err := DecodeMethod(b[7 : len(b)-1])
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "queue.declare" || m.String("queue") != "q" || !m.Bool("durable") || m.Bool("exclusive") || !m.Bool("auto-delete") {
		t.Errorf("%+v", m)
	}
	again := AppendMethod(nil, 3, "queue.declare", "queue", "q", "durable", true, "auto-delete", true, "arguments", m.Args["arguments"])
	if !reflect.DeepEqual(b, again) {
		t.Errorf("%x became\n%x", b, again)
	}
}

func TestHeader(t *testing.T) {
	p := Props{"headers": Table{"k": "v"}, "delivery-mode": uint8(2), "priority": uint8(9), "timestamp": time.Unix(1e9, 0).UTC(), "app-id": "x"}
	b := AppendHeader(nil, 1, 77, p)
	size, got, err := DecodeHeader(b[7 : len(b)-1])
	if err != nil || size != 77 || !reflect.DeepEqual(p, got) {
		t.Errorf("%d, %v, %v", size, got, err)
	}
}

func TestBadMethods(t *testing.T) {
	b := AppendMethod(nil, 0, "connection.start", "version-minor", 9, "server-properties", Capabilities(), "mechanisms", "PLAIN")
	payload := b[7 : len(b)-1]
	for n := range payload {
		if _, err := DecodeMethod(payload[:n]); err == nil {
			t.Errorf("%d bytes: no error", n)
		}
	}
	if _, err := DecodeMethod(append(payload, 0)); err == nil {
		t.Error("a byte too many: no error")
	}
}
