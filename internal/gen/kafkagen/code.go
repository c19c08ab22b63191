package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// emitCode writes the method that codes a structure, in either direction.
func (s *structure) emitCode(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nfunc (m *%s) code(c *%s) {\n", s.goName, s.msg.coder())
	if s != s.msg.root && s.hasDefaults() {
		// The struct is new.
		fmt.Fprint(b, "if c.decoding {\n")
		s.emitDefaults(b, "m.%s = %s\n")
		fmt.Fprint(b, "}\n")
	}
	for _, f := range s.fields {
		if f.tag < 0 {
			f.emitGate(b)
		}
	}
	switch {
	case !s.msg.tagged():
	case s.tag(0) == nil:
		fmt.Fprint(b, "c.unknownTags(&m.UnknownTags)\n")
	default:
		fmt.Fprintf(b, "m.codeTags(c)\n}\n\nfunc (m *%s) codeTags(c *%s) {\n", s.goName, s.msg.coder())
		s.emitTags(b)
	}
	fmt.Fprint(b, "}\n")
}

// emitGate codes a field in the versions that have it; in others it must have its default.
func (f *field) emitGate(b *bytes.Buffer) {
	if !f.gated() {
		f.emitValue(b)
		return
	}
	fmt.Fprintf(b, "if %s {\n", f.gate())
	f.emitValue(b)
	if !f.ignorable {
		fmt.Fprintf(b, "} else if %s {\nc.missing(%q)\n", f.isSet(), f.path())
	}
	fmt.Fprint(b, "}\n")
}

// gate is the condition on the version under which a field is there.
func (f *field) gate() string { return within(f.versions, f.parent.versions) }

func within(s, outer span) string {
	var list []string
	if s.lo == s.hi {
		return fmt.Sprintf("c.version == %d", s.lo)
	}
	if s.lo > outer.lo {
		list = append(list, fmt.Sprintf("c.version >= %d", s.lo))
	}
	if s.hi < outer.hi {
		list = append(list, fmt.Sprintf("c.version <= %d", s.hi))
	}
	return strings.Join(list, " && ")
}

func (f *field) path() string {
	if f.parent.path == "" {
		return f.name
	}
	return f.parent.path + "." + f.name
}

// isUnset is the condition under which a field has its default.
func (f *field) isUnset() string {
	set := f.isSet()
	if name, value, ok := strings.Cut(set, " != "); ok {
		return name + " == " + value
	}
	if list, ok := strings.CutSuffix(set, " > 0"); ok {
		return list + " == 0"
	}
	return "!" + set
}

// isSet is the condition under which a field has not its default.
func (f *field) isSet() string {
	name := "m." + f.name
	switch {
	case f.array || f.typ == "bytes" || f.typ == "records":
		if f.nullable != nil && f.tag >= 0 {
			return name + " != nil"
		}
		return "len(" + name + ") > 0"
	case f.pointer():
		return name + " != nil"
	case f.typ == "bool" && f.def == "true":
		return "!" + name
	case f.typ == "bool":
		return name
	case f.def != "":
		return name + " != " + f.def
	}
	return name + " != " + types[f.typ].zero
}

func (f *field) emitValue(b *bytes.Buffer) {
	name := "m." + f.name
	switch {
	case f.array && f.structure != nil:
		f.emitArray(b)
	case f.array:
		fmt.Fprintf(b, "c.%s(&%s, %v)\n", arrays[f.typ], name, f.nullable != nil)
	case f.structure != nil && f.nullable != nil:
		fmt.Fprintf(b, "if c.present(%s != nil) {\n", name)
		f.emitPointer(b)
		fmt.Fprint(b, "}\n")
	case f.structure != nil && f.pointer():
		f.emitPointer(b)
	case f.structure != nil:
		fmt.Fprintf(b, "%s.code(c)\n", name)
	case f.nullable != nil:
		fmt.Fprintf(b, "c.%s(&%s)\n", nulls[f.typ], name)
	default:
		arg := "&" + name
		if cast := types[f.typ].cast; cast != "" {
			arg = "(" + cast + ")(" + arg + ")"
		}
		fmt.Fprintf(b, "c.%s(%s)\n", types[f.typ].method, arg)
	}
	if f.nullable != nil && *f.nullable != f.versions {
		outside := fmt.Sprintf("c.version < %d", f.nullable.lo)
		if f.nullable.hi < f.versions.hi {
			outside = "!(" + within(*f.nullable, f.versions) + ")"
		}
		fmt.Fprintf(b, "c.notNull(%s == nil && %s, %q)\n", name, outside, f.path())
	}
}

func (f *field) emitPointer(b *bytes.Buffer) {
	fmt.Fprintf(b, "if c.decoding {\nm.%s = new(%s)\n}\nm.%s.code(c)\n", f.name, f.structure.goName, f.name)
}

func (f *field) emitArray(b *bytes.Buffer) {
	name, size := "m."+f.name, strconv.Itoa(f.structure.minSize())
	count := fmt.Sprintf("c.array(len(%s), %s)", name, size)
	if f.nullable != nil {
		count = fmt.Sprintf("c.nullArray(len(%s), %s == nil, %s)", name, name, size)
	}
	fmt.Fprintf(b, "if n := %s; c.decoding {\n", count)
	if f.structure.shared() {
		fmt.Fprintf(b, "%s = c.%s.take(&c.coder, n, %s)\n", name, f.structure.slab(), size)
	} else {
		fmt.Fprintf(b, "%s = newArray[%s](n)\n", name, f.structure.goName)
	}
	fmt.Fprintf(b, "}\nfor i := range %s {\n%s[i].code(c)\nc.next()\n}\n", name, name)
}

// emitTags codes the tagged fields that the schema knows. They come at the end of a structure.
func (s *structure) emitTags(b *bytes.Buffer) {
	var known []*field
	for f := s.tag(0); f != nil; f = s.tag(len(known)) {
		known = append(known, f)
	}
	for _, f := range known {
		if f.gated() && !f.ignorable {
			gate := fmt.Sprintf("c.version < %d", f.versions.lo)
			if f.versions.hi < s.versions.hi {
				gate = "!(" + f.gate() + ")"
			}
			fmt.Fprintf(b, "if %s && %s {\nc.missing(%q)\n}\n", gate, f.isSet(), f.path())
		}
	}
	c := "c"
	if len(s.msg.slabs()) > 0 {
		c = "&c.coder"
	}
	unset := "len(m.UnknownTags) == 0"
	for _, f := range known {
		unset += " && " + f.isUnset()
	}
	fmt.Fprintf(b, "t := c.tags(%d, %s)\nfor t.next(%s, m.UnknownTags) {\nswitch {\n", len(known), unset, c)
	for _, f := range known {
		fmt.Fprintf(b, "case t.id == %d", f.tag)
		// Where a version is flexible.
		flex := span{max(s.versions.lo, s.msg.flexible), s.versions.hi}
		if gate := within(f.versions, flex); f.versions != flex {
			fmt.Fprintf(b, " && %s", gate)
		}
		fmt.Fprintf(b, ":\nif t.has(%s, %s) {\n", c, f.isSet())
		f.emitValue(b)
		fmt.Fprint(b, "}\n")
	}
	fmt.Fprintf(b, "default:\nt.unknown(%s, &m.UnknownTags)\n}\n}\n", c)
}

func emitKeys(b *bytes.Buffer, apis []*api) {
	fmt.Fprint(b, "\n// The API keys of Kafka 4.4.\nconst (\n")
	for _, a := range apis {
		fmt.Fprintf(b, "Key%s APIKey = %d\n", a.name, a.key)
	}
	fmt.Fprint(b, ")\n\n// apis is what the schema says about each key.\nvar apis = [...]struct {\nname string\nmin, max, flexible int16\n}{\n")
	for _, a := range apis {
		fmt.Fprintf(b, "Key%s: {%q, %d, %d, %s},\n", a.name, a.name, a.versions.lo, a.versions.hi, flexible(a.flexible))
	}
	fmt.Fprint(b, "}\n")
	for _, kind := range []string{"Request", "Response"} {
		fmt.Fprintf(b, "\n// New%s returns an empty %s of the key, or nil for a key without messages.\nfunc New%s(key APIKey) %s {\nswitch key {\n",
			kind, strings.ToLower(kind), kind, kind)
		for _, a := range apis {
			if a.request != nil {
				fmt.Fprintf(b, "case Key%s:\nreturn new(%s%s)\n", a.name, a.name, kind)
			}
		}
		fmt.Fprint(b, "}\nreturn nil\n}\n")
	}
}
