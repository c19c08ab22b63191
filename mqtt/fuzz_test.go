package mqtt_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// vectorPackets returns the packets of testdata/vectors.
func vectorPackets(f testing.TB) (all [][]byte) {
	f.Helper()
	paths, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil || len(paths) == 0 {
		f.Fatal("no vectors", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for block := range strings.SplitSeq(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n\n") {
			lines := strings.Split(block, "\n")
			if len(lines) > 2 && strings.HasPrefix(lines[0], "decode ") {
				all = append(all, parseHex(f, lines[1]))
			}
		}
	}
	return all
}

// fuzzDecode begins with the packets that can be decoded: each seed takes a while before fuzzing begins.
func fuzzDecode(f *testing.F, v mqtt.Version, from mqtt.Role) {
	for _, in := range vectorPackets(f) {
		d := mqtt.Decoder{From: from}
		if p, n, err := d.Decode(in, v); err != nil || p == nil || n != len(in) {
			continue
		}
		if len(in) < 0x82 {
			in = append(in[:1:1], in[2:]...) // without the size, which a change would make wrong
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		checkDecode(t, in, v, from)
		if whole := sized(in); whole != nil {
			checkDecode(t, whole, v, from)
		}
	})
}

// sized returns the packet with the first byte and the contents in in.
func sized(in []byte) []byte {
	if len(in) == 0 {
		return nil
	}
	return append(binary.AppendUvarint(in[:1:1], uint64(len(in)-1)), in[1:]...)
}

// TestDecodeVectors decodes all packets of the vectors as each side gets them, in each version, also without their size.
func TestDecodeVectors(t *testing.T) {
	for _, in := range vectorPackets(t) {
		for _, v := range []mqtt.Version{0, mqtt.Version31, mqtt.Version311, mqtt.Version5} {
			for _, from := range []mqtt.Role{mqtt.Client, mqtt.Server} {
				if v == 0 && from == mqtt.Server {
					continue // a client knows the version
				}
				checkDecode(t, in, v, from)
				checkDecode(t, sized(in), v, from)
				if size, err := mqtt.FrameSize(in); err == nil && size == len(in) && size > 1 && size < 0x82 {
					checkDecode(t, append(in[:1:1], in[2:]...), v, from)
				}
			}
		}
	}
}

func FuzzDecode31Client(f *testing.F)  { fuzzDecode(f, mqtt.Version31, mqtt.Client) }
func FuzzDecode31Server(f *testing.F)  { fuzzDecode(f, mqtt.Version31, mqtt.Server) }
func FuzzDecode311Client(f *testing.F) { fuzzDecode(f, mqtt.Version311, mqtt.Client) }
func FuzzDecode311Server(f *testing.F) { fuzzDecode(f, mqtt.Version311, mqtt.Server) }
func FuzzDecode5Client(f *testing.F)   { fuzzDecode(f, mqtt.Version5, mqtt.Client) }
func FuzzDecode5Server(f *testing.F)   { fuzzDecode(f, mqtt.Version5, mqtt.Server) }
func FuzzDecodeConnect(f *testing.F)   { fuzzDecode(f, 0, mqtt.Client) }

// checkDecode holds Decode to what it promises for any input.
func checkDecode(t *testing.T, in []byte, v mqtt.Version, from mqtt.Role) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := mqtt.Decoder{From: from}
	p, n, err := d.Decode(in, v)
	runtime.ReadMemStats(&after)
	// The most that a byte can cost is a subscription of three bytes, in a slice that grows by doubling.
	if used, most := after.TotalAlloc-before.TotalAlloc, uint64(100*len(in)+64<<10); used > most {
		t.Errorf("decoding %d bytes allocates %d", len(in), used)
	}
	size, sizeErr := mqtt.FrameSize(in)
	switch {
	case err != nil:
		if codeOf(err) == err || n != 0 || p != nil && p.Type() != mqtt.TypeConnect {
			t.Fatalf("Decode = %v, %d beside %v", p, n, err)
		}
		return
	case p == nil:
		if n != 0 || sizeErr != nil || size != 0 && size <= len(in) {
			t.Fatalf("Decode waits with %d of %d bytes, %v", len(in), size, sizeErr)
		}
		return
	case n > len(in) || n != size || sizeErr != nil:
		t.Fatalf("Decode took %d of %d bytes, FrameSize = %d, %v", n, len(in), size, sizeErr)
	}
	if text := p.String(); strings.ContainsAny(text, "\r\n\x00") {
		t.Fatalf("text %q is not one line", text)
	}
	first, err := mqtt.Append(nil, p, v)
	if err != nil {
		t.Fatalf("Append(%s): %v", p, err)
	}
	if len(first) > n {
		t.Fatalf("%d bytes became %d", n, len(first))
	}
	again, m, err := d.Decode(first, v)
	if err != nil || m != len(first) {
		t.Fatalf("Decode(Append(Decode(%x))) = %v, %d, %v", in, again, m, err)
	}
	second, err := mqtt.Append(nil, again, v)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("no fixpoint:\n%x\n%x, %v", first, second, err)
	}
	illegal, err := mqtt.AppendIllegal(nil, again, v)
	if err != nil || !bytes.Equal(first, illegal) {
		t.Fatalf("AppendIllegal differs:\n%x\n%x, %v", first, illegal, err)
	}
}

func FuzzProperties(f *testing.F) {
	f.Add([]byte(everyProperty()))
	f.Add([]byte{0x26, 0, 1, 'k', 0, 1})
	f.Add([]byte{0x0B, 0xFF, 0xFF, 0xFF, 0x7F, 0x0B, 0x01})
	f.Fuzz(func(t *testing.T, in []byte) {
		props := mqtt.Properties(in)
		var rebuilt mqtt.Properties
		seen := map[mqtt.PropertyID]bool{}
		for p := range props.All() {
			rebuilt = rebuilt.Append(p)
			seen[p.ID] = true
			_, _, _ = p.Uint(), p.Bytes(), p.String()
			_, _ = p.User()
		}
		if !bytes.HasPrefix(in, rebuilt) {
			t.Fatalf("All(%x) gives %x", in, rebuilt)
		}
		for id := range mqtt.PropertyID(255) {
			_, isByte := props.Byte(id)
			_, is16 := props.Uint16(id)
			_, is32 := props.Uint32(id)
			_, isVar := props.Uvarint(id)
			_, isBytes := props.Bytes(id)
			found := 0
			for _, ok := range []bool{isByte, is16, is32, isVar, isBytes, seen[id] && id == mqtt.PropUserProperty} {
				if ok {
					found++
				}
			}
			if props.Has(id) != seen[id] || found > 1 || seen[id] != (found == 1) {
				t.Fatalf("%v: Has is %t, seen is %t, %d accessors find it", id, props.Has(id), seen[id], found)
			}
		}
		// A packet takes them if and only if it can be decoded with them, and then as they are.
		b, err := mqtt.Append(nil, &mqtt.Publish{Topic: []byte("a"), Properties: props}, mqtt.Version5)
		if err != nil {
			b, _ = mqtt.AppendIllegal(nil, &mqtt.Publish{Topic: []byte("a"), Properties: props}, mqtt.Version5)
		}
		var d mqtt.Decoder
		p, _, decodeErr := d.Decode(b, mqtt.Version5)
		if (err == nil) != (decodeErr == nil) {
			t.Fatalf("Append: %v, Decode: %v", err, decodeErr)
		}
		if err == nil && (!bytes.Equal(p.(*mqtt.Publish).Properties, in) || len(rebuilt) != len(in)) {
			t.Fatalf("%x became %v", in, p)
		}
	})
}
