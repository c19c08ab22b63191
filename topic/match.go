package topic

import "strings"

// Match reports whether a valid filter matches a valid name. It looks at the
// two and nothing else, so it suits few filters; [Trie] is for many.
func (s Syntax) Match(filter, name string) bool {
	if s == MQTT && reserved(name) && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	return matchLevels(s, s.levels(filter), s.levels(name))
}

func matchLevels(s Syntax, f, n levels) bool {
	if s == AMQP {
		return matchAMQP(f, n)
	}
	return matchMQTT(f, n)
}

func matchMQTT(f, n levels) bool {
	for f.more {
		want := f.next()
		if want == "#" {
			return true // this level and all below, or the parent when n is at its end
		}
		if !n.more {
			return false
		}
		if got := n.next(); want != got && want != "+" {
			return false
		}
	}
	return !n.more
}

// matchAMQP gives each '#' as few words as it can, and the last '#' one more
// whenever what follows it does not match. Giving an earlier one more cannot
// help, so the work is at most words of filter times words of name.
func matchAMQP(f, n levels) bool {
	var afterHash, retry levels // filter behind the last '#', and name where it was
	hash := false
	for n.more {
		if f.more {
			after := f
			want := after.next()
			if want == "#" {
				hash, afterHash, retry = true, after, n
				f = after
				continue
			}
			rest := n
			if got := rest.next(); want == got || want == "*" {
				f, n = after, rest
				continue
			}
		}
		if !hash {
			return false
		}
		retry.next()
		f, n = afterHash, retry
	}
	for f.more {
		if f.next() != "#" {
			return false
		}
	}
	return true
}

// reserved reports whether a name of MQTT is one that filters with a wildcard
// in front do not match [MQTT-4.7.2-1].
func reserved(name string) bool { return strings.HasPrefix(name, "$") }

// levels is what is left of a name or filter, cut at the separators.
type levels struct {
	rest string
	more bool // there is a level in rest, perhaps an empty one
	sep  byte
}

func (s Syntax) levels(name string) levels {
	return levels{rest: name, more: name != "" || s != AMQP, sep: s.separator()}
}

// next takes the first level off. There must be more.
func (l *levels) next() string {
	level := l.rest
	if i := strings.IndexByte(level, l.sep); i >= 0 {
		l.rest = level[i+1:]
		return level[:i]
	}
	l.rest, l.more = "", false
	return level
}
