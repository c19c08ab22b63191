package wsconn

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// errSubprotocol is what a handshake fails with when the two ends have no subprotocol in common.
var errSubprotocol = errors.New("wsconn: no common subprotocol")

// AcceptOptions configure Accept.
type AcceptOptions struct {
	// Subprotocols are those that the server speaks, the best one first. The client must offer one of them.
	Subprotocols []string

	// Origins are patterns as of path.Match for the hosts whose pages may connect, besides the host of the request
	// itself; "*" allows every origin. Clients outside of browsers send no origin and are not checked.
	Origins []string

	// ReadLimit is the most bytes that one message may have; zero means no limit. Messages are not buffered, so it
	// bounds no memory.
	ReadLimit int64

	// CloseTimeout bounds Close when the peer reads nothing; zero means DefaultCloseTimeout.
	CloseTimeout time.Duration
}

// Accept answers a WebSocket handshake and takes the connection over. On error it has answered the request.
func Accept(w http.ResponseWriter, r *http.Request, o *AcceptOptions) (*Conn, error) {
	chosen := choose(o.Subprotocols, r.Header)
	if chosen == "" {
		http.Error(w, "WebSocket subprotocol "+strings.Join(o.Subprotocols, " or ")+" expected", http.StatusBadRequest)
		return nil, errSubprotocol
	}
	request := *r
	request.Header = r.Header.Clone()
	request.Header.Set("Sec-WebSocket-Protocol", chosen) // the library would ignore case
	h := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(h, &request, &websocket.AcceptOptions{
		Subprotocols:       []string{chosen},
		InsecureSkipVerify: slices.Contains(o.Origins, "*"),
		OriginPatterns:     o.Origins,
	})
	if err != nil {
		return nil, err
	}
	return newConn(ws, h.conn, r.Header, r.TLS, &options{readLimit: o.ReadLimit, closeTimeout: o.CloseTimeout, below: h.conn}), nil
}

// choose returns the first of the server's subprotocols that the client offers.
func choose(subprotocols []string, h http.Header) string {
	offered := strings.Split(strings.Join(h.Values("Sec-WebSocket-Protocol"), ","), ",")
	for i := range offered {
		offered[i] = strings.TrimSpace(offered[i])
	}
	for _, s := range subprotocols {
		if slices.Contains(offered, s) {
			return s
		}
	}
	return ""
}

// hijacker remembers the connection that the library takes over.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}
