package amqp091

import "testing"

func TestTableOf(t *testing.T) {
	list := []any{"x", map[string]any{"n": nil}}
	got := TableOf(map[string]any{"b": map[string]any{"y": 2, "x": true}, "a": list, "c": int64(1)})
	want := Table{
		{Key: "a", Value: []any{"x", Table{{Key: "n", Value: nil}}}},
		{Key: "b", Value: Table{{Key: "x", Value: true}, {Key: "y", Value: 2}}},
		{Key: "c", Value: int64(1)},
	}
	if !got.Equal(want) {
		t.Errorf("%v", got)
	}
	if _, ok := list[1].(map[string]any); !ok {
		t.Error("the map was changed")
	}
	if _, err := got.Append(nil); err != nil {
		t.Error(err)
	}
	if got := TableOf(nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
