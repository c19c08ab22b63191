package interop

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

func TestAMQP091Go(t *testing.T) {
	p := startOurs(t, peer.Listeners{AMQP: true, TLS: true})
	t.Run("TCP", func(t *testing.T) { checkAMQP091(t, amqpURL("amqp", p.AMQP), nil) })
	t.Run("TLS", func(t *testing.T) {
		pem, err := os.ReadFile(p.CA)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		checkAMQP091(t, amqpURL("amqps", p.AMQPS), &tls.Config{RootCAs: roots})
	})
}

// checkAMQP091 has ten publishers with confirms and ten consumers on one connection each.
func checkAMQP091(t *testing.T, url string, config *tls.Config) {
	dial := func() *amqp091.Connection {
		c, err := amqp091.DialConfig(url, amqp091.Config{TLSClientConfig: config, Heartbeat: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	open := func(c *amqp091.Connection) *amqp091.Channel {
		ch, err := c.Channel()
		if err != nil {
			t.Fatal(err)
		}
		return ch
	}
	const clients, messages = 10, 300
	out, in := dial(), dial()
	queue := fmt.Sprintf("amqp091.%d.%v", os.Getpid(), config != nil)
	if _, err := open(in).QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	got := make(chan string, clients*messages)
	for range clients {
		ch := open(in)
		if err := ch.Qos(20, 0, false); err != nil {
			t.Fatal(err)
		}
		ds, err := ch.Consume(queue, "", false, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for d := range ds {
				got <- string(d.Body)
				d.Ack(false)
			}
		}()
	}
	for i := range clients {
		ch := open(out)
		if err := ch.Confirm(false); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			var last *amqp091.DeferredConfirmation
			for n := range messages {
				var err error
				last, err = ch.PublishWithDeferredConfirmWithContext(t.Context(), "", queue, true, false, amqp091.Publishing{
					DeliveryMode: amqp091.Persistent, Body: fmt.Appendf(nil, "%d/%d", i, n),
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
			if ok, err := last.WaitContext(t.Context()); !ok || err != nil {
				t.Errorf("confirmed: %v, %v", ok, err)
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for range clients * messages {
		select {
		case b := <-got:
			if seen[b] {
				t.Errorf("%s came twice", b)
			}
			seen[b] = true
		case <-time.After(waitTime):
			t.Fatalf("%d of %d messages", len(seen), clients*messages)
		}
	}
	if _, err := open(in).QueueDelete(queue, false, false, false); err != nil {
		t.Error(err)
	}
	_, err := open(in).QueueDeclarePassive(queue, true, false, false, false, nil)
	if e, ok := errors.AsType[*amqp091.Error](err); !ok || e.Code != amqp091.NotFound {
		t.Errorf("error %v", err)
	}
}
