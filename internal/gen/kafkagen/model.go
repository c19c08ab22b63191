package main

import (
	"math"
	"strings"
)

// never is the flexible version of a message that has none.
const never = math.MaxInt16

// span is a range of versions, both ends included.
type span struct{ lo, hi int }

func (s span) has(v int) bool         { return s.lo <= v && v <= s.hi }
func (s span) within(outer span) bool { return outer.lo <= s.lo && s.hi <= outer.hi }

// file is one file of the schema.
type file struct {
	apis     []*api
	messages []*message
}

type api struct {
	key               int
	name, doc         string
	versions          span
	flexible          int
	request, response *message // nil: a key with a name only
}

// message is a request, a response, or data that is embedded elsewhere.
type message struct {
	api      *api   // nil: data
	name     string // of the Go type
	doc      string
	versions span
	flexible int
	root     *structure
	structs  []*structure // in order of their first use, root first
}

// structure is a Go struct.
type structure struct {
	msg      *message
	short    string // as the schema says it; empty for the root
	goName   string
	path     string // field that leads here, for errors and comments
	versions span   // in which there is one
	fields   []*field
	inArray  bool // an element of an array, or part of one
}

type field struct {
	name      string
	typ       string // of the element when array is set; empty with structure
	structure *structure
	array     bool
	versions  span
	nullable  *span
	ignorable bool
	tag       int // -1: none
	def       string
	doc       string
	parent    *structure
	line      int
}

// pointer reports whether the Go type is a pointer.
func (f *field) pointer() bool {
	if f.array {
		return false
	}
	if f.structure != nil {
		return f.nullable != nil || f.tag >= 0
	}
	return f.nullable != nil && types[f.typ].text
}

// goType is the type of the field in Go.
func (f *field) goType() string {
	s := types[f.typ].goType
	if f.structure != nil {
		s = f.structure.goName
	}
	if f.array {
		return "[]" + s
	}
	if f.pointer() {
		return "*" + s
	}
	return s
}

// typ is how a type of the schema looks in Go.
type typ struct {
	goType string
	method string // of coder, for one value
	cast   string // pointer type that the method takes, when it is not *goType
	zero   string
	size   int // bytes on the wire, 0: a length comes first
	text   bool
}

var types = map[string]typ{
	"bool":            {"bool", "bool", "", "false", 1, false},
	"int8":            {"int8", "int8", "", "0", 1, false},
	"int16":           {"int16", "int16", "", "0", 2, false},
	"uint16":          {"uint16", "uint16", "", "0", 2, false},
	"int32":           {"int32", "int32", "", "0", 4, false},
	"int64":           {"int64", "int64", "", "0", 8, false},
	"float64":         {"float64", "float64", "", "0", 8, false},
	"uuid":            {"UUID", "uuid", "", "(UUID{})", 16, false},
	"error":           {"ErrorCode", "int16", "*int16", "0", 2, false},
	"brokerID":        {"BrokerID", "int32", "*int32", "0", 4, false},
	"producerID":      {"ProducerID", "int64", "*int64", "0", 8, false},
	"string":          {"string", "string", "", `""`, 0, true},
	"topicName":       {"TopicName", "string", "*string", `""`, 0, true},
	"groupID":         {"GroupID", "string", "*string", `""`, 0, true},
	"transactionalID": {"TransactionalID", "string", "*string", `""`, 0, true},
	"bytes":           {"[]byte", "bytes", "", "", 0, false},
	"records":         {"[]byte", "bytes", "", "", 0, false},
}

// minSize is the least number of bytes of a value in a version.
func (f *field) minSize(v int) int {
	flexible := v >= f.owner().flexible
	switch {
	case !f.versions.has(v) || f.tag >= 0:
		return 0
	case f.structure != nil && !f.array:
		if f.nullable != nil {
			return 1
		}
		return f.structure.minSizeIn(v)
	case !f.array && types[f.typ].size > 0:
		return types[f.typ].size
	case flexible:
		return 1
	case !f.array && types[f.typ].text:
		return 2
	}
	return 4
}

func (f *field) owner() *message { return f.parent.msg }

func (s *structure) minSizeIn(v int) (n int) {
	for _, f := range s.fields {
		n += f.minSize(v)
	}
	if v >= s.msg.flexible {
		n++
	}
	return n
}

// minSize is the least number of bytes in any version.
func (s *structure) minSize() int {
	least := math.MaxInt
	for v := s.versions.lo; v <= s.versions.hi; v++ {
		least = min(least, s.minSizeIn(v))
	}
	return max(least, 1)
}

// flexible reports whether the message has tagged fields in any version.
func (m *message) tagged() bool { return m.flexible <= m.versions.hi }

// slabs are the structures whose elements come from memory that several arrays share.
func (m *message) slabs() (list []*structure) {
	for _, s := range m.structs {
		if s.shared() {
			list = append(list, s)
		}
	}
	return list
}

// shared reports whether the structure is an element of an array within an array.
func (s *structure) shared() bool {
	for _, user := range s.msg.structs {
		for _, f := range user.fields {
			if f.array && f.structure == s && user.inArray {
				return true
			}
		}
	}
	return false
}

// coder is the name of the type that codes the message.
func (m *message) coder() string {
	if len(m.slabs()) == 0 {
		return "coder"
	}
	return lower(m.name) + "Coder"
}

func lower(s string) string {
	for i := range s {
		// Of an abbreviation all but the letter of the next word.
		if i > 0 && (i+1 == len(s) || s[i+1] < 'A' || s[i+1] > 'Z') {
			if s[i] >= 'A' && s[i] <= 'Z' && i > 1 {
				return strings.ToLower(s[:i]) + s[i:]
			}
			return strings.ToLower(s[:1]) + s[1:]
		}
	}
	return strings.ToLower(s)
}
