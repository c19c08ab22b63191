package netio

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPaced(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	for _, test := range []struct {
		control string
		want    bool
	}{{"bbr", true}, {"reno", false}, {"cubic", false}} {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c := server.(*net.TCPConn)
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		near := false
		raw.Control(func(fd uintptr) {
			if err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, test.control); err == nil {
				var info *unix.TCPInfo
				info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
				near = err == nil && info.Rtt < nearRTT // a busy machine may take longer
			}
		})
		if err != nil {
			t.Logf("%s is not there: %v", test.control, err)
		} else if got := Paced(c); got != (test.want && near) {
			t.Errorf("%s: %v", test.control, got)
		}
		client.Close()
		server.Close()
		if Paced(c) {
			t.Error("a connection that is closed")
		}
	}
}
