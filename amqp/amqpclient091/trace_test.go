package amqpclient091

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func TestTrace(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		var got []string
		tell := func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) }
		c := s.client(&Options{
			VirtualHost: "v", Properties: amqp091.Table{{Key: "version", Value: "1"}}, Name: "n",
			Trace: &Trace{
				MethodSent:     func(ch uint16, m amqp091.Method) { tell("> %d %s", ch, m.ID()) },
				MethodReceived: func(ch uint16, m amqp091.Method) { tell("< %d %s", ch, m.ID()) },
				ChannelClosed:  func(err error) { tell("%v", err) },
				Returned:       func(err *ReturnedError) { tell("%v", err) },
			},
		})
		if i, ok := c.Info(); !ok || i.VirtualHost != "v" {
			t.Fatalf("%+v", i)
		}
		check(t, c.LookupExchange(t.Context(), "amq.direct"))
		if err := c.LookupExchange(t.Context(), "no"); !isCode(err, amqp091.NotFound) {
			t.Fatal(err)
		}
		ch, err := c.Channel(t.Context(), &ChannelOptions{Mode: NoConfirms})
		check(t, err)
		check(t, ch.Publish(t.Context(), &Message{RoutingKey: "nowhere", Mandatory: true}))
		synctest.Wait()
		check(t, c.Shutdown(t.Context()))
		want := `< 0 connection.start
> 0 connection.start-ok
> 0 connection.tune-ok
> 0 connection.open
> 1 channel.open
< 1 channel.open-ok
> 1 exchange.declare
< 1 exchange.declare-ok
> 1 exchange.declare
> 1 channel.close-ok
404 NOT_FOUND - no exchange 'no' in vhost '/'
> 1 channel.open
< 1 channel.open-ok
amqpclient091: message to exchange "" with routing key "nowhere" was returned: 312 NO_ROUTE: NO_ROUTE
> 0 connection.close`
		if *streams { // channels are closed before
			want = strings.Replace(want, "> 0 connection.close", "> 1 channel.close\n> 0 connection.close", 1)
		}
		if all := strings.Join(got, "\n"); all != want {
			t.Fatalf("%s\nwant\n%s", all, want)
		}
	})
}

// Bodies of all sizes, and properties, arrive as they were.
func TestContents(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(&Options{Limits: Limits{FrameMax: 4096}})
		k, err := c.Consume(t.Context(), "q", nil)
		check(t, err)
		props := amqp091.Properties{Type: "t", Headers: amqp091.Table{{Key: "h", Value: int64(1)}}, Timestamp: time.Unix(1e9, 0).UTC()}
		for _, n := range []int{0, 1, 20, 60, 100, 200, 300, 500, 900, 1500, 4088, 4089, 10_000, 100_000} {
			body := strings.Repeat("x", n)
			check(t, c.Publish(t.Context(), &Message{RoutingKey: "q", Properties: props, Body: []byte(body)}))
			d := take(t, k, 1)[0]
			check(t, d.Ack())
			if p := d.Properties(); string(d.Body) != body || p.Type != "t" || !p.Headers.Equal(props.Headers) || !p.Timestamp.Equal(props.Timestamp) {
				t.Fatalf("%d bytes: %+v", n, p)
			}
			check(t, c.Publish(t.Context(), &Message{RoutingKey: "q", Raw: d.Raw, Body: d.Body})) // passed on
			d = take(t, k, 1)[0]
			check(t, d.Ack())
			if string(d.Body) != body || d.Properties().Type != "t" {
				t.Fatalf("%d bytes passed on", n)
			}
		}
	})
}

func TestErrorTexts(t *testing.T) {
	remote := &amqp091.Error{Code: amqp091.NotFound, Text: "no queue", Remote: true}
	for _, test := range []struct {
		err  error
		want string
	}{
		{ended(ErrClosed, nil), "amqpclient091: client is closed"},
		{ended(ErrChannelClosed, remote), "amqpclient091: channel is closed: 404 NOT_FOUND - no queue"},
		{&UnknownError{remote}, "amqpclient091: outcome unknown: 404 NOT_FOUND - no queue"},
		{&BlockedError{"low on disk", errors.New("deadline")}, "amqpclient091: the server takes no messages (low on disk): deadline"},
		{&RecoveryError{"queue", "q", remote}, "amqpclient091: recovery of queue q: 404 NOT_FOUND - no queue"},
		{&MechanismError{[]string{"PLAIN", "AMQPLAIN"}, []string{"EXTERNAL"}},
			"amqpclient091: server offers SASL mechanisms EXTERNAL, not PLAIN or AMQPLAIN"},
		{&ReturnedError{amqp091.NoRoute, "NO_ROUTE", "x", "k"},
			`amqpclient091: message to exchange "x" with routing key "k" was returned: 312 NO_ROUTE: NO_ROUTE`},
		{&unsentError{remote}, "404 NOT_FOUND - no queue"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
