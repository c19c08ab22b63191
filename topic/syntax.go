package topic

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// Syntax is a notation for topic names and filters. The zero value is MQTT.
type Syntax uint8

const (
	// MQTT separates levels by '/'. In a filter a level '+' stands for one
	// level and '#', as the last level, for the parent and everything below it
	// (MQTT 5.0 section 4.7). Names and filters are UTF-8 of 1 to 65,535 bytes
	// without U+0000. A filter that begins with a wildcard does not match
	// names that begin with '$'.
	MQTT Syntax = iota

	// AMQP is that of AMQP 0-9-1 topic exchanges (section 3.1.3.3): routing
	// keys are words separated by '.'. In a binding key a word '*' stands for
	// one word and '#', anywhere, for zero or more. Both are at most 255 bytes;
	// the empty one has zero words. A routing key may hold any bytes, '*' and
	// '#' included, which then are words like others.
	AMQP
)

// The kinds of errors of this package. Compare with [errors.Is]; the text says
// more.
var (
	// ErrFilter means that a filter is not valid.
	ErrFilter = errors.New("invalid topic filter")

	// ErrName means that a name is not valid.
	ErrName = errors.New("invalid topic name")
)

const (
	maxMQTT = 65535
	maxAMQP = 255
)

// String returns "MQTT" or "AMQP".
func (s Syntax) String() string {
	switch s {
	case MQTT:
		return "MQTT"
	case AMQP:
		return "AMQP"
	}
	return fmt.Sprintf("Syntax(%d)", uint8(s))
}

// separator returns the byte between levels.
func (s Syntax) separator() byte {
	if s == AMQP {
		return '.'
	}
	return '/'
}

// single returns the level that stands for any one level.
func (s Syntax) single() string {
	if s == AMQP {
		return "*"
	}
	return "+"
}

// ValidateFilter returns nil or an [ErrFilter] that tells what is wrong with
// the filter. A `$share/` filter is an ordinary one here, see [ParseShared].
func (s Syntax) ValidateFilter(filter string) error {
	if s == AMQP {
		return amqpLength(ErrFilter, filter)
	}
	wildcards, err := mqttText(ErrFilter, filter)
	if err != nil || !wildcards {
		return err
	}
	for l := s.levels(filter); l.more; {
		switch level := l.next(); {
		case level == "#" && l.more:
			return fmt.Errorf("%w: '#' is not the last level", ErrFilter)
		case len(level) > 1 && strings.ContainsAny(level, "+#"):
			return fmt.Errorf("%w: a wildcard does not fill its level", ErrFilter)
		}
	}
	return nil
}

// ValidateName returns nil or an [ErrName] that tells what is wrong with the
// name. It allocates nothing when the name is valid.
func (s Syntax) ValidateName(name string) error {
	if s == AMQP {
		return amqpLength(ErrName, name)
	}
	wildcards, err := mqttText(ErrName, name)
	if err == nil && wildcards {
		err = fmt.Errorf("%w: it has a wildcard", ErrName)
	}
	return err
}

// ValidateNameBytes is [Syntax.ValidateName] for a byte slice.
func (s Syntax) ValidateNameBytes(name []byte) error { return s.ValidateName(view(name)) }

// view returns b as a string without a copy. Nobody keeps it beyond the call,
// so that it may change afterwards.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func amqpLength(kind error, s string) error {
	if len(s) > maxAMQP {
		return fmt.Errorf("%w: it has %d bytes, more than %d", kind, len(s), maxAMQP)
	}
	return nil
}

// mqttText checks what names and filters have in common and reports whether
// there is a wildcard character.
func mqttText(kind error, s string) (wildcards bool, err error) {
	if len(s) == 0 {
		return false, fmt.Errorf("%w: it is empty", kind)
	}
	if len(s) > maxMQTT {
		return false, fmt.Errorf("%w: it has %d bytes, more than %d", kind, len(s), maxMQTT)
	}
	if plain(s) {
		return false, nil
	}
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			ascii = false
		case c == '+' || c == '#':
			wildcards = true
		case c == 0:
			return false, fmt.Errorf("%w: it has U+0000", kind)
		}
	}
	if !ascii && !utf8.ValidString(s) {
		return false, fmt.Errorf("%w: it is not UTF-8", kind)
	}
	return wildcards, nil
}

// plain reports whether s is ASCII without wildcard characters and U+0000, as
// nearly every name is. It looks at eight bytes at once and may err on the
// other side, where a careful look follows.
func plain(s string) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for len(s) >= 8 {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		wild := (w | 8*ones) ^ '+'*ones // a zero byte where w has '+' or '#', which differ in bit 3
		if (w|(w-ones)|(wild-ones))&high != 0 {
			return false
		}
		s = s[8:]
	}
	for i := range len(s) {
		if c := s[i]; c == 0 || c|8 == '+' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// HasWildcard reports whether a valid filter has a wildcard: without one it
// matches the name that equals it and nothing else.
func (s Syntax) HasWildcard(filter string) bool {
	for l := s.levels(filter); l.more; {
		if level := l.next(); level == "#" || level == s.single() {
			return true
		}
	}
	return false
}

// Levels returns the number of levels of a name or filter. It is at least 1 in
// MQTT; the empty string has none in AMQP.
func (s Syntax) Levels(name string) int {
	if name == "" && s == AMQP {
		return 0
	}
	return strings.Count(name, string(rune(s.separator()))) + 1
}

// Translate writes a name or filter of one syntax in another: a/+/# and a.*.#
// are the same. The separators change places, and the wildcards for one level
// too, so that translating back gives the original. What comes out need not be
// valid: a.#.b has no counterpart in MQTT. Names that begin with '$' are
// nothing special in AMQP.
func Translate(s string, from, to Syntax) string {
	if from == to {
		return s
	}
	out := []byte(s)
	for i, c := range out {
		switch c {
		case '/':
			out[i] = '.'
		case '.':
			out[i] = '/'
		case '+':
			out[i] = '*'
		case '*':
			out[i] = '+'
		}
	}
	return string(out)
}

// ParseShared takes the filter of an MQTT shared subscription,
// `$share/GROUP/FILTER` (MQTT 5.0 section 4.8.2), apart. When filter does not
// begin with `$share/` it returns it as rest, not validated, and shared is
// false. The error is an [ErrFilter]: the group is empty or has a wildcard, or
// what follows it is not a valid filter.
func ParseShared(filter string) (group, rest string, shared bool, err error) {
	tail, shared := strings.CutPrefix(filter, "$share/")
	if !shared {
		return "", filter, false, nil
	}
	group, rest, found := strings.Cut(tail, "/")
	switch {
	case group == "":
		err = fmt.Errorf("%w: the share name is empty", ErrFilter)
	case strings.ContainsAny(group, "+#"):
		err = fmt.Errorf("%w: the share name has a wildcard", ErrFilter)
	case !found:
		err = fmt.Errorf("%w: nothing follows the share name", ErrFilter)
	default:
		if _, err = mqttText(ErrFilter, group); err == nil {
			err = MQTT.ValidateFilter(rest)
		}
	}
	if err != nil {
		return "", "", true, err
	}
	return group, rest, true, nil
}
