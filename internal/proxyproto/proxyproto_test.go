package proxyproto_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/proxyproto"
)

// v2 builds a header of version 2.
func v2(command, family byte, parts ...string) string {
	body := strings.Join(parts, "")
	b := []byte("\r\n\r\n\x00\r\nQUIT\n")
	b = append(b, command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(b) + body
}

// tlv builds a field.
func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// checksummed appends a checksum field, plus delta, to a header built without one.
func checksummed(header string, delta uint32) string {
	b := []byte(header + tlv(3, "\x00\x00\x00\x00"))
	binary.BigEndian.PutUint16(b[14:], uint16(len(b)-16))
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[len(b)-4:], sum+delta)
	return string(b)
}

func unixPath(path string) string { return path + strings.Repeat("\x00", 108-len(path)) }

const tcp4 = "\x0a\x00\x00\x01\xc0\x00\x02\x07\x30\x39\x07\x5b" // 10.0.0.1:12345 to 192.0.2.7:1883

var tcp6 = string(netip.MustParseAddr("2001:db8::1").AsSlice()) + string(netip.MustParseAddr("2001:db8::2").AsSlice()) + "\x30\x39\x07\x5b"

var valid = []struct {
	name, header, source, destination, commonName string
}{
	{"v1 tcp4", "PROXY TCP4 10.0.0.1 192.0.2.7 12345 1883\r\n", "10.0.0.1:12345", "192.0.2.7:1883", ""},
	{"v1 tcp6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 1883\r\n", "[2001:db8::1]:12345", "[2001:db8::2]:1883", ""},
	{"v1 unknown", "PROXY UNKNOWN\r\n", "", "", ""},
	{"v1 unknown with text", "PROXY UNKNOWN ffff::1 ffff::2 1 2 and so on\r\n", "", "", ""},
	{"v1 longest", "PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", "", "", ""},
	{"v2 tcp4", v2(0x21, 0x11, tcp4), "10.0.0.1:12345", "192.0.2.7:1883", ""},
	{"v2 tcp6", v2(0x21, 0x21, tcp6), "[2001:db8::1]:12345", "[2001:db8::2]:1883", ""},
	{"v2 unix", v2(0x21, 0x31, unixPath("/run/a"), unixPath("/run/b")), "/run/a", "/run/b", ""},
	{"v2 local", v2(0x20, 0x00), "", "", ""},
	{"v2 local with addresses", v2(0x20, 0x11, tcp4), "", "", ""},
	{"v2 unspecified", v2(0x21, 0x00, "whatever"), "", "", ""},
	{"v2 fields", v2(0x21, 0x11, tcp4, tlv(1, "mqtt"), tlv(4, "\x00\x00"), tlv(0xea, "")), "10.0.0.1:12345", "192.0.2.7:1883", ""},
	{"v2 verified certificate", v2(0x21, 0x11, tcp4, tlv(0x20, "\x07\x00\x00\x00\x00"+tlv(0x21, "TLSv1.3")+tlv(0x22, "device-7"))),
		"10.0.0.1:12345", "192.0.2.7:1883", "device-7"},
	{"v2 certificate not verified", v2(0x21, 0x11, tcp4, tlv(0x20, "\x07\x00\x00\x00\x01"+tlv(0x22, "device-7"))),
		"10.0.0.1:12345", "192.0.2.7:1883", ""},
	{"v2 checksum", checksummed(v2(0x21, 0x11, tcp4), 0), "10.0.0.1:12345", "192.0.2.7:1883", ""},
}

