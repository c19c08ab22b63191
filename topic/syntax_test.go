package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestValidateFilter(t *testing.T) {
	for _, c := range []struct {
		id, filter string
		ok         bool
	}{
		{"MQTT-4.7.1-1 alone", "#", true},
		{"MQTT-4.7.1-1 after a separator", "sport/#", true},
		{"MQTT-4.7.1-1 inside a level", "sport/tennis#", false},
		{"MQTT-4.7.1-1 not last", "sport/#/ranking", false},
		{"MQTT-4.7.1-1 twice", "#/#", false},
		{"MQTT-4.7.1-1 doubled", "##", false},
		{"MQTT-4.7.1-2 alone", "+", true},
		{"MQTT-4.7.1-2 first", "+/tennis/#", true},
		{"MQTT-4.7.1-2 last", "sport/+", true},
		{"MQTT-4.7.1-2 with neighbours", "sport/+/player1", true},
		{"MQTT-4.7.1-2 part of a level", "sport+", false},
		{"MQTT-4.7.1-2 two in a level", "++", false},
		{"MQTT-4.7.1-2 mixed", "+#", false},
		{"MQTT-4.7.3-1 empty", "", false},
		{"MQTT-4.7.3-1 one separator", "/", true},
		{"MQTT-4.7.3-2 null", "a\x00b", false},
		{"MQTT-4.7.3-3 not UTF-8", "a/\xff", false},
		{"MQTT-4.7.3-3 surrogate", "a/\xed\xa0\x80", false},
		{"MQTT-4.7.3-3 65535 bytes", strings.Repeat("a", 65535), true},
		{"MQTT-4.7.3-3 65536 bytes", strings.Repeat("a", 65536), false},
		{"MQTT-4.7.3-4 case and space", "ACCOUNTS/ payable", true},
		{"UTF-8", "søk/+/日本", true},
		{"reserved", "$SYS/#", true},
	} {
		t.Run(c.id, func(t *testing.T) {
			err := MQTT.ValidateFilter(c.filter)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrFilter) {
				t.Errorf("%.30q: %v", c.filter, err)
			}
		})
	}
}

