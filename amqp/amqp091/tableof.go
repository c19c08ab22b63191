package amqp091

import (
	"maps"
	"slices"
)

// TableOf returns a table with what is in m, in the order of the keys, for those who have maps. Maps of the same type in m,
// and in slices of any, become tables, too. Other values stay as they are; what a [Table] cannot hold is an error when it is
// encoded.
func TableOf(m map[string]any) Table {
	t := make(Table, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		t = append(t, Field{Key: key, Value: valueOf(m[key])})
	}
	return t
}

func valueOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return TableOf(v)
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = valueOf(e)
		}
		return list
	}
	return v
}
