package amqpbroker

import (
	"regexp"
	"strings"
)

// pattern is a regular expression of a permission or a policy: of Go (RE2), with lookaheads at its beginning, which users of
// RabbitMQ write as ^(?!amq\.) to leave its own names out.
type pattern struct {
	re    *regexp.Regexp
	at    []*regexp.Regexp // must match too
	notAt []*regexp.Regexp // must not match
}

// maxPattern bounds the length of expressions.
const maxPattern = 4096

func compilePattern(text string) (*pattern, error) {
	if len(text) > maxPattern {
		return nil, invalid("longer than %d bytes", maxPattern)
	}
	p := &pattern{}
	rest, anchored := strings.CutPrefix(text, "^")
	for anchored && (strings.HasPrefix(rest, "(?!") || strings.HasPrefix(rest, "(?=")) {
		end := closingParen(rest)
		if end < 0 {
			return nil, invalid("missing )")
		}
		re, err := regexp.Compile("^(?:" + rest[3:end] + ")")
		if err != nil {
			return nil, err
		}
		if rest[2] == '!' {
			p.notAt = append(p.notAt, re)
		} else {
			p.at = append(p.at, re)
		}
		text, rest = "^"+rest[end+1:], rest[end+1:]
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	p.re = re
	return p, nil
}

// closingParen returns the index of the parenthesis that closes the one that s begins with, -1 when there is none.
func closingParen(s string) int {
	depth, class := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
			if strings.HasPrefix(s[i+1:], "]") || strings.HasPrefix(s[i+1:], "^]") {
				i += strings.IndexByte(s[i+1:], ']') + 1 // the first ] of a class is one of its characters
			}
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func (p *pattern) match(name string) bool {
	for _, re := range p.notAt {
		if re.MatchString(name) {
			return false
		}
	}
	for _, re := range p.at {
		if !re.MatchString(name) {
			return false
		}
	}
	return p.re.MatchString(name)
}
