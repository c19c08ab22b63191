package amqpraw

import (
	"fmt"
	"strconv"
	"strings"
)

// definitions has one method a line: class, method, name, and its arguments with their types. Types: o octet, h short,
// l long, L longlong, s short string, S long string, t bit, F table.
const definitions = `
10 10 connection.start version-major:o version-minor:o server-properties:F mechanisms:S locales:S
10 11 connection.start-ok client-properties:F mechanism:s response:S locale:s
10 20 connection.secure challenge:S
10 21 connection.secure-ok response:S
10 30 connection.tune channel-max:h frame-max:l heartbeat:h
10 31 connection.tune-ok channel-max:h frame-max:l heartbeat:h
10 40 connection.open virtual-host:s reserved-1:s reserved-2:t
10 41 connection.open-ok reserved-1:s
10 50 connection.close reply-code:h reply-text:s class-id:h method-id:h
10 51 connection.close-ok
10 60 connection.blocked reason:s
10 61 connection.unblocked
10 70 connection.update-secret new-secret:S reason:s
10 71 connection.update-secret-ok
20 10 channel.open reserved-1:s
20 11 channel.open-ok reserved-1:S
20 20 channel.flow active:t
20 21 channel.flow-ok active:t
20 40 channel.close reply-code:h reply-text:s class-id:h method-id:h
20 41 channel.close-ok
30 10 access.request realm:s exclusive:t passive:t active:t write:t read:t
30 11 access.request-ok reserved-1:h
40 10 exchange.declare reserved-1:h exchange:s type:s passive:t durable:t auto-delete:t internal:t no-wait:t arguments:F
40 11 exchange.declare-ok
40 20 exchange.delete reserved-1:h exchange:s if-unused:t no-wait:t
40 21 exchange.delete-ok
40 30 exchange.bind reserved-1:h destination:s source:s routing-key:s no-wait:t arguments:F
40 31 exchange.bind-ok
40 40 exchange.unbind reserved-1:h destination:s source:s routing-key:s no-wait:t arguments:F
40 51 exchange.unbind-ok
50 10 queue.declare reserved-1:h queue:s passive:t durable:t exclusive:t auto-delete:t no-wait:t arguments:F
50 11 queue.declare-ok queue:s message-count:l consumer-count:l
50 20 queue.bind reserved-1:h queue:s exchange:s routing-key:s no-wait:t arguments:F
50 21 queue.bind-ok
50 30 queue.purge reserved-1:h queue:s no-wait:t
50 31 queue.purge-ok message-count:l
50 40 queue.delete reserved-1:h queue:s if-unused:t if-empty:t no-wait:t
50 41 queue.delete-ok message-count:l
50 50 queue.unbind reserved-1:h queue:s exchange:s routing-key:s arguments:F
50 51 queue.unbind-ok
60 10 basic.qos prefetch-size:l prefetch-count:h global:t
60 11 basic.qos-ok
60 20 basic.consume reserved-1:h queue:s consumer-tag:s no-local:t no-ack:t exclusive:t no-wait:t arguments:F
60 21 basic.consume-ok consumer-tag:s
60 30 basic.cancel consumer-tag:s no-wait:t
60 31 basic.cancel-ok consumer-tag:s
60 40 basic.publish reserved-1:h exchange:s routing-key:s mandatory:t immediate:t
60 50 basic.return reply-code:h reply-text:s exchange:s routing-key:s
60 60 basic.deliver consumer-tag:s delivery-tag:L redelivered:t exchange:s routing-key:s
60 70 basic.get reserved-1:h queue:s no-ack:t
60 71 basic.get-ok delivery-tag:L redelivered:t exchange:s routing-key:s message-count:l
60 72 basic.get-empty reserved-1:s
60 80 basic.ack delivery-tag:L multiple:t
60 90 basic.reject delivery-tag:L requeue:t
60 100 basic.recover-async requeue:t
60 110 basic.recover requeue:t
60 111 basic.recover-ok
60 120 basic.nack delivery-tag:L multiple:t requeue:t
85 10 confirm.select no-wait:t
85 11 confirm.select-ok
90 10 tx.select
90 11 tx.select-ok
90 20 tx.commit
90 21 tx.commit-ok
90 30 tx.rollback
90 31 tx.rollback-ok
`

// properties are the properties of a message in the order of their flags; types as above, T is a timestamp.
const propertyDefinitions = "content-type:s content-encoding:s headers:F delivery-mode:o priority:o correlation-id:s reply-to:s " +
	"expiration:s message-id:s timestamp:T type:s user-id:s app-id:s cluster-id:s"

type method struct {
	name       string
	class, num uint16
	args       []arg
}

type arg struct {
	name string
	typ  byte
}

var (
	byName     = make(map[string]*method)
	byID       = make(map[uint32]*method)
	properties = parseArgs(strings.Fields(propertyDefinitions))
)

func init() {
	for line := range strings.Lines(definitions) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		class, _ := strconv.Atoi(f[0])
		num, _ := strconv.Atoi(f[1])
		m := &method{name: f[2], class: uint16(class), num: uint16(num), args: parseArgs(f[3:])}
		byName[m.name] = m
		byID[uint32(class)<<16|uint32(num)] = m
	}
}

func parseArgs(fields []string) (args []arg) {
	for _, f := range fields {
		name, typ, _ := strings.Cut(f, ":")
		args = append(args, arg{name, typ[0]})
	}
	return args
}

// A Method is a method as it came.
type Method struct {
	Name string
	Args map[string]any
}

// String returns an argument that is a string.
func (m Method) String(name string) string { s, _ := m.Args[name].(string); return s }

// Int returns an argument that is a number.
func (m Method) Int(name string) int {
	switch v := m.Args[name].(type) {
	case uint8:
		return int(v)
	case uint16:
		return int(v)
	case uint32:
		return int(v)
	case uint64:
		return int(v)
	}
	return 0
}

// Bool returns an argument that is a bit.
func (m Method) Bool(name string) bool { b, _ := m.Args[name].(bool); return b }

// AppendMethod appends a frame with a method. args are names and values in turn; what is not named is zero.
func AppendMethod(dst []byte, channel uint16, name string, args ...any) []byte {
	m := byName[name]
	if m == nil {
		panic("amqpraw: no method " + name)
	}
	values := make(map[string]any, len(args)/2)
	for i := 0; i < len(args); i += 2 {
		values[args[i].(string)] = args[i+1]
	}
	var b writer
	b.short(m.class)
	b.short(m.num)
	b.args(m.args, values)
	if len(values) > 0 {
		panic(fmt.Sprintf("amqpraw: %s has no arguments %v", name, values))
	}
	return AppendFrame(dst, FrameMethod, channel, b)
}

// DecodeMethod decodes the payload of a frame.
func DecodeMethod(payload []byte) (m Method, err error) {
	r := reader{b: payload}
	class, num := r.short(), r.short()
	d := byID[uint32(class)<<16|uint32(num)]
	if d == nil {
		return m, fmt.Errorf("unknown method %d.%d", class, num)
	}
	m = Method{Name: d.name, Args: make(map[string]any, len(d.args))}
	bits, left := byte(0), 0
	for _, a := range d.args {
		if a.typ != 't' {
			left = 0
			m.Args[a.name] = r.value(a.typ)
			continue
		}
		if left == 0 {
			bits, left = r.octet(), 8
		}
		m.Args[a.name] = bits&1 == 1
		bits >>= 1
		left--
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes more than %s has", len(r.b), m.Name)
	}
	return m, r.err
}
