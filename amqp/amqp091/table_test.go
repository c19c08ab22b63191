package amqp091_test

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// everyValue has a value of each type.
func everyValue() amqp091.Table {
	return amqp091.Table{
		{Key: "void"},
		{Key: "bool", Value: true},
		{Key: "int8", Value: int8(-8)},
		{Key: "uint8", Value: uint8(200)},
		{Key: "int16", Value: int16(-1600)},
		{Key: "uint16", Value: uint16(60000)},
		{Key: "int32", Value: int32(-32)},
		{Key: "uint32", Value: uint32(math.MaxUint32)},
		{Key: "int64", Value: int64(math.MinInt64)},
		{Key: "float32", Value: float32(1.5)},
		{Key: "float64", Value: math.Pi},
		{Key: "decimal", Value: amqp091.Decimal{Scale: 2, Value: 314}},
		{Key: "string", Value: "text"},
		{Key: "bytes", Value: []byte{0, 1}},
		{Key: "array", Value: []any{nil, int32(1), []any{}, amqp091.Table{{Key: "k", Value: "v"}}}},
		{Key: "time", Value: time.Unix(1721873091, 0).UTC()},
		{Key: "table", Value: amqp091.Table{{Key: "in", Value: false}}},
	}
}

func TestTableEveryValue(t *testing.T) {
	table := everyValue()
	raw, err := table.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := amqp091.RawTable(raw).Decode()
	if err != nil || !reflect.DeepEqual(got, table) {
		t.Errorf("Decode = %v, %v\nwant %v", got, err, table)
	}
	if !got.Equal(table) || !table.Clone().Equal(table) || !reflect.DeepEqual(table.Clone(), table) {
		t.Error("not equal")
	}
	clear(raw)
	if !got.Equal(table) {
		t.Error("the decoded table is part of the raw one")
	}
	const text = `{void=void, bool=true, int8=-8b, uint8=200B, int16=-1600s, uint16=60000u, int32=-32, uint32=4294967295i, ` +
		`int64=-9223372036854775808l, float32=1.5f, float64=3.141592653589793d, decimal=314e-2D, string="text", ` +
		`bytes=x2:"\x00\x01", array=[void, 1, [], {k="v"}], time=2024-07-25T02:04:51Z, table={in=false}}`
	if got.String() != text {
		t.Errorf("String = %s", got)
	}
	names := strings.Fields("void bool byte unsignedbyte short unsignedshort signedint unsignedint long float double decimal " +
		"longstr binary array timestamp table")
	for i, f := range table {
		if name := amqp091.TypeName(f.Value); name != names[i] {
			t.Errorf("TypeName(%v) = %s, want %s", f.Value, name, names[i])
		}
	}
	if name := amqp091.TypeName(uint64(1)); name != "unknown" {
		t.Errorf("TypeName of what a table cannot hold = %s", name)
	}
}

func TestTableGetSetDelete(t *testing.T) {
	var table amqp091.Table
	if _, ok := table.Get("a"); ok {
		t.Error("Get finds something in nothing")
	}
	table.Set("a", 1)
	table.Set("b", "x")
	table.Set("a", 2)
	if v, ok := table.Get("a"); v != 2 || !ok || len(table) != 2 {
		t.Errorf("Get(a) = %v, %t in %v", v, ok, table)
	}
	table.Delete("a")
	table.Delete("no")
	if table.String() != `{b="x"}` {
		t.Errorf("after Delete: %v", table)
	}
}

func TestTableInt(t *testing.T) {
	large := int64(math.MaxInt32) + 1
	for _, row := range []struct {
		v   int
		tag byte
	}{{0, 'I'}, {math.MaxInt32, 'I'}, {math.MinInt32, 'I'}, {int(large), 'l'}} {
		if row.tag == 'l' && math.MaxInt == math.MaxInt32 {
			continue
		}
		raw, err := amqp091.AppendField(nil, "k", row.v)
		v, _ := raw.Get("k")
		n, ok := v.Int()
		if err != nil || v.Tag != row.tag || n != int64(row.v) || !ok {
			t.Errorf("%d: %c %d, %t, %v", row.v, v.Tag, n, ok, err)
		}
	}
}

