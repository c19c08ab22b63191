package amqpbroker

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/script"
)

// manageTester calls the management API of a broker of its own.
type manageTester struct {
	b *Broker
	h http.Handler
}

func newManageTester(t testing.TB, o Options) *manageTester {
	t.Helper()
	if o.Definitions == nil {
		o.Definitions = Guest()
	}
	b := open(t, o)
	return &manageTester{b, b.ManagementHandler(&ManagementOptions{
		NodeName: "node@test",
		Listeners: func() []ManagementListener {
			return []ManagementListener{{"amqp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5672}}}
		},
	})}
}

// do makes a request as user:password from this machine.
func (m *manageTester) do(method, path, user, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/api"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1000"
	if name, password, ok := strings.Cut(user, ":"); ok {
		r.SetBasicAuth(name, password)
	}
	w := httptest.NewRecorder()
	m.h.ServeHTTP(w, r)
	return w
}

// must makes a request of guest that succeeds, and decodes the answer.
func (m *manageTester) must(t testing.TB, method, path, body string, into any) {
	t.Helper()
	w := m.do(method, path, "guest:guest", body)
	if w.Code < 200 || w.Code > 299 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%s %s: %s: %v", method, path, w.Body, err)
		}
	}
}

// vary is what is another at each run.
var vary = regexp.MustCompile(`"(password_hash|idle_since)":"[^"]+"`)

// The scripts are requests with what RabbitMQ 3.10 answers, but for its slips.
func TestManage(t *testing.T) {
	script.Run(t, "testdata/manage/*.txt", func(t *testing.T) func(*script.Command) string {
		m := newManageTester(t, Options{})
		return func(c *script.Command) string {
			w := m.do(c.Name, c.String("path", ""), c.String("user", "guest:guest"), c.Input)
			out := fmt.Sprintln(w.Code)
			if at := w.Header().Get("Location"); at != "" {
				out += "Location: " + at + "\n"
			}
			return out + vary.ReplaceAllString(strings.ReplaceAll(w.Body.String(), "},{", "},\n {"), `"$1":"…"`)
		}
	})
}
