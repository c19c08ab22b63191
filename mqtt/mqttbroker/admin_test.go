package mqttbroker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

func TestKick(t *testing.T) {
	in(t, nil, func(w *world) {
		s := w.connect("s", expiry(60), withWill(mqtt.Will{Topic: "w"}))
		other := w.connect("other")
		other.sub(0, "w")
		if !w.Kick("s", mqtt.ReasonQuotaExceeded) || w.Kick("nobody", 0) {
			t.Error("kicked the wrong one")
		}
		if d := expect[*mqtt.Disconnect](s); d.Reason != mqtt.ReasonQuotaExceeded || !s.closed() {
			t.Errorf("got %v", d)
		}
		other.want("w=")
		w.Kick("other", mqtt.ReasonBadUserNameOrPassword)
		if d := expect[*mqtt.Disconnect](other); d.Reason != mqtt.ReasonAdministrativeAction {
			t.Errorf("got %v", d)
		}
		if _, ok := w.Session("s"); !ok || w.Kick("s", 0) {
			t.Error("the session is gone")
		}
	})
}

func TestSessions(t *testing.T) {
	in(t, nil, func(w *world) {
		s := w.connect("s", expiry(60), user("alice"))
		s.sub(1, "t", "$share/g/u")
		w.connect("other")
		s.drop()
		w.publish("t=x", 1, false)
		var ids []string
		for s := range w.Sessions() {
			ids = append(ids, s.Client)
		}
		slices.Sort(ids)
		if fmt.Sprint(ids) != "[other s]" {
			t.Error(ids)
		}
		d, _ := w.Session("s")
		if d.User != "alice" || d.Connected || len(d.Subscriptions) != 2 || d.Queued != 1 || d.QueuedBytes == 0 || time.Until(d.Expires) > time.Minute {
			t.Errorf("%+v", d)
		}
		if d, _ := w.Session("other"); !d.Connected || d.Addr == nil {
			t.Errorf("%+v", d)
		}
		for _, id := range []string{"s", "other"} {
			if ok, err := w.DeleteSession(w.t.Context(), id); !ok || err != nil {
				t.Error(id, ok, err)
			}
		}
		if ok, err := w.DeleteSession(w.t.Context(), "s"); ok || err != nil {
			t.Error("deleted twice")
		}
		if n := w.Stats().Sessions; n != 0 || w.deadlineCount() != 0 {
			t.Errorf("%d sessions, %d deadlines", n, w.deadlineCount())
		}
	})
}

func TestRetainedAdministration(t *testing.T) {
	in(t, nil, func(w *world) {
		for _, text := range []string{"a/1=x", "a/2=y", "b/1=z"} {
			w.publish(text, 0, true)
		}
		var got []string
		for m := range w.Retained("a/#") {
			got = append(got, m.Topic())
		}
		slices.Sort(got)
		if fmt.Sprint(got) != "[a/1 a/2]" {
			t.Error(got)
		}
		if !w.DeleteRetained("a/1") || w.DeleteRetained("a/1") {
			t.Error("deleted the wrong one")
		}
		if n := w.Stats().Retained; n != 2 {
			t.Errorf("%d retained messages", n)
		}
	})
}

func TestHooks(t *testing.T) {
	var last uint64
	hooks := Hooks{
		OnPublish: func(_ context.Context, p *Publishing) error {
			if p.Sequence <= last {
				t.Errorf("sequence %d after %d", p.Sequence, last)
			}
			last = p.Sequence
			for k, v := range p.Message.Properties.UserProperties() {
				p.Message.Payload = fmt.Appendf(nil, "%s, %s=%s", p.Message.Payload, k, v)
			}
			switch string(p.Message.Topic) {
			case "rejected":
				return &mqtt.Error{Code: mqtt.ReasonPayloadFormatInvalid}
			case "broken":
				return errors.New("broken")
			case "invalid":
				return &mqtt.Error{Code: mqtt.ReasonBanned}
			case "away":
				p.Message.Topic = []byte("a/+")
			case "moved":
				p.Message.Topic = []byte("here")
			case "who":
				p.Message.Payload = fmt.Appendf(nil, "%s %t", p.Client.ID, p.Will)
			}
			return nil
		},
		OnDeliver: func(client string, p *mqtt.Publish) bool { return string(p.Topic) != "not-for-"+client },
	}
	in(t, &Options{Hooks: hooks}, func(w *world) {
		s, p := w.connect("s"), w.connect("p", withWill(mqtt.Will{Topic: "who"}))
		s.sub(2, "#")
		for topic, want := range map[string]mqtt.ReasonCode{
			"rejected": mqtt.ReasonPayloadFormatInvalid, "broken": mqtt.ReasonUnspecifiedError, "invalid": mqtt.ReasonUnspecifiedError,
			"away": mqtt.ReasonUnspecifiedError,
		} {
			if r := p.pub(topic+"=x", 1); r != want {
				t.Errorf("%s: %v", topic, r)
			}
		}
		if r := p.pub("rejected=x", 2); r != mqtt.ReasonPayloadFormatInvalid {
			t.Error(r)
		}
		s.want("")
		p.pub("moved=x", 0, retain)
		p.pub("t=x", 0, func(m *mqtt.Publish) { m.Properties = m.Properties.AppendUser("k", "v") })
		p.pub("not-for-s=x", 0)
		p.pub("not-for-s=x", 1)
		p.pub("who", 0)
		p.drop()
		s.want("here=x t=x, k=v who=p false who=p true")
		if err := w.Publish(w.t.Context(), &mqtt.Publish{Topic: []byte("rejected")}); !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonPayloadFormatInvalid}) {
			t.Error(err)
		}
		if n := w.Stats().Rejected; n != 6 {
			t.Errorf("%d rejected", n)
		}
	})
}

