package proxyproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ErrNoHeader is what reading fails with when a connection does not begin with a PROXY protocol header.
var ErrNoHeader = errors.New("proxyproto: no header")

// Header is what a proxy says about a connection.
type Header struct {
	// Version is 1 or 2.
	Version int

	// Source and Destination are the ends of the connection at the proxy, both *net.TCPAddr or both *net.UnixAddr.
	// They are nil when the proxy speaks for itself (LOCAL) or does not know (UNKNOWN, unspecified).
	Source, Destination net.Addr

	// CommonName is that of the TLS client certificate that the proxy has verified; empty when there is none.
	CommonName string
}

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n" // begins a header of version 2
	prefix    = "PROXY "                 // begins a header of version 1

	shortest  = 15  // bytes of the shortest header of either version
	longestV1 = 107 // bytes of the longest line of version 1, its end included
	fixedV2   = 16  // bytes of version 2 before addresses
	maxV2     = 4 << 10
)

// ReadHeader reads a header of version 1 or 2 from the front of r and not a byte more. Headers over 4 KiB are refused.
func ReadHeader(r io.Reader) (*Header, error) {
	b := make([]byte, shortest, 256)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, headerError(err)
	}
	switch {
	case string(b[:len(signature)]) == signature:
		return readV2(r, b)
	case string(b[:len(prefix)]) == prefix:
		return readV1(r, b)
	}
	return nil, ErrNoHeader
}

// readV1 reads the rest of the line that b begins with.
func readV1(r io.Reader, b []byte) (*Header, error) {
	for b[len(b)-1] != '\n' {
		if len(b) == longestV1 {
			return nil, errors.New("proxyproto: line too long")
		}
		n := len(b)
		b = append(b, 0)
		if _, err := io.ReadFull(r, b[n:]); err != nil {
			return nil, headerError(err)
		}
	}
	line, ok := strings.CutSuffix(string(b), "\r\n")
	if !ok {
		return nil, fmt.Errorf("proxyproto: line %q has no end", b)
	}
	fields := strings.Split(line, " ")
	if fields[1] == "UNKNOWN" {
		return &Header{Version: 1}, nil
	}
	if len(fields) != 6 || fields[1] != "TCP4" && fields[1] != "TCP6" {
		return nil, fmt.Errorf("proxyproto: malformed line %q", line)
	}
	source, ok1 := parseV1(fields[1], fields[2], fields[4])
	destination, ok2 := parseV1(fields[1], fields[3], fields[5])
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("proxyproto: malformed address in line %q", line)
	}
	return &Header{Version: 1, Source: source, Destination: destination}, nil
}

// parseV1 parses an address of the family and a port.
func parseV1(family, addr, port string) (net.Addr, bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Is4() != (family == "TCP4") || a.Zone() != "" {
		return nil, false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(p, 10) != port {
		return nil, false
	}
	return tcpAddr(a, uint16(p)), true
}

func tcpAddr(a netip.Addr, port uint16) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port))
}

// Values of version 2.
const (
	cmdLocal = 0x20
	cmdProxy = 0x21

	familyUnspec = 0x00
	familyTCP4   = 0x11
	familyTCP6   = 0x21
	familyUnix   = 0x31

	tlvCRC32C = 0x03
	tlvSSL    = 0x20
	tlvSSLCN  = 0x22 // within tlvSSL

	sslVerified = 5 // bytes before the first field within tlvSSL: a byte of flags, a result that is 0 for verified
)

// readV2 reads the rest of the header that b begins with.
func readV2(r io.Reader, b []byte) (*Header, error) {
	b = b[:fixedV2]
	if _, err := io.ReadFull(r, b[shortest:]); err != nil {
		return nil, headerError(err)
	}
	size := fixedV2 + int(binary.BigEndian.Uint16(b[14:]))
	if size > maxV2 {
		return nil, fmt.Errorf("proxyproto: header of %d bytes", size)
	}
	b = append(b, make([]byte, size-fixedV2)...)
	if _, err := io.ReadFull(r, b[fixedV2:]); err != nil {
		return nil, headerError(err)
	}
	h := &Header{Version: 2}
	switch command := b[12]; command {
	case cmdLocal:
		return h, nil
	case cmdProxy:
	default:
		return nil, fmt.Errorf("proxyproto: version and command 0x%02x", command)
	}
	fields, err := h.addresses(b[13], b[fixedV2:])
	if err != nil {
		return nil, err
	}
	return h, h.fields(b, fields)
}

// addresses takes the addresses from the front of b and returns what follows them.
func (h *Header) addresses(family byte, b []byte) (rest []byte, err error) {
	var size int
	switch family {
	case familyUnspec:
		return nil, nil
	case familyTCP4:
		size = 4
	case familyTCP6:
		size = 16
	case familyUnix:
		size = 108
	default:
		return nil, fmt.Errorf("proxyproto: address family and transport 0x%02x", family)
	}
	need := 2 * (size + 2)
	if family == familyUnix {
		need = 2 * size
	}
	if len(b) < need {
		return nil, errors.New("proxyproto: header too short for its addresses")
	}
	source, destination, ports := b[:size], b[size:2*size], b[2*size:need]
	if family == familyUnix {
		h.Source, h.Destination = unixAddr(source), unixAddr(destination)
		return b[need:], nil
	}
	from, _ := netip.AddrFromSlice(source)
	to, _ := netip.AddrFromSlice(destination)
	h.Source = tcpAddr(from, binary.BigEndian.Uint16(ports))
	h.Destination = tcpAddr(to, binary.BigEndian.Uint16(ports[2:]))
	return b[need:], nil
}

func unixAddr(b []byte) net.Addr {
	return &net.UnixAddr{Name: strings.TrimRight(string(b), "\x00"), Net: "unix"}
}

// fields reads the type-length-value fields that end the header: a checksum is checked, the name in a verified client
// certificate is kept, others are passed over.
func (h *Header) fields(header, b []byte) error {
	for len(b) > 0 {
		kind, value, rest, ok := field(b)
		if !ok {
			return errors.New("proxyproto: malformed field")
		}
		b = rest
		switch {
		case kind == tlvCRC32C && len(value) == 4:
			want := binary.BigEndian.Uint32(value)
			clear(value) // it counts as zero
			if crc32.Checksum(header, crc32.MakeTable(crc32.Castagnoli)) != want {
				return errors.New("proxyproto: wrong checksum")
			}
		case kind == tlvSSL && len(value) >= sslVerified && binary.BigEndian.Uint32(value[1:]) == 0:
			for sub := value[sslVerified:]; len(sub) > 0; {
				kind, name, rest, ok := field(sub)
				if !ok {
					return errors.New("proxyproto: malformed field")
				}
				if sub = rest; kind == tlvSSLCN {
					h.CommonName = string(name)
				}
			}
		}
	}
	return nil
}

// field takes one field from the front of b.
func field(b []byte) (kind byte, value, rest []byte, ok bool) {
	if len(b) < 3 {
		return 0, nil, nil, false
	}
	n := 3 + int(binary.BigEndian.Uint16(b[1:]))
	if len(b) < n {
		return 0, nil, nil, false
	}
	return b[0], b[3:n], b[n:], true
}

// headerError makes a connection that ends within the header one without a header.
func headerError(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrNoHeader
	}
	return err
}
