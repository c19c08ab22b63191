package kafkawire

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quartet-mq/quartet/codec"
)

// same is equality of messages: an array without elements may be nil where null is not legal.
var same = cmp.Options{cmpopts.EquateEmpty()}

// TestRoundTrip: what was encoded decodes to the same, and encodes to the same bytes.
func TestRoundTrip(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int16, make func() Message) {
		rnd := rand.New(rand.NewPCG(uint64(version), 7))
		for range 20 {
			m := make()
			if err := randomize(m, version, rnd); err != nil {
				t.Fatalf("version %d: %v", version, err)
			}
			b, err := m.Append([]byte("x"), version)
			if err != nil {
				t.Fatal(err)
			}
			got := make()
			if err := got.Decode(b[1:], version); err != nil {
				t.Fatalf("version %d: %v\n% x\n%+v", version, err, b[1:], m)
			}
			again, err := got.Append([]byte("x"), version)
			if err != nil || !bytes.Equal(b, again) {
				t.Fatalf("version %d: %v\n% x\n% x", version, err, b, again)
			}
			for n := range b[1:] {
				if err := got.Decode(b[1:n+1], version); err == nil {
					t.Fatalf("version %d: %d of %d bytes decode", version, n, len(b)-1)
				}
			}
			err = got.Decode(append(b[1:], 0), version)
			if e := (*Error)(nil); !errors.Is(err, ErrTrailing) || !errors.As(err, &e) || e.Rest != 1 {
				t.Fatalf("version %d: a byte too many: %v", version, err)
			}
			if again, err := got.Append([]byte("x"), version); err != nil || !bytes.Equal(b, again) {
				t.Fatalf("version %d: with a byte too many: %v\n% x\n% x", version, err, b, again)
			}
		}
	})
}

// TestDefaults: after Reset every version can be encoded, and decodes to the defaults.
func TestDefaults(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int16, make func() Message) {
		m := make()
		m.Reset()
		b, err := m.Append(nil, version)
		if errors.Is(err, ErrNull) {
			return // nothing that could be a default
		}
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		got := make()
		fill(reflect.ValueOf(got).Elem(), rand.New(rand.NewPCG(1, 1)))
		if err := got.Decode(b, version); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if d := cmp.Diff(m, got, same); d != "" {
			t.Fatalf("version %d: %s", version, d)
		}
	})
}

func TestVersions(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int16, make func() Message) {
		if version != 0 {
			return
		}
		for _, v := range []int16{-1, 100} {
			b, err := make().Append([]byte("ab"), v)
			if !errors.Is(err, ErrVersion) || string(b) != "ab" {
				t.Errorf("Append in version %d: %v, %q", v, err, b)
			}
			if err := make().Decode(nil, v); !errors.Is(err, ErrVersion) {
				t.Errorf("Decode in version %d: %v", v, err)
			}
		}
	})
}

func TestKeys(t *testing.T) {
	for k := range APIKey(Keys) {
		q, s := NewRequest(k), NewResponse(k)
		if (q == nil) != (k.MaxVersion() < 0) || (q == nil) != (s == nil) {
			t.Errorf("%v: %T, %T, versions to %d", k, q, s, k.MaxVersion())
		}
		if q == nil {
			continue
		}
		if q.Key() != k || s.Key() != k || reflect.TypeOf(q.NewResponse()) != reflect.TypeOf(s) {
			t.Errorf("%v: %v, %v, %T", k, q.Key(), s.Key(), q.NewResponse())
		}
		if !k.Supports(k.MinVersion()) || k.Supports(k.MaxVersion()+1) || k.Supports(k.MinVersion()-1) {
			t.Errorf("%v: Supports", k)
		}
	}
	for _, k := range []APIKey{-1, APIKey(Keys)} {
		if NewRequest(k) != nil || k.Supports(0) || !strings.HasPrefix(k.String(), "APIKey(") || k.FlexibleVersion() != never {
			t.Errorf("%v is known", k)
		}
	}
}

