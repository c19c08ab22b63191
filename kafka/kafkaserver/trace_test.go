package kafkaserver_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var log []string
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, fmt.Sprintf(format, args...))
		}
		_, l := serve(t, newUsers(), &kafkaserver.Options{Trace: &kafkaserver.Trace{
			Open:          func(*kafkaserver.Conn) { note("open") },
			Authenticated: func(_ *kafkaserver.Conn, p kafkaserver.Principal) { note("authenticated %v", p) },
			Refused:       func(_ *kafkaserver.Conn, err error) { note("refused %v", err) },
			Closed:        func(_ *kafkaserver.Conn, err error) { note("closed %v", err) },
			Request:       func(r *kafkaserver.Request) { note("< %v %d %q %d", r.Key, r.Version, r.ClientID, r.Size()) },
			Response:      func(r *kafkaserver.Request, size int) { note("> %v %d", r.Key, size) },
		}})
		p := dial(t, l)
		p.exchange("PLAIN", "secret")
		p.beat()
		p.nc.Close()
		synctest.Wait()
		p = dial(t, l)
		p.exchange("PLAIN", "wrong")
		p.ended()
		p.send(&kafkawire.HeartbeatRequest{}, 0)
		p.nc.Close()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		want := []string{
			"open", `< SASLHandshake 1 "test" 25`, "> SASLHandshake 51", `< SASLAuthenticate 2 "test" 34`, "authenticated User:alice",
			"> SASLAuthenticate 22", `< Heartbeat 4 "test" 27`, "> Heartbeat 16", "closed <nil>",
			"open", `< SASLHandshake 1 "test" 25`, "> SASLHandshake 51", `< SASLAuthenticate 2 "test" 33`, "> SASLAuthenticate 43",
			"refused the test says no", "closed kafkaserver: the client has not authenticated: the test says no (use of closed network connection)",
		}
		if !slices.Equal(log, want) {
			t.Errorf("%q", log)
		}
	})
}
