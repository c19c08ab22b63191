package amqptest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Content is a method with the message that it carries: basic.publish, basic.deliver, basic.get-ok or basic.return. A Peer
// sends and expects it like any other method; for package amqp091 it is the method only.
type Content struct {
	amqp091.Method
	Properties amqp091.Properties
	Body       []byte
}

// String returns the text form of the method, the content header and the body on one line, such as
//
//	basic.publish(routing-key="q") header(body-size=5, delivery-mode=2) body 5:"hello"
//
// Of the body it has the length and the first 64 bytes.
func (c *Content) String() string {
	method := "no method"
	if c.Method != nil {
		method = c.Method.String()
	}
	raw, err := c.Properties.Append(nil)
	if err != nil {
		return fmt.Sprintf("%s header(%v)", method, err)
	}
	header := amqp091.AppendContentHeader(nil, 0, uint64(len(c.Body)), raw)
	text := method + " " + strings.TrimPrefix(unitText(header), "0 ")
	if len(c.Body) > 0 {
		body := amqp091.Frame{Type: amqp091.FrameBody, Payload: c.Body}
		text += " " + strings.TrimPrefix(body.String(), "0 ")
	}
	return text
}

// carries reports whether a content follows the method.
func carries(id amqp091.MethodID) bool {
	switch id {
	case amqp091.IDBasicPublish, amqp091.IDBasicDeliver, amqp091.IDBasicGetOK, amqp091.IDBasicReturn:
		return true
	}
	return false
}

// appendMethod appends the frames of a method and of the content that it may have. Its error is that of the codec.
func appendMethod(dst []byte, channel uint16, m amqp091.Method, frameMax uint32) ([]byte, error) {
	c, ok := m.(*Content)
	if !ok {
		return amqp091.AppendMethod(dst, channel, m)
	}
	if c.Method == nil {
		return dst, errors.New("a content without a method")
	}
	raw, err := c.Properties.Append(nil)
	if err != nil {
		return dst, err
	}
	out, err := amqp091.AppendMethod(dst, channel, c.Method)
	if err != nil {
		return dst, err
	}
	out = amqp091.AppendContentHeader(out, channel, uint64(len(c.Body)), raw)
	return amqp091.AppendBody(out, channel, c.Body, frameMax), nil
}

// message is a method that came, with its content if it has one.
type message struct {
	channel uint16
	method  amqp091.Method // a *Content if there is a content
	raw     []byte         // the bytes on the wire without those of frames
	left    uint64         // bytes of the body that are still to come
	header  bool           // the content header has come
}

func (m *message) String() string { return fmt.Sprint(m.channel, " ", m.method) }

// withoutFrames returns the payloads of frames.
func withoutFrames(b []byte) (payloads []byte) {
	for len(b) > 0 {
		f, n, err := amqp091.NextFrame(b, 0)
		if n == 0 || err != nil {
			return append(payloads, b...)
		}
		payloads, b = append(payloads, f.Payload...), b[n:]
	}
	return payloads
}

// assembler makes messages of frames. The zero value is ready to use.
type assembler struct{ partial map[uint16]*message }

// add takes a frame and returns the message of which it is the end, or nil. Nothing of the message is part of the frame.
func (a *assembler) add(f amqp091.Frame) (*message, error) {
	m := a.partial[f.Channel]
	switch {
	case f.Type == amqp091.FrameMethod && m == nil:
		method, err := amqp091.DecodeMethod(f.Payload)
		if err != nil {
			return nil, err
		}
		m = &message{channel: f.Channel, method: method, raw: bytes.Clone(f.Payload)}
		if !carries(method.ID()) {
			return m, nil
		}
		if a.partial == nil {
			a.partial = make(map[uint16]*message)
		}
		a.partial[f.Channel], m.method = m, &Content{Method: method}
		return nil, nil
	case f.Type == amqp091.FrameHeader && m != nil && !m.header:
		if err := m.addHeader(f.Payload); err != nil {
			return nil, err
		}
	case f.Type == amqp091.FrameBody && m != nil && m.header:
		if uint64(len(f.Payload)) > m.left {
			return nil, fmt.Errorf("%d bytes of body where only %d are left", len(f.Payload), m.left)
		}
		c := m.method.(*Content)
		c.Body, m.raw = append(c.Body, f.Payload...), append(m.raw, f.Payload...)
		m.left -= uint64(len(f.Payload))
	case m == nil:
		return nil, fmt.Errorf("%v without a method before", f)
	default:
		return nil, fmt.Errorf("%v within the content of %v", f, m)
	}
	if m.left > 0 {
		return nil, nil
	}
	delete(a.partial, f.Channel)
	return m, nil
}

// addHeader takes the payload of a content header.
func (m *message) addHeader(payload []byte) error {
	class, size, raw, err := amqp091.DecodeContentHeader(payload)
	if err != nil {
		return err
	}
	if class != amqp091.ClassBasic {
		return fmt.Errorf("content header of class %d", class)
	}
	m.header, m.left, m.raw = true, size, append(m.raw, payload...)
	return raw.Decode(&m.method.(*Content).Properties)
}

// open returns a message that is not complete, or nil.
func (a *assembler) open() *message {
	for _, m := range a.partial {
		return m
	}
	return nil
}
