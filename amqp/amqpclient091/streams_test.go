package amqpclient091

import (
	"context"
	"flag"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netio"
)

// streams makes the broker of the tests give each channel a stream of its own.
var streams = flag.Bool("streams", false, "give each channel a stream of its own")

// TestOverStreams runs all tests of this package again, with a stream for each channel.
func TestOverStreams(t *testing.T) {
	if *streams || testing.Short() {
		t.Skip("under way, or short")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.CommandContext(t.Context(), exe, "-streams", "-test.timeout=500s").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// oneStream skips a test that looks at what only a single stream has, such as the order between channels.
func oneStream(t *testing.T, why string) {
	t.Helper()
	if *streams {
		t.Skip(why)
	}
}

// sorted sorts lines by what comes before the first space, the connection and the channel.
func sorted(lines string) string {
	list := strings.Split(lines, "\n")
	slices.SortStableFunc(list, func(a, b string) int {
		x, _, _ := strings.Cut(a, " ")
		y, _, _ := strings.Cut(b, " ")
		return strings.Compare(x, y)
	})
	return strings.Join(list, "\n")
}

// bridge merges the streams of a connection to one, as a proxy would, and returns its other end. The broker of the tests knows
// one stream only.
type bridge struct {
	nc   *memnet.Conn
	near net.Conn

	mu      sync.Mutex
	free    sync.Cond
	streams map[uint16]netio.Stream
}

func newBridge(nc net.Conn) net.Conn {
	near, far := memnet.Pipe()
	b := &bridge{nc: nc.(*memnet.Conn), near: near, streams: make(map[uint16]netio.Stream)}
	b.free.L = &b.mu
	go b.up(b.nc, nil)
	go b.accept()
	go b.down()
	return far
}

func (b *bridge) accept() {
	for {
		st, err := b.nc.AcceptStream(context.Background())
		if err != nil {
			return
		}
		go b.up(st, st)
	}
}

// up passes frames of a stream on. st is nil for stream 0, whose end is that of the connection.
func (b *bridge) up(r interface{ Read([]byte) (int, error) }, st netio.Stream) {
	in := codec.Buffer{Max: 16 << 20}
	for {
		_, err := in.Fill(r)
		for {
			n := size(in.Bytes())
			if n == 0 {
				break
			}
			if !b.pass(in.Bytes()[:n], st) {
				return
			}
			in.Discard(n)
		}
		if err != nil {
			break
		}
	}
	if st == nil {
		b.near.(*memnet.Conn).CloseWrite()
		return
	}
}

// size returns the size of the frame or protocol header at the front of p, 0 when more bytes are needed.
func size(p []byte) int {
	if len(p) >= 8 && p[0] == 'A' {
		return 8
	}
	_, n, err := amqp091.NextFrame(p, 0)
	if err != nil {
		return len(p)
	}
	return n
}

// method returns the channel and the method of a frame.
func method(p []byte) (uint16, amqp091.MethodID) {
	f, n, err := amqp091.NextFrame(p, 0)
	if err != nil || n == 0 {
		return 0, 0
	}
	id, _ := amqp091.PeekMethod(f.Payload)
	if f.Type != amqp091.FrameMethod {
		id = 0
	}
	return f.Channel, id
}

func (b *bridge) pass(p []byte, st netio.Stream) bool {
	channel, id := method(p)
	b.mu.Lock()
	if st != nil && id == amqp091.IDChannelOpen {
		for b.streams[channel] != nil {
			b.free.Wait()
		}
		b.streams[channel] = st
	}
	b.mu.Unlock()
	_, err := b.near.Write(p)           // whole, and one at a time
	if id == amqp091.IDChannelCloseOK { // now that the next stream with this number cannot overtake it
		b.mu.Lock()
		b.end(channel)
		b.mu.Unlock()
	}
	return err == nil
}

// end ends the stream of a channel. b.mu is held.
func (b *bridge) end(channel uint16) {
	if st := b.streams[channel]; st != nil {
		st.CloseWrite()
		delete(b.streams, channel)
		b.free.Broadcast()
	}
}

// down passes frames of the broker to their streams.
func (b *bridge) down() {
	in := codec.Buffer{Max: 16 << 20}
	for {
		_, err := in.Fill(b.near)
		for {
			p := in.Bytes()
			n := size(p)
			if n == 0 {
				break
			}
			channel, id := method(p[:n])
			b.mu.Lock()
			st := b.streams[channel]
			if id == amqp091.IDConnectionClose {
				for channel := range b.streams {
					b.end(channel)
				}
			}
			b.mu.Unlock()
			if channel == 0 || st == nil {
				b.nc.Write(p[:n])
			} else {
				st.Write(p[:n])
			}
			if id == amqp091.IDChannelCloseOK {
				b.mu.Lock()
				b.end(channel)
				b.mu.Unlock()
			}
			in.Discard(n)
		}
		if err != nil {
			b.nc.Write(in.Bytes())
			b.nc.Close()
			return
		}
	}
}