func TestTableEqual(t *testing.T) {
	a := func(fields ...any) (t amqp091.Table) {
		for i := 0; i < len(fields); i += 2 {
			t = append(t, amqp091.Field{Key: fields[i].(string), Value: fields[i+1]})
		}
		return t
	}
	at := time.Unix(1000, 0)
	for _, row := range []struct {
		a, b amqp091.Table
		want bool
	}{
		{nil, amqp091.Table{}, true},
		{a("x", 1, "y", 2), a("y", 2, "x", 1), true},
		{a("x", 1), a("x", int32(1)), true},
		{a("x", 1), a("x", int64(1)), false},
		{a("x", "1"), a("x", []byte("1")), false},
		{a("x", []byte("1")), a("x", []byte("1")), true},
		{a("x", []byte("1")), a("x", "1"), false},
		{a("x", 1), a("y", 1), false},
		{a("x", nil), a("y", nil), false},
		{a("x", nil), a("x", nil), true},
		{a("x", 1), nil, false},
		{a("x", math.NaN()), a("x", math.NaN()), true},
		{a("x", float32(1)), a("x", float32(1)), true},
		{a("x", float32(1)), a("x", float64(1)), false},
		{a("x", 0.0), a("x", math.Copysign(0, -1)), false},
		{a("x", at), a("x", at.Add(time.Millisecond).UTC()), true},
		{a("x", at), a("x", at.Unix()), false},
		{a("x", []any{1, a("k", 1, "l", 2)}), a("x", []any{int32(1), a("l", 2, "k", 1)}), true},
		{a("x", []any{1, 2}), a("x", []any{2, 1}), false},
		{a("x", a()), a("x", []any{}), false},
		{a("x", 1, "y", 0, "x", 2), a("y", 0, "x", 1, "x", 2), true},
		{a("x", 1, "x", 2), a("x", 2, "x", 1), false},
		{a("x", 1, "x", 1), a("x", 1, "x", 2), false},
		{a("x", 1, "x", 2), a("x", 1, "x", 1), false},
	} {
		if row.a.Equal(row.b) != row.want || row.b.Equal(row.a) != row.want {
			t.Errorf("%v and %v: want %t", row.a, row.b, row.want)
		}
	}
}

// Comparing takes no longer than linear time in the depth.
func TestTableEqualDeep(t *testing.T) {
	a, b := amqp091.Table{{Key: "k", Value: 1}, {Key: "l"}}, amqp091.Table{{Key: "l"}, {Key: "k", Value: 2}}
	for range amqp091.MaxDepth {
		a, b = amqp091.Table{{Key: "k", Value: a}, {Key: "l"}}, amqp091.Table{{Key: "l"}, {Key: "k", Value: b}}
	}
	if a.Equal(b) || !a.Equal(a.Clone()) {
		t.Error("Equal")
	}
}

func TestTableCannotHold(t *testing.T) {
	deep := func(depth int) amqp091.Table {
		table := amqp091.Table{}
		for range depth - 1 {
			table = amqp091.Table{{Key: "k", Value: table}}
		}
		return table
	}
	var loop amqp091.Table
	loop.Set("self", nil)
	loop[0].Value = loop
	array := []any{nil}
	array[0] = array
	long := strings.Repeat("k", 256)
	for name, table := range map[string]amqp091.Table{
		"uint64":  {{Key: "a", Value: 1}, {Key: "k", Value: uint64(1)}},
		"map":     {{Key: "k", Value: map[string]any{}}},
		"array":   {{Key: "k", Value: []any{struct{}{}}}},
		"strings": {{Key: "k", Value: []string{"a"}}},
		"pointer": {{Key: "k", Value: &loop}},
		"key":     {{Key: long, Value: 1}},
		"deep":    deep(amqp091.MaxDepth + 1),
		"loop":    loop,
		"arrays":  {{Key: "k", Value: array}},
	} {
		got, err := table.Append([]byte("before"))
		if errorCode(err) != amqp091.SyntaxError || string(got) != "before" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		m := &amqp091.ExchangeDeclare{Exchange: "x", Arguments: table}
		got, err = amqp091.AppendMethod([]byte("before"), 1, m)
		if errorCode(err) != amqp091.SyntaxError || string(got) != "before" || err.(*amqp091.Error).Method != m.ID() {
			t.Errorf("%s: AppendMethod = %q, %v", name, got, err)
		}
		p := amqp091.Properties{ContentType: "a", Headers: table}
		got, err = p.Append([]byte("before"))
		if errorCode(err) != amqp091.SyntaxError || string(got) != "before" {
			t.Errorf("%s: Properties.Append = %q, %v", name, got, err)
		}
		field, err := amqp091.AppendField(amqp091.RawTable("before"), table[0].Key, table[len(table)-1].Value)
		if name != "loop" && name != "deep" && (errorCode(err) != amqp091.SyntaxError || string(field) != "before") {
			t.Errorf("%s: AppendField = %q, %v", name, field, err)
		}
	}
	raw, err := deep(amqp091.MaxDepth).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := amqp091.RawTable(raw).Decode(); err != nil {
		t.Errorf("depth %d: %v", amqp091.MaxDepth, err)
	}
	raw = append([]byte{1, 'k', 'F', 0, 0, byte(len(raw) >> 8), byte(len(raw))}, raw...)
	if _, err := amqp091.RawTable(raw).Decode(); errorCode(err) != amqp091.FrameError {
		t.Errorf("depth %d: %v", amqp091.MaxDepth+1, err)
	}
	if err := amqp091.RawTable(raw).Validate(); errorCode(err) != amqp091.FrameError {
		t.Errorf("Validate of depth %d: %v", amqp091.MaxDepth+1, err)
	}
}

