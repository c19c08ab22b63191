package mqttbroker

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

func TestCertificates(t *testing.T) {
	uri, _ := url.Parse("spiffe://example.org/device")
	for _, c := range []struct {
		cert      *x509.Certificate
		name, alt string
	}{
		{nil, "", ""},
		{&x509.Certificate{}, "", ""},
		{&x509.Certificate{Subject: pkix.Name{CommonName: "device"}}, "device", ""},
		{&x509.Certificate{DNSNames: []string{"a.example", "b.example"}, EmailAddresses: []string{"x@y"}}, "", "a.example"},
		{&x509.Certificate{EmailAddresses: []string{"x@y"}}, "", "x@y"},
		{&x509.Certificate{URIs: []*url.URL{uri}}, "", "spiffe://example.org/device"},
	} {
		name, err := CertificateName(t.Context(), &Login{Certificate: c.cert})
		if name != c.name || (err == nil) != (c.name != "") {
			t.Errorf("name %q, %v", name, err)
		}
		alt, err := CertificateAltName(t.Context(), &Login{Certificate: c.cert})
		if alt != c.alt || (err == nil) != (c.alt != "") {
			t.Errorf("alternative name %q, %v", alt, err)
		}
	}
}

func TestChain(t *testing.T) {
	refuse := errors.New("no")
	as := func(user string, err error) Authenticator {
		return func(context.Context, *Login) (string, error) { return user, err }
	}
	for _, c := range []struct {
		chain Authenticator
		user  string
		err   error
	}{
		{Chain(), "", ErrNoOpinion},
		{Chain(as("", ErrNoOpinion), as("a", nil), as("b", nil)), "a", nil},
		{Chain(as("", refuse), as("b", nil)), "", refuse},
		{Chain(as("", ErrNoOpinion)), "", ErrNoOpinion},
	} {
		if user, err := c.chain(t.Context(), &Login{}); user != c.user || !errors.Is(err, c.err) {
			t.Errorf("%q, %v", user, err)
		}
	}
}

// ticket is an enhanced authentication of one step.
type ticket struct{ user string }

func (x *ticket) Step(_ context.Context, data []byte) ([]byte, bool, error) {
	if string(data) != "open sesame" {
		return nil, false, &mqtt.Error{Code: mqtt.ReasonNotAuthorized}
	}
	x.user = "ali"
	return []byte("welcome"), true, nil
}

func (x *ticket) User() string { return x.user }

func TestEnhancedAuthentication(t *testing.T) {
	opts := &Options{
		Authenticate: func(context.Context, *Login) (string, error) { return "", ErrNoOpinion },
		Exchange: func(_ context.Context, _ *mqttserver.Conn, method string) (mqttserver.AuthExchange, error) {
			if method != "ticket" {
				return nil, &mqtt.Error{Code: mqtt.ReasonBadAuthenticationMethod}
			}
			return new(ticket), nil
		},
	}
	with := func(method, data string) func(*mqtt.Connect) {
		return func(c *mqtt.Connect) {
			c.Properties = c.Properties.AppendString(mqtt.PropAuthenticationMethod, method).
				AppendBytes(mqtt.PropAuthenticationData, []byte(data))
		}
	}
	run(t, "MQTT-4.12.0-5", opts, func(w *world) {
		s := w.connect("s", with("ticket", "open sesame"))
		if d, _ := w.Session("s"); d.User != "ali" {
			t.Errorf("user %q", d.User)
		}
		if text, _ := s.ack.Properties.String(mqtt.PropAuthenticationMethod); text != "ticket" {
			t.Errorf("got %v", s.ack)
		}
		if r := w.refused(mqtt.Version5, "x", with("ticket", "open")); r != mqtt.ReasonNotAuthorized {
			t.Error(r)
		}
	})
	run(t, "MQTT-4.12.0-1", opts, func(w *world) {
		if r := w.refused(mqtt.Version5, "x", with("magic", "")); r != mqtt.ReasonBadAuthenticationMethod {
			t.Error(r)
		}
	})
	run(t, "no method", nil, func(w *world) {
		if r := w.refused(mqtt.Version5, "x", with("magic", "")); r != mqtt.ReasonBadAuthenticationMethod {
			t.Error(r)
		}
	})
}
