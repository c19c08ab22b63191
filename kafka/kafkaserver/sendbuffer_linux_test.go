package kafkaserver_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
)

// TestSendBuffer: the kernel's buffer for output is as large as the options say, which Linux doubles.
func TestSendBuffer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	s := kafkaserver.New(new(backend), &kafkaserver.Options{Limits: kafkaserver.Limits{SendBuffer: 50_000}})
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
	s.ServeConn(server, nil)
	raw, err := server.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var size int
	raw.Control(func(fd uintptr) { size, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF) })
	if err != nil || size != 100_000 {
		t.Errorf("%d bytes, %v", size, err)
	}
}
