package mqtt_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
	"unsafe"

	"github.com/quartet-mq/quartet/mqtt"
)

// TestAllocs holds the packets of a message flow to no allocation, both ways.
func TestAllocs(t *testing.T) {
	for _, f := range flow() {
		t.Run(f.name, func(t *testing.T) {
			dst, err := mqtt.Append(nil, f.packet, f.version)
			if err != nil {
				t.Fatal(err)
			}
			d := mqtt.Decoder{From: mqtt.Client}
			if n := testing.AllocsPerRun(100, func() { _, _, _ = d.Decode(dst, f.version) }); n != 0 {
				t.Errorf("Decode allocates %v times", n)
			}
			if n := testing.AllocsPerRun(100, func() { dst, _ = mqtt.Append(dst[:0], f.packet, f.version) }); n != 0 {
				t.Errorf("Append allocates %v times", n)
			}
			if n := testing.AllocsPerRun(100, func() { dst, _ = mqtt.AppendIllegal(dst[:0], f.packet, f.version) }); n != 0 {
				t.Errorf("AppendIllegal allocates %v times", n)
			}
		})
	}
	p := benchPublish5()
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		dst, _ = mqtt.AppendPublishHeader(dst[:0], p, mqtt.Version5)
		for range p.Properties.All() {
			_ = p.Properties.Has(mqtt.PropTopicAlias)
		}
	}); n != 0 {
		t.Errorf("a header and a walk over properties allocate %v times", n)
	}
}

// TestDecoderSize bounds what a connection pays for its decoder.
func TestDecoderSize(t *testing.T) {
	if size := unsafe.Sizeof(mqtt.Decoder{}); size > 256 {
		t.Errorf("Decoder takes %d bytes", size)
	}
}

// TestDecoderLetsGo checks that a decoder that waits for input does not keep earlier input alive.
func TestDecoderLetsGo(t *testing.T) {
	var d mqtt.Decoder
	gone := make(chan bool, 1)
	func() {
		in, err := mqtt.Append(nil, benchPublish(mqtt.QoS1), mqtt.Version5)
		if err != nil {
			t.Fatal(err)
		}
		in = append(make([]byte, 0, 64<<10), in...)
		runtime.AddCleanup(&in[0], func(c chan bool) { c <- true }, gone)
		if _, _, err := d.Decode(in, mqtt.Version5); err != nil {
			t.Fatal(err)
		}
	}()
	if p, _, err := d.Decode(nil, mqtt.Version5); p != nil || err != nil {
		t.Fatal(p, err)
	}
	for range 10 {
		runtime.GC()
		select {
		case <-gone:
			runtime.KeepAlive(&d)
			return
		default:
		}
	}
	t.Error("the decoder keeps input while it waits")
}

// TestDecodedMayBeKept checks that rare packets do not alias the input and are not reused.
func TestDecodedMayBeKept(t *testing.T) {
	props := mqtt.Properties(nil).AppendUser("k", "v")
	for _, p := range []mqtt.Packet{
		&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", HasUsername: true, Username: "u", HasPassword: true,
			Password: []byte("p"), Properties: props,
			Will: &mqtt.Will{Topic: "w", Payload: []byte("x"), Properties: props}},
		&mqtt.Connack{Properties: props},
		&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "a"}}, Properties: props},
		&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{1}, Properties: props},
		&mqtt.Unsubscribe{ID: 1, Filters: []string{"a"}, Properties: props},
		&mqtt.Unsuback{ID: 1, Reasons: []mqtt.ReasonCode{0x11}, Properties: props},
		&mqtt.Disconnect{Properties: props},
		&mqtt.Auth{Properties: props.AppendString(mqtt.PropAuthenticationMethod, "m")},
	} {
		in, err := mqtt.Append(nil, p, mqtt.Version5)
		if err != nil {
			t.Fatal(err)
		}
		var d mqtt.Decoder
		kept, _, err := d.Decode(in, mqtt.Version5)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := d.Decode(bytes.Clone(in), mqtt.Version5)
		if err != nil || again == kept {
			t.Errorf("%v is decoded to the same struct twice, %v", p, err)
		}
		clear(in)
		if kept.String() != p.String() {
			t.Errorf("%v became %v with its input", p, kept)
		}
	}
}

// TestTooLargeEarly checks that the size is refused when the fixed header is there, and not before.
func TestTooLargeEarly(t *testing.T) {
	in, err := mqtt.Append(nil, benchPublish(mqtt.QoS0), mqtt.Version311)
	if err != nil {
		t.Fatal(err)
	}
	d := mqtt.Decoder{MaxSize: len(in) - 1}
	for n := range len(in) + 1 {
		p, _, err := d.Decode(in[:n], mqtt.Version311)
		if large := errors.Is(codeOf(err), &mqtt.Error{Code: mqtt.ReasonPacketTooLarge}); p != nil || large != (n >= 3) {
			t.Fatalf("Decode of %d bytes = %v, %v", n, p, err)
		}
	}
	d.MaxSize = len(in)
	if _, n, err := d.Decode(in, mqtt.Version311); n != len(in) || err != nil {
		t.Errorf("Decode = %d, %v", n, err)
	}
}

// TestFrameSize checks the boundaries of the remaining length (table 2-1).
func TestFrameSize(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int
	}{
		{"", 0}, {"\x30", 0}, {"\x30\x00", 2}, {"\x30\x7f", 129}, {"\x30\x80", 0}, {"\x30\x80\x01", 131},
		{"\x30\xff\x7f", 16386}, {"\x30\x80\x80\x01", 16388}, {"\x30\xff\xff\x7f", 2097155},
		{"\x30\x80\x80\x80\x01", 2097157}, {"\x30\xff\xff\xff\x7f", mqtt.MaxPacketSize}, {"\x30\xff\xff\xff", 0},
	} {
		if n, err := mqtt.FrameSize([]byte(tt.in)); n != tt.want || err != nil {
			t.Errorf("FrameSize(%x) = %d, %v; want %d", tt.in, n, err, tt.want)
		}
	}
	for _, in := range []string{"\x30\xff\xff\xff\xff", "\x30\x80\x00", "\x30\xff\xff\x80\x00"} {
		if n, err := mqtt.FrameSize([]byte(in)); !errors.Is(codeOf(err), &mqtt.Error{Code: malformed}) || n != 0 {
			t.Errorf("FrameSize(%x) = %d, %v", in, n, err)
		}
	}
}

// TestOtherVersion checks that a version the codec does not have is an error and not a guess.
func TestOtherVersion(t *testing.T) {
	for _, v := range []mqtt.Version{1, 2, 6, 255} {
		for _, in := range [][]byte{
			wire(0x30, str("a"), "00"), wire(0x40, "0001"), wire(0xC0), wire(0x82, "0001 00", str("a"), "00"),
		} {
			var d mqtt.Decoder
			if p, n, err := d.Decode(in, v); !errors.Is(codeOf(err), &mqtt.Error{Code: noVersion}) {
				t.Errorf("Decode(%x) in version %d = %v, %d, %v", in, v, p, n, err)
			}
		}
	}
}
