package quicnet

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"github.com/quic-go/quic-go"
)

// tokenCache is the view that quic-go has of a store for one dial.
type tokenCache struct {
	store  Store
	origin string
}

// Pop implements [quic.TokenStore].
func (c *tokenCache) Pop(string) *quic.ClientToken {
	for {
		b := c.store.Take(AddressToken, c.origin)
		if b == nil {
			return nil
		}
		if t := parseToken(b); t != nil {
			return t
		}
	}
}

// Put implements [quic.TokenStore].
func (c *tokenCache) Put(_ string, t *quic.ClientToken) {
	if b := appendToken(nil, t); b != nil {
		c.store.Put(AddressToken, c.origin, b)
	}
}

// newTokenStore returns the token store of a dial to address: in the store if quic-go's tokens can be read, otherwise
// nil.
func newTokenStore(s Store, address string) quic.TokenStore {
	if s == nil || !tokenReadable() {
		return nil
	}
	return &tokenCache{store: s, origin: tokenOrigin(address)}
}

// clientToken has the layout of [quic.ClientToken], the fields of which are not exported: quic-go keeps tokens in memory
// only.
type clientToken struct {
	data []byte
	rtt  time.Duration
}

// tokenReadable reports whether quic-go's tokens still look like clientToken. If not, address tokens are not used.
func tokenReadable() bool {
	return unsafe.Sizeof(quic.ClientToken{}) == unsafe.Sizeof(clientToken{}) &&
		fmt.Sprintf("%#v", quic.ClientToken{}) == "quic.ClientToken{data:[]uint8(nil), rtt:0}"
}

// A stored token is its version, the round trip time in nanoseconds in 8 bytes, and the token.
const tokenVersion = 1

func appendToken(dst []byte, t *quic.ClientToken) []byte {
	if t == nil {
		return nil
	}
	c := (*clientToken)(unsafe.Pointer(t))
	dst = append(dst, tokenVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.rtt))
	return append(dst, c.data...)
}

func parseToken(b []byte) *quic.ClientToken {
	if len(b) <= 9 || b[0] != tokenVersion {
		return nil
	}
	rtt := time.Duration(binary.BigEndian.Uint64(b[1:]))
	if rtt < 0 || rtt > time.Minute {
		rtt = 0
	}
	c := &clientToken{data: b[9:], rtt: rtt}
	return (*quic.ClientToken)(unsafe.Pointer(c))
}
