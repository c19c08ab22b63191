package amqp091_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// vectorInputs returns the inputs of one command in testdata/vectors.
func vectorInputs(f *testing.F, command string) (all [][]byte) {
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
			head, _, _ := strings.Cut(block, "\n----")
			line, input, _ := strings.Cut(head, "\n")
			if strings.HasPrefix(line, command+" ") {
				all = append(all, parseHex(f, input))
			}
		}
	}
	return all
}

// payloads returns the payloads of the frames of one type in testdata/vectors.
func payloads(f *testing.F, typ amqp091.FrameType) (all [][]byte) {
	for _, in := range vectorInputs(f, "frame") {
		if frame, n, err := amqp091.NextFrame(in, 0); err == nil && n > 0 && frame.Type == typ {
			all = append(all, frame.Payload)
		}
	}
	return all
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// budget is the most that decoding n bytes may allocate: a field of two bytes takes 32 in a table, and an array in an
// array five bytes and 48.
func budget(n int) uint64 { return uint64(40*n + 32<<10) }

func FuzzFrames(f *testing.F) {
	for _, in := range vectorInputs(f, "frame") {
		f.Add(in, uint32(0))
		f.Add(append(bytes.Clone(in), in...), uint32(64))
	}
	f.Fuzz(func(t *testing.T, in []byte, maxSize uint32) {
		for b := in; ; {
			frame, n, err := amqp091.NextFrame(b, maxSize)
			if err != nil {
				if errorCode(err) != amqp091.FrameError || n != 0 {
					t.Fatalf("NextFrame = %d, %v", n, err)
				}
				return
			}
			if n == 0 {
				return
			}
			if maxSize != 0 && uint64(n) > uint64(maxSize) || n != len(frame.Payload)+amqp091.FrameOverhead {
				t.Fatalf("frame of %d bytes, limit %d", n, maxSize)
			}
			if again := amqp091.AppendFrame(nil, frame); !bytes.Equal(again, b[:n]) {
				t.Fatalf("AppendFrame = %x, want %x", again, b[:n])
			}
			if text := frame.String(); strings.ContainsAny(text, "\r\n\x00") {
				t.Fatalf("text %q is not one line", text)
			}
			b = b[n:]
		}
	})
}

func FuzzMethod(f *testing.F) {
	for _, in := range payloads(f, amqp091.FrameMethod) {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var m amqp091.Method
		var err error
		if n := allocated(func() { m, err = amqp091.DecodeMethod(in) }); n > budget(len(in)) {
			t.Errorf("decoding %d bytes allocates %d", len(in), n)
		}
		checkViews(t, amqp091.Frame{Type: amqp091.FrameMethod, Channel: 1, Payload: in})
		if err != nil {
			if c := errorCode(err); m != nil || c != amqp091.FrameError && c != amqp091.NotImplemented {
				t.Fatalf("DecodeMethod = %v, %v", m, err)
			}
			return
		}
		if text := m.String(); strings.ContainsAny(text, "\r\n\x00") || !strings.HasPrefix(text, m.ID().String()+"(") {
			t.Fatalf("text %q", text)
		}
		first, err := amqp091.AppendMethod(nil, 1, m)
		if err != nil || len(first) != len(in)+amqp091.FrameOverhead {
			t.Fatalf("AppendMethod(%s): %d bytes of %d, %v", m, len(first), len(in), err)
		}
		again, err := amqp091.DecodeMethod(first[7 : len(first)-1])
		if err != nil {
			t.Fatalf("decoded again: %v", err)
		}
		second, err := amqp091.AppendMethod(nil, 1, again)
		if err != nil || !bytes.Equal(first, second) || again.String() != m.String() {
			t.Fatalf("no fixpoint:\n%x\n%x, %v", first, second, err)
		}
	})
}

