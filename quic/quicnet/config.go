package quicnet

import (
	"cmp"
	"crypto/tls"
	"io"
	"log/slog"
	"time"

	"github.com/quic-go/quic-go"
)

// Config is what a Dialer and a Listener have in common. The zero value of each field is the documented default; a
// negative number or duration switches a feature off where that is said. A Config must not be changed once it is in use.
type Config struct {
	// TLS is the configuration of TLS 1.3, which QUIC always uses. A Listener needs one with a certificate; a Dialer
	// verifies the server with it and shows a certificate of its own where the server asks for one. NextProtos is
	// ignored: the names come from Listener.Protocol and from the Dialer's methods. MinVersion is raised to TLS 1.3.
	TLS *tls.Config

	// HandshakeTimeout is how long the peer may be silent before the handshake is complete; the handshake as a whole
	// may take twice as long. On the server it is also how long a client may take to open its first stream. The
	// default is 5 seconds.
	HandshakeTimeout time.Duration

	// IdleTimeout is how long a connection may be silent before it counts as lost. The smaller value of the two peers
	// holds (RFC 9000, section 10.1). The default is 60 seconds.
	IdleTimeout time.Duration

	// KeepAlive is how often a packet is sent on an idle connection. Middleboxes forget UDP bindings after 20 to 30
	// seconds, so more than that is of little use. It is at most half of the idle timeout. The default is 20 seconds;
	// negative is off.
	KeepAlive time.Duration

	// Linger bounds how long a closed connection goes on delivering what was written, see Conn.Close. The default is
	// 10 seconds; negative ends it at once, as Conn.Abort does.
	Linger time.Duration

	// MaxStreams is how many bidirectional streams the peer may have open at a time (RFC 9000, section 4.6). The
	// default is 256; negative allows none, which a Listener treats as one, since a connection is its first stream.
	MaxStreams int

	// MaxUniStreams is how many unidirectional streams the peer may open. Our protocols have none, nobody reads what
	// comes on them, and the default is none: they are for peers that insist on a few, as those of HTTP/3 do.
	MaxUniStreams int

	// StreamWindow and MaxStreamWindow are how many bytes the peer may have under way on one stream: at first, and
	// when the reader keeps up with a fast path. A stalled reader holds up to the first. The defaults are 128 KiB and
	// 2 MiB.
	StreamWindow    int
	MaxStreamWindow int

	// ConnWindow and MaxConnWindow are the same for all streams of a connection together. The defaults are 512 KiB and
	// 6 MiB.
	ConnWindow    int
	MaxConnWindow int

	// NoDatagrams refuses datagrams (RFC 9221). They are allowed by default.
	NoDatagrams bool

	// PacketSize is the size of the first packets, between 1200 and 1452 bytes; path MTU discovery raises it later.
	// The default is 1280, or 1200 where the path takes no more.
	PacketSize int

	// Logger takes what goes wrong and has no caller to return to. Nil is silent.
	Logger *slog.Logger

	// Trace observes connections.
	Trace *Trace

	// Qlog is asked at the start of each connection for a place to write its trace to, in the format of the qlog
	// drafts (JSON text sequences). It may return nil. The writer is closed with the connection. Each packet costs a
	// line of text: for finding faults, not for all connections always.
	Qlog func(QlogInfo) io.WriteCloser
}

// QlogInfo says whose trace is to be written.
type QlogInfo struct {
	// Client says that this side has dialled.
	Client bool

	// ConnectionID is the destination connection id of the client's first packet, in hexadecimal. Both sides of a
	// connection see the same one.
	ConnectionID string
}

func (c *Config) handshakeTimeout() time.Duration {
	return orDefault(c.HandshakeTimeout, 5*time.Second)
}
func (c *Config) idleTimeout() time.Duration { return orDefault(c.IdleTimeout, 60*time.Second) }
func (c *Config) keepAlive() time.Duration   { return max(0, orDefault(c.KeepAlive, 20*time.Second)) }
func (c *Config) linger() time.Duration      { return max(0, orDefault(c.Linger, 10*time.Second)) }
func (c *Config) maxStreams() int            { return orDefault(c.MaxStreams, 256) }

func (c *Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// quic returns the configuration of quic-go. Both roles add to it.
func (c *Config) quic() *quic.Config {
	q := &quic.Config{
		HandshakeIdleTimeout:           c.handshakeTimeout(),
		MaxIdleTimeout:                 c.idleTimeout(),
		KeepAlivePeriod:                c.keepAlive(),
		MaxIncomingStreams:             int64(c.maxStreams()),
		MaxIncomingUniStreams:          cmp.Or(int64(c.MaxUniStreams), -1),
		InitialStreamReceiveWindow:     uint64(orDefault(c.StreamWindow, 128<<10)),
		MaxStreamReceiveWindow:         uint64(orDefault(c.MaxStreamWindow, 2<<20)),
		InitialConnectionReceiveWindow: uint64(orDefault(c.ConnWindow, 512<<10)),
		MaxConnectionReceiveWindow:     uint64(orDefault(c.MaxConnWindow, 6<<20)),
		EnableDatagrams:                !c.NoDatagrams,
		InitialPacketSize:              uint16(c.PacketSize),
	}
	q.MaxStreamReceiveWindow = max(q.MaxStreamReceiveWindow, q.InitialStreamReceiveWindow)
	q.MaxConnectionReceiveWindow = max(q.MaxConnectionReceiveWindow, q.InitialConnectionReceiveWindow)
	q.Tracer = c.tracer()
	return q
}

// check returns an error for values that make no sense.
func (c *Config) check() error {
	if c.PacketSize != 0 && (c.PacketSize < 1200 || c.PacketSize > 1452) {
		return configError("PacketSize is not between 1200 and 1452")
	}
	if c.StreamWindow < 0 || c.MaxStreamWindow < 0 || c.ConnWindow < 0 || c.MaxConnWindow < 0 {
		return configError("a window is negative")
	}
	if c.HandshakeTimeout < 0 || c.IdleTimeout < 0 {
		return configError("a timeout is negative")
	}
	return nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
