package amqpclient091

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// The examples of appendix A of RabbitMQ's URI specification, and more. A dash is an absent component.
func TestParseURI(t *testing.T) {
	for _, test := range []struct {
		uri                         string
		user, password, host, vhost string
		port                        uint16
		address                     string
	}{
		{"amqp://user:pass@host:10000/vhost", "user", "pass", "host", "vhost", 10000, "host:10000"},
		{"amqp://user%61:%61pass@ho%61st:10000/v%2fhost", "usera", "apass", "hoast", "v/host", 10000, "hoast:10000"},
		{"amqp://", "-", "-", "", "-", 0, "localhost:5672"},
		{"amqp://:@/", "", "", "", "", 0, "localhost:5672"},
		{"amqp://user@", "user", "-", "", "-", 0, "localhost:5672"},
		{"amqp://user:pass@", "user", "pass", "", "-", 0, "localhost:5672"},
		{"amqp://host", "-", "-", "host", "-", 0, "host:5672"},
		{"amqp://:10000", "-", "-", "", "-", 10000, "localhost:10000"},
		{"amqp:///vhost", "-", "-", "", "vhost", 0, "localhost:5672"},
		{"amqp://host/", "-", "-", "host", "", 0, "host:5672"},
		{"amqp://host/%2f", "-", "-", "host", "/", 0, "host:5672"},
		{"amqp://[::1]", "-", "-", "::1", "-", 0, "[::1]:5672"},

		{"AMQPS://u:p%40:x@h", "u", "p@:x", "h", "-", 0, "h:5671"},
		{"amqp://u:p@w@h", "u", "p@w", "h", "-", 0, "h:5672"},
		{"amqp://[fe80::1%25en0]:1/%2Fslash%2F", "-", "-", "fe80::1%en0", "/slash/", 1, "[fe80::1%en0]:1"},
		{"amqps://host?heartbeat=5", "-", "-", "host", "-", 0, "host:5671"},
		{"amqp://host:/v+w", "-", "-", "host", "v+w", 0, "host:5672"},
	} {
		u, err := ParseURI(test.uri)
		if err != nil {
			t.Error(err)
			continue
		}
		show := func(s *string) string {
			if s == nil {
				return "-"
			}
			return *s
		}
		if show(u.Username) != test.user || show(u.Password) != test.password || u.Host != test.host || show(u.VirtualHost) != test.vhost ||
			u.Port != test.port || u.address() != test.address {
			t.Errorf("%s: %q %q %q %q %d %s", test.uri, show(u.Username), show(u.Password), u.Host, show(u.VirtualHost), u.Port, u.address())
		}
		if test.password != "-" && test.password != "" && strings.Contains(u.String(), test.password) {
			t.Errorf("%s shows the password: %s", test.uri, u)
		}
		v, err := ParseURI(u.url().String()) // the URL says the same
		if err != nil || show(v.Password) != show(u.Password) || show(v.VirtualHost) != show(u.VirtualHost) || v.address() != u.address() {
			t.Errorf("%s: as a URL it is %s: %v", test.uri, u.url(), err)
		}
	}
}

func TestURIParameters(t *testing.T) {
	u, err := ParseURI("amqps://h?heartbeat=5&connection_timeout=10000&channel_max=100&frame_max=8192" +
		"&auth_mechanism=external&auth_mechanism=amqp_auth_mechanisms:plain&cacertfile=%2Fa%20b&certfile=c&keyfile=k" +
		"&verify=verify_none&server_name_indication=other&fail_if_no_peer_cert=true&x=y")
	if err != nil {
		t.Fatal(err)
	}
	if u.Heartbeat != 5*time.Second || u.ConnectTimeout != 10*time.Second || u.ChannelMax != 100 || u.FrameMax != 8192 ||
		!slices.Equal(u.Mechanisms, []string{"EXTERNAL", "PLAIN"}) || u.CACertFile != "/a b" || u.CertFile != "c" || u.KeyFile != "k" ||
		!u.VerifyNone || u.ServerName != "other" || !slices.Equal(u.Ignored, []string{"fail_if_no_peer_cert", "x"}) {
		t.Fatalf("%+v", u)
	}
	u, err = ParseURI("amqp://h?heartbeat=0&connection_timeout=infinity&server_name_indication=disable")
	if err != nil || u.Heartbeat >= 0 || u.ConnectTimeout >= 0 || !u.NoServerName {
		t.Fatalf("%+v %v", u, err)
	}
}

func TestURIErrors(t *testing.T) {
	for _, s := range []string{
		"", "host", "://host", "amqp:host", "amqp://host/a/b", "amqp://host:port", "amqp://host:0", "amqp://host:65536",
		"amqp://[::1", "amqp://[::1]x", "amqp://::1", "amqp://u%zz:secret@h", "amqp://u:secret%zz@h", "amqp://u:secret@h/%2",
		"amqp://u:secret@h#fragment", "amqp://h?heartbeat=x", "amqp://h?heartbeat=70000", "amqp://h?heartbeat=-1",
		"amqp://h?auth_mechanism=magic", "amqp://h?verify=maybe", "amqp://h?certfile=c", "amqp://h?password=p", "amqp://h?x=%zz",
		"amqp://h?server_name_indication=a&server_name_indication=disable",
	} {
		_, err := ParseURI(s)
		if err == nil {
			t.Errorf("%q is no error", s)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q shows the password: %v", s, err)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	for _, s := range []string{"amqp://user:pass@host:10000/vhost?heartbeat=5", "amqps://[::1]/%2f", "amqp://:@/?x=y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil {
			return
		}
		_ = u.String()
		v, err := ParseURI(u.url().String())
		if err != nil {
			return // a host that a URL cannot have
		}
		if v.address() != u.address() && !strings.ContainsAny(u.Host, "%[]/?#@:") {
			t.Errorf("%q: %s, %s", s, u.address(), v.address())
		}
	})
}

func TestOptions(t *testing.T) {
	for _, o := range []*Options{
		{Servers: []string{"mqtt://h"}},
		{Servers: []string{"amqp://h/a/b"}},
		{Servers: []string{"amqps://h?cacertfile=/no/such/file"}},
		{Mechanisms: []string{"MAGIC"}},
		{Publish: &ChannelOptions{Mode: Transactions}},
		{Properties: amqp091.Table{{Key: "bad", Value: make(chan int)}}},
	} {
		if c, err := New(o); err == nil {
			c.Close()
			t.Errorf("%+v is no error", o)
		}
	}
}
