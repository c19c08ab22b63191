package kafkawire

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quartet-mq/quartet/codec"
)

// elements counts the elements of all arrays, and unknown tagged fields.
func elements(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			n = elements(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += elements(v.Field(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return 0
		}
		n = v.Len()
		for i := range v.Len() {
			n += elements(v.Index(i))
		}
	}
	return n
}

// TestLimit: each request decodes with as many elements as it has, and not with one fewer.
func TestLimit(t *testing.T) {
	most := 0
	eachVersion(t, func(t *testing.T, version int16, make func() Message) {
		m, ok := make().(Request)
		if !ok {
			return
		}
		rnd := rand.New(rand.NewPCG(uint64(version), 8))
		for range 20 {
			if err := randomize(m, version, rnd); err != nil {
				t.Fatal(err)
			}
			b, err := m.Append(nil, version)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Decode(b, version); err != nil {
				t.Fatal(err)
			}
			n := elements(reflect.ValueOf(m))
			most = max(most, n)
			got := make().(Request)
			if err := got.DecodeLimited(b, version, n); err != nil {
				t.Fatalf("version %d, %d elements: %v", version, n, err)
			}
			if d := cmp.Diff(m, got); d != "" {
				t.Fatal(d)
			}
			if n < 2 {
				continue // a limit of 0 is none
			}
			if err := got.DecodeLimited(b, version, n-1); !errors.Is(err, ErrElements) {
				t.Fatalf("version %d, %d elements: %v", version, n, err)
			}
		}
	})
	if most < 100 {
		t.Errorf("%d elements at most", most)
	}
}

// TestLimitedMemory: what is refused costs a copy of the text at most, and memory for as many elements as may be.
func TestLimitedMemory(t *testing.T) {
	const limit, n = 1000, 1 << 20
	tags := make([]Tag, n)
	for i := range tags {
		tags[i].ID = uint32(i)
	}
	misled := &OffsetCommitRequest{Topics: make([]OffsetCommitRequestTopic, limit-100)}
	for i := range misled.Topics {
		misled.Topics[i].Partitions = make([]OffsetCommitRequestPartition, 60)
	}
	for _, c := range []struct {
		name    string
		m       Request
		version int16
	}{
		{"names", &FindCoordinatorRequest{CoordinatorKeys: make([]string, n)}, 4},
		{"structures", &MetadataRequest{Topics: make([]MetadataRequestTopic, n)}, 10},
		{"numbers", &WriteTxnMarkersRequest{Markers: []WriteTxnMarkersRequestMarker{{
			Topics: []WriteTxnMarkersRequestTopic{{Name: "t", PartitionIndexes: make([]int32, n)}}}}}, 1},
		{"tagged fields", &HeartbeatRequest{UnknownTags: tags}, 4},
		{"a slab for as many partitions as the first topics have", misled, 8},
	} {
		b, err := c.m.Append(nil, c.version)
		if err != nil {
			t.Fatal(err)
		}
		got := NewRequest(c.m.Key())
		if size := allocated(func() { err = got.DecodeLimited(b, c.version, limit) }); !errors.Is(err, ErrElements) || size > len(b)+512<<10 {
			t.Errorf("%s: %v, %d bytes for %d of input", c.name, err, size, len(b))
		}
	}
	h := RequestHeader{Key: KeyHeartbeat, Version: 4, UnknownTags: tags}
	b, err := h.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if size := allocated(func() { _, err = h.DecodeLimited(b, limit) }); !errors.Is(err, ErrElements) || size > 512<<10 {
		t.Errorf("the header: %v, %d bytes", err, size)
	}
	b = AppendResponseHeader(nil, KeyHeartbeat, 4, 7)
	b = b[:len(b)-1]
	b = codec.AppendUvarint32(b, n)
	for i := range uint32(n) {
		b = append(codec.AppendUvarint32(b, i), 0)
	}
	var id int32
	if size := allocated(func() { id, _, err = DecodeResponseHeader(b, KeyHeartbeat, 4) }); err != nil || id != 7 || size > 4<<10 {
		t.Errorf("the header of a response: %d, %v, %d bytes", id, err, size)
	}
}
