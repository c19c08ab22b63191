package amqptest

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// sameButOrder reports whether two methods, encoded as payloads, differ only in the order of the fields in their tables,
// which means nothing. Fields that share a key must be in one order.
func sameButOrder(a, b []byte, aMethod, bMethod amqp091.Method) bool {
	if len(a) != len(b) || aMethod.ID() != bMethod.ID() {
		return false
	}
	x, y := ordered(aMethod), ordered(bMethod)
	return x != nil && bytes.Equal(x, y)
}

// ordered returns a method, encoded as payloads, with the fields of its tables ordered by their keys; nil when it cannot be
// encoded.
func ordered(m amqp091.Method) []byte {
	b, err := appendMethod(nil, 0, m, 0)
	if err != nil {
		return nil
	}
	var copied assembler // so that m stays as it is
	var again *message
	for len(b) > 0 && again == nil {
		f, n, err := amqp091.NextFrame(b, 0)
		if err != nil || n == 0 {
			return nil
		}
		if again, err = copied.add(f); err != nil {
			return nil
		}
		b = b[n:]
	}
	if again == nil {
		return nil
	}
	for _, t := range tablesOf(again.method) {
		order(*t)
	}
	if b, err = appendMethod(nil, 0, again.method, 0); err != nil {
		return nil
	}
	return withoutFrames(b)
}

// order orders the fields of a table, and of the tables in it, by their keys.
func order(t amqp091.Table) {
	slices.SortStableFunc(t, func(a, b amqp091.Field) int { return cmp.Compare(a.Key, b.Key) })
	for _, f := range t {
		orderValue(f.Value)
	}
}

func orderValue(v any) {
	switch v := v.(type) {
	case amqp091.Table:
		order(v)
	case []any:
		for _, e := range v {
			orderValue(e)
		}
	}
}

// tablesOf returns where a method keeps its tables.
func tablesOf(m amqp091.Method) []*amqp091.Table {
	switch m := m.(type) {
	case *Content:
		return []*amqp091.Table{&m.Properties.Headers}
	case *amqp091.ConnectionStart:
		return []*amqp091.Table{&m.ServerProperties}
	case *amqp091.ConnectionStartOK:
		return []*amqp091.Table{&m.ClientProperties}
	case *amqp091.ExchangeDeclare:
		return []*amqp091.Table{&m.Arguments}
	case *amqp091.ExchangeBind:
		return []*amqp091.Table{&m.Arguments}
	case *amqp091.ExchangeUnbind:
		return []*amqp091.Table{&m.Arguments}
	case *amqp091.QueueDeclare:
		return []*amqp091.Table{&m.Arguments}
	case *amqp091.QueueBind:
		return []*amqp091.Table{&m.Arguments}
	case *amqp091.QueueUnbind:
		return []*amqp091.Table{&m.Arguments}
	case *amqp091.BasicConsume:
		return []*amqp091.Table{&m.Arguments}
	}
	return nil
}
