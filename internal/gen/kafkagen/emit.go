package main

import (
	"bytes"
	"fmt"
	"strings"
)

// arrays are the methods of coder for arrays of plain values.
var arrays = map[string]string{
	"string": "stringArray", "topicName": "topicNameArray", "groupID": "groupIDArray",
	"transactionalID": "transactionalIDArray", "int8": "int8Array", "int16": "int16Array", "int32": "int32Array",
	"brokerID": "brokerIDArray", "producerID": "producerIDArray",
}

// nulls are the methods of coder for values that can be null.
var nulls = map[string]string{
	"string": "nullString", "topicName": "nullTopicName", "groupID": "nullGroupID", "transactionalID": "nullTransactionalID",
	"bytes": "nullBytes", "records": "nullBytes",
}

func (f *file) emit(b *bytes.Buffer) {
	for _, m := range f.messages {
		m.emit(b)
	}
}

func (m *message) emit(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n%s\n", comment(m.comment()))
	for _, s := range m.structs {
		s.emitType(b)
		if s == m.root {
			m.emitMethods(b)
		}
	}
	if list := m.slabs(); len(list) > 0 {
		fmt.Fprintf(b, "\n// %s is a coder with memory for the arrays within arrays.\ntype %s struct {\ncoder\n", m.coder(), m.coder())
		for _, s := range list {
			fmt.Fprintf(b, "%s slab[%s]\n", s.slab(), s.goName)
		}
		fmt.Fprint(b, "}\n")
	}
	for _, s := range m.structs {
		s.emitReset(b)
		s.emitCode(b)
	}
}

func (m *message) comment() string {
	switch {
	case m.api == nil:
		return m.name + " " + m.doc
	case m == m.api.request:
		return m.name + " " + m.api.doc
	}
	return m.name + " answers [" + m.api.name + "Request]."
}

func (s *structure) slab() string { return lower(s.short) + "Slab" }

func (s *structure) emitType(b *bytes.Buffer) {
	if s != s.msg.root {
		fmt.Fprintf(b, "\n// %s is in %s of [%s].\n", s.goName, s.path, s.msg.name)
	}
	fmt.Fprintf(b, "type %s struct {\n", s.goName)
	for _, f := range s.fields {
		fmt.Fprintf(b, "%s %s", f.name, f.goType())
		if doc := f.comment(); doc != "" {
			fmt.Fprintf(b, " // %s", doc)
		}
		fmt.Fprintln(b)
	}
	if s.msg.tagged() {
		fmt.Fprint(b, "UnknownTags []Tag\n")
	}
	fmt.Fprint(b, "}\n")
}

// comment tells the versions, the default and what the schema says.
func (f *field) comment() string {
	var list []string
	switch outer := f.parent.versions; {
	case f.versions == outer:
	case f.versions.lo == f.versions.hi:
		list = append(list, fmt.Sprintf("version %d", f.versions.lo))
	case f.versions.hi == outer.hi:
		list = append(list, fmt.Sprintf("version %d+", f.versions.lo))
	default:
		list = append(list, fmt.Sprintf("versions %d-%d", f.versions.lo, f.versions.hi))
	}
	if f.nullable != nil && *f.nullable != f.versions {
		list = append(list, fmt.Sprintf("nil in %d+", f.nullable.lo))
	}
	doc := f.doc
	if value, _, ok := strings.Cut(doc, ":"); ok && value == f.def {
		doc = "default " + doc
	} else if f.def != "" {
		list = append(list, "default "+f.def)
	}
	if doc != "" {
		list = append(list, doc)
	}
	return strings.Join(list, "; ")
}

func (m *message) emitMethods(b *bytes.Buffer) {
	name := m.name
	if m.api != nil {
		fmt.Fprintf(b, "\n// Key returns [Key%s].\nfunc (*%s) Key() APIKey { return Key%s }\n", m.api.name, name, m.api.name)
		if m == m.api.request {
			fmt.Fprintf(b, "\n// NewResponse returns an empty [%sResponse].\nfunc (*%s) NewResponse() Response { return new(%sResponse) }\n",
				m.api.name, name, m.api.name)
		} else {
			fmt.Fprintf(b, "\nfunc (*%s) response() {}\n", name)
		}
	}
	limits := fmt.Sprintf("%q, %d, %d, %s", name, m.versions.lo, m.versions.hi, flexible(m.flexible))
	fmt.Fprintf(b, "\n// Append implements [Message].\nfunc (m *%s) Append(dst []byte, version int16) ([]byte, error) {\nvar c %s\n", name, m.coder())
	fmt.Fprintf(b, "if c.encode(dst, version, %s) {\nm.code(&c)\n}\nreturn c.appended()\n}\n", limits)
	fmt.Fprintf(b, "\n// Decode implements [Message].\nfunc (m *%s) Decode(b []byte, version int16) error {\n", name)
	limited := m.api != nil && m == m.api.request
	if limited {
		fmt.Fprint(b, "return m.DecodeLimited(b, version, 0)\n}\n\n// DecodeLimited implements [Request].\n")
		fmt.Fprintf(b, "func (m *%s) DecodeLimited(b []byte, version int16, elements int) error {\n", name)
	}
	fmt.Fprintf(b, "var c %s\nm.Reset()\n", m.coder())
	if limited {
		fmt.Fprint(b, "c.limit = elements\n")
	}
	switch {
	case m.has("records"):
		fmt.Fprint(b, "c.large = true\n")
	case m.has("bytes"):
		fmt.Fprint(b, "c.large = len(b) > large\n")
	}
	fmt.Fprintf(b, "if c.decode(b, version, %s) {\nm.code(&c)\n}\nreturn c.decoded()\n}\n", limits)
}

func flexible(v int) string {
	if v == never {
		return "never"
	}
	return fmt.Sprint(v)
}

// has reports whether the message has a field of the type.
func (m *message) has(typ string) bool {
	for _, s := range m.structs {
		for _, f := range s.fields {
			if f.typ == typ {
				return true
			}
		}
	}
	return false
}

// emitReset writes Reset for a message, and for other structures that have defaults.
func (s *structure) emitReset(b *bytes.Buffer) {
	if s != s.msg.root && !s.hasDefaults() {
		return
	}
	fmt.Fprintf(b, "\n// Reset sets every field to its default.\nfunc (m *%s) Reset() {\n*m = %s{", s.goName, s.goName)
	if s.hasDefaults() {
		fmt.Fprintln(b)
	}
	s.emitDefaults(b, "%s: %s,\n")
	for _, f := range s.fields {
		if f.structure != nil && !f.array && !f.pointer() && f.structure.hasDefaults() {
			fmt.Fprintf(b, "}\nm.%s.Reset()\n}\n", f.name)
			return
		}
	}
	fmt.Fprint(b, "}\n}\n")
}

func (s *structure) emitDefaults(b *bytes.Buffer, format string) {
	for _, f := range s.fields {
		if f.def != "" {
			fmt.Fprintf(b, format, f.name, f.def)
		}
	}
}

func (s *structure) hasDefaults() bool {
	for _, f := range s.fields {
		if f.def != "" {
			return true
		}
	}
	return false
}

// comment breaks text into lines of a comment.
func comment(text string) string {
	const width = 117
	var b strings.Builder
	n := 0
	for _, word := range strings.Fields(text) {
		if n > 0 && n+1+len(word) > width {
			b.WriteString("\n")
			n = 0
		}
		if n == 0 {
			b.WriteString("//")
		}
		b.WriteString(" " + word)
		n += 1 + len(word)
	}
	return b.String()
}
