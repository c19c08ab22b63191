package mqttbroker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/topic"
)

const aclText = `
# for clients without a name
topic read public/#
topic $SYS/broker/version

user alice
topic write up/alice
topic readwrite shared/+/x
topic deny shared/secret/#
topic read with space/+

user bob
topic readwrite #
topic deny private/#

pattern read in/%u/+
pattern write out/%c/#
`

func TestACL(t *testing.T) {
	list, err := parseACL(strings.NewReader(aclText))
	if err != nil {
		t.Fatal(err)
	}
	anonymous, alice := &Client{ID: "c1"}, &Client{ID: "c2", User: "alice"}
	bob, tricky := &Client{ID: "c3", User: "bob"}, &Client{ID: "a/#", User: "+"}
	for _, c := range []struct {
		client *Client
		action Action
		topic  string
		want   Decision
	}{
		{anonymous, ActionReceive, "public/a/b", Allow},
		{anonymous, ActionPublish, "public/a/b", Deny},
		{anonymous, ActionReceive, "$SYS/broker/version", Allow},
		{anonymous, ActionReceive, "$SYS/broker/uptime", Deny},
		{anonymous, ActionPublish, "out/c1/x", Allow},
		{anonymous, ActionPublish, "out/c2/x", Deny},
		{anonymous, ActionReceive, "in//x", Deny},
		{anonymous, ActionSubscribe, "public/#", Allow},
		{anonymous, ActionSubscribe, "public/+/x", Allow},
		{anonymous, ActionSubscribe, "#", AllowEach},
		{anonymous, ActionSubscribe, "private/#", Deny},
		{alice, ActionPublish, "up/alice", Allow},
		{alice, ActionReceive, "up/alice", Deny},
		{alice, ActionReceive, "public/a", Deny},
		{alice, ActionPublish, "shared/a/x", Allow},
		{alice, ActionPublish, "shared/secret/x", Deny},
		{alice, ActionReceive, "shared/secret/x", Deny},
		{alice, ActionReceive, "in/alice/1", Allow},
		{alice, ActionReceive, "in/bob/1", Deny},
		{alice, ActionReceive, "with space/1", Allow},
		{alice, ActionSubscribe, "shared/+/x", AllowEach},
		{alice, ActionSubscribe, "shared/a/x", Allow},
		{alice, ActionSubscribe, "shared/secret/x", Deny},
		{alice, ActionSubscribe, "in/+/+", AllowEach},
		{alice, ActionSubscribe, "in/bob/+", Deny},
		{bob, ActionPublish, "any/thing", Allow},
		{bob, ActionPublish, "private/thing", Deny},
		{bob, ActionReceive, "$SYS/broker/uptime", Deny},
		{bob, ActionSubscribe, "#", AllowEach},
		{bob, ActionSubscribe, "a/#", Allow},
		{bob, ActionSubscribe, "$SYS/#", Deny},
		{tricky, ActionPublish, "out/a/b", Deny},
		{tricky, ActionReceive, "in/alice/1", Deny},
	} {
		if got := list.rules(c.client).decide(c.action, c.topic); got != c.want {
			t.Errorf("%q %v %q: got %d, want %d", c.client.User, c.action, c.topic, got, c.want)
		}
	}
}

func TestACLErrors(t *testing.T) {
	for _, text := range []string{"topic", "topic a/#/b", "user", "patern read a", "pattern write a+"} {
		if _, err := parseACL(strings.NewReader(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestFilters compares covers and overlaps with what the plain match says about all topics of a small world.
func TestFilters(t *testing.T) {
	levels := []string{"a", "b", "+", "#", "", "$s"}
	names, filters := []string{""}, []string(nil) // the empty name is not valid, but + and /# meet there
	var grow func(prefix []string)
	grow = func(prefix []string) {
		if len(prefix) > 0 {
			text := strings.Join(prefix, "/")
			if topic.MQTT.ValidateName(text) == nil {
				names = append(names, text)
			}
			if topic.MQTT.ValidateFilter(text) == nil && len(prefix) < 4 {
				filters = append(filters, text)
			}
		}
		if len(prefix) == 4 {
			return
		}
		for _, l := range levels {
			grow(append(prefix[:len(prefix):len(prefix)], l))
		}
	}
	grow(nil)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		f, g := filters[rnd.IntN(len(filters))], filters[rnd.IntN(len(filters))]
		both, outside := false, false
		for _, n := range names {
			inF, inG := topic.MQTT.Match(f, n), topic.MQTT.Match(g, n)
			both = both || inF && inG
			outside = outside || inG && !inF
		}
		if got := overlaps(f, g); got != both {
			t.Fatalf("seed %d: overlaps(%q, %q) = %t", seed, f, g, got)
		}
		if covers(f, g) && outside {
			t.Fatalf("seed %d: covers(%q, %q) is wrong", seed, f, g)
		}
		if !covers(f, f) {
			t.Fatalf("seed %d: %q does not cover itself", seed, f)
		}
	}
	for _, c := range []struct {
		wide, narrow string
		want         bool
	}{
		{"#", "a/+/b", true}, {"#", "#", true}, {"a/#", "a", true}, {"a/#", "a/#", true}, {"a/+", "a/b", true},
		{"a/+", "a/+", true}, {"a/+", "a/#", false}, {"a/b", "a/+", false}, {"#", "$SYS/#", false}, {"$SYS/#", "$SYS/a", true},
	} {
		if got := covers(c.wide, c.narrow); got != c.want {
			t.Errorf("covers(%q, %q) = %t", c.wide, c.narrow, got)
		}
	}
}

func TestACLReloadKeepsTheListOnErrors(t *testing.T) {
	path := writeFile(t, "topic read a")
	f, err := OpenACLFile(path)
	if err != nil {
		t.Fatal(err)
	}
	permit := f.Authorize(&Client{})
	if permit(ActionReceive, "a") != Allow {
		t.Error("denied")
	}
	if _, err := OpenACLFile(path + ".missing"); err == nil {
		t.Error("a missing file was opened")
	}
	if err := (&ACLFile{path: path + ".missing"}).Reload(); err == nil {
		t.Error("a missing file was read")
	}
	if got := fmt.Sprint(ActionPublish, ActionSubscribe, ActionReceive); got != "publish subscribe receive" {
		t.Error(got)
	}
}

func FuzzACL(f *testing.F) {
	f.Add(aclText, "c1", "alice", "a/b")
	f.Add("pattern %c", "", "", "a")
	f.Add("pattern deny %u/#", "x", "y/", "#")
	f.Fuzz(func(t *testing.T, text, id, user, name string) {
		list, err := parseACL(strings.NewReader(text))
		if err != nil {
			return
		}
		rules := list.rules(&Client{ID: id, User: user})
		if topic.MQTT.ValidateFilter(name) != nil {
			return
		}
		// What may be received by a filter without wildcards is what may be subscribed to.
		if !topic.MQTT.HasWildcard(name) && (rules.decide(ActionReceive, name) == Allow) != (rules.decide(ActionSubscribe, name) == Allow) {
			t.Errorf("receive %d, subscribe %d", rules.decide(ActionReceive, name), rules.decide(ActionSubscribe, name))
		}
		rules.decide(ActionPublish, name)
	})
}
