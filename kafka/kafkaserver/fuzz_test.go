package kafkaserver_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// FuzzInput sends any bytes on a connection, in two pieces, and expects that the server survives, keeps nothing, and serves
// another client.
func FuzzInput(f *testing.F) {
	p := &peer{t: f}
	var b []byte
	add := func(m kafkawire.Request, version int16) { b = append(b, p.encode(m, version)...) }
	add(software(3), 3)
	add(&kafkawire.HeartbeatRequest{GroupID: "g"}, 4)
	b = append(b, p.produce(50)...)
	add(&kafkawire.FetchRequest{}, 12)
	add(&kafkawire.FetchRequest{}, 4)
	f.Add(b, 30, false)
	b = nil
	add(&kafkawire.SASLHandshakeRequest{Mechanism: "PLAIN"}, 1)
	add(&kafkawire.SASLAuthenticateRequest{AuthBytes: []byte("\x00alice\x00secret")}, 2)
	add(&kafkawire.HeartbeatRequest{}, 0)
	f.Add(b, 40, true)
	b = nil
	add(&kafkawire.SASLHandshakeRequest{Mechanism: "SCRAM-SHA-256"}, 0)
	f.Add(append(b, "\x00\x00\x00\x14n,,n=alice,r=abcdefg"...), 40, true)
	b = nil
	add(&kafkawire.SASLHandshakeRequest{Mechanism: "OAUTHBEARER"}, 1)
	add(&kafkawire.SASLAuthenticateRequest{AuthBytes: []byte("n,,\x01auth=Bearer good\x01team=red\x01\x01")}, 0)
	f.Add(b, 1, true)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: broker\r\n\r\n"), 3, false)
	f.Fuzz(func(t *testing.T, b []byte, cut int, secure bool) {
		synctest.Test(t, func(t *testing.T) {
			u := newUsers()
			if !secure {
				u.login = nil
			}
			s, l := serve(t, u, &kafkaserver.Options{Mechanisms: allMechanisms, RequireSASL: secure})
			p := dial(t, l)
			cut := min(max(cut, 0), len(b))
			p.nc.Write(b[:cut])
			p.nc.Write(b[cut:])
			synctest.Wait()
			p.nc.Close()
			other := dial(t, l)
			if secure {
				other.exchange("PLAIN", "secret")
			}
			other.beat()
			time.Sleep(time.Second) // who was refused is held for a while
			if st := s.Stats(); st.Connections > 2 || s.MemoryInUse() != 0 {
				t.Errorf("%+v, %d bytes", st, s.MemoryInUse())
			}
		})
	})
}