func TestEvents(t *testing.T) {
	var log []string
	add := func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }
	events := Events{
		Connected:      func(c *Client, present bool) { add("connected %s %t", c.ID, present) },
		Disconnected:   func(c *Client, cause error) { add("disconnected %s %t", c.ID, cause == nil) },
		SessionCreated: func(id string) { add("created %s", id) },
		SessionEnded:   func(id string, why End) { add("ended %s %v", id, why) },
		Subscribed:     func(c *Client, s mqtt.Subscription) { add("subscribed %s %s", c.ID, s.Filter) },
		Unsubscribed:   func(c *Client, filter string) { add("unsubscribed %s %s", c.ID, filter) },
		Dropped:        func(id, topic string, why Drop) { add("dropped %s %s %v", id, topic, why) },
	}
	in(t, &Options{Events: events, QueueMessages: 1}, func(w *world) {
		s := w.connect("s", expiry(60))
		s.sub(1, "t", "u")
		s.unsub("u")
		s.leave()
		w.publish("t=1", 1, false)
		w.publish("t=2", 1, false)
		w.connect("s", resume, expiry(60)).drop()
		w.pass(time.Hour)
		w.connect("s", expiry(60)).leave()
		w.connect("s")
		w.DeleteSession(w.t.Context(), "s")
		got := strings.Join(log, "\n")
		want := `created s
connected s false
subscribed s t
subscribed s u
unsubscribed s u
disconnected s true
dropped s t queue full
connected s true
disconnected s false
ended s expired
created s
connected s false
disconnected s true
ended s replaced
created s
connected s false
disconnected s false
ended s deleted`
		if got != want {
			t.Errorf("got\n%s", got)
		}
	})
}

func TestSys(t *testing.T) {
	more := func() iter.Seq2[string, string] { return maps.All(map[string]string{"$SYS/more": "yes"}) }
	in(t, &Options{SysInterval: 5 * time.Second, Sys: more}, func(w *world) {
		s, p := w.connect("s"), w.connect("p")
		all := w.connect("all")
		all.sub(0, "#", "+/broker/#")
		p.pub("$SYS/broker/uptime=fake", 0)
		if r := p.pub("$SYS=fake", 1); r != mqtt.ReasonNotAuthorized {
			t.Error(r)
		}
		p.pub("a=1", 0)
		w.pass(6 * time.Second)
		all.want("a=1")
		s.sub(0, "$SYS/#")
		text := s.messages()
		for _, want := range []string{
			"$SYS/broker/version=Quartet", "$SYS/broker/uptime=5 seconds", "$SYS/broker/clients/connected=3",
			"$SYS/broker/messages/received=3", "$SYS/broker/subscriptions/count=2", "$SYS/broker/load/publish/received/1min=3.00", "$SYS/more=yes",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in %q", want, text)
			}
		}
		w.pass(5 * time.Second)
		if text = s.messages(); !strings.Contains(text, "uptime=10 seconds") {
			t.Errorf("got %q", text)
		}
	})
}

func TestShutdown(t *testing.T) {
	in(t, nil, func(w *world) {
		s := w.connect("s")
		done := false
		go func() {
			if err := w.Broker.Shutdown(w.t.Context()); err != nil {
				t.Error(err)
			}
			done = true
		}()
		w.wait()
		if done {
			t.Error("has not waited")
		}
		s.leave()
		if w.wait(); !done {
			t.Error("still waits")
		}
		if r := w.refused(mqtt.Version5, "late"); r != mqtt.ReasonServerUnavailable {
			t.Error(r)
		}
	})
	in(t, nil, func(w *world) {
		s := w.connect("s")
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		if err := w.Broker.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if d := expect[*mqtt.Disconnect](s); d.Reason != mqtt.ReasonServerShuttingDown {
			t.Errorf("got %v", d)
		}
	})
}

