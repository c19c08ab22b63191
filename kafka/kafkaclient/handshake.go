package kafkaclient

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// connect makes a connection: dialing, TLS, versions, authentication. It is ready for send.
func (c *Client) connect(ctx context.Context, l lane, info ConnInfo) (*conn, error) {
	nc, err := c.dial(ctx, info.Addr)
	if err != nil {
		return nil, err
	}
	k := &conn{c: c, lane: l, info: info, nc: nc, io: netio.NewConn(nc), over: make(chan struct{})}
	k.progress.L = &k.mu
	k.streams, k.confirmed = streamsOf(nc)
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	err = k.handshake(ctx)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		nc.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return k, nil
}

// handshake asks for versions and authenticates.
func (k *conn) handshake(ctx context.Context) error {
	h := handshake{k: k, r: bufio.NewReaderSize(k.nc, 4<<10)}
	if err := h.apiVersions(); err != nil {
		return err
	}
	if k.c.o.SASL != nil {
		if err := k.awaitConfirmed(ctx); err != nil { // credentials are no early data
			return err
		}
		if err := h.authenticate(ctx, k.c.o.SASL); err != nil {
			return err
		}
	}
	if h.r.Buffered() > 0 {
		return protocolError("a response to nothing")
	}
	return nil
}

// handshake is what a connection does one after the other before it is ready.
type handshake struct {
	k *conn
	r *bufio.Reader
}

// call sends a request and waits for the response.
func (h *handshake) call(req kafkawire.Request, resp kafkawire.Response, version int16) ([]byte, error) {
	key := req.Key()
	header := kafkawire.RequestHeader{Version: version, CorrelationID: h.k.next, ClientID: []byte(h.k.c.o.ClientID)}
	h.k.next++
	b, err := kafkawire.AppendRequest(nil, header, req)
	if err != nil {
		return nil, err
	}
	b, err = h.exchange(b)
	if err != nil {
		return nil, err
	}
	correlation, body, err := kafkawire.DecodeResponseHeader(b, key, version)
	if err == nil && correlation != header.CorrelationID {
		err = protocolError("a response out of turn")
	}
	if err == nil && resp != nil {
		err = resp.Decode(body, version)
	}
	return body, err
}

// exchange sends bytes, which begin with their size, and returns what comes back without its size.
func (h *handshake) exchange(b []byte) ([]byte, error) {
	if _, err := h.k.nc.Write(b); err != nil {
		return nil, ended(err)
	}
	var head [4]byte
	if _, err := io.ReadFull(h.r, head[:]); err != nil {
		return nil, ended(err)
	}
	size := int(int32(binary.BigEndian.Uint32(head[:])))
	if size < 0 || size > 1<<20 {
		return nil, protocolError(fmt.Sprintf("a response of %d bytes", size))
	}
	b = make([]byte, size)
	if _, err := io.ReadFull(h.r, b); err != nil {
		return nil, ended(err)
	}
	return b, nil
}

// apiVersionsVersion is the version that the client begins with. A later one tells the broker which one it should be,
// which is of no use before the client knows that.
const apiVersionsVersion = 4

// apiVersions asks which versions the broker has. One that does not have this version of the question itself answers in
// version 0, with those that it has.
func (h *handshake) apiVersions() error {
	req := &kafkawire.APIVersionsRequest{ClientSoftwareName: "quartet", ClientSoftwareVersion: softwareVersion(), NodeID: -1}
	resp := new(kafkawire.APIVersionsResponse)
	version := int16(apiVersionsVersion)
	for {
		body, err := h.call(req, nil, version)
		if err != nil {
			return err
		}
		if len(body) >= 2 && kafkawire.ErrorCode(binary.BigEndian.Uint16(body)) == kafkawire.ErrUnsupportedVersion && version > 0 {
			if err := resp.Decode(body, 0); err != nil {
				return protocolError(err.Error())
			}
			v := newVersions(resp)
			lower, ok := v.pick(kafkawire.KeyAPIVersions, version-1)
			if !ok {
				lower = 0
			}
			version = lower
			continue
		}
		if err := resp.Decode(body, version); err != nil {
			return protocolError(err.Error())
		}
		if err := remote(resp.ErrorCode, nil); err != nil {
			return err
		}
		h.k.versions = newVersions(resp)
		return nil
	}
}

// softwareVersion is the version of this module in the program that it is a part of.
func softwareVersion() string {
	const path = "github.com/quartet-mq/quartet"
	version := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				version = m.Version
			}
		}
	}
	version = strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '.' || r == '-' {
			return r
		}
		return '.'
	}, strings.TrimPrefix(version, "v"))
	if version = strings.Trim(version, ".-"); version == "" {
		return "0.0.0"
	}
	return version
}
