package mqttserver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// fanout is a backend without routing: what comes goes to the connections whose client identifier begins as the topic.
type fanout struct {
	mu    sync.Mutex
	conns atomic.Pointer[map[byte][]*mqttserver.Conn]
}

func (f *fanout) Connect(_ context.Context, c *mqttserver.Conn) (*mqttserver.Accepted, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := map[byte][]*mqttserver.Conn{}
	if old := f.conns.Load(); old != nil {
		for k, v := range *old {
			m[k] = v
		}
	}
	if id := c.ClientID(); id[0] == 's' {
		m[id[1]] = append(slices.Clone(m[id[1]]), c)
	}
	f.conns.Store(&m)
	return &mqttserver.Accepted{Session: &fanoutSession{f: f, c: c}, State: new(mqtt.State)}, nil
}

type fanoutSession struct {
	f   *fanout
	c   *mqttserver.Conn
	out mqtt.Publish
}

func (s *fanoutSession) Publish(b *mqttserver.Batch, p *mqtt.Publish, ack mqttserver.Ack) {
	var ref any
	for _, c := range (*s.f.conns.Load())[p.Topic[0]] {
		s.out = mqtt.Publish{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS}
		c.Publish(b, &s.out, ref)
	}
	ack.Done(b, mqtt.ReasonSuccess, nil)
}

func (s *fanoutSession) Start(*mqttserver.Batch)                               {}
func (s *fanoutSession) Subscribe(b *mqttserver.Batch, p *mqtt.Subscribe)      {}
func (s *fanoutSession) Unsubscribe(*mqttserver.Batch, *mqtt.Unsubscribe)      {}
func (s *fanoutSession) Settled(b *mqttserver.Batch, _ any, _ mqtt.ReasonCode) {}
func (s *fanoutSession) Resend(any) (*mqtt.Publish, bool)                      { return nil, false }
func (s *fanoutSession) Ready(*mqttserver.Batch)                               {}
func (s *fanoutSession) Closed(error, *mqtt.Disconnect)                        {}

// rawClient is a connected client on a loopback port.
func rawClient(tb testing.TB, addr, id string) net.Conn {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	b, _ := mqtt.Append(nil, &mqtt.Connect{Version: mqtt.Version311, ClientID: id, CleanStart: true}, 0)
	nc.Write(b)
	if _, err := io.ReadFull(nc, make([]byte, 4)); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	return nc
}

func loopback(tb testing.TB, backend mqttserver.Backend) (*mqttserver.Server, string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Skip(err)
	}
	s := mqttserver.New(backend, nil)
	go s.Serve(l, nil)
	tb.Cleanup(func() { s.Close() })
	return s, l.Addr().String()
}

// BenchmarkQoS0 sends 256-byte messages from n publishers to n groups of subscribers over loopback, for b.N messages in
// each direction as fast as it goes.
func BenchmarkQoS0(b *testing.B) {
	for _, shape := range []struct{ pubs, subs int }{{1, 1}, {50, 1}, {1, 200}} {
		b.Run(fmt.Sprintf("%dto%d", shape.pubs, shape.pubs*shape.subs), func(b *testing.B) {
			_, addr := loopback(b, new(fanout))
			message := func(i int) []byte {
				m := &mqtt.Publish{Topic: []byte{byte(i + 65), 'a', 'b'}, Payload: make([]byte, 256)}
				one, _ := mqtt.Append(nil, m, mqtt.Version311)
				return one
			}
			size := len(message(0))
			per := b.N/shape.pubs + 1
			want := int64(per * shape.pubs * shape.subs * size)
			var got atomic.Int64
			all := make(chan struct{})
			for i := range shape.pubs {
				for j := range shape.subs {
					nc := rawClient(b, addr, fmt.Sprintf("s%c%d", byte(i+65), j))
					go count(nc, &got, want, all)
				}
			}
			begin := time.Now()
			for i := range shape.pubs {
				nc := rawClient(b, addr, fmt.Sprintf("p%d", i))
				batch := bytes.Repeat(message(i), 250)
				go func() {
					for left := per; left > 0; left -= 250 {
						if _, err := nc.Write(batch[:min(left, 250)*size]); err != nil {
							return
						}
					}
				}()
			}
			select {
			case <-all:
			case <-time.After(20 * time.Second):
			}
			b.ReportMetric(float64(got.Load())/float64(size)/time.Since(begin).Seconds(), "deliveries/s")
			if g := got.Load(); g < want {
				b.Logf("lost %d of %d", (want-g)/int64(size), want/int64(size))
			}
		})
	}
}

// count adds what is read from nc to got and closes all when that is everything.
func count(nc net.Conn, got *atomic.Int64, want int64, all chan struct{}) {
	buf := make([]byte, 256<<10)
	for {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		if now := got.Add(int64(n)); now >= want && now-int64(n) < want {
			close(all)
		}
	}
}