func TestValidateName(t *testing.T) {
	for _, c := range []struct {
		id, name string
		ok       bool
	}{
		{"MQTT-4.7.0-1 plus", "a/+", false},
		{"MQTT-4.7.0-1 hash", "a/#", false},
		{"MQTT-4.7.0-1 inside a level", "a+b", false},
		{"MQTT-4.7.3-1 empty", "", false},
		{"MQTT-4.7.3-1 one separator", "/", true},
		{"MQTT-4.7.3-2 null", "a/\x00", false},
		{"MQTT-4.7.3-3 not UTF-8", "\xc3(", false},
		{"MQTT-4.7.3-3 65535 bytes", strings.Repeat("/", 65535), true},
		{"MQTT-4.7.3-3 65536 bytes", strings.Repeat("/", 65536), false},
		{"UTF-8", "søk/日本", true},
		{"reserved", "$SYS/uptime", true},
	} {
		t.Run(c.id, func(t *testing.T) {
			err := MQTT.ValidateName(c.name)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrName) {
				t.Errorf("%.30q: %v", c.name, err)
			}
			if berr := MQTT.ValidateNameBytes([]byte(c.name)); (berr == nil) != c.ok {
				t.Errorf("as bytes: %v", berr)
			}
		})
	}
	name := []byte("d/søk/state")
	if n := testing.AllocsPerRun(100, func() { MQTT.ValidateNameBytes(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Each byte at each place of a long name: the quick look at eight bytes finds
// what the careful one does.
func TestValidateNameEveryByte(t *testing.T) {
	for c := range 256 {
		for i := range 19 {
			name := []byte("devices/kitchen/oven")
			name[i] = byte(c)
			err := MQTT.ValidateNameBytes(name)
			if want := c > 0 && c < 0x80 && c != '+' && c != '#'; (err == nil) != want {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
}

func TestValidateAMQP(t *testing.T) {
	long := strings.Repeat("a", 255)
	for _, s := range []string{"", "#", "#.a.#.*", "a.*.b", "a*", "\xff\x00", long} {
		if err := AMQP.ValidateFilter(s); err != nil {
			t.Errorf("filter %.30q: %v", s, err)
		}
		if err := AMQP.ValidateName(s); err != nil {
			t.Errorf("name %.30q: %v", s, err)
		}
	}
	if err := AMQP.ValidateFilter(long + "a"); !errors.Is(err, ErrFilter) {
		t.Errorf("filter of 256 bytes: %v", err)
	}
	if err := AMQP.ValidateName(long + "a"); !errors.Is(err, ErrName) {
		t.Errorf("name of 256 bytes: %v", err)
	}
}

func TestHasWildcard(t *testing.T) {
	for _, c := range []struct {
		s      Syntax
		filter string
		want   bool
	}{
		{MQTT, "a/b", false}, {MQTT, "a/+", true}, {MQTT, "#", true}, {MQTT, "+/a", true},
		{MQTT, "a/*", false}, {MQTT, "a.#.b", false},
		{AMQP, "a.b", false}, {AMQP, "a.*", true}, {AMQP, "#.b", true}, {AMQP, "", false},
		{AMQP, "a*.b#", false}, {AMQP, "a/+", false},
	} {
		if got := c.s.HasWildcard(c.filter); got != c.want {
			t.Errorf("%v %q: %v", c.s, c.filter, got)
		}
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		s    Syntax
		name string
		want int
	}{
		{MQTT, "a", 1}, {MQTT, "/", 2}, {MQTT, "a/b/c", 3}, {MQTT, "a/+/#", 3}, {MQTT, "a.b", 1},
		{AMQP, "", 0}, {AMQP, "a", 1}, {AMQP, ".", 2}, {AMQP, "a.b.c", 3}, {AMQP, "a/b", 1},
	} {
		if got := c.s.Levels(c.name); got != c.want {
			t.Errorf("%v %q: %d, want %d", c.s, c.name, got, c.want)
		}
	}
}

func TestTranslate(t *testing.T) {
	for _, c := range []struct{ mqtt, amqp string }{
		{"a/+/#", "a.*.#"}, {"a", "a"}, {"/", "."}, {"v1.2/x", "v1/2.x"}, {"a/*", "a.+"}, {"\xff/b", "\xff.b"},
	} {
		if got := Translate(c.mqtt, MQTT, AMQP); got != c.amqp {
			t.Errorf("%q to AMQP: %q, want %q", c.mqtt, got, c.amqp)
		}
		if got := Translate(c.amqp, AMQP, MQTT); got != c.mqtt {
			t.Errorf("%q to MQTT: %q, want %q", c.amqp, got, c.mqtt)
		}
		if got := Translate(c.mqtt, MQTT, MQTT); got != c.mqtt {
			t.Errorf("%q to itself: %q", c.mqtt, got)
		}
	}
}

func TestParseShared(t *testing.T) {
	for _, c := range []struct {
		id, in, group, rest string
		shared, ok          bool
	}{
		{"MQTT-4.8.2-1 plain", "a/b", "", "a/b", false, true},
		{"MQTT-4.8.2-1 without a slash", "$share", "", "$share", false, true},
		{"MQTT-4.8.2-1 other word", "$shared/g/a", "", "$shared/g/a", false, true},
		{"MQTT-4.8.2-1 no group", "$share//a", "", "", true, false},
		{"MQTT-4.8.2-1 nothing", "$share/", "", "", true, false},
		{"MQTT-4.8.2-2 good", "$share/g/a/+/#", "g", "a/+/#", true, true},
		{"MQTT-4.8.2-2 rest with slash", "$share/g//", "g", "/", true, true},
		{"MQTT-4.8.2-2 plus", "$share/g+/a", "", "", true, false},
		{"MQTT-4.8.2-2 hash", "$share/#/a", "", "", true, false},
		{"MQTT-4.8.2-2 no slash behind", "$share/g", "", "", true, false},
		{"MQTT-4.8.2-2 no filter", "$share/g/", "", "", true, false},
		{"MQTT-4.8.2-2 bad filter", "$share/g/a#", "", "", true, false},
		{"null in group", "$share/g\x00/a", "", "", true, false},
	} {
		t.Run(c.id, func(t *testing.T) {
			group, rest, shared, err := ParseShared(c.in)
			if group != c.group || rest != c.rest || shared != c.shared || (err == nil) != c.ok {
				t.Errorf("%q: %q, %q, %v, %v", c.in, group, rest, shared, err)
			}
			if err != nil && !errors.Is(err, ErrFilter) {
				t.Errorf("%v is no ErrFilter", err)
			}
		})
	}
}

func TestSyntaxString(t *testing.T) {
	if MQTT.String() != "MQTT" || AMQP.String() != "AMQP" || Syntax(7).String() != "Syntax(7)" {
		t.Error(MQTT, AMQP, Syntax(7))
	}
}
