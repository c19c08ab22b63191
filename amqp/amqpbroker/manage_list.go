package amqpbroker

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// listing is a list that may be asked for by pages. The views of items that are not shown are never made.
type listing struct {
	n    int
	name func(i int) string // for the filter
	view func(i int) any
}

// listOf returns the listing of views that there are.
func listOf[T any](list []T, name func(*T) string) listing {
	return listing{len(list), func(i int) string { return name(&list[i]) }, func(i int) any { return &list[i] }}
}

// page is the answer to a request for a page.
type page struct {
	FilteredCount int   `json:"filtered_count"`
	ItemCount     int   `json:"item_count"`
	Items         []any `json:"items"`
	Page          int   `json:"page"`
	PageCount     int   `json:"page_count"`
	PageSize      int   `json:"page_size"`
	TotalCount    int   `json:"total_count"`
}

// The sizes of pages, RabbitMQ's.
const (
	defaultPage = 100
	maxPage     = 500
)

// shape applies what the query says about pages, columns and order.
func (c *call) shape(v any) (any, error) {
	q := c.r.URL.Query()
	columns := splitColumns(q.Get("columns"))
	l, isList := v.(listing)
	if !isList {
		if len(columns) == 0 {
			return v, nil
		}
		return pick(v, columns)
	}
	keep := make([]int, 0, l.n)
	paged := q.Has("page")
	if name := q.Get("name"); paged && name != "" {
		match := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(name)) }
		if q.Get("use_regex") == "true" {
			re, err := compilePattern(name)
			if err != nil {
				return nil, badRequest("Pagination parameters are invalid")
			}
			match = re.match
		}
		for i := range l.n {
			if match(l.name(i)) {
				keep = append(keep, i)
			}
		}
	} else {
		for i := range l.n {
			keep = append(keep, i)
		}
	}
	view := func(i int) (any, error) { return l.view(i), nil }
	if by := q.Get("sort"); by != "" {
		// Every item must be looked at.
		views, err := sortViews(l, keep, strings.Split(by, "."), q.Get("sort_reverse") == "true")
		if err != nil {
			return nil, err
		}
		for i := range keep {
			keep[i] = i
		}
		view = func(i int) (any, error) { return views[i], nil }
	}
	out := page{FilteredCount: len(keep), TotalCount: l.n, Page: 1, PageSize: max(len(keep), 1), PageCount: 1}
	if paged {
		if err := out.choose(q.Get("page"), q.Get("page_size")); err != nil {
			return nil, err
		}
		start := (out.Page - 1) * out.PageSize
		keep = keep[min(start, len(keep)):min(start+out.PageSize, len(keep))]
	}
	out.Items = make([]any, 0, len(keep))
	for _, i := range keep {
		v, err := view(i)
		if err == nil && len(columns) > 0 {
			v, err = pick(v, columns)
		}
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, v)
	}
	out.ItemCount = len(out.Items)
	if !paged {
		return out.Items, nil
	}
	return out, nil
}

// choose sets the page that is asked for. FilteredCount is set.
func (p *page) choose(number, size string) error {
	p.PageSize = defaultPage
	var err error
	if p.Page, err = strconv.Atoi(number); err != nil {
		return badRequest("Pagination parameters are invalid")
	}
	if size != "" {
		if p.PageSize, err = strconv.Atoi(size); err != nil {
			return badRequest("Pagination parameters are invalid")
		}
	}
	if p.Page < 1 || p.PageSize < 1 || p.PageSize > maxPage {
		return &apiError{http.StatusBadRequest, "invalid_pagination_parameters",
			fmt.Sprintf("Invalid pagination parameters: page number %d, page size %d", p.Page, p.PageSize)}
	}
	p.PageCount = max((p.FilteredCount+p.PageSize-1)/p.PageSize, 1)
	if p.Page > p.PageCount {
		return &apiError{http.StatusBadRequest, "page_out_of_range",
			fmt.Sprintf("Page out of range, page: %d page size: %d, len: %d", p.Page, p.PageSize, p.FilteredCount)}
	}
	return nil
}

func splitColumns(s string) [][]string {
	var out [][]string
	for _, c := range strings.Split(s, ",") {
		if c != "" {
			out = append(out, strings.Split(c, "."))
		}
	}
	return out
}

// generic returns a view as maps and values of JSON.
func generic(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var out any
	err = d.Decode(&out)
	return out, err
}

// pick returns a view with some of its members only; a column is a path.
func pick(v any, columns [][]string) (any, error) {
	g, err := generic(v)
	if err != nil {
		return nil, err
	}
	if list, ok := g.([]any); ok {
		for i := range list {
			list[i] = pickFrom(list[i], columns)
		}
		return list, nil
	}
	return pickFrom(g, columns), nil
}

func pickFrom(g any, columns [][]string) any {
	in, ok := g.(map[string]any)
	if !ok {
		return g
	}
	out := map[string]any{}
	for _, path := range columns {
		from, to := in, out
		for i, name := range path {
			v, ok := from[name]
			if !ok {
				break
			}
			next, isMap := v.(map[string]any)
			if i == len(path)-1 || !isMap {
				if i == len(path)-1 {
					to[name] = v
				}
				break
			}
			below, ok := to[name].(map[string]any)
			if !ok {
				below = map[string]any{}
				to[name] = below
			}
			from, to = next, below
		}
	}
	return out
}

// sortViews returns the views of items in the order of a member.
func sortViews(l listing, keep []int, path []string, reverse bool) ([]any, error) {
	views, keys := make([]any, len(keep)), make([]any, len(keep))
	order := make([]int, len(keep))
	for i, at := range keep {
		g, err := generic(l.view(at))
		if err != nil {
			return nil, err
		}
		views[i], keys[i], order[i] = g, g, i
		for _, name := range path {
			m, _ := keys[i].(map[string]any)
			keys[i] = m[name]
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		n := compareJSON(keys[a], keys[b])
		if reverse {
			n = -n
		}
		return n
	})
	out := make([]any, len(order))
	for i, at := range order {
		out[i] = views[at]
	}
	return out, nil
}

// compareJSON orders what is not there before false and true, numbers and strings.
func compareJSON(a, b any) int {
	rank := func(v any) (kind int, n float64, s string) {
		switch v := v.(type) {
		case bool:
			if v {
				n = 1
			}
			return 1, n, ""
		case json.Number:
			n, _ = v.Float64()
			return 2, n, ""
		case string:
			return 3, 0, v
		}
		return 0, 0, ""
	}
	ka, na, sa := rank(a)
	kb, nb, sb := rank(b)
	return cmp.Or(cmp.Compare(ka, kb), cmp.Compare(na, nb), cmp.Compare(sa, sb))
}