// BenchmarkAcked sends messages at QoS 1 and 2 with a window of 100 from ten publishers to ten subscribers.
func BenchmarkAcked(b *testing.B) {
	for _, qos := range []mqtt.QoS{1, 2} {
		b.Run(fmt.Sprint("QoS", qos), func(b *testing.B) {
			const pairs, window = 10, 100
			_, addr := loopback(b, new(fanout))
			var subs, pubs sync.WaitGroup
			per := b.N/pairs + 1
			for i := range pairs {
				nc := rawClient(b, addr, fmt.Sprintf("s%c", byte(i+65)))
				subs.Go(func() { answer(nc, per) })
			}
			begin := time.Now()
			for i := range pairs {
				nc := rawClient(b, addr, fmt.Sprintf("p%d", i))
				pubs.Go(func() { publishWindow(nc, []byte{byte(i + 65), 'a'}, qos, per, window) })
			}
			pubs.Wait()
			subs.Wait()
			b.ReportMetric(float64(per*pairs)/time.Since(begin).Seconds(), "msgs/s")
		})
	}
}

// answer acknowledges n messages.
func answer(nc net.Conn, n int) {
	buf := make([]byte, 0, 64<<10)
	var out []byte
	for done := 0; done < n; {
		m, err := nc.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return
		}
		buf = buf[:len(buf)+m]
		out = out[:0]
		rest := buf
		for {
			size, _ := mqtt.FrameSize(rest)
			if size == 0 || size > len(rest) {
				break
			}
			switch rest[0] >> 4 {
			case 3:
				head := 2
				if rest[1] >= 0x80 {
					head = 3
				}
				at := head + 2 + int(binary.BigEndian.Uint16(rest[head:]))
				kind := byte(0x40)
				if rest[0]&6 == 4 {
					kind = 0x50
				} else {
					done++
				}
				out = append(out, kind, 2, rest[at], rest[at+1])
			case 6:
				out = append(out, 0x70, 2, rest[2], rest[3])
				done++
			}
			rest = rest[size:]
		}
		buf = buf[:copy(buf, rest)]
		nc.Write(out)
	}
}

// publishWindow publishes n messages, window at a time.
func publishWindow(nc net.Conn, name []byte, qos mqtt.QoS, n, window int) {
	one, _ := mqtt.Append(nil, &mqtt.Publish{Topic: name, Payload: make([]byte, 256), QoS: qos, ID: 1}, mqtt.Version311)
	at := 3 + 2 + len(name)
	buf := make([]byte, 64<<10)
	kept := 0
	var out []byte
	id := uint16(0)
	for sent, done := 0, 0; done < n; {
		for sent < n && sent-done < window {
			id = id%65_535 + 1
			binary.BigEndian.PutUint16(one[at:], id)
			out = append(out, one...)
			sent++
		}
		if len(out) > 0 {
			nc.Write(out)
			out = out[:0]
		}
		m, err := nc.Read(buf[kept:])
		if err != nil {
			return
		}
		rest := buf[:kept+m]
		for len(rest) >= 4 {
			if rest[0] == 0x50 {
				out = append(out, 0x62, 2, rest[2], rest[3])
			} else {
				done++
			}
			rest = rest[4:]
		}
		kept = copy(buf, rest)
	}
}

// BenchmarkPingPong sends a message to itself, one at a time.
func BenchmarkPingPong(b *testing.B) {
	_, addr := loopback(b, new(fanout))
	nc := rawClient(b, addr, "sx")
	one, _ := mqtt.Append(nil, &mqtt.Publish{Topic: []byte("xab"), Payload: make([]byte, 256)}, mqtt.Version311)
	buf := make([]byte, 4096)
	times := make([]time.Duration, 0, 1<<20)
	for b.Loop() {
		begin := time.Now()
		nc.Write(one)
		if _, err := io.ReadFull(nc, buf[:len(one)]); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds()), "p99-ns")
}

// BenchmarkIdle reports the memory of a connection that does nothing. The clients' ends are in the same process: their
// share is measured first and taken off.
func BenchmarkIdle(b *testing.B) {
	const n = 2000
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Skip(err)
	}
	var far []net.Conn
	begin := rss(b)
	var near []net.Conn
	for range n {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Skip(err)
		}
		other, _ := l.Accept()
		near, far = append(near, nc), append(far, other)
	}
	both := rss(b) - begin
	s := mqttserver.New(new(fanout), nil)
	before := rss(b)
	hello, _ := mqtt.Append(nil, &mqtt.Connect{Version: mqtt.Version311, ClientID: "px", CleanStart: true, KeepAlive: 600}, 0)
	for i, nc := range near {
		s.ServeConn(far[i], nil)
		nc.Write(hello)
		io.ReadFull(nc, make([]byte, 4))
	}
	for b.Loop() {
	}
	b.ReportMetric((rss(b)-before+both/2)/n, "B/conn")
	s.Close()
	for _, nc := range near {
		nc.Close()
	}
	l.Close()
}

// rss returns the resident memory of the process after a collection.
func rss(b *testing.B) float64 {
	runtime.GC()
	runtime.GC()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	var total, resident float64
	fmt.Sscan(string(data), &total, &resident)
	return resident * float64(os.Getpagesize())
}
