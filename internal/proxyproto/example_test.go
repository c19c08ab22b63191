package proxyproto_test

import (
	"fmt"
	"io"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/proxyproto"
)

func ExampleWrap() {
	proxy, server := memnet.Pipe()
	defer proxy.Close()
	_, _ = io.WriteString(proxy, "PROXY TCP4 203.0.113.9 192.0.2.7 40000 1883\r\n")

	conn, err := proxyproto.Wrap(server, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Println(conn.RemoteAddr(), "to", conn.LocalAddr())
	// Output: 203.0.113.9:40000 to 192.0.2.7:1883
}
