package amqpclient091

import (
	"context"
	"errors"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// call is a method that waits for its answer. Everything but done is guarded by c.mu until done is closed.
type call struct {
	m        amqp091.Method
	then     func(*amqp091.Event) // takes the answer, may be nil; c.mu is held
	o        *lane                // on which the answer comes
	consumer *Consumer            // that it starts
	done     chan struct{}
	reply    amqp091.Method
	err      error
}

// errAgain: the channel was closed for another call's sake, or the connection was lost.
var errAgain = errors.New("amqpclient091: call was not answered")

func newCall(m amqp091.Method) *call { return &call{m: m, done: make(chan struct{})} }

// checkMethod returns why m cannot be sent in a frame of that size.
func checkMethod(m amqp091.Method, frameMax uint32) error {
	b, err := amqp091.AppendMethod(nil, 1, m)
	if err == nil && uint64(len(b)) > uint64(frameMax) {
		err = &amqp091.Error{Code: amqp091.FrameError, Method: m.ID(), Err: errMethodTooLarge}
	}
	return err
}

var errMethodTooLarge = errors.New("arguments do not fit in a frame")

// answer ends the call. c.mu is held.
func (x *call) answer(e *amqp091.Event) {
	x.reply = e.Method
	if x.then != nil {
		x.then(e)
	}
	x.end()
}

// fail ends the call without an answer. c.mu is held.
func (x *call) fail(err error) {
	x.err = err
	x.end()
}

func (x *call) end() {
	if x.o != nil {
		x.o.wait(-1)
		x.o = nil
	}
	close(x.done)
}

// wait waits for the answer.
func (x *call) wait(ctx context.Context) error {
	select {
	case <-x.done:
		return x.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
