package mqttbroker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// SCRAMOptions are the options of [SCRAM]. It copies them.
type SCRAMOptions struct {
	// Lookup returns what is kept of a user's password for a method, which comes without -PLUS; [SCRAMFile.Lookup] is one.
	// It may be called from many goroutines at a time and may block; ctx ends with the connect timeout. An error refuses
	// the client as one of an [Authenticator] does. Nil knows nobody.
	//
	// A credential without StoredKey, such as the zero value, is that of a user who does not exist. The client cannot tell
	// that from a wrong password as long as the iterations that it is told, and the size of the salt, are those of others:
	// they are the Iterations and the length of the Salt that Lookup returns, by default those of [NewSCRAMCredential].
	Lookup func(ctx context.Context, method, user string) (SCRAMCredential, error)

	// Methods are the methods that are offered. Default SCRAM-SHA-256 and SCRAM-SHA-512. SCRAM-SHA-1, and those with
	// channel binding (tls-exporter, RFC 9266), which end with -PLUS and need TLS 1.3, are there only when named. Names
	// that are none of these do not count.
	Methods []string

	// Secret is what the salts of users who do not exist are made of. Brokers that share users should share it, so that
	// all say the same. Default a random one.
	Secret []byte
}

// SCRAM returns the function of [Options].Exchange that offers SCRAM (RFC 5802, RFC 7677) as enhanced authentication
// (section 4.12). The user's name is then [Client].User. It is safe for concurrent use, and so is what it returns.
//
// Clients are refused with ReasonBadAuthenticationMethod when the method is not offered, with ReasonProtocolError when
// the authentication data are not messages of SCRAM, otherwise with ReasonNotAuthorized; the reason string is then the
// error of RFC 5802, such as "invalid-proof". A re-authentication (section 4.12.1) as another user is refused, too. User
// names and passwords are those of SASLprep (RFC 4013) that it leaves unchanged: printable ASCII, and composed letters of
// the Latin, Greek, Cyrillic, Kana, Han and Hangul scripts.
//
// Several kinds of exchange are combined by a function that looks at the method and calls one or the other.
func SCRAM(o *SCRAMOptions) func(ctx context.Context, c *mqttserver.Conn, method string) (mqttserver.AuthExchange, error) {
	s := new(scram)
	if o != nil {
		s.lookup = o.Lookup
		s.methods = slices.Clone(o.Methods)
		s.secret = o.Secret
	}
	if s.methods == nil {
		s.methods = []string{sasl.SCRAMSHA256, sasl.SCRAMSHA512}
	}
	s.plus = slices.ContainsFunc(s.methods, func(m string) bool { return strings.HasSuffix(m, "-PLUS") })
	if len(s.secret) == 0 {
		s.secret = make([]byte, sha256.Size)
		rand.Read(s.secret)
	}
	sum := sha256.Sum256(s.secret)
	s.secret = sum[:]
	return s.begin
}

// scram is what the exchanges share. It does not change.
type scram struct {
	lookup  func(ctx context.Context, method, user string) (SCRAMCredential, error)
	methods []string
	plus    bool // one of them has channel binding
	secret  []byte
}

// begin begins an exchange.
func (s *scram) begin(_ context.Context, c *mqttserver.Conn, method string) (mqttserver.AuthExchange, error) {
	refused := &mqtt.Error{Code: mqtt.ReasonBadAuthenticationMethod}
	if !slices.Contains(s.methods, method) || !sasl.IsSCRAM(method) {
		return nil, refused
	}
	base := strings.TrimSuffix(method, "-PLUS")
	o := &sasl.SCRAMServerOptions{Mechanism: method, Secret: s.secret}
	o.Lookup = func(ctx context.Context, user string) (sasl.Credential, error) {
		if s.lookup == nil {
			return sasl.Credential{}, nil
		}
		credential, err := s.lookup(ctx, base, user)
		return credential.sasl(), err
	}
	if s.plus {
		if b, err := sasl.TLSExporter(c.TLS()); err == nil {
			o.Bindings = []sasl.ChannelBinding{*b}
		}
	}
	server, err := sasl.NewSCRAMServer(o)
	if err != nil {
		refused.Err = err // channel binding without TLS 1.3
		return nil, refused
	}
	x := &scramExchange{server: server}
	if first := c.Auth(); first != nil {
		x.again = true
		if named, ok := first.(interface{ User() string }); ok {
			x.before = named.User()
		}
	}
	return x, nil
}

// scramExchange is an exchange, of one connection's goroutine.
type scramExchange struct {
	server *sasl.SCRAMServer
	again  bool   // a re-authentication
	before string // the user before it
}

// User returns the name of the user who was authenticated.
func (x *scramExchange) User() string { return x.server.User() }

// Step implements [mqttserver.AuthExchange].
func (x *scramExchange) Step(ctx context.Context, data []byte) (out []byte, done bool, err error) {
	out, done, err = x.server.Step(ctx, data)
	if err != nil {
		return nil, false, scramError(err, out)
	}
	if done && x.again && x.User() != x.before {
		return nil, false, &mqtt.Error{Code: mqtt.ReasonNotAuthorized, Reason: "re-authentication as another user"}
	}
	return out, done, nil
}

// scramError chooses the reason code; message is what the mechanism would tell the client.
func scramError(err error, message []byte) error {
	e, ok := errors.AsType[*sasl.Error](err)
	if !ok {
		return err // of Lookup
	}
	code := mqtt.ReasonNotAuthorized
	switch e.Code {
	case sasl.CodeInvalidEncoding, sasl.CodeInvalidUsername, sasl.CodeOutOfStep:
		code = mqtt.ReasonProtocolError
	}
	return &mqtt.Error{Code: code, Reason: strings.TrimPrefix(string(message), "e="), Err: err}
}
