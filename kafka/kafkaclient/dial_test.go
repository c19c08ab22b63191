package kafkaclient

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestDialers: a dialer gets the address as the application wrote it, and those of brokers that the cluster names.
func TestDialers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2)
		c.topic("a", 1)
		var mu sync.Mutex
		var dialled []string
		cl := c.client(&Options{Addrs: []string{"kafka+x://broker-0"}, Dialers: map[string]DialFunc{"kafka+x": func(ctx context.Context, u *url.URL) (net.Conn, error) {
			mu.Lock()
			dialled = append(dialled, u.String())
			mu.Unlock()
			host := u.Host
			if u.Port() == "" {
				host += ":9092"
			}
			return c.dial(ctx, "", host)
		}}})
		p := newTestProducer(t, cl, nil)
		if err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(dialled, "kafka+x://broker-0") || !slices.Contains(dialled, "kafka+x://broker-1:9092") {
			t.Errorf("%v", dialled)
		}
		for _, s := range dialled {
			if !strings.HasPrefix(s, "kafka+x://") {
				t.Errorf("dialled %s", s)
			}
		}
	})
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		addrs string
		tls   bool
		want  string // scheme and addresses; empty: refused
	}{
		{"a", false, "kafka a:9092"},
		{"a:1 b", true, "kafkas a:1 b:9092"},
		{"kafka://a:1", true, "kafka a:1"},
		{"kafkas://a kafkas://[::1]:5 kafkas://[::2]", false, "kafkas a:9092 [::1]:5 [::2]:9092"},
		{"[::1]", false, "kafka [::1]:9092"},
		{"own://a own://b:7", false, "own a b:7"},
		{"a kafkas://b", false, ""},
		{"kafka://", false, ""},
		{"kafka://a:1/path", false, ""},
		{"kafka://user@a:1", false, ""},
		{"other://a", false, ""},
		{"::1", false, ""},
		{":9092", false, ""},
	} {
		o := Options{Addrs: strings.Fields(test.addrs), Dialers: map[string]DialFunc{"own": func(context.Context, *url.URL) (net.Conn, error) { return nil, kafkawire.ErrBrokerNotAvailable }}}
		if test.tls {
			o.TLS = new(tls.Config)
		}
		c, err := newConfig(&o)
		got := ""
		if err == nil {
			got = c.scheme + " " + strings.Join(c.addrs, " ")
		}
		if got != test.want {
			t.Errorf("%s: %q, %v", test.addrs, got, err)
		}
	}
}
