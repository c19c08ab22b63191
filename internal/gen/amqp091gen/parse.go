package main

import (
	"fmt"
	"strconv"
	"strings"
)

type class struct {
	number  int
	name    string
	methods []*method
}

type method struct {
	class         *class
	number        int
	name          string
	sync, content bool
	doc           string
	args          []arg
}

type arg struct {
	name, typ, doc string
}

// parse reads definitions; definitions.txt itself says in which form.
func parse(src string) (classes []*class, err error) {
	var c *class
	var m *method
	for i, line := range strings.Split(src, "\n") {
		text, doc, _ := strings.Cut(strings.TrimSpace(line), "--")
		doc = strings.TrimSpace(doc)
		words := strings.Fields(text)
		bad := func() error { return fmt.Errorf("line %d: %q is no definition", i+1, line) }
		switch {
		case strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "":
		case !strings.HasPrefix(line, "\t") && len(words) >= 3:
			number, err := strconv.Atoi(words[1])
			if err != nil {
				return nil, bad()
			}
			switch {
			case words[0] == "class":
				c, m = &class{number: number, name: words[2]}, nil
				classes = append(classes, c)
			case words[0] == "method" && c != nil:
				m = &method{class: c, number: number, name: words[2]}
				c.methods = append(c.methods, m)
				for _, w := range words[3:] {
					switch w {
					case "sync":
						m.sync = true
					case "content":
						m.content = true
					default:
						return nil, bad()
					}
				}
			default:
				return nil, bad()
			}
		case m != nil && len(words) == 0:
			m.doc = doc
		case m != nil && len(words) == 2 && types[words[1]].goType != "":
			m.args = append(m.args, arg{words[0], words[1], doc})
		default:
			return nil, bad()
		}
	}
	return classes, nil
}

// typ is how a type of the definitions looks in Go: the type, and the methods of decoder, encoder and text for it.
type typ struct {
	goType, decode, encode, text string
}

var types = map[string]typ{
	"bit":       {"bool", "", "", "flag"},
	"octet":     {"uint8", "Uint8", "uint8", "number"},
	"short":     {"uint16", "Uint16", "uint16", "number"},
	"long":      {"uint32", "Uint32", "uint32", "number"},
	"longlong":  {"uint64", "Uint64", "uint64", "number"},
	"code":      {"Code", "code", "code", "number"},
	"method-id": {"MethodID", "methodID", "methodID", "method"},
	"shortstr":  {"string", "shortString", "shortString", "string"},
	"longstr":   {"string", "longString", "longString", "string"},
	"bytes":     {"[]byte", "longBytes", "longBytes", "bytes"},
	"secret":    {"[]byte", "longBytes", "longBytes", "secret"},
	"table":     {"Table", "table", "table", "table"},
}

// goName returns a name of the definitions as Go writes it.
func goName(name string) string {
	var b strings.Builder
	for _, word := range strings.Split(name, "-") {
		if word == "id" {
			b.WriteString("ID")
		} else if word == "ok" {
			b.WriteString("OK")
		} else {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}
