package amqpbroker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Arguments is a table with a form in JSON, an object, as in RabbitMQ's definitions. Numbers without a fraction are read as
// int64, others as float64. Types of tables that JSON has not are written as the nearest that it has: a timestamp as the
// seconds of Unix time, bytes as a string.
type Arguments amqp091.Table

// MarshalJSON encodes an object, with its members in the order of the table.
func (a Arguments) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range a {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(f.Key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(jsonValue(f.Value))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Key, err)
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// jsonValue returns what encoding/json encodes for a value of a table.
func jsonValue(v any) any {
	switch v := v.(type) {
	case amqp091.Table:
		return Arguments(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = jsonValue(v[i])
		}
		return out
	case []byte:
		return string(v)
	case time.Time:
		return v.Unix()
	case amqp091.Decimal:
		return float64(v.Value) / math.Pow10(int(v.Scale))
	case float32:
		return jsonFloat(float64(v))
	case float64:
		return jsonFloat(v)
	}
	return v
}

// jsonFloat returns null for what is no number.
func jsonFloat(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return f
}

// UnmarshalJSON decodes an object, or an array of pairs of a name and a value, as which rabbitmqctl writes some objects.
func (a *Arguments) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case amqp091.Table:
		*a = Arguments(v)
	case []any:
		t, ok := pairs(v)
		if !ok {
			return errArguments
		}
		*a = t
	case nil:
		*a = nil
	default:
		return errArguments
	}
	_, err = amqp091.Table(*a).Append(nil) // a table can have less than JSON: its keys are short
	return err
}

var errArguments = errors.New("arguments should be an object")

// pairs makes a table of an array of arrays of a name and a value.
func pairs(list []any) (Arguments, bool) {
	out := make(Arguments, 0, len(list))
	for _, v := range list {
		pair, _ := v.([]any)
		if len(pair) != 2 {
			return nil, false
		}
		name, ok := pair[0].(string)
		if !ok {
			return nil, false
		}
		out = append(out, amqp091.Field{Key: name, Value: pair[1]})
	}
	return out, true
}

// decodeValue reads one value. It keeps the order of members, of which the last of a name holds.
func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > amqp091.MaxDepth {
		return nil, errors.New("nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return n, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '[' {
			list := []any{}
			for d.More() {
				v, err := decodeValue(d, depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err = d.Token()
			return list, err
		}
		table := amqp091.Table{}
		at := map[string]int{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			name := key.(string) // the decoder accepts nothing else here
			if i, ok := at[name]; ok {
				table[i].Value = v
				continue
			}
			at[name] = len(table)
			table = append(table, amqp091.Field{Key: name, Value: v})
		}
		_, err = d.Token()
		return table, err
	}
	return t, nil // nil, bool or string
}
