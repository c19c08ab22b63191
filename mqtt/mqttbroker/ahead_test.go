package mqttbroker

import (
	"fmt"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// TestRetainedBeforeLive: a live message that is not retained does not overtake the retained one of its topic, although
// the client takes retained messages slowly; none is lost and none comes twice.
func TestRetainedBeforeLive(t *testing.T) {
	const topics = 20
	for _, qos := range []mqtt.QoS{0, 1} {
		run(t, fmt.Sprintf("QoS %d", qos), nil, func(w *world) {
			p := w.connect("p")
			for i := range topics {
				p.pub(fmt.Sprintf("t/%d=old", i), 1, retain)
			}
			s := w.connect("s", receiveMaximum(2))
			s.sub(1, "t/+")
			first := s.all() // as many as the client allows
			if len(first) != 2 {
				t.Fatalf("%d messages at once", len(first))
			}
			for i := topics - 1; i >= 0; i-- {
				p.pub(fmt.Sprintf("t/%d=new", i), qos)
			}
			s.automatic()
			for _, m := range first {
				s.answer(m)
			}
			seen := make(map[string]string)
			for _, m := range append(first, s.all()...) {
				m := m.(*mqtt.Publish)
				seen[string(m.Topic)] += string(m.Payload) + " "
			}
			for i := range topics {
				if got := seen[fmt.Sprintf("t/%d", i)]; got != "old new " {
					t.Errorf("t/%d: %q", i, got)
				}
			}
			if b := w.sessions["s"].backlog; b != nil {
				t.Errorf("still there: %+v", b)
			}
		})
	}
}

// TestRetainedBeforeLiveInProcess is the same for the application.
func TestRetainedBeforeLiveInProcess(t *testing.T) {
	run(t, "in process", nil, func(w *world) {
		p := w.connect("p")
		p.pub("t/1=old", 0, retain)
		p.pub("t/2=old", 0, retain)
		l, err := w.Subscribe([]mqtt.Subscription{{Filter: "t/+"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p.pub("t/2=new", 0)
		p.pub("t/1=newer", 0, retain) // in the place of the old one
		var got string
		for d, err := range l.Messages(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprintf("%s=%s ", d.Message.Topic(), d.Message.Payload())
			if d.Message.Topic() == "t/1" {
				break
			}
		}
		if got != "t/2=old t/2=new t/1=newer " {
			t.Errorf("got %q", got)
		}
	})
}
