package amqpclient091

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/internal/sasl"
)

// URI is an AMQP URI, as RabbitMQ's URI specification defines it:
//
//	amqp://user:password@host:port/vhost?parameters
//
// Host, port, user, password and virtual host may be absent, and percent-encoded. The virtual host is one segment: a
// slash in it is %2f, so that amqp://host/%2f is the virtual host "/". An absent one is "/", too, and so is the empty one
// of amqp://host/, since no server has a virtual host without a name.
//
// The parameters are those of RabbitMQ: heartbeat (seconds), connection_timeout (milliseconds), channel_max, frame_max,
// auth_mechanism (plain, amqplain or external; may come several times), and with amqps cacertfile, certfile, keyfile
// (PEM files), verify (verify_peer, which is the default here, or verify_none) and server_name_indication (a name, or
// disable). Others are ignored, as RabbitMQ does, and are in Ignored.
type URI struct {
	Scheme string // as it was, in lower case
	// Username and Password are nil when they are absent, which an empty one is not.
	Username, Password *string
	Host               string // empty: absent
	Port               uint16 // 0: absent
	// VirtualHost is nil when it is absent.
	VirtualHost *string

	Heartbeat      time.Duration // 0: absent; negative: heartbeat=0, which is off
	ConnectTimeout time.Duration // 0: absent; negative: connection_timeout=0 or infinity, which is off
	ChannelMax     uint16        // 0: absent
	FrameMax       uint32        // 0: absent
	Mechanisms     []string      // in upper case

	CACertFile, CertFile, KeyFile string
	VerifyNone                    bool
	ServerName                    string // server_name_indication
	NoServerName                  bool   // server_name_indication=disable

	Ignored []string // names of parameters that have no meaning here

	path, query string
}

// ParseURI parses a URI. Any scheme will do. The error does not show the password.
func ParseURI(s string) (*URI, error) {
	u := new(URI)
	if err := u.parse(s); err != nil {
		return nil, fmt.Errorf("amqpclient091: URI %s: %w", redactURI(s), err)
	}
	return u, nil
}

func (u *URI) parse(s string) error {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" {
		return errors.New("no scheme")
	}
	u.Scheme = strings.ToLower(scheme)
	if strings.Contains(rest, "#") {
		return errors.New("a fragment has no meaning; encode # as %23")
	}
	rest, u.query, _ = strings.Cut(rest, "?")
	authority, path, hasPath := strings.Cut(rest, "/")
	if err := u.parseAuthority(authority); err != nil {
		return err
	}
	if hasPath {
		if strings.Contains(path, "/") {
			return errors.New("the virtual host is a single segment; encode / as %2f")
		}
		u.path = "/" + path
		vhost, err := url.PathUnescape(path)
		if err != nil {
			return err
		}
		u.VirtualHost = &vhost
	}
	return u.parseQuery()
}

func (u *URI) parseAuthority(authority string) error {
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, password, hasPassword := strings.Cut(authority[:i], ":")
		authority = authority[i+1:]
		user, err := url.PathUnescape(user)
		if err != nil {
			return errors.New("the user name is not encoded as it should be")
		}
		u.Username = &user
		if hasPassword {
			password, err = url.PathUnescape(password)
			if err != nil {
				return errors.New("the password is not encoded as it should be")
			}
			u.Password = &password
		}
	}
	host, port, err := splitHostPort(authority)
	if err != nil {
		return err
	}
	if u.Host, err = url.PathUnescape(host); err != nil {
		return err
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("port %q", port)
		}
		u.Port = uint16(n)
	}
	return nil
}

// splitHostPort splits an authority; both may be empty.
func splitHostPort(s string) (host, port string, err error) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", errors.New("missing ] in the host")
		}
		host, rest := s[1:end], s[end+1:]
		if rest != "" && rest[0] != ':' {
			return "", "", errors.New("only a port may follow ]")
		}
		return host, strings.TrimPrefix(rest, ":"), nil
	}
	host, port, _ = strings.Cut(s, ":")
	if strings.Contains(port, ":") {
		return "", "", errors.New("an IPv6 address belongs in brackets")
	}
	return host, port, nil
}

