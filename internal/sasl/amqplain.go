package sasl

import (
	"context"
	"encoding/binary"
)

// AMQPlainClient returns the client's side of AMQPLAIN: user name and password in an AMQP 0-9-1 field table with the
// fields LOGIN and PASSWORD, without the length in front. The password goes in clear: the connection must be encrypted.
func AMQPlainClient(user, password string) Client {
	c := new(initial)
	if c.err = checkPlain(user, password); c.err == nil {
		c.response = appendField(appendField(nil, "LOGIN", user), "PASSWORD", password)
	}
	return c
}

// AMQPlainServer returns the server's side of AMQPLAIN. Messages have 64 KiB at most. Other fields than LOGIN and
// PASSWORD do not count, but must be long strings as these are.
func AMQPlainServer(verify VerifyPassword) Server {
	return &oneStep{accept: func(ctx context.Context, response []byte) (string, error) {
		user, password, err := parseAMQPlain(response)
		if err != nil {
			return "", err
		}
		return user, verify(ctx, user, password)
	}}
}

// appendField appends a field that is a long string: a short string with its name, the type, a long string.
func appendField(b []byte, name, value string) []byte {
	b = append(append(b, byte(len(name))), name...)
	b = binary.BigEndian.AppendUint32(append(b, 'S'), uint32(len(value)))
	return append(b, value...)
}

// parseAMQPlain reads a table.
func parseAMQPlain(b []byte) (user, password string, err error) {
	if len(b) > maxMessage {
		return "", "", fail(CodeInvalidEncoding, "message of %d bytes; at most %d", len(b), maxMessage)
	}
	seen := make(map[string]string, 2)
	for len(b) > 0 {
		name, value, rest, ok := cutField(b)
		if !ok {
			return "", "", fail(CodeInvalidEncoding, "not a table of long strings")
		}
		b = rest
		if name != "LOGIN" && name != "PASSWORD" {
			continue
		}
		if _, twice := seen[name]; twice {
			return "", "", fail(CodeInvalidEncoding, "two fields %s", name)
		}
		seen[name] = value
	}
	user, password = seen["LOGIN"], seen["PASSWORD"]
	return user, password, checkPlain(user, password)
}

// cutField takes the field at the front of b.
func cutField(b []byte) (name, value string, rest []byte, ok bool) {
	n := int(b[0])
	const fixed = 5 // type and length
	if len(b) < 1+n+fixed || b[1+n] != 'S' {
		return "", "", nil, false
	}
	name = string(b[1 : 1+n])
	size := binary.BigEndian.Uint32(b[2+n:])
	b = b[1+n+fixed:]
	if uint64(size) > uint64(len(b)) {
		return "", "", nil, false
	}
	return name, string(b[:size]), b[size:], true
}