func TestErrors(t *testing.T) {
	var e *Error
	fetch := FetchRequest{}
	fetch.Reset()
	fetch.Topics = []FetchRequestTopic{{Partitions: make([]FetchRequestPartition, 2)}}
	_, err := fetch.Append(nil, 11)
	if !errors.As(err, &e) || e.Field != "Topics.Partitions.LastFetchedEpoch" || !errors.Is(err, ErrField) {
		t.Errorf("a field that version 11 lacks: %v", err)
	}
	if want := "kafkawire: FetchRequest version 11: Topics.Partitions.LastFetchedEpoch: the version lacks this field"; err.Error() != want {
		t.Errorf("%q", err)
	}

	meta := MetadataRequest{AllowAutoTopicCreation: true}
	if _, err := meta.Append(nil, 0); !errors.Is(err, ErrNull) {
		t.Errorf("all topics in version 0: %v", err)
	}
	if b, err := meta.Append(nil, 1); err != nil || !bytes.Equal(b, []byte{0xff, 0xff, 0xff, 0xff}) {
		t.Errorf("all topics in version 1: % x, %v", b, err)
	}
	if err := meta.Decode([]byte{0xff, 0xff, 0xff, 0xff}, 0); !errors.Is(err, ErrNull) {
		t.Errorf("null topics in version 0: %v", err)
	}

	long := SASLHandshakeRequest{Mechanism: strings.Repeat("x", 40_000)}
	if _, err := long.Append(nil, 1); !errors.Is(err, ErrLong) {
		t.Errorf("a long string: %v", err)
	}
	// Those of flexible versions are no longer.
	for n, want := range map[int]error{math.MaxInt16: nil, math.MaxInt16 + 1: codec.ErrLimit} {
		body := append(codec.AppendUvarint32(nil, uint32(n+1)), make([]byte, n)...)
		body = append(body, 0, 0, 0, 0, 1, 0, 0)
		var m HeartbeatRequest
		if err := m.Decode(body, 4); !errors.Is(err, want) {
			t.Errorf("a string of %d bytes: %v", n, err)
		}
		m = HeartbeatRequest{GroupID: GroupID(body[3 : 3+n])}
		if _, err := m.Append(nil, 4); (err == nil) != (want == nil) || err != nil && !errors.Is(err, ErrLong) {
			t.Errorf("a string of %d bytes: %v", n, err)
		}
	}
	tags := HeartbeatRequest{UnknownTags: []Tag{{ID: 3}}}
	if _, err := tags.Append(nil, 3); !errors.Is(err, ErrField) {
		t.Errorf("tags in a version without: %v", err)
	}
	tags.UnknownTags = append(tags.UnknownTags, Tag{ID: 3})
	if _, err := tags.Append(nil, 4); !errors.Is(err, ErrTags) {
		t.Errorf("a tag twice: %v", err)
	}
	known := ProduceResponse{UnknownTags: []Tag{{ID: 0}}}
	if _, err := known.Append(nil, 10); !errors.Is(err, ErrTags) {
		t.Errorf("a known tag among the unknown: %v", err)
	}
	if _, err := known.Append(nil, 9); err != nil {
		t.Errorf("a tag that is not yet known: %v", err)
	}

	var h SASLHandshakeRequest
	if err := h.Decode([]byte{0xff, 0xff}, 1); !errors.Is(err, ErrNull) {
		t.Errorf("null: %v", err)
	}
	if err := h.Decode([]byte{0xff, 0xfe}, 1); !errors.Is(err, codec.ErrSyntax) {
		t.Errorf("length of -2: %v", err)
	}
	var m MetadataRequest
	if err := m.Decode([]byte{0x7f, 0, 0, 0, 0}, 1); !errors.Is(err, codec.ErrLimit) {
		t.Errorf("many elements: %v", err)
	}
	if err := (&HeartbeatRequest{}).Decode([]byte{1, 0, 0, 0, 0, 1, 0, 2, 5, 0, 5, 0}, 4); !errors.Is(err, ErrTags) {
		t.Errorf("a tag twice: %v", err)
	}
}

func TestUnknownTagsSurvive(t *testing.T) {
	// Heartbeat v4 with tags 5 and 300.
	in := []byte{2, 'g', 0, 0, 0, 1, 2, 'm', 0, 2, 5, 2, 'a', 'b', 0xac, 0x02, 0}
	var m HeartbeatRequest
	if err := m.Decode(in, 4); err != nil {
		t.Fatal(err)
	}
	if len(m.UnknownTags) != 2 || m.UnknownTags[0].ID != 5 || string(m.UnknownTags[0].Data) != "ab" || m.UnknownTags[1].ID != 300 {
		t.Errorf("%+v", m.UnknownTags)
	}
	if b, err := m.Append(nil, 4); err != nil || !bytes.Equal(b, in) {
		t.Errorf("% x, %v", b, err)
	}
}
