package memnet_test

import (
	"context"
	"fmt"
	"io"

	"github.com/quartet-mq/quartet/internal/memnet"
)

func Example() {
	l := memnet.Listen("broker:1883")
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "hello "+c.LocalAddr().String())
	}()

	c, err := l.Dial(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	greeting, err := io.ReadAll(c)
	fmt.Printf("%s %v\n", greeting, err)
	// Output: hello broker:1883 <nil>
}
