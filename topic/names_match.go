package topic

func (m *Names[T]) match(filter string, yield func(string, T) bool) {
	if p := m.empty.Load(); p != nil && m.syntax.Match(filter, "") && !yield("", *p) {
		return
	}
	m.matchBelow(&m.root, m.syntax.levels(filter), 0, yield)
}

// matchBelow yields the names in c that match f, the rest of a filter, with
// their levels from depth on.
func (m *Names[T]) matchBelow(c *children[place[T]], f levels, depth int, yield func(string, T) bool) bool {
	if !f.more {
		return true
	}
	after := f
	level := after.next()
	if level != "#" && level != m.syntax.single() {
		e := c.get(m.seed, level)
		return e == nil || m.matchPlace(e, after, depth+len(level), yield)
	}
	first := depth == 0 && m.syntax == MQTT
	for e := range c.all() {
		switch {
		case first && reserved(e.key):
		case level == "#":
			if !m.matchHash(e, f, depth, yield) {
				return false
			}
		case !m.matchPlace(e, after, depth+len(e.key), yield):
			return false
		}
	}
	return true
}

// matchPlace yields the names at and below e whose levels behind end, where
// that of e ends, match f.
func (m *Names[T]) matchPlace(e *entry[place[T]], f levels, end int, yield func(string, T) bool) bool {
	here := e.p.state.Load()
	if here == nil {
		return true
	}
	if here.name != "" && matchLevels(m.syntax, f, m.after(here.name, end)) && !yield(here.name, here.v) {
		return false
	}
	return here.below == nil || m.matchBelow(here.below, f, end+1, yield)
}

// matchHash yields the names at and below e whose levels from depth on match
// f, which begins with '#'.
func (m *Names[T]) matchHash(e *entry[place[T]], f levels, depth int, yield func(string, T) bool) bool {
	here := e.p.state.Load()
	if here == nil {
		return true
	}
	if here.name != "" && matchLevels(m.syntax, f, m.after(here.name, depth-1)) && !yield(here.name, here.v) {
		return false
	}
	if here.below == nil {
		return true
	}
	for e := range here.below.all() {
		if !m.matchHash(e, f, depth, yield) {
			return false
		}
	}
	return true
}

// after returns the levels of name behind the one that ends at end; -1 is
// before the first.
func (m *Names[T]) after(name string, end int) levels {
	if end >= len(name) {
		return levels{sep: m.syntax.separator()}
	}
	return levels{rest: name[end+1:], more: true, sep: m.syntax.separator()}
}
