package main

import (
	"bytes"
	"fmt"
	"strings"
)

func (m *method) wire() string   { return m.class.name + "." + m.name }
func (m *method) goName() string { return goName(m.class.name) + goName(m.name) }

func (c *class) emit(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n// The methods of class %s.\nconst (\n", c.name)
	for _, m := range c.methods {
		fmt.Fprintf(b, "ID%s MethodID = %d<<16 | %d // %s\n", m.goName(), c.number, m.number, m.wire())
	}
	fmt.Fprintf(b, ")\n")
	for _, m := range c.methods {
		m.emit(b)
	}
}

func (m *method) emit(b *bytes.Buffer) {
	name := m.goName()
	fmt.Fprintf(b, "\n%s\ntype %s struct {", comment(fmt.Sprintf("%s is %s: it %s", name, m.wire(), m.doc)), name)
	for i, a := range m.args {
		if i == 0 {
			fmt.Fprintln(b)
		}
		fmt.Fprintf(b, "%s %s", goName(a.name), types[a.typ].goType)
		if a.doc != "" {
			fmt.Fprintf(b, " // %s", a.doc)
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintf(b, "}\n\n// ID returns [ID%s].\nfunc (*%s) ID() MethodID { return ID%s }\n", name, name, name)
	m.emitText(b)
	m.emitDecode(b)
	m.emitEncode(b)
}

func (m *method) emitText(b *bytes.Buffer) {
	fmt.Fprint(b, "\n// String returns the text form.\n")
	if len(m.args) == 0 {
		fmt.Fprintf(b, "func (*%s) String() string { return %q }\n", m.goName(), m.wire()+"()")
		return
	}
	fmt.Fprintf(b, "func (m *%s) String() string {\nt := newText(%q)\n", m.goName(), m.wire())
	for _, a := range m.args {
		value := "m." + goName(a.name)
		if types[a.typ].text == "number" {
			value = "uint64(" + value + ")"
		}
		fmt.Fprintf(b, "t.%s(%q, %s)\n", types[a.typ].text, a.name, value)
	}
	fmt.Fprint(b, "return t.end()\n}\n")
}

func (m *method) emitDecode(b *bytes.Buffer) {
	if len(m.args) == 0 {
		fmt.Fprintf(b, "\nfunc (m *%s) decode(b []byte) error { return noArguments(b, ID%s) }\n", m.goName(), m.goName())
		return
	}
	fmt.Fprintf(b, "\nfunc (m *%s) decode(b []byte) error {\nd := newDecoder(b)\n", m.goName())
	eachGroup(m.args, func(a arg) {
		fmt.Fprintf(b, "m.%s = d.%s()\n", goName(a.name), types[a.typ].decode)
	}, func(bits []arg) {
		for i, a := range bits {
			if i == 0 {
				fmt.Fprintf(b, "bits := d.Uint8()\n")
			}
			fmt.Fprintf(b, "m.%s = bits&(1<<%d) != 0\n", goName(a.name), i)
		}
	})
	fmt.Fprintf(b, "return d.end(ID%s)\n}\n", m.goName())
}

func (m *method) emitEncode(b *bytes.Buffer) {
	if len(m.args) == 0 {
		fmt.Fprintf(b, "\nfunc (*%s) appendTo(dst []byte) ([]byte, error) { return dst, nil }\n", m.goName())
		return
	}
	fmt.Fprintf(b, "\nfunc (m *%s) appendTo(dst []byte) ([]byte, error) {\ne := newEncoder(dst)\n", m.goName())
	eachGroup(m.args, func(a arg) {
		name := ""
		if checked[a.typ] {
			name = fmt.Sprintf("%q, ", a.name)
		}
		fmt.Fprintf(b, "e.%s(%sm.%s)\n", types[a.typ].encode, name, goName(a.name))
	}, func(bits []arg) {
		var list []string
		for _, a := range bits {
			list = append(list, "m."+goName(a.name))
		}
		fmt.Fprintf(b, "e.bits(%s)\n", strings.Join(list, ", "))
	})
	fmt.Fprintf(b, "return e.end(ID%s)\n}\n", m.goName())
}

// checked are the types that have values which cannot be encoded.
var checked = map[string]bool{"shortstr": true, "longstr": true, "bytes": true, "secret": true, "table": true}

// eachGroup calls one for an argument and bits for those that share an octet.
func eachGroup(args []arg, one func(arg), bits func([]arg)) {
	for len(args) > 0 {
		n := 0
		for n < len(args) && n < 8 && args[n].typ == "bit" {
			n++
		}
		if n == 0 {
			one(args[0])
			n = 1
		} else {
			bits(args[:n])
		}
		args = args[n:]
	}
}

// emitAll emits what is about all methods.
func emitAll(b *bytes.Buffer, classes []*class) {
	each := func(f func(m *method)) {
		for _, c := range classes {
			for _, m := range c.methods {
				f(m)
			}
		}
	}
	fmt.Fprint(b, "\n// name returns the name of the standard, or nothing.\nfunc (id MethodID) name() string {\nswitch id {\n")
	each(func(m *method) { fmt.Fprintf(b, "case ID%s:\nreturn %q\n", m.goName(), m.wire()) })
	fmt.Fprint(b, "}\nreturn \"\"\n}\n")
	flag := func(name, doc string, is func(*method) bool) {
		var list []string
		each(func(m *method) {
			if is(m) {
				list = append(list, "ID"+m.goName())
			}
		})
		fmt.Fprintf(b, "\n%s\nfunc (id MethodID) %s() bool {\nswitch id {\ncase %s:\nreturn true\n}\nreturn false\n}\n",
			comment(name+" "+doc), name, strings.Join(list, ",\n"))
	}
	flag("HasContent", "reports whether a content header and a body follow the method.", func(m *method) bool { return m.content })
	flag("Synchronous", "reports whether the method asks for an answer. An argument no-wait may say that none comes.",
		func(m *method) bool { return m.sync })
	fmt.Fprint(b, "\n// newMethod returns an empty method, or nil when there is none with that number.\n"+
		"func newMethod(id MethodID) Method {\nswitch id {\n")
	each(func(m *method) { fmt.Fprintf(b, "case ID%s:\nreturn new(%s)\n", m.goName(), m.goName()) })
	fmt.Fprint(b, "}\nreturn nil\n}\n")
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
			n = 0
		}
		b.WriteString(" " + word)
		n += 1 + len(word)
	}
	return b.String()
}