var invalid = []struct{ name, header string }{
	{"nothing", ""},
	{"mqtt", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"},
	{"http", "GET / HTTP/1.1\r\n\r\n"},
	{"v1 cut", "PROXY TCP4 10.0.0.1 192.0.2.7 12345 18"},
	{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n"},
	{"v1 no CR", "PROXY TCP4 10.0.0.1 192.0.2.7 12345 1883\n"},
	{"v1 protocol", "PROXY UDP4 10.0.0.1 192.0.2.7 12345 1883\r\n"},
	{"v1 family", "PROXY TCP4 2001:db8::1 2001:db8::2 12345 1883\r\n"},
	{"v1 family 6", "PROXY TCP6 10.0.0.1 192.0.2.7 12345 1883\r\n"},
	{"v1 zone", "PROXY TCP6 fe80::1%eth0 fe80::2 12345 1883\r\n"},
	{"v1 leading zero in port", "PROXY TCP4 10.0.0.1 192.0.2.7 012345 1883\r\n"},
	{"v1 leading zero in address", "PROXY TCP4 10.0.0.01 192.0.2.7 12345 1883\r\n"},
	{"v1 large port", "PROXY TCP4 10.0.0.1 192.0.2.7 65536 1883\r\n"},
	{"v1 two spaces", "PROXY TCP4  10.0.0.1 192.0.2.7 12345 1883\r\n"},
	{"v1 field missing", "PROXY TCP4 10.0.0.1 192.0.2.7 12345\r\n"},
	{"v2 cut in addresses", v2(0x21, 0x11, tcp4)[:20]},
	{"v2 cut in signature", v2(0x21, 0x11, tcp4)[:10]},
	{"v2 version", v2(0x11, 0x11, tcp4)},
	{"v2 command", v2(0x22, 0x11, tcp4)},
	{"v2 family", v2(0x21, 0x41, tcp4)},
	{"v2 datagrams", v2(0x21, 0x12, tcp4)},
	{"v2 short addresses", v2(0x21, 0x11, tcp4[:11])},
	{"v2 short unix", v2(0x21, 0x31, unixPath("a"))},
	{"v2 too large", v2(0x21, 0x11, tcp4, strings.Repeat("x", 5000))},
	{"v2 field cut", v2(0x21, 0x11, tcp4, "\x01\x00\x05abc")},
	{"v2 field in certificate cut", v2(0x21, 0x11, tcp4, tlv(0x20, "\x07\x00\x00\x00\x00\x22\x00"))},
	{"v2 wrong checksum", checksummed(v2(0x21, 0x11, tcp4), 1)},
}

func text(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

func TestReadHeader(t *testing.T) {
	for _, tt := range valid {
		t.Run(tt.name, func(t *testing.T) {
			r := strings.NewReader(tt.header + "rest")
			h, err := proxyproto.ReadHeader(iotest.OneByteReader(r))
			if err != nil {
				t.Fatal(err)
			}
			if text(h.Source) != tt.source || text(h.Destination) != tt.destination || h.CommonName != tt.commonName {
				t.Errorf("got %+v", h)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "rest" {
				t.Errorf("left %q", rest)
			}
		})
	}
	for _, tt := range invalid {
		t.Run(tt.name, func(t *testing.T) {
			if h, err := proxyproto.ReadHeader(strings.NewReader(tt.header)); err == nil {
				t.Errorf("got %+v", h)
			}
		})
	}
}

func TestWrap(t *testing.T) {
	client, server := memnet.Pipe()
	defer client.Close()
	io.WriteString(client, "PROXY TCP4 10.0.0.1 192.0.2.7 12345 1883\r\n\x10\x00")
	c, err := proxyproto.Wrap(server, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.RemoteAddr().String() != "10.0.0.1:12345" || c.LocalAddr().String() != "192.0.2.7:1883" {
		t.Errorf("addresses %v, %v", c.RemoteAddr(), c.LocalAddr())
	}
	if _, ok := c.(syscall.Conn); ok {
		t.Error("a conn in memory became a syscall.Conn")
	}
	got := make([]byte, 2)
	if io.ReadFull(c, got); got[0] != 0x10 {
		t.Errorf("read % x after the header", got)
	}
}

func TestWrapLocalKeepsAddresses(t *testing.T) {
	client, server := memnet.Pipe()
	defer client.Close()
	io.WriteString(client, v2(0x20, 0))
	c, err := proxyproto.Wrap(server, nil)
	if err != nil || c.RemoteAddr() != client.LocalAddr() || c.LocalAddr() != client.RemoteAddr() {
		t.Fatalf("%v, %v", c, err)
	}
	if h := c.(interface{ Header() *proxyproto.Header }).Header(); h.Version != 2 {
		t.Errorf("header %+v", h)
	}
}

func TestWrapRefusesOthers(t *testing.T) {
	client, server := memnet.Pipe()
	defer client.Close()
	client.Write([]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\xc0"))
	if _, err := proxyproto.Wrap(server, nil); !errors.Is(err, proxyproto.ErrNoHeader) {
		t.Fatalf("got %v", err)
	}
}

func TestWrapTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := memnet.Pipe()
		defer client.Close()
		start := time.Now()
		io.WriteString(client, "PROXY ")
		_, err := proxyproto.Wrap(server, nil)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != proxyproto.DefaultTimeout {
			t.Fatalf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestWrapTrustsOnlyProxies(t *testing.T) {
	for prefix, ok := range map[string]bool{"192.0.2.0/24": true, "198.51.100.0/24": false} {
		client, server := memnet.Pipe() // the client is 192.0.2.1
		defer client.Close()
		io.WriteString(client, "PROXY UNKNOWN\r\n")
		_, err := proxyproto.Wrap(server, &proxyproto.Options{From: []netip.Prefix{netip.MustParsePrefix(prefix)}})
		if (err == nil) != ok {
			t.Errorf("%s: %v", prefix, err)
		}
	}
}

// syscallConn is a conn that claims to have a descriptor.
type syscallConn struct{ net.Conn }

func (syscallConn) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }

func TestWrapKeepsSyscallConn(t *testing.T) {
	client, server := memnet.Pipe()
	defer client.Close()
	io.WriteString(client, "PROXY UNKNOWN\r\n")
	c, err := proxyproto.Wrap(syscallConn{server}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if sc, ok := c.(syscall.Conn); !ok {
		t.Error("not a syscall.Conn any more")
	} else if _, err := sc.SyscallConn(); err != errors.ErrUnsupported {
		t.Errorf("another SyscallConn: %v", err)
	}
}

func FuzzReadHeader(f *testing.F) {
	for _, tt := range valid {
		f.Add([]byte(tt.header))
	}
	for _, tt := range invalid {
		f.Add([]byte(tt.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		h, err := proxyproto.ReadHeader(r)
		if err != nil {
			return
		}
		if (h.Source == nil) != (h.Destination == nil) {
			t.Fatalf("half an address: %+v", h)
		}
		used := len(b) - r.Len()
		if again, err := proxyproto.ReadHeader(bytes.NewReader(b[:used])); err != nil || text(again.Source) != text(h.Source) {
			t.Fatalf("its own %d bytes alone give %+v, %v", used, again, err)
		}
	})
}
