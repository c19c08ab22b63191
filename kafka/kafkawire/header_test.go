package kafkawire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quartet-mq/quartet/codec"
)

func TestRequestHeader(t *testing.T) {
	for _, tt := range []struct {
		h    RequestHeader
		want []byte
	}{
		{RequestHeader{Key: KeyControlledShutdown, CorrelationID: 1}, []byte{0, 7, 0, 0, 0, 0, 0, 1}},
		{RequestHeader{Key: KeyMetadata, Version: 8, CorrelationID: -1}, []byte{0, 3, 0, 8, 255, 255, 255, 255, 255, 255}},
		{RequestHeader{Key: KeyMetadata, Version: 8, ClientID: []byte{}}, []byte{0, 3, 0, 8, 0, 0, 0, 0, 0, 0}},
		{RequestHeader{Key: KeyMetadata, Version: 9, ClientID: []byte("me")}, []byte{0, 3, 0, 9, 0, 0, 0, 0, 0, 2, 'm', 'e', 0}},
		{RequestHeader{Key: KeyAPIVersions, Version: 99, ClientID: []byte("me"), UnknownTags: []Tag{{ID: 1, Data: []byte("t")}}},
			[]byte{0, 18, 0, 99, 0, 0, 0, 0, 0, 2, 'm', 'e', 1, 1, 1, 't'}},
		{RequestHeader{Key: 1000, Version: 3, ClientID: []byte("me")}, []byte{3, 232, 0, 3, 0, 0, 0, 0, 0, 2, 'm', 'e'}},
	} {
		b, err := tt.h.Append(nil)
		if err != nil || !bytes.Equal(b, tt.want) {
			t.Errorf("%+v: % x, %v", tt.h, b, err)
		}
		var h RequestHeader
		body, err := h.Decode(append(b, "body"...))
		if err != nil || string(body) != "body" {
			t.Errorf("%+v: body %q, %v", tt.h, body, err)
		}
		if d := cmp.Diff(tt.h, h); d != "" {
			t.Error(d)
		}
		if _, err := h.Decode(b[:len(b)-1]); !errors.Is(err, codec.ErrShort) {
			t.Errorf("short: %v", err)
		}
	}
	b, _ := (&RequestHeader{Key: KeyFetch, Version: 12, ClientID: []byte("me")}).Append(nil)
	if n := testing.AllocsPerRun(100, func() {
		var h RequestHeader
		h.Decode(b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestResponseHeader(t *testing.T) {
	for _, tt := range []struct {
		key     APIKey
		version int16
		want    []byte
	}{
		{KeyMetadata, 8, []byte{0, 0, 1, 0}},
		{KeyMetadata, 9, []byte{0, 0, 1, 0, 0}},
		{KeyAPIVersions, 4, []byte{0, 0, 1, 0}},
		{KeySASLHandshake, 1, []byte{0, 0, 1, 0}},
	} {
		b := AppendResponseHeader(nil, tt.key, tt.version, 256)
		if !bytes.Equal(b, tt.want) {
			t.Errorf("%v version %d: % x", tt.key, tt.version, b)
		}
		id, body, err := DecodeResponseHeader(append(b, "body"...), tt.key, tt.version)
		if id != 256 || string(body) != "body" || err != nil {
			t.Errorf("%v version %d: %d %q %v", tt.key, tt.version, id, body, err)
		}
		if _, _, err := DecodeResponseHeader(b[:3], tt.key, tt.version); err == nil {
			t.Error("short")
		}
	}
}

func TestFrames(t *testing.T) {
	b, err := AppendRequest([]byte("x"), RequestHeader{Version: 1, CorrelationID: 5}, &SASLHandshakeRequest{Mechanism: "PLAIN"})
	want := "x\x00\x00\x00\x11\x00\x11\x00\x01\x00\x00\x00\x05\xff\xff\x00\x05PLAIN"
	if err != nil || string(b) != want {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := AppendRequest([]byte("x"), RequestHeader{Version: 7}, &SASLHandshakeRequest{}); err == nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
	b, err = AppendResponse([]byte("x"), 5, &SASLHandshakeResponse{ErrorCode: ErrUnsupportedSASLMechanism}, 1)
	if want := "x\x00\x00\x00\x0a\x00\x00\x00\x05\x00\x21\x00\x00\x00\x00"; err != nil || string(b) != want {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := AppendResponse([]byte("x"), 5, &SASLHandshakeResponse{}, 2); err == nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestVersioned(t *testing.T) {
	b, err := AppendVersioned(nil, &GroupMetadataKey{Group: "g"}, 2)
	if err != nil || string(b) != "\x00\x02\x00\x01g" {
		t.Errorf("%q, %v", b, err)
	}
	var k GroupMetadataKey
	if v, err := DecodeVersioned(b, &k); v != 2 || k.Group != "g" || err != nil {
		t.Errorf("%d, %+v, %v", v, k, err)
	}
	if _, err := DecodeVersioned(b[:1], &k); !errors.Is(err, codec.ErrShort) {
		t.Errorf("short: %v", err)
	}
	if b, err := AppendVersioned([]byte("x"), &k, 1); err == nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestErrorCode(t *testing.T) {
	seen := make(map[string]bool)
	for e := ErrorCode(-1); int(e) < len(errorTable); e++ {
		if seen[e.String()] || e.String() == "" {
			t.Errorf("code %d: name %q", e, e)
		}
		seen[e.String()] = true
	}
	if ErrorCode(0).Err() != nil || !errors.Is(ErrNotController.Err(), ErrNotController) {
		t.Error("Err")
	}
	if !ErrNotLeaderOrFollower.Retriable() || !ErrNotLeaderOrFollower.StaleMetadata() || ErrNotLeaderOrFollower.Fatal() {
		t.Error("NOT_LEADER_OR_FOLLOWER")
	}
	if !ErrNotCoordinator.Retriable() || !ErrNotCoordinator.CoordinatorMoved() || ErrNotCoordinator.StaleMetadata() {
		t.Error("NOT_COORDINATOR")
	}
	if ErrProducerFenced.Retriable() || !ErrProducerFenced.Fatal() || ErrMessageTooLarge.Fatal() {
		t.Error("PRODUCER_FENCED, MESSAGE_TOO_LARGE")
	}
	if s := ErrorCode(999).Error(); s != "kafka: error code 999" || ErrorCode(999).Retriable() {
		t.Error(s)
	}
}

func TestUUID(t *testing.T) {
	u := UUID{0: 0xfb, 15: 7}
	s := u.String()
	if got, err := ParseUUID(s); err != nil || got != u || len(s) != 22 {
		t.Errorf("%q: %v, %v", s, got, err)
	}
	for _, bad := range []string{"", s[1:], s + "A", "!" + s[1:]} {
		if _, err := ParseUUID(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
