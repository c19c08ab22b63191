package main

import (
	"fmt"
	"strconv"
	"strings"
)

// parser reads one file of the schema.
type parser struct {
	file
	msg    *message
	levels []*structure // what an indented line belongs to, by depth
	named  map[string]*structure
	line   int
}

func parse(src string) (*file, error) {
	var p parser
	for i, line := range strings.Split(src, "\n") {
		p.line = i + 1
		if err := p.read(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line, err)
		}
	}
	return &p.file, nil
}

func (p *parser) read(line string) error {
	depth := len(line) - len(strings.TrimLeft(line, "\t"))
	text, doc, _ := strings.Cut(line[depth:], "--")
	doc = strings.TrimSpace(doc)
	words := strings.Fields(text)
	switch {
	case strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "":
		return nil
	case depth == 0 && len(words) > 0:
		return p.head(words)
	case len(words) == 0 && doc != "" && depth == 1:
		return p.setDoc(doc)
	case len(words) < 2:
		return fmt.Errorf("%q is no field", line)
	case p.msg == nil || depth > len(p.levels) || p.levels[depth-1] == nil:
		return fmt.Errorf("%q is indented too far", line)
	}
	return p.field(p.levels[depth-1], depth, words, doc)
}

// setDoc takes the sentence of the API, or that of data.
func (p *parser) setDoc(doc string) error {
	switch {
	case p.msg != nil && p.msg.api == nil && p.msg.doc == "":
		p.msg.doc = doc
	case p.msg == nil && len(p.apis) > 0 && p.apis[len(p.apis)-1].doc == "":
		p.apis[len(p.apis)-1].doc = doc
	default:
		return fmt.Errorf("a sentence that belongs to nothing")
	}
	return nil
}

// head reads a line that is not indented.
func (p *parser) head(words []string) (err error) {
	p.msg, p.levels = nil, nil
	switch {
	case words[0] == "api" && len(words) >= 4:
		a := &api{name: words[2]}
		if a.key, err = strconv.Atoi(words[1]); err != nil {
			return err
		}
		p.apis = append(p.apis, a)
		if words[3] == "none" && len(words) == 4 {
			a.versions, a.flexible = span{0, -1}, never
			return nil
		}
		a.versions, a.flexible, err = versionsOf(words[3:])
		return err
	case words[0] == "data" && len(words) >= 3:
		m := &message{name: words[1]}
		m.versions, m.flexible, err = versionsOf(words[2:])
		p.begin(m)
		return err
	case (words[0] == "request" || words[0] == "response") && len(words) == 1 && len(p.apis) > 0:
		a := p.apis[len(p.apis)-1]
		m := &message{api: a, versions: a.versions, flexible: a.flexible}
		if words[0] == "request" {
			m.name, a.request = a.name+"Request", m
		} else {
			m.name, a.response = a.name+"Response", m
		}
		p.begin(m)
		return nil
	}
	return fmt.Errorf("%q starts nothing", strings.Join(words, " "))
}

func (p *parser) begin(m *message) {
	m.root = &structure{msg: m, goName: m.name, versions: m.versions}
	m.structs = []*structure{m.root}
	p.msg, p.levels, p.named = m, []*structure{m.root}, make(map[string]*structure)
	p.messages = append(p.messages, m)
}

// versionsOf reads "LOW-HIGH [flexible LOW+]".
func versionsOf(words []string) (s span, flexible int, err error) {
	flexible = never
	if s, err = parseSpan(words[0], span{0, never}); err != nil {
		return s, flexible, err
	}
	if len(words) == 1 {
		return s, flexible, nil
	}
	if len(words) != 3 || words[1] != "flexible" {
		return s, flexible, fmt.Errorf("%q are no versions", strings.Join(words, " "))
	}
	f, err := parseSpan(words[2], span{0, never})
	return s, f.lo, err
}

// parseSpan reads "3", "3+" or "3-7"; "3+" ends where outer does.
func parseSpan(text string, outer span) (s span, err error) {
	lo, hi, isRange := strings.Cut(text, "-")
	lo, open := strings.CutSuffix(lo, "+")
	if s.lo, err = strconv.Atoi(lo); err != nil {
		return s, err
	}
	s.hi = s.lo
	if open {
		s.hi = outer.hi
	}
	if isRange {
		s.hi, err = strconv.Atoi(hi)
	}
	if err == nil && (s.hi < s.lo || !s.within(outer)) {
		err = fmt.Errorf("versions %s are not within %d-%d", text, outer.lo, outer.hi)
	}
	return s, err
}

// field reads a field of a structure.
func (p *parser) field(s *structure, depth int, words []string, doc string) (err error) {
	f := &field{name: words[0], versions: s.versions, tag: -1, doc: doc, line: p.line, parent: s}
	f.typ, f.array = strings.CutPrefix(words[1], "[]")
	rest := words[2:]
	if len(rest) > 0 && rest[0][0] >= '0' && rest[0][0] <= '9' {
		if f.versions, err = parseSpan(rest[0], s.versions); err != nil {
			return err
		}
		rest = rest[1:]
	}
	for _, w := range rest {
		name, value, _ := strings.Cut(w, ":")
		switch {
		case w == "ignorable":
			f.ignorable = true
		case w == "nullable":
			f.nullable = &f.versions
		case name == "nullable":
			var n span
			if n, err = parseSpan(value, f.versions); err != nil {
				return err
			}
			f.nullable = &n
		case name == "tag":
			if f.tag, err = strconv.Atoi(value); err != nil {
				return err
			}
		case strings.HasPrefix(w, "="):
			f.def = w[1:]
		default:
			return fmt.Errorf("%q is no attribute", w)
		}
	}
	s.fields = append(s.fields, f)
	p.levels = append(p.levels[:depth:depth], nil)
	if c := f.typ[0]; c < 'A' || c > 'Z' {
		if _, ok := types[f.typ]; !ok {
			return fmt.Errorf("%q is no type", f.typ)
		}
		return nil
	}
	p.use(s, f, depth)
	return nil
}

// use lets a field refer to a structure, whose fields come next unless there is one of that name already.
func (p *parser) use(s *structure, f *field, depth int) {
	name := f.typ
	f.typ = ""
	if f.structure = p.named[name]; f.structure != nil {
		// Used in several places, so that it must do for all versions.
		f.structure.widen(p.msg.versions)
		return
	}
	sub := &structure{msg: p.msg, short: name, goName: p.msg.name + name, versions: f.versions, path: f.name}
	if s.path != "" {
		sub.path = s.path + "." + f.name
	}
	f.structure, p.named[name], p.levels[depth] = sub, sub, sub
	p.msg.structs = append(p.msg.structs, sub)
}

// widen gives the structure, and the fields that it always has, more versions.
func (s *structure) widen(to span) {
	old := s.versions
	s.versions = to
	for _, f := range s.fields {
		if f.versions != old {
			continue
		}
		f.versions = to
		if f.structure != nil {
			f.structure.widen(to)
		}
	}
}
