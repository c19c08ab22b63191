package kafkawire

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzMessage decodes arbitrary bytes as any message. Nothing panics, and what decodes encodes to something that decodes
// to the same.
func FuzzMessage(f *testing.F) {
	type entry struct {
		make      func() Message
		low, high int16
	}
	var all []entry
	allMessages(func(_ string, low, high int16, make func() Message) { all = append(all, entry{make, low, high}) })
	for i, e := range all { // one version only: each seed takes a while before fuzzing begins
		m := e.make()
		if randomize(m, e.high, rand.New(rand.NewPCG(uint64(i), uint64(e.high)))) == nil {
			b, _ := m.Append(nil, e.high)
			f.Add(uint16(i), e.high, b)
		}
	}
	f.Fuzz(func(t *testing.T, which uint16, version int16, b []byte) {
		e := all[int(which)%len(all)]
		m := e.make()
		if m.Decode(b, version) != nil {
			return
		}
		first, err := m.Append(nil, version)
		if err != nil {
			t.Fatalf("%T version %d: decoded, does not encode: %v", m, version, err)
		}
		again := e.make()
		if err := again.Decode(first, version); err != nil {
			t.Fatalf("%T version %d: encoded, does not decode: %v", m, version, err)
		}
		second, err := again.Append(nil, version)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%T version %d: no fixpoint: %v\n% x\n% x", m, version, err, first, second)
		}
		switch m.(type) {
		case *ProduceRequest:
			checkProduceView(t, b, version)
		case *FetchRequest:
			checkFetchView(t, b, version)
		}
	})
}

// FuzzHeader decodes arbitrary bytes as headers.
func FuzzHeader(f *testing.F) {
	h := RequestHeader{Key: KeyFetch, Version: 12, CorrelationID: 1, ClientID: []byte("me"), UnknownTags: []Tag{{ID: 2, Data: []byte("x")}}}
	b, err := h.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, again RequestHeader
		body, err := h.Decode(b)
		if err != nil {
			return
		}
		out, err := h.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := again.Decode(append(out, body...))
		if err != nil || !bytes.Equal(rest, body) {
			t.Fatalf("%v\n% x\n% x", err, rest, body)
		}
		if d := cmp.Diff(h, again); d != "" {
			t.Fatal(d)
		}
		DecodeResponseHeader(b, h.Key, h.Version)
	})
}
