package kafkaserver_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// another connects once more to the server of a peer.
func another(t testing.TB, p *peer) *peer {
	nc, err := net.Dial("tcp", p.nc.RemoteAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, nc: nc}
}

// BenchmarkPipelined has 16 requests of 100 bytes under way.
func BenchmarkPipelined(b *testing.B) { benchmarkProduce(b, 100, 16) }

// BenchmarkProduce16K has 4 requests of 16 KiB under way.
func BenchmarkProduce16K(b *testing.B) { benchmarkProduce(b, 16<<10, 4) }

// BenchmarkProduce1M has 2 requests of 1 MiB under way.
func BenchmarkProduce1M(b *testing.B) { benchmarkProduce(b, 1<<20, 2) }

func benchmarkProduce(b *testing.B, size, window int) {
	m := new(kafkawire.ProduceResponse)
	p := tcp(b, &backend{handle: func(r *kafkaserver.Request) { r.Reply(m) }}, nil)
	out := p.produce(size)
	b.SetBytes(int64(len(out)))
	tokens := make(chan struct{}, window)
	go func() {
		for range b.N {
			tokens <- struct{}{}
			p.nc.Write(out)
		}
	}()
	in := make([]byte, 64<<10)
	frame := 0
	for got := 0; got < b.N; {
		n, err := p.nc.Read(in)
		if err != nil {
			b.Error(err)
			return
		}
		if frame == 0 {
			frame = 4 + int(binary.BigEndian.Uint32(in))
		}
		for range n / frame { // the responses are small: a read takes whole ones
			<-tokens
			got++
		}
	}
}

// BenchmarkFetch1M reads responses with records of 1 MiB.
func BenchmarkFetch1M(b *testing.B) {
	p := tcp(b, &backend{handle: func(r *kafkaserver.Request) {
		data := kafkaserver.NewBuffer(1 << 20)
		r.ReplyEncoded(r.Start(), kafkaserver.Splice{At: 8, Data: data.Bytes, Owner: data})
	}}, nil)
	out := p.encode(&kafkawire.FetchRequest{}, 11)
	in := make([]byte, 2<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		p.nc.Write(out)
		io.ReadFull(p.nc, in[:4])
		io.ReadFull(p.nc, in[:binary.BigEndian.Uint32(in)])
	}
}
