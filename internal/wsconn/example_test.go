package wsconn_test

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/wsconn"
)

func Example() {
	l := memnet.Listen("broker:80")
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := wsconn.Accept(w, r, &wsconn.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "hello over "+c.Subprotocol())
	}))

	c, err := wsconn.Dial(context.Background(), "ws://broker/mqtt", &wsconn.DialOptions{
		Subprotocols: []string{"mqtt"},
		NetDial:      l.Dial,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	fmt.Printf("%s %v\n", text, err)
	// Output: hello over mqtt <nil>
}