func TestAuthorization(t *testing.T) {
	list, err := parseACL(strings.NewReader("topic readwrite a/#\ntopic deny a/secret/#\ntopic read b/#\ntopic write c"))
	if err != nil {
		t.Fatal(err)
	}
	opts := &Options{Authorize: func(c *Client) Permissions {
		if c.ID == "nobody" {
			return nil
		}
		return list.rules(c).decide
	}}
	run(t, "publish", opts, func(w *world) {
		s, p := w.connect("s"), w.connect("p")
		s.sub(0, "a/#")
		for text, want := range map[string]mqtt.ReasonCode{
			"a/1=x": mqtt.ReasonSuccess, "a/secret/1=x": mqtt.ReasonNotAuthorized, "b/1=x": mqtt.ReasonNotAuthorized,
		} {
			for qos := mqtt.QoS(1); qos <= 2; qos++ {
				for range 2 {
					if r := p.pub(text, qos); r != want {
						t.Errorf("%s: %v", text, r)
					}
				}
			}
		}
		s.want("a/1=x a/1=x a/1=x a/1=x")
	})
	for _, name := range []string{"MQTT311-3.3.5-2"} {
		run(t, name, opts, func(w *world) {
			s, p := w.connect("s"), w.connectVersion(mqtt.Version311, "p")
			s.sub(0, "b/#")
			p.pub("b/1=x", 0)
			p.pub("b/1=x", 1)
			p.pub("b/1=x", 2)
			s.want("")
		})
	}
	run(t, "subscribe and receive", opts, func(w *world) {
		for _, text := range []string{"a/1=r", "a/secret/1=r", "b/1=r", "c=r"} {
			w.publish(text, 1, true)
		}
		s := w.connect("s", expiry(60))
		got := s.subscribe(0, mqtt.Subscription{Filter: "#", QoS: 1}, mqtt.Subscription{Filter: "c"}, mqtt.Subscription{Filter: "a/secret/+"})
		if !slices.Equal(got, []mqtt.ReasonCode{mqtt.ReasonGrantedQoS1, mqtt.ReasonNotAuthorized, mqtt.ReasonNotAuthorized}) {
			t.Error(got)
		}
		var texts []string
		for _, q := range s.all() {
			m := q.(*mqtt.Publish)
			texts = append(texts, fmt.Sprintf("%s=%s", m.Topic, m.Payload))
			s.answer(m)
		}
		slices.Sort(texts)
		if fmt.Sprint(texts) != "[a/1=r b/1=r]" {
			t.Error(texts)
		}
		for _, text := range []string{"a/1=x", "a/secret/1=x", "b/1=x", "c=x"} {
			w.publish(text, 0, false)
		}
		s.want("a/1=x b/1=x")
		s.drop()
		for _, text := range []string{"a/1=y", "a/secret/1=y"} {
			w.publish(text, 1, false)
		}
		w.connect("s", resume).want("a/1=y")
		shared := w.connect("shared")
		shared.sub(0, "$share/g/a/#")
		w.publish("a/secret/1=x", 0, false)
		shared.want("")
		nobody := w.connect("nobody")
		if r := nobody.subscribe(0, mqtt.Subscription{Filter: "a/1"}); r[0] != mqtt.ReasonNotAuthorized {
			t.Error(r)
		}
	})
	run(t, "reload", opts, func(w *world) {
		was := list
		defer func() { list = was }()
		s, p, away := w.connect("s"), w.connect("p"), w.connect("away", expiry(60))
		s.sub(0, "a/#")
		away.sub(1, "a/#")
		away.drop()
		p.pub("a/1=1", 1)
		p.pub("a/2=1", 1)
		list, err = parseACL(strings.NewReader("topic readwrite a/2"))
		w.Reauthorize()
		if r := p.pub("a/1=2", 1); r != mqtt.ReasonNotAuthorized {
			t.Error(r)
		}
		p.pub("a/2=2", 1)
		w.publish("a/1=3", 1, false)
		s.want("a/1=1 a/2=1 a/2=2")
		w.connect("away", resume).want("a/2=1 a/2=2")
		if n := w.Stats().DroppedDenied; n != 1 {
			t.Errorf("%d dropped", n)
		}
		list = was
		w.Reauthorize()
		p.pub("a/1=4", 1)
		s.want("a/1=4")
	})
}

// TestReauthorizeTakeover: rules that change while a client takes its session over hold for the connection that comes, and
// what the one before may do does not.
func TestReauthorizeTakeover(t *testing.T) {
	run(t, "before", nil, func(w *world) {
		old, changed := w.connect("s", expiry(60)), false
		w.opts.Authorize = func(*Client) Permissions {
			if changed {
				return nothing
			}
			return everything
		}
		w.opts.Events.Disconnected = func(*Client, error) { // the new one has asked and waits for it
			changed = true
			w.Reauthorize()
		}
		s := w.connect("s", resume, expiry(60))
		if !old.closed() || !changed {
			t.Fatal("not taken over")
		}
		if r := s.pub("t=x", 1); r != mqtt.ReasonNotAuthorized {
			t.Error(r)
		}
	})
	run(t, "during", nil, func(w *world) {
		w.connect("s", expiry(60))
		other := w.connect("other")
		other.sub(1, "t")
		var s *peer
		w.opts.Authorize = func(c *Client) Permissions {
			if c.ID == "s" && s == nil {
				s = new(peer)
				s = w.connectVersion(mqtt.Version311, "s", resume)
			}
			if c.Version == mqtt.Version311 {
				return nothing
			}
			return everything
		}
		w.Reauthorize()
		s.pub("t=x", 1)
		other.want("")
	})
}
