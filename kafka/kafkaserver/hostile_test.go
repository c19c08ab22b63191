package kafkaserver_test

import (
	"math/rand"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestTruncated cuts a conversation at each byte, and ends it there or makes the rest garbage.
func TestTruncated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		s, l := serve(t, u, nil)
		p := &peer{t: t}
		talk := p.encode(software(3), 3)
		talk = append(talk, p.encode(&kafkawire.SASLHandshakeRequest{Mechanism: "PLAIN"}, 1)...)
		talk = append(talk, p.encode(&kafkawire.SASLAuthenticateRequest{AuthBytes: []byte("\x00alice\x00secret")}, 2)...)
		talk = append(talk, p.produce(100)...)
		for n := range len(talk) {
			cut, garbage := dial(t, l), dial(t, l)
			cut.write(talk[:n])
			cut.nc.Close()
			b := append([]byte(nil), talk...)
			for i := n; i < len(b); i++ {
				b[i] ^= 0x5a
			}
			garbage.nc.Write(b)
			synctest.Wait()
			garbage.nc.Close()
		}
		time.Sleep(time.Second)
		if st := s.Stats(); st.Connections != 0 || s.MemoryInUse() != 0 {
			t.Errorf("%+v, %d bytes", st, s.MemoryInUse())
		}
		p = dial(t, l)
		p.exchange("PLAIN", "secret")
		p.beat()
	})
}

// TestFlood: clients that send requests without an end and read nothing cost what the limits say, and cost others nothing.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled atomic.Int64
		b := new(backend)
		b.handle = func(r *kafkaserver.Request) {
			handled.Add(1)
			m := &kafkawire.MetadataResponse{ClusterID: new(string(make([]byte, 10_000)))}
			if r.Key == kafkawire.KeyMetadata {
				r.Reply(m)
			} else {
				r.Reply(kafkawire.NewResponse(r.Key))
			}
		}
		s, l := serve(t, b, nil)
		const peers = 20
		for i := range peers {
			p := dial(t, l)
			var many []byte
			for range 500 {
				if i%2 == 0 {
					many = append(many, p.encode(&kafkawire.MetadataRequest{}, 9)...)
				} else {
					many = append(many, p.encode(software(3), 3)...)
				}
			}
			go func() {
				for {
					if _, err := p.nc.Write(many); err != nil {
						return
					}
				}
			}()
		}
		synctest.Wait()
		st := s.Stats()
		if st.Paused != peers || st.Buffered > peers*(1<<20+32<<10) || s.MemoryInUse() > peers*64<<10 {
			t.Errorf("%+v, %d bytes", st, s.MemoryInUse())
		}
		p := dial(t, l)
		for range 100 {
			p.beat()
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if st := s.Stats(); st.Connections != 1 || st.Buffered != 0 || s.MemoryInUse() != 0 {
			t.Errorf("%+v, %d bytes", st, s.MemoryInUse())
		}
	})
}

// TestHalfOpen: memory for requests that were begun and are not finished is given back.
func TestHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := serve(t, new(backend), &kafkaserver.Options{Limits: kafkaserver.Limits{MemoryLimit: 1 << 20}})
		for range 5 {
			p := dial(t, l)
			f := p.produce(1 << 20)
			go p.nc.Write(f[:len(f)-1])
		}
		synctest.Wait()
		p := dial(t, l)
		p.beat()
		start := time.Now()
		go p.nc.Write(p.produce(1 << 20)) // waits until the others are closed
		p.receive(2, new(kafkawire.ProduceResponse), 7)
		if d := time.Since(start); d > 10*time.Minute {
			t.Errorf("after %v", d)
		}
		time.Sleep(9 * time.Minute)
		if st := s.Stats(); st.Connections != 1 || s.MemoryInUse() != 0 {
			t.Errorf("%+v, %d bytes", st, s.MemoryInUse())
		}
	})
}

// TestFaults runs conversations over a network that cuts and corrupts. Nothing hangs and nothing is left.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seed = 8
		rnd := rand.New(rand.NewSource(seed))
		b := new(backend)
		b.handle = func(r *kafkaserver.Request) {
			if r.CorrelationID%3 == 0 {
				go r.Reply(kafkawire.NewResponse(r.Key))
			} else {
				r.Reply(kafkawire.NewResponse(r.Key))
			}
		}
		s, _ := serve(t, b, nil)
		for range 200 {
			at := rnd.Intn(20_000)
			o := &memnet.Options{ToServer: memnet.Link{Fault: memnet.Corrupt(at)}}
			if rnd.Intn(2) == 0 {
				o = &memnet.Options{ToServer: memnet.Link{Fault: memnet.CutAfter(at)}}
			}
			client, server := memnet.PipeOptions(o)
			s.ServeConn(server, nil)
			p := &peer{t: t, nc: client}
			go func() {
				for range 100 {
					if _, err := client.Write(p.produce(at % 1000)); err != nil {
						break
					}
				}
				client.CloseWrite()
			}()
			for {
				if _, err := p.frame(); err != nil {
					break
				}
			}
			client.Close()
		}
		synctest.Wait()
		if st := s.Stats(); st.Connections != 0 || st.Inflight != 0 || s.MemoryInUse() != 0 {
			t.Errorf("seed %d: %+v, %d bytes", seed, st, s.MemoryInUse())
		}
	})
}