func (u *URI) parseQuery() error {
	for _, p := range strings.FieldsFunc(u.query, func(r rune) bool { return r == '&' || r == ';' }) {
		key, value, _ := strings.Cut(p, "=")
		key, err := url.QueryUnescape(key)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return err
		}
		if err := u.parameter(key, value); err != nil {
			return fmt.Errorf("parameter %s: %w", key, err)
		}
	}
	if u.NoServerName && u.ServerName != "" {
		return errors.New("server_name_indication comes twice")
	}
	if (u.CertFile == "") != (u.KeyFile == "") {
		return errors.New("certfile and keyfile belong together")
	}
	return nil
}

// parameter takes a query parameter.
func (u *URI) parameter(key, value string) (err error) {
	switch key {
	case "heartbeat":
		return u.number(value, 0xFFFF, func(n uint64) { u.Heartbeat = offWhenZero(n, time.Second) })
	case "connection_timeout":
		if value == "infinity" {
			value = "0"
		}
		return u.number(value, 1<<40, func(n uint64) { u.ConnectTimeout = offWhenZero(n, time.Millisecond) })
	case "channel_max":
		return u.number(value, 0xFFFF, func(n uint64) { u.ChannelMax = uint16(n) })
	case "frame_max":
		return u.number(value, 0xFFFFFFFF, func(n uint64) { u.FrameMax = uint32(n) })
	case "auth_mechanism":
		m := strings.ToUpper(strings.TrimPrefix(value, "amqp_auth_mechanisms:"))
		switch m {
		case sasl.Plain, sasl.AMQPlain, sasl.External:
		default:
			return fmt.Errorf("unknown mechanism %q", value)
		}
		u.Mechanisms = append(u.Mechanisms, m)
	case "cacertfile":
		u.CACertFile = value
	case "certfile":
		u.CertFile = value
	case "keyfile":
		u.KeyFile = value
	case "password":
		return errors.New("keys that are encrypted are not supported")
	case "verify":
		switch value {
		case "verify_peer":
			u.VerifyNone = false
		case "verify_none":
			u.VerifyNone = true
		default:
			return fmt.Errorf("%q is neither verify_peer nor verify_none", value)
		}
	case "server_name_indication":
		if u.NoServerName = value == "disable"; !u.NoServerName {
			u.ServerName = value
		}
	default:
		u.Ignored = append(u.Ignored, key)
	}
	return nil
}

func (u *URI) number(value string, most uint64, set func(uint64)) error {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n > most {
		return fmt.Errorf("%q is not a number up to %d", value, most)
	}
	set(n)
	return nil
}

func offWhenZero(n uint64, unit time.Duration) time.Duration {
	if n == 0 {
		return -1
	}
	return time.Duration(n) * unit
}

// String returns the URI without the password.
func (u *URI) String() string { return u.url().Redacted() }

// url returns the URI as a URL, for dialers.
func (u *URI) url() *url.URL {
	host := orDefault(u.Host, "localhost")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if u.Port != 0 {
		host += ":" + strconv.Itoa(int(u.Port))
	}
	v := &url.URL{Scheme: u.Scheme, Host: host, RawQuery: u.query}
	if u.VirtualHost != nil {
		v.Path, v.RawPath = "/"+*u.VirtualHost, u.path
	}
	switch {
	case u.Password != nil:
		v.User = url.UserPassword(*u.Username, *u.Password)
	case u.Username != nil:
		v.User = url.User(*u.Username)
	}
	return v
}

// address returns host and port with their defaults.
func (u *URI) address() string {
	port := int(u.Port)
	switch {
	case port != 0:
	case u.Scheme == schemeTLS:
		port = 5671
	default:
		port = 5672
	}
	return net.JoinHostPort(orDefault(u.Host, "localhost"), strconv.Itoa(port))
}

// redactURI hides the password of something that may not be a URI.
func redactURI(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return strconv.Quote(s)
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return s
	}
	user, _, hasPassword := strings.Cut(rest[:at], ":")
	if hasPassword {
		user += ":xxxxx"
	}
	return scheme + "://" + user + rest[at:]
}
