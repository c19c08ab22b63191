package amqp_test

import (
	"fmt"
	"testing"

	"github.com/quartet-mq/quartet/amqp"
)

func TestDetect(t *testing.T) {
	for in, want := range map[string]struct {
		opening amqp.Opening
		header  amqp.Header
	}{
		"":                         {amqp.OpeningShort, ""},
		"AMQP\x00\x00\x09\x01":     {amqp.OpeningHeader, amqp.Header091},
		"AMQP\x00\x00\x09\x01more": {amqp.OpeningHeader, amqp.Header091},
		"AMQP\x00\x01\x00\x00":     {amqp.OpeningHeader, amqp.Header10},
		"AMQP\x03\x01\x00\x00":     {amqp.OpeningHeader, amqp.HeaderSASL},
		"AMQP\x02\x01\x00\x00":     {amqp.OpeningHeader, amqp.HeaderTLS},
		"AMQP\x01\x01\x00\x09":     {amqp.OpeningVersion, ""}, // 0-9
		"AMQP\x01\x01\x08\x00":     {amqp.OpeningVersion, ""}, // 0-8
		"AMQP\x03\x01\x00\x01":     {amqp.OpeningVersion, ""},
		"AMQPAMQP":                 {amqp.OpeningVersion, ""},
		"GET / HTTP/1.1\r\n":       {amqp.OpeningOther, ""},
		"AMQ":                      {amqp.OpeningShort, ""},
		"AMQx":                     {amqp.OpeningOther, ""},
		"B":                        {amqp.OpeningOther, ""},
		"\x10":                     {amqp.OpeningOther, ""},
		"\x16":                     {amqp.OpeningShort, ""},
		"\x16\x03":                 {amqp.OpeningTLS, ""},
		"\x16\x03\x01\x02\x00\x01": {amqp.OpeningTLS, ""},
		"\x16\x02":                 {amqp.OpeningOther, ""},
	} {
		opening, header := amqp.Detect([]byte(in))
		if opening != want.opening || header != want.header {
			t.Errorf("%q: %v, %v; want %v, %v", in, opening, header, want.opening, want.header)
		}
		if want.opening != amqp.OpeningHeader {
			continue
		}
		for n := range amqp.HeaderSize {
			if opening, header := amqp.Detect([]byte(in[:n])); opening != amqp.OpeningShort || header != "" {
				t.Errorf("%q: %v, %v", in[:n], opening, header)
			}
		}
	}
}

func TestDetectAllocatesNothing(t *testing.T) {
	in := []byte(amqp.HeaderSASL)
	if n := testing.AllocsPerRun(100, func() { amqp.Detect(in) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNames(t *testing.T) {
	for h, want := range map[amqp.Header]string{
		amqp.Header091: "AMQP 0-9-1", amqp.Header10: "AMQP 1.0", amqp.HeaderSASL: "AMQP 1.0 SASL", amqp.HeaderTLS: "AMQP 1.0 TLS",
		"": "no protocol header", "x": "unknown protocol header",
	} {
		if h.String() != want {
			t.Errorf("%q: %s", string(h), h)
		}
	}
	seen := make(map[string]bool)
	for o := amqp.OpeningShort; o <= amqp.OpeningOther; o++ {
		if seen[o.String()] {
			t.Errorf("two openings are %s", o)
		}
		seen[o.String()] = true
	}
}

func ExampleDetect() {
	opening, header := amqp.Detect([]byte("AMQP\x00\x00\x09\x01"))
	fmt.Println(opening, header)
	opening, _ = amqp.Detect([]byte("GET / HTTP/1.1"))
	fmt.Println(opening)
	// Output:
	// protocol header AMQP 0-9-1
	// no AMQP
}

func FuzzDetect(f *testing.F) {
	f.Add([]byte(amqp.Header091))
	f.Add([]byte("\x16\x03\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		opening, header := amqp.Detect(in)
		if (opening == amqp.OpeningHeader) != (header != "") || header != "" && string(in[:amqp.HeaderSize]) != string(header) {
			t.Fatalf("%v, %q", opening, string(header))
		}
		// What was decided does not change when more comes.
		if more, h := amqp.Detect(append(in, 0)); opening != amqp.OpeningShort && (more != opening || h != header) {
			t.Fatalf("%v becomes %v", opening, more)
		}
		if opening == amqp.OpeningShort && len(in) >= amqp.HeaderSize {
			t.Fatal("never enough")
		}
	})
}
