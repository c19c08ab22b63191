package kafkaclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// hostileOptions are options of a client whose connections answer each request with what answer returns, nil for the end.
func hostileOptions(answer func(h *kafkawire.RequestHeader) []byte) *Options {
	return &Options{Addrs: []string{"hostile"}, APITimeout: 3 * time.Second, RequestTimeout: time.Second, ConnectTimeout: time.Second,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			client, server := memnet.Pipe()
			go func() {
				defer server.Close()
				for {
					var size [4]byte
					if _, err := io.ReadFull(server, size[:]); err != nil {
						return
					}
					b := make([]byte, binary.BigEndian.Uint32(size[:]))
					if _, err := io.ReadFull(server, b); err != nil {
						return
					}
					var h kafkawire.RequestHeader
					if _, err := h.Decode(b); err != nil {
						return
					}
					out := answer(&h)
					if out == nil {
						return
					}
					if _, err := server.Write(out); err != nil {
						return
					}
				}
			}()
			return client, nil
		}}
}

// sized puts a size before bytes.
func sized(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// versionsAnswer is an answer to the question about versions.
func versionsAnswer(h *kafkawire.RequestHeader) []byte {
	m := new(kafkawire.APIVersionsResponse)
	m.Reset()
	for k := range kafkawire.APIKey(kafkawire.Keys) {
		if k.MaxVersion() >= k.MinVersion() {
			m.APIKeys = append(m.APIKeys, kafkawire.APIVersionsResponseAPIKey{APIKey: int16(k), MinVersion: k.MinVersion(), MaxVersion: k.MaxVersion()})
		}
	}
	out, err := kafkawire.AppendResponse(nil, h.CorrelationID, m, h.Version)
	if err != nil {
		panic(err)
	}
	return out
}

// What is not Kafka is an error soon, and nothing hangs or panics.
func TestHostileBroker(t *testing.T) {
	later := func(f func(h *kafkawire.RequestHeader) []byte) func(h *kafkawire.RequestHeader) []byte {
		return func(h *kafkawire.RequestHeader) []byte {
			if h.Key == kafkawire.KeyAPIVersions {
				return versionsAnswer(h)
			}
			return f(h)
		}
	}
	for name, answer := range map[string]func(h *kafkawire.RequestHeader) []byte{
		"end":           func(*kafkawire.RequestHeader) []byte { return nil },
		"HTTP":          func(*kafkawire.RequestHeader) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") },
		"negative size": func(*kafkawire.RequestHeader) []byte { return []byte{0xff, 0xff, 0xff, 0xff} },
		"huge size":     func(*kafkawire.RequestHeader) []byte { return []byte{0x7f, 0xff, 0xff, 0xff, 1, 2, 3} },
		"silence":       func(*kafkawire.RequestHeader) []byte { return []byte{} },
		"no body": func(h *kafkawire.RequestHeader) []byte {
			return sized(binary.BigEndian.AppendUint32(nil, uint32(h.CorrelationID)))
		},
		"other correlation": func(h *kafkawire.RequestHeader) []byte { h.CorrelationID++; return versionsAnswer(h) },
		"later end":         later(func(*kafkawire.RequestHeader) []byte { return nil }),
		"later HTTP":        later(func(*kafkawire.RequestHeader) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }),
		"later huge size":   later(func(*kafkawire.RequestHeader) []byte { return []byte{0x0f, 0xff, 0xff, 0xff, 1, 2, 3} }),
		"later zero size":   later(func(*kafkawire.RequestHeader) []byte { return []byte{0, 0, 0, 0} }),
		"later silence":     later(func(*kafkawire.RequestHeader) []byte { return []byte{} }),
		"later no body": later(func(h *kafkawire.RequestHeader) []byte {
			return sized(binary.BigEndian.AppendUint32(nil, uint32(h.CorrelationID)))
		}),
		"later other": later(func(h *kafkawire.RequestHeader) []byte { return sized(make([]byte, 100)) }),
		"unasked": later(func(h *kafkawire.RequestHeader) []byte {
			return append(sized(make([]byte, 4)), sized(make([]byte, 4))...)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := newTestClient(t, hostileOptions(answer))
				start := time.Now()
				_, err := cl.Request(t.Context(), &kafkawire.MetadataRequest{})
				if err == nil {
					t.Error("no error")
				}
				if d := time.Since(start); d > 5*time.Second {
					t.Error(d)
				}
				p := newTestProducer(t, cl, &ProducerOptions{DeliveryTimeout: 2 * time.Second})
				if err := p.Produce(t.Context(), &Record{Topic: "a"}); !errors.Is(err, ErrTimeout) {
					t.Error(err)
				}
				cl.Close()
			})
		})
	}
}

// A response that only its size has come of takes no memory.
func TestClaimedResponse(t *testing.T) {
	cl := newTestClient(t, hostileOptions(func(*kafkawire.RequestHeader) []byte { return nil }))
	k := &conn{c: cl}
	claim := append([]byte{1, 0, 0, '*'}, make([]byte, 1000)...) // 16 MiB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		if err := k.readFrames(bufio.NewReaderSize(bytes.NewReader(claim), readBuffer)); err == nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes", n)
	}
}

// FuzzResponses lets a broker answer with anything.
func FuzzResponses(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0}, false)
	f.Add([]byte{1, 0, 0, '*'}, true) // a size of 16 MiB and no more
	f.Add([]byte{0, 0, 0, 10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, true)
	f.Fuzz(func(t *testing.T, b []byte, whole bool) {
		synctest.Test(t, func(t *testing.T) {
			o := hostileOptions(func(h *kafkawire.RequestHeader) []byte {
				switch {
				case h.Key == kafkawire.KeyAPIVersions:
					return versionsAnswer(h)
				case whole:
					return append([]byte{}, b...)
				}
				out := binary.BigEndian.AppendUint32(nil, uint32(h.CorrelationID))
				if h.Key.ResponseHeaderVersion(h.Version) > 0 {
					out = append(out, 0)
				}
				return sized(append(out, b...))
			})
			cl := newTestClient(t, o)
			p := newTestProducer(t, cl, &ProducerOptions{DeliveryTimeout: time.Second})
			p.Produce(t.Context(), &Record{Topic: "a"})
			cl.Admin().Topics(t.Context())
			cl.Admin().GroupOffsets(t.Context(), "g")
			cl.Close()
		})
	})
}