// Arrays count as tables do.
func TestArrayDepth(t *testing.T) {
	nested := func(depth int) amqp091.RawTable {
		v := []byte{'V'}
		for range depth {
			v = append([]byte{'A', 0, 0, byte(len(v) >> 8), byte(len(v))}, v...)
		}
		return append([]byte{1, 'k'}, v...)
	}
	for _, depth := range []int{amqp091.MaxDepth - 1, amqp091.MaxDepth, 10_000} {
		raw := nested(depth)
		_, err := raw.Decode()
		if ok := depth < amqp091.MaxDepth; ok != (err == nil) || errorString(err) != errorString(raw.Validate()) {
			t.Errorf("%d arrays: %v, %v", depth, err, raw.Validate())
		}
		v, _ := raw.Get("k")
		if value := v.Value(); (value == nil) != (depth > amqp091.MaxDepth) {
			t.Errorf("%d arrays: Value = %v", depth, value)
		}
	}
}

func TestRawTable(t *testing.T) {
	table := everyValue()
	b, err := table.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	raw := amqp091.RawTable(b)
	if raw.Len() != len(table) {
		t.Errorf("Len = %d", raw.Len())
	}
	for key, v := range raw.All() {
		want, _ := table.Get(string(key))
		if got := v.Value(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
		if got, ok := raw.Get(string(key)); !ok || got.Tag != v.Tag {
			t.Errorf("Get(%s) = %v, %t", key, got, ok)
		}
		// Exactly one accessor takes it.
		_, isBool := v.Bool()
		_, isInt := v.Int()
		_, isFloat := v.Float()
		_, isText := v.Text()
		_, isBytes := v.Bytes()
		_, isTime := v.Time()
		_, isTable := v.Table()
		n := 0
		for _, is := range []bool{isBool, isInt, isFloat, isText, isBytes, isTime, isTable, v.IsArray(), v.Tag == 'V', v.Tag == 'D'} {
			if is {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: %d accessors take it", key, n)
		}
	}
	for range raw.All() {
		break
	}
	if _, ok := raw.Get("no"); ok {
		t.Error("Get finds what is not there")
	}
	if _, ok := amqp091.RawTable("\x01").Get(""); ok {
		t.Error("Get finds something in a malformed table")
	}
	array, _ := raw.Get("array")
	n := 0
	for v := range array.Values() {
		if n++; n == 2 {
			if i, _ := v.Int(); i != 1 {
				t.Errorf("second value of the array: %v", v)
			}
			break
		}
	}
	for range (amqp091.RawValue{Tag: 'S', Data: []byte("VV")}).Values() {
		t.Error("a string has values")
	}
	malformed := amqp091.RawTable(b[:len(b)-1])
	if malformed.Len() != len(table)-1 || !bytes.Equal(malformed.AppendWithout(nil), b[:bytes.LastIndex(b, []byte("\x05table"))]) {
		t.Errorf("of a malformed table: %d fields", malformed.Len())
	}
}

func TestRawTableEdit(t *testing.T) {
	b, err := everyValue().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	edited := amqp091.RawTable(amqp091.RawTable(b).AppendWithout([]byte{}, "void", "array", "table", "no"))
	edited, err = amqp091.AppendField(edited, "array", []any{"new"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := edited.Decode()
	want := everyValue()
	want.Delete("void")
	want.Delete("array")
	want.Delete("table")
	want.Set("array", []any{"new"})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("edited: %v, %v\nwant %v", got, err, want)
	}
}

// A value that was put together by hand and is too short is not read.
func TestRawValueShort(t *testing.T) {
	for _, tag := range []byte("tbBsuIilLfdDT") {
		v := amqp091.RawValue{Tag: tag}
		_, isBool := v.Bool()
		_, isInt := v.Int()
		_, isFloat := v.Float()
		_, isTime := v.Time()
		if isBool || isInt || isFloat || isTime || v.Value() != nil {
			t.Errorf("%c without data is read", tag)
		}
	}
	if v := (amqp091.RawValue{Tag: 'Z', Data: []byte{1}}); v.Value() != nil {
		t.Error("a value of an unknown type is read")
	}
}
