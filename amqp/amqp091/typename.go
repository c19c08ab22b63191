package amqp091

import "time"

// TypeName returns the name of the type of a value as RabbitMQ's error texts have it, such as "longstr" or "signedint",
// in "received the value '5' of type 'signedint'". It is "void" for nil, and "unknown" for what a table cannot hold.
func TypeName(v any) string {
	switch plainValue(v).(type) {
	case nil:
		return "void"
	case bool:
		return "bool"
	case int8:
		return "byte"
	case uint8:
		return "unsignedbyte"
	case int16:
		return "short"
	case uint16:
		return "unsignedshort"
	case int32:
		return "signedint"
	case uint32:
		return "unsignedint"
	case int64:
		return "long"
	case float32:
		return "float"
	case float64:
		return "double"
	case Decimal:
		return "decimal"
	case string:
		return "longstr"
	case []byte:
		return "binary"
	case []any:
		return "array"
	case time.Time:
		return "timestamp"
	case Table:
		return "table"
	}
	return "unknown"
}
