package amqptest_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqptest"
)

// TestMisbehavingClients plays clients that break rules against the broker: what they get is what RabbitMQ gives them.
func TestMisbehavingClients(t *testing.T) {
	type peer = *amqptest.Peer
	queue := func(args ...amqp091.Field) *amqp091.QueueDeclare {
		return &amqp091.QueueDeclare{Queue: "new", Arguments: args}
	}
	frame := func(typ amqp091.FrameType, channel uint16, payload string) []byte {
		return amqp091.AppendFrame(nil, amqp091.Frame{Type: typ, Channel: channel, Payload: []byte(payload)})
	}
	expiring := hello("x")
	expiring.Properties.Expiration = "soon"
	other := hello("x")
	other.Properties.UserID = "somebody"
	tests := []struct {
		name string
		play func(p peer)
		want string // the code and the beginning of the text; hard: before it a !
	}{
		{"no queue", func(p peer) { p.Send(1, &amqp091.BasicConsume{Queue: "none"}) }, "404 NOT_FOUND - no queue 'none' in vhost '/'"},
		{"no exchange", func(p peer) {
			p.Send(1, &amqptest.Content{Method: &amqp091.BasicPublish{Exchange: "none"}})
		}, "404 NOT_FOUND - no exchange 'none' in vhost '/'"},
		{"unknown tag", func(p peer) { p.Send(1, ack(7)) }, "406 PRECONDITION_FAILED - unknown delivery tag 7"},
		{"unknown tag of many", func(p peer) { p.Send(1, &amqp091.BasicAck{DeliveryTag: 7, Multiple: true}) },
			"406 PRECONDITION_FAILED - unknown delivery tag 7"},
		{"reserved name", func(p peer) { p.Send(1, &amqp091.QueueDeclare{Queue: "amq.q"}) }, "403 ACCESS_REFUSED"},
		{"default exchange", func(p peer) { p.Send(1, &amqp091.ExchangeDelete{}) }, "403 ACCESS_REFUSED"},
		{"other durability", func(p peer) { p.Send(1, &amqp091.QueueDeclare{Queue: "q", Durable: true}) },
			"406 PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/'"},
		{"bad expiration", func(p peer) { p.Send(1, expiring) }, "406 PRECONDITION_FAILED"},
		{"other user", func(p peer) { p.Send(1, other) }, "406 PRECONDITION_FAILED"},
		{"bad length", func(p peer) { p.Send(1, queue(amqp091.Field{Key: "x-max-length", Value: -1})) }, "406 PRECONDITION_FAILED - invalid arg"},
		{"tx after confirm", func(p peer) {
			p.Send(1, &amqp091.ConfirmSelect{})
			p.Expect(1, &amqp091.ConfirmSelectOK{})
			p.Send(1, &amqp091.TxSelect{})
		}, "406 PRECONDITION_FAILED"},
		{"commit without select", func(p peer) { p.Send(1, &amqp091.TxCommit{}) }, "406 PRECONDITION_FAILED"},
		{"announced too large", func(p peer) {
			p.SendIllegal(1, &amqp091.BasicPublish{RoutingKey: "q"})
			p.SendBytes(amqp091.AppendContentHeader(nil, 1, 1<<40, nil)...)
		}, "406 PRECONDITION_FAILED"},

		{"used consumer tag", func(p peer) {
			p.Send(1, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
			p.Expect(1, &amqp091.BasicConsumeOK{ConsumerTag: "c"})
			p.Send(1, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
		}, "!530 NOT_ALLOWED"},
		{"immediate", func(p peer) { p.Send(1, &amqptest.Content{Method: &amqp091.BasicPublish{Immediate: true}}) }, "!540 NOT_IMPLEMENTED"},
		{"prefetch size", func(p peer) { p.Send(1, &amqp091.BasicQos{PrefetchSize: 1}) }, "!540 NOT_IMPLEMENTED"},
		{"unknown method", func(p peer) { p.SendBytes(frame(amqp091.FrameMethod, 1, "\x00\x3c\x00\x07")...) }, "!540 NOT_IMPLEMENTED"},
		{"frame end", func(p peer) { p.SendBytes(8, 0, 0, 0, 0, 0, 0, 0xcf) }, "!501 FRAME_ERROR"},
		{"frame type", func(p peer) { p.SendBytes(7, 0, 0, 0, 0, 0, 0, 0xce) }, "!501 FRAME_ERROR"},
		{"frame too large", func(p peer) { p.SendBytes(3, 0, 1, 0x7f, 0xff, 0xff, 0xff) }, "!501 FRAME_ERROR"},
		{"arguments", func(p peer) { p.SendBytes(frame(amqp091.FrameMethod, 1, "\x00\x3c\x00\x50\x00")...) }, "!501 FRAME_ERROR"},
		{"body too long", func(p peer) {
			p.SendIllegal(1, &amqp091.BasicPublish{RoutingKey: "q"})
			p.SendBytes(amqp091.AppendContentHeader(nil, 1, 2, nil)...)
			p.SendBytes(frame(amqp091.FrameBody, 1, "xxx")...)
		}, "!501 FRAME_ERROR"},
		{"header without method", func(p peer) { p.SendBytes(amqp091.AppendContentHeader(nil, 1, 2, nil)...) }, "!505 UNEXPECTED_FRAME"},
		{"body without header", func(p peer) {
			p.SendIllegal(1, &amqp091.BasicPublish{RoutingKey: "q"})
			p.SendBytes(frame(amqp091.FrameBody, 1, "xxx")...)
		}, "!505 UNEXPECTED_FRAME"},
		{"method within a message", func(p peer) { p.SendIllegal(1, &amqp091.BasicPublish{RoutingKey: "q"}, ack(1)) }, "!505 UNEXPECTED_FRAME"},
		{"heartbeat on a channel", func(p peer) { p.SendBytes(frame(amqp091.FrameHeartbeat, 1, "")...) }, "!505 UNEXPECTED_FRAME"},
		{"channel not open", func(p peer) { p.Send(5, ack(1)) }, "!504 CHANNEL_ERROR"},
		{"channel opened twice", func(p peer) { p.Send(1, &amqp091.ChannelOpen{}) }, "!504 CHANNEL_ERROR"},
		{"method of a server", func(p peer) { p.Send(1, &amqp091.BasicConsumeOK{ConsumerTag: "c"}) }, "!503 COMMAND_INVALID"},
		{"channel method on channel 0", func(p peer) { p.SendIllegal(0, ack(1)) }, "!503 COMMAND_INVALID"},
		{"connection method on a channel", func(p peer) { p.SendIllegal(1, &amqp091.ConnectionOpen{VirtualHost: "/"}) }, "!503 COMMAND_INVALID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := amqptest.NewBroker(t, nil)
				p := b.Peer(t)
				p.Open(nil)
				p.OpenChannel(1)
				p.Send(1, &amqp091.QueueDeclare{Queue: "q"})
				p.Expect(1, &amqp091.QueueDeclareOK{Queue: "q"})
				tt.play(p)
				code, hard := strings.CutPrefix(tt.want, "!")
				if !hard {
					m := p.Receive(1, amqp091.IDChannelClose).(*amqp091.ChannelClose)
					if got := fmt.Sprintf("%d %s", m.ReplyCode, m.ReplyText); !strings.HasPrefix(got, code) {
						t.Errorf("got %s, want %s", got, code)
					}
					p.Send(1, ack(99)) // ignored until close-ok
					p.Send(1, &amqp091.ChannelCloseOK{})
					p.OpenChannel(1)
					return
				}
				m := p.Receive(0, amqp091.IDConnectionClose).(*amqp091.ConnectionClose)
				got := fmt.Sprintf("%d %s", m.ReplyCode, m.ReplyText)
				if !strings.HasPrefix(got, code) {
					t.Errorf("got %s, want %s", got, code)
				}
				p.Send(0, &amqp091.ConnectionCloseOK{})
				p.ExpectClose()
				time.Sleep(time.Minute) // in which the client does not close its end
				if n := b.Server.Stats().Connections; n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}
