package kafkabroker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// emptyRequests gives f requests that say nothing, in the versions that the broker takes.
func emptyRequests(f func(k kafkawire.APIKey, version int16, body []byte)) {
	for _, h := range handlerList() {
		for v := max(h.min, h.key.MinVersion()); v <= h.max; v++ {
			m := kafkawire.NewRequest(h.key)
			m.Reset()
			if b, err := m.Append(nil, v); err == nil {
				f(h.key, v, b)
			}
		}
	}
}

// requested is a broker that gets any requests.
type requested struct {
	l *memnet.Listener
}

func newRequested(t testing.TB) *requested {
	br, err := Open(&Options{Authenticate: AllowAll, MaxPartitions: 300, Config: map[string]string{"offsets.topic.num.partitions": "1", "transaction.state.log.num.partitions": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = br.Close() })
	srv := kafkaserver.New(br, nil)
	l := memnet.Listen("mem:9092")
	go func() { _ = srv.Serve(l, nil) }()
	t.Cleanup(func() { _ = srv.Close() })
	return &requested{l}
}

// request sends a request with any body. The broker answers with something that can be decoded, or ends the connection,
// and then serves the next client.
func (r *requested) request(t *testing.T, k kafkawire.APIKey, version int16, body []byte) {
	nc, err := r.l.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	frame, err := (&kafkawire.RequestHeader{Key: k, Version: version, CorrelationID: 7}).Append([]byte{0, 0, 0, 0})
	if err != nil {
		t.Fatal(err)
	}
	frame = append(frame, body...)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	if _, err := nc.Write(frame); err != nil {
		return
	}
	if k == kafkawire.KeyFetch || k == kafkawire.KeyJoinGroup || k == kafkawire.KeySyncGroup {
		return // may wait
	}
	if c, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	all, err := io.ReadAll(nc)
	if err != nil && !errors.Is(err, io.EOF) || len(all) == 0 {
		return
	}
	if k == kafkawire.KeyAPIVersions || k == kafkawire.KeySASLAuthenticate || k == kafkawire.KeySASLHandshake {
		return // the server answers
	}
	_, answer, err := kafkawire.DecodeResponseHeader(all[4:], k, version)
	if err == nil {
		err = kafkawire.NewResponse(k).Decode(answer, version)
	}
	if err != nil || int(binary.BigEndian.Uint32(all)) != len(all)-4 {
		t.Errorf("%v version %d: %v: %x", k, version, err, bytes.TrimSpace(all))
	}
}

// TestEmptyRequests asks for everything, in each version, and says nothing more.
func TestEmptyRequests(t *testing.T) {
	r := newRequested(t)
	emptyRequests(func(k kafkawire.APIKey, version int16, body []byte) { r.request(t, k, version, body) })
}

// FuzzRequest begins with one request of each kind: each seed takes a while before fuzzing begins.
func FuzzRequest(f *testing.F) {
	seeded := make(map[kafkawire.APIKey]bool)
	for _, c := range accessCases() {
		b, err := c.req.Append(nil, c.version)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(int16(c.req.Key()), c.version, b)
		seeded[c.req.Key()] = true
	}
	emptyRequests(func(k kafkawire.APIKey, version int16, body []byte) {
		if !seeded[k] {
			f.Add(int16(k), version, body)
			seeded[k] = true
		}
	})
	r := newRequested(f)
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		r.request(t, kafkawire.APIKey(key), version, body)
	})
}