func FuzzTable(f *testing.F) {
	for _, in := range vectorInputs(f, "table") {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		raw := amqp091.RawTable(in)
		var table amqp091.Table
		var err error
		if n := allocated(func() { table, err = raw.Decode() }); n > budget(len(in)) {
			t.Errorf("decoding %d bytes allocates %d", len(in), n)
		}
		if valid := raw.Validate(); errorString(valid) != errorString(err) {
			t.Fatalf("Validate: %v\nDecode: %v", valid, err)
		}
		n := 0
		for key, v := range raw.All() {
			if first, ok := raw.Get(string(key)); !ok || first.Tag == 0 {
				t.Fatalf("Get(%q) = %v, %t", key, first, ok)
			}
			if value := v.Value(); err == nil && amqp091.TypeName(value) != amqp091.TypeName(table[n].Value) {
				t.Fatalf("field %d: %v, decoded %v", n, value, table[n].Value)
			}
			for range v.Values() {
			}
			n++
		}
		if n != raw.Len() || !bytes.HasPrefix(in, raw.AppendWithout(nil)) {
			t.Fatalf("Len = %d, All gives %d", raw.Len(), n)
		}
		if err != nil {
			if errorCode(err) != amqp091.FrameError {
				t.Fatal(err)
			}
			return
		}
		if n != len(table) {
			t.Fatalf("%d fields, decoded %d", n, len(table))
		}
		if text := table.String(); strings.ContainsAny(text, "\r\n\x00") {
			t.Fatalf("text %q is not one line", text)
		}
		first, err := table.Append(nil)
		if err != nil || len(first) != len(in) {
			t.Fatalf("Append: %x, %v", first, err)
		}
		again, err := amqp091.RawTable(first).Decode()
		if err != nil || !again.Equal(table) || !table.Clone().Equal(again) {
			t.Fatalf("decoded again: %v, %v", again, err)
		}
		second, err := again.Append(nil)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("no fixpoint:\n%x\n%x, %v", first, second, err)
		}
	})
}

func FuzzProperties(f *testing.F) {
	for _, in := range vectorInputs(f, "properties") {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		raw := amqp091.RawProperties(in)
		valid := raw.Validate()
		for name, get := range stringAccessors() {
			if b, ok := get(raw); len(b) > 255 || !ok && b != nil {
				t.Fatalf("%s = %x, %t", name, b, ok)
			}
		}
		_, _ = raw.Priority()
		_, _ = raw.Timestamp()
		_ = raw.DeliveryMode()
		headers := raw.Headers()
		edited := raw.Edit(nil, amqp091.PropertyEdit{SetHeaders: true, DropExpiration: true, DeliveryMode: amqp091.Persistent})
		var p amqp091.Properties
		var err error
		if n := allocated(func() { err = raw.Decode(&p) }); n > budget(len(in)) {
			t.Errorf("decoding %d bytes allocates %d", len(in), n)
		}
		if errorString(err) != errorString(valid) {
			t.Fatalf("Decode: %v\nValidate: %v", err, valid)
		}
		if err != nil {
			if errorCode(err) != amqp091.FrameError {
				t.Fatal(err)
			}
			return
		}
		if text := p.String(); strings.ContainsAny(text, "\r\n\x00") {
			t.Fatalf("text %q is not one line", text)
		}
		if table, err := headers.Decode(); err != nil || !table.Equal(p.Headers) {
			t.Fatalf("headers %v, %v; decoded %v", table, err, p.Headers)
		}
		if same := raw.Edit(nil, amqp091.PropertyEdit{}); len(in) > 0 && !bytes.Equal(same, in) {
			t.Fatalf("an edit that changes nothing: %x of %x", same, in)
		}
		var q amqp091.Properties
		if err := amqp091.RawProperties(edited).Decode(&q); err != nil {
			t.Fatalf("edited: %v", err)
		}
		want := p
		want.Headers, want.Expiration, want.DeliveryMode = nil, "", amqp091.Persistent
		if !reflect.DeepEqual(q, want) {
			t.Fatalf("edited: %v, want %v", &q, &want)
		}
		first, err := p.Append(nil)
		if err != nil || len(first) > max(len(in), 2) {
			t.Fatalf("Append: %x, %v", first, err)
		}
		if err := amqp091.RawProperties(first).Decode(&q); err != nil || q.String() != p.String() {
			t.Fatalf("decoded again: %v, %v", &q, err)
		}
		if second, err := q.Append(nil); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("no fixpoint:\n%x\n%x, %v", first, second, err)
		}
	})
}

func FuzzContentHeader(f *testing.F) {
	for _, in := range payloads(f, amqp091.FrameHeader) {
		f.Add(in)
	}
	for _, in := range vectorInputs(f, "properties") {
		f.Add(append([]byte("\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05"), in...))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		class, size, props, err := amqp091.DecodeContentHeader(in)
		if err != nil {
			if c := errorCode(err); props != nil || c != amqp091.FrameError && c != amqp091.UnexpectedFrame {
				t.Fatalf("DecodeContentHeader = %x, %v", props, err)
			}
			return
		}
		if err := props.Validate(); err != nil {
			t.Fatal(err)
		}
		again := amqp091.AppendContentHeader(nil, 1, size, props)
		if class == amqp091.ClassBasic && !bytes.Equal(again[7:len(again)-1], in) {
			t.Fatalf("AppendContentHeader = %x, want %x", again, in)
		}
	})
}
