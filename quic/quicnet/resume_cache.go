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

// ticketCache is the view that crypto/tls has of a store for one dial. A ticket is taken once (RFC 8446, appendix C.4).
type ticketCache struct {
	store    Store
	origin   string
	first    storedTicket           // what Get returns
	protocol atomic.Pointer[string] // what the handshake agreed on, for Put
}

// storedTicket is a ticket with what a dial must know of it.
type storedTicket struct {
	session   *tls.ClientSessionState
	protocol  string // ALPN
	earlyData bool
}

// take takes a ticket from the store, for Get.
func (c *ticketCache) take() bool {
	for {
		b := c.store.Take(SessionTicket, c.origin)
		if b == nil {
			return false
		}
		var ok bool
		if c.first, ok = parseTicket(b); ok {
			return true
		}
	}
}

// Get implements [tls.ClientSessionCache]. The origin stands in for the key, which does not tell ports and protocols
// apart.
func (c *ticketCache) Get(string) (*tls.ClientSessionState, bool) {
	return c.first.session, c.first.session != nil
}

// Put implements [tls.ClientSessionCache].
func (c *ticketCache) Put(_ string, session *tls.ClientSessionState) {
	if session == nil {
		c.store.Drop(SessionTicket, c.origin)
		return
	}
	t := storedTicket{session: session}
	if p := c.protocol.Load(); p != nil {
		t.protocol = *p
	}
	if b := appendTicket(nil, t); b != nil {
		c.store.Put(SessionTicket, c.origin, b)
	}
}

// A stored ticket is its version, the protocol with its length in 1 byte, the ticket with its length in 2 bytes, and the
// session in the encoding of crypto/tls.
const ticketVersion = 1

func appendTicket(dst []byte, t storedTicket) []byte {
	ticket, state, err := t.session.ResumptionState()
	if err != nil || state == nil || len(ticket) > 1<<16-1 || len(t.protocol) > 1<<8-1 {
		return nil
	}
	session, err := state.Bytes()
	if err != nil {
		return nil
	}
	dst = append(dst, ticketVersion, byte(len(t.protocol)))
	dst = append(dst, t.protocol...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(ticket)))
	dst = append(dst, ticket...)
	return append(dst, session...)
}

// parseTicket returns false for what it cannot read, such as a session of another version of Go.
func parseTicket(b []byte) (t storedTicket, ok bool) {
	if len(b) < 4 || b[0] != ticketVersion {
		return t, false
	}
	n := int(b[1])
	if b = b[2:]; len(b) < n+2 {
		return t, false
	}
	t.protocol, b = string(b[:n]), b[n:]
	n = int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n == 0 || n > len(b) {
		return t, false
	}
	state, err := tls.ParseSessionState(b[n:])
	if err != nil {
		return t, false
	}
	t.earlyData = state.EarlyData
	t.session, err = tls.NewResumptionState(b[:n], state)
	return t, err == nil
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
