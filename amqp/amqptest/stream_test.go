package amqptest_test

import (
	"context"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqptest"
	"github.com/quartet-mq/quartet/internal/memnet"
)

func TestPeerStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := amqptest.NewBroker(t, &amqptest.BrokerOptions{Streams: true})
		p := b.Peer(t)
		p.Open(nil)
		c := p.OpenStream()
		c.OpenChannel(3)
		c.Send(3, &amqp091.QueueDeclare{Queue: "q"})
		c.Expect(3, &amqp091.QueueDeclareOK{Queue: "q"})
		c.Send(3, &amqp091.ChannelClose{ReplyCode: amqp091.ReplySuccess})
		c.Expect(3, &amqp091.ChannelCloseOK{})
		c.ExpectClose()
		p.ExpectSilence(time.Second)
		p.Send(0, &amqp091.ConnectionClose{ReplyCode: amqp091.ReplySuccess})
		p.Expect(0, &amqp091.ConnectionCloseOK{})
		p.ExpectClose()
	})
}

// TestAcceptStream plays a server that closes the channel of a client.
func TestAcceptStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("broker")
		l.OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Protocol: amqp091.Streams}, nil })
		defer l.Close()
		client, err := amqpclient091.New(&amqpclient091.Options{
			Servers: []string{"mem://broker"}, Dialers: map[string]amqpclient091.DialFunc{
				"mem": func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) },
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		p := amqptest.NewPeer(t, nc)
		p.Accept(nil)
		failed := make(chan error, 1)
		go func() {
			_, err := client.Channel(t.Context(), &amqpclient091.ChannelOptions{Mode: amqpclient091.NoConfirms})
			failed <- err
		}()
		c := p.AcceptStream()
		if id := c.AcceptChannel(); id != 1 {
			t.Errorf("channel %d", id)
		}
		if err := <-failed; err != nil {
			t.Error(err)
		}
		c.Send(1, &amqp091.ChannelClose{ReplyCode: amqp091.NotFound, ReplyText: "NOT_FOUND - gone"})
		c.Expect(1, &amqp091.ChannelCloseOK{})
		c.ExpectClose()
	})
}
