package main

import "fmt"

// check refuses what the generator does not know how to write, and finds out what it needs to know.
func (f *file) check() error {
	for _, a := range f.apis {
		if a.flexible != never || a.request != nil || a.response != nil {
			if a.request == nil || a.response == nil || a.doc == "" {
				return fmt.Errorf("%s: no request, no response or no sentence", a.name)
			}
		}
	}
	for _, m := range f.messages {
		if m.api == nil && m.doc == "" {
			return fmt.Errorf("%s: no sentence", m.name)
		}
		m.root.markArrays(false, make(map[*structure]bool))
		if d := m.root.depth(); d > maxDepth {
			return fmt.Errorf("%s: arrays are %d deep", m.name, d)
		}
		for _, s := range m.structs {
			if err := s.check(); err != nil {
				return fmt.Errorf("%s: %w", s.goName, err)
			}
		}
	}
	return nil
}

// maxDepth is the most arrays within each other.
const maxDepth = 8 // of coder.counts

func (s *structure) check() error {
	tags := 0
	for _, f := range s.fields {
		var why string
		switch {
		case f.structure != nil && len(f.structure.fields) == 0:
			why = "a structure without fields"
		case f.structure != nil && !f.versions.within(f.structure.versions):
			why = "versions that the structure lacks"
		case f.tag >= 0 && f.versions.lo < s.msg.flexible:
			why = "a tag before versions are flexible"
		case f.structure != nil && !f.array && !f.pointer() && f.gated() && !f.ignorable:
			why = "a structure by value that versions lack"
		case f.structure != nil && !f.array && f.tag >= 0 && f.nullable != nil:
			why = "a tagged structure that can be null"
		case f.def != "" && (f.array || f.structure != nil || f.nullable != nil):
			why = "a default that cannot be"
		case f.nullable != nil && !f.pointer() && !f.array && f.typ != "bytes" && f.typ != "records":
			why = "a number that is null"
		case f.array && f.structure == nil && arrays[f.typ] == "":
			why = "an array of that type"
		}
		if f.tag >= 0 {
			tags++
		}
		if why != "" {
			return fmt.Errorf("line %d: %s: %s", f.line, f.name, why)
		}
	}
	for id := range tags {
		if s.tag(id) == nil {
			return fmt.Errorf("tag %d is missing", id)
		}
	}
	return nil
}

// tag returns the field with a tag.
func (s *structure) tag(id int) *field {
	for _, f := range s.fields {
		if f.tag == id {
			return f
		}
	}
	return nil
}

// gated reports whether the structure has versions without the field.
func (f *field) gated() bool { return f.versions != f.parent.versions }

// markArrays notes which structures are in arrays.
func (s *structure) markArrays(in bool, seen map[*structure]bool) {
	if seen[s] && (s.inArray || !in) {
		return
	}
	seen[s] = true
	s.inArray = s.inArray || in
	for _, f := range s.fields {
		if f.structure != nil {
			f.structure.markArrays(s.inArray || f.array, seen)
		}
	}
}

// depth is how many arrays are within each other.
func (s *structure) depth() (d int) {
	for _, f := range s.fields {
		n := 0
		if f.array {
			n = 1
		}
		if f.structure != nil {
			n += f.structure.depth()
		}
		d = max(d, n)
	}
	return d
}
