package amqp091

import "time"

// assembly is a content that is not complete.
type assembly struct {
	buf     []byte // memory of method and props, when they are not part of the input
	method  []byte // payload of the method
	props   RawProperties
	body    []byte
	size    uint64 // of the whole body
	counted uint64 // the memory of body, which the connection counts
	id      MethodID
	stage   contentStage
}

// contentStage is what a channel expects.
type contentStage uint8

const (
	stageMethod contentStage = iota
	stageHeader
	stageBody
)

// decode decodes a method that has content.
func (t *Content) decode(id MethodID, payload []byte) error {
	*t = Content{}
	switch id {
	case IDBasicPublish:
		var v PublishView
		if err := v.Decode(payload); err != nil {
			return err
		}
		if v.Immediate {
			return &Error{Code: NotImplemented, Hard: true, Method: id, Text: "immediate=true"}
		}
		t.Exchange, t.RoutingKey, t.Mandatory = v.Exchange, v.RoutingKey, v.Mandatory
	case IDBasicDeliver:
		var v DeliverView
		if err := v.Decode(payload); err != nil {
			return err
		}
		t.ConsumerTag, t.DeliveryTag, t.Redelivered = v.ConsumerTag, v.DeliveryTag, v.Redelivered
		t.Exchange, t.RoutingKey = v.Exchange, v.RoutingKey
	case IDBasicGetOK:
		var v GetOKView
		if err := v.Decode(payload); err != nil {
			return err
		}
		t.DeliveryTag, t.Redelivered, t.Exchange, t.RoutingKey = v.DeliveryTag, v.Redelivered, v.Exchange, v.RoutingKey
		t.Remaining = v.MessageCount
	case IDBasicReturn:
		var v ReturnView
		if err := v.Decode(payload); err != nil {
			return err
		}
		t.Code, t.Text, t.Exchange, t.RoutingKey = v.ReplyCode, v.ReplyText, v.Exchange, v.RoutingKey
	}
	return nil
}

// begin takes a method that has content.
func (ch *Channel) begin(id MethodID, payload []byte) error {
	if err := ch.c.content.decode(id, payload); err != nil {
		return err
	}
	a := &ch.content
	a.id, a.stage, a.method = id, stageHeader, payload
	ch.c.hot = ch
	return nil
}

// keep copies the parts of the content that are views of the input.
func (ch *Channel) keep() {
	c, a := ch.c, &ch.content
	c.hot = nil
	a.buf, c.spare = append(append(c.spare[:0], a.method...), a.props...), nil
	a.method, a.props = a.buf[:len(a.method):len(a.method)], a.buf[len(a.method):]
}

// receiveContent takes a frame after a method that has content.
func (ch *Channel) receiveContent(now time.Time, f Frame) error {
	a := &ch.content
	if a.stage == stageHeader {
		if f.Type != FrameHeader {
			return &Error{Code: UnexpectedFrame, Hard: true, Method: a.id,
				Text: "expected content header for class 60, got non content header frame instead"}
		}
		return ch.receiveHeader(now, f.Payload)
	}
	if f.Type != FrameBody {
		return &Error{Code: UnexpectedFrame, Hard: true, Method: a.id,
			Text: "expected content body, got non content body frame instead"}
	}
	return ch.receiveBody(f.Payload)
}

// receiveHeader takes a content header.
func (ch *Channel) receiveHeader(now time.Time, payload []byte) error {
	c, a := ch.c, &ch.content
	class, size, props, err := DecodeContentHeader(payload)
	if err != nil {
		return err
	}
	if class != ClassBasic {
		return &Error{Code: UnexpectedFrame, Hard: true, Method: a.id,
			Text: "expected content header for class 60, got one for class " + utoa(uint64(class)) + " instead"}
	}
	if most := c.cfg.maxMessage(); size > uint64(most) {
		ch.Close(now, &Error{Code: PreconditionFailed, Method: a.id, Text: "message size " + utoa(size) +
			" is larger than configured max size " + utoa(uint64(most))})
		return nil
	}
	a.props, a.size = props, size
	if c.hot != ch && len(props) > 0 {
		method := len(a.method)
		a.buf = append(a.buf, props...)
		a.method, a.props = a.buf[:method:method], a.buf[method:]
	}
	if size == 0 {
		ch.complete(nil)
		return nil
	}
	a.stage = stageBody
	return nil
}

// receiveBody takes a part of a body. One that comes in one frame is not copied.
func (ch *Channel) receiveBody(part []byte) error {
	c, a := ch.c, &ch.content
	have := uint64(len(a.body))
	switch rest := a.size - have; {
	case uint64(len(part)) > rest:
		return &Error{Code: FrameError, Hard: true, Method: a.id, Text: "body of " + utoa(have+uint64(len(part))) +
			" bytes is longer than the " + utoa(a.size) + " of its header"}
	case uint64(len(part)) == rest && have == 0:
		ch.complete(part)
		return nil
	}
	if need := len(a.body) + len(part); need > cap(a.body) {
		room := min(a.size, 4*uint64(need)) // what has come bounds the memory
		c.collected += room - a.counted
		a.counted = room
		if c.collected > collectFactor*uint64(c.cfg.maxMessage()) {
			return &Error{Code: ResourceError, Hard: true, Method: a.id, Text: "too many incomplete messages"}
		}
		grown := make([]byte, len(a.body), room)
		copy(grown, a.body)
		a.body = grown
	}
	a.body = append(a.body, part...)
	if uint64(len(a.body)) == a.size {
		c.collected -= a.counted
		a.counted = 0
		ch.complete(a.body)
		c.content.Owned = true
	}
	return nil
}

// complete hands the content to the shell.
func (ch *Channel) complete(body []byte) {
	c, a := ch.c, &ch.content
	t := &c.content
	if c.hot == ch {
		c.hot = nil
	} else {
		t.decode(a.id, a.method) // it was right before
	}
	t.Properties, t.Body = a.props, body
	id := a.id
	if cap(a.buf) <= keptBuffer {
		c.spare = a.buf[:0]
	}
	ch.content = assembly{}
	switch id {
	case IDBasicPublish:
		e := c.tell(EventPublish, ch)
		e.Content = t
		e.Seq = ch.confirms.number()
	case IDBasicDeliver:
		c.tell(EventDeliver, ch).Content = t
	case IDBasicGetOK:
		e := ch.answer(IDBasicGetOK)
		e.Method, e.Content = &BasicGetOK{DeliveryTag: t.DeliveryTag, Redelivered: t.Redelivered, MessageCount: t.Remaining}, t
	case IDBasicReturn:
		e := c.tell(EventReturn, ch)
		e.Content = t
		if ch.published != nil {
			e.Seq, e.Ref = ch.published.returned(t)
		}
	}
}
