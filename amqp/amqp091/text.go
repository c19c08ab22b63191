package amqp091

import (
	"strconv"
	"time"
)

// textLimit is how many bytes of a body, or of a value of type bytes, the text form shows.
const textLimit = 64

// maxDate is the last second of the year 9999; the text form shows later timestamps as numbers.
const maxDate = 253402300799

// text makes the text form of a method or content header: name(key=value, flag). What is zero or empty is left out.
type text struct {
	b     []byte
	comma bool
}

func newText(name string) *text { return &text{b: append([]byte(name), '(')} }

func (t *text) end() string { return string(append(t.b, ')')) }

// key begins an argument.
func (t *text) key(name string) {
	if t.comma {
		t.b = append(t.b, ", "...)
	}
	t.comma = true
	t.b = append(t.b, name...)
}

func (t *text) flag(name string, set bool) {
	if set {
		t.key(name)
	}
}

func (t *text) number(name string, v uint64) {
	if v != 0 {
		t.key(name)
		t.b = strconv.AppendUint(append(t.b, '='), v, 10)
	}
}

func (t *text) method(name string, id MethodID) {
	if id != 0 {
		t.key(name)
		t.b = append(append(t.b, '='), id.String()...)
	}
}

func (t *text) string(name, v string) {
	if v != "" {
		t.key(name)
		t.b = strconv.AppendQuote(append(t.b, '='), v)
	}
}

// secret shows the length only.
func (t *text) secret(name string, v []byte) {
	if len(v) > 0 {
		t.key(name)
		t.b = strconv.AppendInt(append(t.b, '='), int64(len(v)), 10)
		t.b = append(t.b, ":***"...)
	}
}

func (t *text) table(name string, v Table) {
	if len(v) > 0 {
		t.key(name)
		t.b = appendValueText(append(t.b, '='), v)
	}
}

func (t *text) time(name string, v time.Time) {
	if !v.IsZero() {
		t.key(name)
		t.b = appendValueText(append(t.b, '='), v)
	}
}

// String returns the table on one line, such as {x-max-length=10, x-queue-type="classic"}. A number carries the
// letter of its type unless it is an I, S values are quoted, bytes are written as their length and their beginning.
func (t Table) String() string { return string(appendValueText(nil, t)) }

// appendKey appends a key, quoted unless it is plain.
func appendKey(dst []byte, key string) []byte {
	plain := key != ""
	for i := range len(key) {
		c := key[i]
		plain = plain && (c == '-' || c == '_' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
	}
	if plain {
		return append(dst, key...)
	}
	return strconv.AppendQuote(dst, key)
}

func appendValueText(dst []byte, v any) []byte {
	switch v := plainValue(v).(type) {
	case nil:
		return append(dst, "void"...)
	case bool:
		return strconv.AppendBool(dst, v)
	case int8:
		return append(strconv.AppendInt(dst, int64(v), 10), TagInt8)
	case uint8:
		return append(strconv.AppendUint(dst, uint64(v), 10), TagUint8)
	case int16:
		return append(strconv.AppendInt(dst, int64(v), 10), TagInt16)
	case uint16:
		return append(strconv.AppendUint(dst, uint64(v), 10), TagUint16)
	case int32:
		return strconv.AppendInt(dst, int64(v), 10)
	case uint32:
		return append(strconv.AppendUint(dst, uint64(v), 10), TagUint32)
	case int64:
		return append(strconv.AppendInt(dst, v, 10), TagInt64)
	case float32:
		return append(strconv.AppendFloat(dst, float64(v), 'g', -1, 32), TagFloat32)
	case float64:
		return append(strconv.AppendFloat(dst, v, 'g', -1, 64), TagFloat64)
	case Decimal:
		dst = strconv.AppendUint(dst, uint64(v.Value), 10)
		return append(strconv.AppendUint(append(dst, "e-"...), uint64(v.Scale), 10), TagDecimal)
	case string:
		return strconv.AppendQuote(dst, v)
	case []byte:
		return appendBlob(append(dst, TagBytes), v)
	case time.Time:
		if v.Unix() < 0 || v.Unix() > maxDate {
			return append(strconv.AppendUint(dst, uint64(v.Unix()), 10), TagTimestamp)
		}
		return v.UTC().AppendFormat(dst, time.RFC3339)
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendValueText(dst, e)
		}
		return append(dst, ']')
	case Table:
		dst = append(dst, '{')
		for i, f := range v {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendValueText(append(appendKey(dst, f.Key), '='), f.Value)
		}
		return append(dst, '}')
	}
	return append(dst, '?')
}

// appendBlob appends the length of b and its first bytes, quoted.
func appendBlob(dst, b []byte) []byte {
	dst = append(strconv.AppendInt(dst, int64(len(b)), 10), ':')
	dst = strconv.AppendQuote(dst, string(b[:min(len(b), textLimit)]))
	if len(b) > textLimit {
		dst = append(dst, "..."...)
	}
	return dst
}

// String returns the properties on one line, such as (content-type="text/plain", delivery-mode=2).
func (p *Properties) String() string {
	t := newText("")
	p.appendText(t)
	return t.end()
}

func (p *Properties) appendText(t *text) {
	t.string("content-type", p.ContentType)
	t.string("content-encoding", p.ContentEncoding)
	t.table("headers", p.Headers)
	t.number("delivery-mode", uint64(p.DeliveryMode))
	t.number("priority", uint64(p.Priority))
	t.string("correlation-id", p.CorrelationID)
	t.string("reply-to", p.ReplyTo)
	t.string("expiration", p.Expiration)
	t.string("message-id", p.MessageID)
	t.time("timestamp", p.Timestamp)
	t.string("type", p.Type)
	t.string("user-id", p.UserID)
	t.string("app-id", p.AppID)
	t.string("cluster-id", p.ClusterID)
}

// String returns the frame on one line: the channel, and the method, the content header, or the length of a body with
// its beginning, such as 1 basic.ack(delivery-tag=3). What cannot be decoded is shown as bytes.
func (f Frame) String() string {
	prefix := utoa(uint64(f.Channel)) + " "
	switch f.Type {
	case FrameMethod:
		if m, err := DecodeMethod(f.Payload); err == nil {
			return prefix + m.String()
		}
	case FrameHeader:
		if s, ok := headerText(f.Payload); ok {
			return prefix + s
		}
	case FrameHeartbeat:
		if len(f.Payload) == 0 {
			return prefix + "heartbeat"
		}
	case FrameBody:
		return prefix + string(appendBlob([]byte("body "), f.Payload))
	}
	return prefix + string(appendBlob([]byte("malformed "+f.Type.String()+" "), f.Payload))
}

func headerText(payload []byte) (string, bool) {
	class, size, raw, err := DecodeContentHeader(payload)
	var p Properties
	if err != nil || raw.Decode(&p) != nil {
		return "", false
	}
	t := newText("header")
	if class != ClassBasic {
		t.number("class", uint64(class))
	}
	t.key("body-size=" + utoa(size))
	p.appendText(t)
	return t.end(), true
}
