package kafkaserver_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
)

// TestSendBuffer: the kernel's buffer for output, which Linux makes twice as large as it is told, is that of the options, the
// system's, or smaller than that would become when the connection is paced.
func TestSendBuffer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	for _, option := range []int{50_000, 0, -1} {
		s := kafkaserver.New(new(backend), &kafkaserver.Options{Limits: kafkaserver.Limits{SendBuffer: option}})
		defer s.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c := server.(*net.TCPConn)
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		size := func() (n int) {
			raw.Control(func(fd uintptr) { n, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF) })
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		raw.Control(func(fd uintptr) { // where there is no BBR nothing is paced
			syscall.SetsockoptString(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CONGESTION, "bbr")
		})
		want := size()
		if option > 0 {
			want = 2 * option
		} else if option == 0 && netio.Paced(c) {
			c.SetWriteBuffer(256 << 10) // as much of it as the system allows
			if want = size(); want > 512<<10 {
				t.Errorf("%d bytes", want)
			}
			c.SetWriteBuffer(4 << 10)
		}
		if s.ServeConn(server, nil); size() != want {
			t.Errorf("option %d: %d bytes, not %d", option, size(), want)
		}
	}
}
