package amqpclient091

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// FuzzServer lets a server say anything after a good beginning: nothing panics or hangs, and the client can be closed.
func FuzzServer(f *testing.F) {
	seed := func(b []byte, err error) {
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	deliver, err := amqp091.AppendDeliver(nil, 1, "tag", 1, false, "x", "k")
	deliver = amqp091.AppendContentHeader(deliver, 1, 3, nil)
	seed(amqp091.AppendBody(deliver, 1, []byte("abc"), 4096), err)
	returned, err := amqp091.AppendReturn(nil, 1, amqp091.NoRoute, "NO_ROUTE", "", "k")
	returned = amqp091.AppendContentHeader(returned, 1, 0, nil)
	seed(amqp091.AppendAck(returned, 1, 1, true), err)
	for _, m := range []amqp091.Method{
		&amqp091.ChannelClose{ReplyCode: amqp091.NotFound, Method: amqp091.IDBasicPublish}, &amqp091.ChannelCloseOK{},
		&amqp091.BasicCancel{ConsumerTag: "tag"}, &amqp091.ChannelFlow{}, &amqp091.QueueDeclareOK{Queue: "q"},
		&amqp091.BasicConsumeOK{ConsumerTag: "tag"}, &amqp091.ChannelOpenOK{},
	} {
		seed(amqp091.AppendMethod(nil, 1, m))
	}
	seed(amqp091.AppendMethod(nil, 0, &amqp091.ConnectionBlocked{Reason: "r"}))
	seed(amqp091.AppendMethod(nil, 0, &amqp091.ConnectionClose{ReplyCode: amqp091.ConnectionForced}))
	f.Add(amqp091.AppendHeartbeat(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			s := newBroker(t)
			defer s.close()
			s.queue("q")
			c := s.client(&Options{Publish: &ChannelOptions{Republish: true, Window: 3}, Limits: Limits{MaxMessage: 1000}})
			ch, err := c.Channel(t.Context(), nil)
			check(t, err)
			k, err := ch.Consume(t.Context(), "q", &ConsumeOptions{Tag: "tag", Prefetch: 2})
			check(t, err)
			s.do(func() { s.hold = true })
			_, err = ch.PublishAsync(t.Context(), &Message{RoutingKey: "k"})
			check(t, err)
			synctest.Wait()
			s.do(func() {
				s.last().out = append(s.last().out, b...)
				s.last().stalled = false
			})
			synctest.Wait()
			s.do(func() { s.hold = false })
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c.Publish(ctx, &Message{RoutingKey: "q"}) // any outcome will do
			k.Close()
			time.Sleep(time.Second)
			c.Close()
			synctest.Wait()
			if st := c.Stats(); st.Inflight != 0 || st.Queued != 0 || st.Consumers != 0 {
				t.Fatalf("%+v", st)
			}
		})
	})
}
