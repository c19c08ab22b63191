package amqpserver_test

import (
	"context"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netio"
)

// streams makes the clients of the tests give each channel a stream of its own.
var streams = flag.Bool("streams", false, "give each channel a stream of its own")

// ofOneStream are the tests that TestOverStreams leaves out. What they are about is otherwise with streams, and has tests in
// stream_test.go: one consumer stalls the connection, a client that is not read is silent. Or they look at bytes, times and ends of
// the connection that the bridge changes.
const ofOneStream = "^(TestClientStays|TestRefusedClientSends|TestWrongProtocolHeader|TestVirtualHost|TestHeartbeats|TestMaxConnections|" +
	"TestStalledConsumer|TestUnreadReplies|TestBlocked|TestMalformed|TestHandshakePieces|TestSlowFrame|TestSlowBackend|" +
	"TestPublishAndConsume|TestLostConnection|TestTrace|TestProxyProtocol)$"

// TestOverStreams runs the tests of this package again, with a stream for each channel.
func TestOverStreams(t *testing.T) {
	if *streams || testing.Short() {
		t.Skip("under way, or short")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.CommandContext(t.Context(), exe, "-streams", "-test.skip="+ofOneStream, "-test.timeout=500s").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// bridge gives each channel of a client that knows one stream a stream of its own, as a proxy would, and keeps the order of what
// the client says as far as it can.
type bridge struct {
	nc   *memnet.Conn
	near *memnet.Conn

	writing sync.Mutex // frames to near
	mu      sync.Mutex
	streams map[uint16]netio.Stream
	readers sync.WaitGroup // of streams
}

// newBridge returns the client's end.
func newBridge(nc net.Conn) net.Conn {
	near, far := memnet.PipeOptions(&memnet.Options{Capacity: 4 << 10})
	b := &bridge{nc: nc.(*memnet.Conn), near: near, streams: make(map[uint16]netio.Stream)}
	go b.up()
	go b.down(b.nc, 0)
	return far
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

// together returns the size of the frames at the front of p that are for the same channel, up to the end of the channel, and
// the method of the last: what a client writes at once, the server reads at once.
func together(p []byte) (n int, channel uint16, id amqp091.MethodID) {
	for id != amqp091.IDChannelCloseOK {
		m := size(p[n:])
		if m == 0 {
			break
		}
		c, next := method(p[n : n+m])
		if n > 0 && c != channel {
			break
		}
		n, channel, id = n+m, c, next
	}
	return n, channel, id
}

// settle lets everything else in the bubble come to rest.
func settle() { <-time.After(time.Microsecond) }

// up passes on what the client says.
func (b *bridge) up() {
	in := codec.Buffer{Max: 16 << 20}
	last := uint16(0)
	for {
		_, err := in.Fill(b.near)
		for {
			p := in.Bytes()
			n, channel, id := together(p)
			if n == 0 {
				break
			}
			if channel != last {
				settle() // for what was said on the other one
			}
			last = channel
			b.stream(channel).Write(p[:n])
			if id == amqp091.IDChannelCloseOK {
				b.end(channel)
				settle() // the next stream with this number is not to overtake it
			}
			in.Discard(n)
		}
		if err != nil {
			b.nc.Write(in.Bytes())
			settle()
			if err == io.EOF {
				b.nc.CloseWrite()
			} else {
				b.nc.Abort()
			}
			return
		}
	}
}

// stream returns the stream of a channel.
func (b *bridge) stream(channel uint16) io.Writer {
	b.mu.Lock()
	defer b.mu.Unlock()
	if channel == 0 {
		return b.nc
	}
	st := b.streams[channel]
	if st == nil {
		var err error
		if st, err = b.nc.OpenStream(context.Background()); err != nil {
			return io.Discard
		}
		b.streams[channel] = st
		b.readers.Add(1)
		go b.down(st, channel)
	}
	return st
}

// end ends the stream of a channel.
func (b *bridge) end(channel uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if st := b.streams[channel]; st != nil {
		st.CloseWrite()
		delete(b.streams, channel)
	}
}

// down passes on what the server says on a stream.
func (b *bridge) down(r io.Reader, channel uint16) {
	in := codec.Buffer{Max: 16 << 20}
	if channel != 0 {
		defer b.readers.Done()
	}
	for {
		_, err := in.Fill(r)
		for {
			n := size(in.Bytes())
			if n == 0 {
				break
			}
			_, id := method(in.Bytes()[:n])
			switch {
			case id == amqp091.IDChannelCloseOK:
				b.end(channel)
			case id == amqp091.IDConnectionClose, id == amqp091.IDConnectionCloseOK:
				b.readers.Wait()
			}
			b.writing.Lock()
			b.near.Write(in.Bytes()[:n])
			b.writing.Unlock()
			in.Discard(n)
		}
		if err != nil {
			if channel == 0 {
				b.readers.Wait()
				b.near.CloseWrite()
			}
			return
		}
	}
}
