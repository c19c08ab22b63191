package quicnet

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"sync/atomic"
)

// ticketCache is the view that crypto/tls has of a store for one dial. Get removes what it returns, so that a ticket is
// used once (RFC 8446, appendix C.4).
type ticketCache struct {
	store  Store
	origin string
	taken  atomic.Bool // Get returned a ticket
}

// Get implements [tls.ClientSessionCache]. The origin stands in for the key, which does not tell ports and protocols
// apart.
func (c *ticketCache) Get(string) (*tls.ClientSessionState, bool) {
	for {
		b := c.store.Take(SessionTicket, c.origin)
		if b == nil {
			return nil, false
		}
		if cs := parseTicket(b); cs != nil {
			c.taken.Store(true)
			return cs, true
		}
	}
}

// Put implements [tls.ClientSessionCache].
func (c *ticketCache) Put(_ string, cs *tls.ClientSessionState) {
	if cs == nil {
		c.store.Drop(SessionTicket, c.origin)
		return
	}
	if b := appendTicket(nil, cs); b != nil {
		c.store.Put(SessionTicket, c.origin, b)
	}
}

// A stored ticket is its version, the length of the ticket in 2 bytes, the ticket, and the session in the encoding of
// crypto/tls.
const ticketVersion = 1

func appendTicket(dst []byte, cs *tls.ClientSessionState) []byte {
	ticket, state, err := cs.ResumptionState()
	if err != nil || state == nil || len(ticket) > 1<<16-1 {
		return nil
	}
	session, err := state.Bytes()
	if err != nil {
		return nil
	}
	dst = append(dst, ticketVersion)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(ticket)))
	dst = append(dst, ticket...)
	return append(dst, session...)
}

// parseTicket returns nil for what it cannot read, such as a session of another version of Go.
func parseTicket(b []byte) *tls.ClientSessionState {
	if len(b) < 3 || b[0] != ticketVersion {
		return nil
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if b = b[3:]; n == 0 || n > len(b) {
		return nil
	}
	state, err := tls.ParseSessionState(b[n:])
	if err != nil {
		return nil
	}
	cs, err := tls.NewResumptionState(b[:n], state)
	if err != nil {
		return nil
	}
	return cs
}

// ticketOrigin names where a ticket is good: the protocol, the server, the name that its certificate was checked for,
// and the client's certificate, since a resumed session keeps the identity.
func ticketOrigin(protocol, address string, c *tls.Config) string {
	parts := []string{protocol, tokenOrigin(address)}
	if c != nil {
		parts = append(parts, strings.ToLower(c.ServerName))
		if len(c.Certificates) > 0 {
			h := sha256.New()
			for _, cert := range c.Certificates {
				if len(cert.Certificate) > 0 {
					h.Write(cert.Certificate[0])
				}
			}
			parts = append(parts, hex.EncodeToString(h.Sum(nil)[:16]))
		}
	}
	return strings.Join(parts, " ")
}

// tokenOrigin names where an address token is good: the server.
func tokenOrigin(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return strings.ToLower(address)
	}
	return net.JoinHostPort(strings.ToLower(host), port)
}
