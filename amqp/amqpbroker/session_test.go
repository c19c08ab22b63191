package amqpbroker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// inWorld runs a test with a broker and a client on channel 1.
func inWorld(t *testing.T, o Options, f func(w *world, p *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &o, nil)
		p := w.dial("client").start()
		w.wait()
		p.taken()
		f(w, p)
		p.drop()
		w.close()
	})
}

// lines returns what has come, as text.
func (p *peer) lines() string {
	var out []string
	for _, c := range p.taken() {
		s := fmt.Sprint(c.method)
		s = s[:strings.IndexByte(s, '(')]
		switch m := c.method.(type) {
		case *amqp091.BasicDeliver:
			s = fmt.Sprintf("deliver %s %q", m.ConsumerTag, c.body)
			if m.Redelivered {
				s += " again"
			}
		case *amqp091.BasicReturn:
			s = fmt.Sprintf("return %d %q", m.ReplyCode, c.body)
		case *amqp091.BasicAck:
			s = fmt.Sprintf("ack %d %t", m.DeliveryTag, m.Multiple)
		case *amqp091.BasicNack:
			s = fmt.Sprintf("nack %d", m.DeliveryTag)
		case *amqp091.ChannelClose:
			s = fmt.Sprintf("close %d %s", m.ReplyCode, m.ReplyText)
		case *amqp091.ConnectionBlocked:
			s = "blocked " + m.Reason
		case *amqp091.BasicCancel:
			s = "cancel " + m.ConsumerTag
		case *amqp091.BasicGetOK:
			s = fmt.Sprintf("get-ok %q %d", c.body, m.MessageCount)
			if m.Redelivered {
				s += " again"
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func (p *peer) expect(want string) {
	p.t.Helper()
	synctest.Wait()
	if got := p.lines(); got != want {
		p.t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestConfirmsAndReturns(t *testing.T) {
	inWorld(t, Options{}, func(w *world, p *peer) {
		p.send(1, &amqp091.ConfirmSelect{}, &amqp091.QueueDeclare{Queue: "q", Arguments: args("x-max-length", 1, "x-overflow", "reject-publish")})
		p.expect("confirm.select-ok, queue.declare-ok")
		p.publish(1, "", "q", &amqp091.Properties{}, "1")
		p.expect("ack 1 false")
		p.publish(1, "", "q", &amqp091.Properties{}, "2")
		p.expect("nack 2")
		b, _ := amqp091.AppendPublish(nil, 1, "", "nobody", true)
		b = amqp091.AppendContentHeader(b, 1, 1, nil)
		p.write(amqp091.AppendBody(b, 1, []byte("3"), 4096))
		p.expect(`return 312 "3", ack 3 false`)
	})
}

func TestTransaction(t *testing.T) {
	inWorld(t, Options{}, func(w *world, p *peer) {
		p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.QueueDeclare{Queue: "r"})
		p.publish(1, "", "q", &amqp091.Properties{}, "0")
		p.send(1, &amqp091.TxSelect{}, &amqp091.BasicGet{Queue: "q"})
		p.expect(`queue.declare-ok, queue.declare-ok, tx.select-ok, get-ok "0" 0`)
		other := w.dial("other").start()
		get := func(want string) {
			t.Helper()
			synctest.Wait()
			other.taken()
			other.send(1, &amqp091.BasicGet{Queue: "r", NoAck: true}, &amqp091.BasicGet{Queue: "q", NoAck: true})
			other.expect(want)
		}
		p.publish(1, "", "r", &amqp091.Properties{}, "1")
		p.send(1, &amqp091.BasicAck{DeliveryTag: 1})
		get("basic.get-empty, basic.get-empty")
		p.send(1, &amqp091.TxRollback{})
		p.expect("tx.rollback-ok")
		get("basic.get-empty, basic.get-empty")
		p.publish(1, "", "r", &amqp091.Properties{}, "2")
		p.publish(1, "", "q", &amqp091.Properties{}, "3")
		p.send(1, &amqp091.BasicNack{DeliveryTag: 1, Requeue: true}, &amqp091.TxCommit{})
		p.expect("tx.commit-ok")
		get(`get-ok "2" 0, get-ok "0" 1 again`)
		get(`basic.get-empty, get-ok "3" 0`)
		other.drop()
	})
}

// TestTransactionAllOrNothing commits to a queue that has room and one that has none.
func TestTransactionAllOrNothing(t *testing.T) {
	inWorld(t, Options{}, func(w *world, p *peer) {
		full := args("x-max-length", 1, "x-overflow", "reject-publish")
		p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.QueueDeclare{Queue: "full", Arguments: full})
		p.publish(1, "", "full", &amqp091.Properties{}, "0")
		p.publish(1, "", "q", &amqp091.Properties{}, "acked")
		p.send(1, &amqp091.BasicGet{Queue: "q"}, &amqp091.TxSelect{}, &amqp091.BasicAck{DeliveryTag: 1})
		p.publish(1, "", "q", &amqp091.Properties{}, "1")
		p.publish(1, "", "full", &amqp091.Properties{}, "2")
		p.send(1, &amqp091.TxCommit{})
		p.expect("queue.declare-ok, queue.declare-ok, get-ok \"acked\" 0, tx.select-ok, " +
			"close 406 PRECONDITION_FAILED - queue 'full' in vhost '/' has no room for the messages of the transaction")
		equal(t, "q", drain(t, w.vhost("/").queue("q")), "ackedr")
	})
}

// TestRecoverInTransaction: basic.recover is no part of a transaction.
func TestRecoverInTransaction(t *testing.T) {
	for _, end := range []amqp091.Method{&amqp091.TxRollback{}, &amqp091.TxCommit{}, &amqp091.ChannelClose{ReplyCode: 200}} {
		inWorld(t, Options{}, func(w *world, p *peer) {
			p.send(1, &amqp091.QueueDeclare{Queue: "q"})
			p.publish(1, "", "q", &amqp091.Properties{}, "0")
			p.send(1, &amqp091.TxSelect{}, &amqp091.BasicGet{Queue: "q"}, &amqp091.BasicRecover{Requeue: true})
			p.expect(`queue.declare-ok, tx.select-ok, get-ok "0" 0, basic.recover-ok`)
			p.send(1, end)
			w.wait()
			equal(t, "q", drain(t, w.vhost("/").queue("q")), "0r")
		})
	}
}

func TestDirectReplyTo(t *testing.T) {
	inWorld(t, Options{}, func(w *world, p *peer) {
		p.send(1, &amqp091.QueueDeclare{Queue: "rpc"}, &amqp091.BasicConsume{Queue: replyTo, ConsumerTag: "r", NoAck: true})
		p.publish(1, "", "rpc", &amqp091.Properties{ReplyTo: replyTo}, "question")
		p.expect("queue.declare-ok, basic.consume-ok")
		d, ok, err := w.Get("/", "rpc", true)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		to, _ := d.Properties.ReplyTo()
		if !strings.HasPrefix(string(to), replyTo+".") {
			t.Fatalf("reply to %q", to)
		}
		server := w.dial("server").start()
		w.wait()
		server.taken()
		server.send(1, &amqp091.QueueDeclare{Queue: string(to), Passive: true})
		server.expect("queue.declare-ok")
		server.publish(1, "", string(to), &amqp091.Properties{}, "answer")
		p.expect(`deliver r "answer"`)
		p.send(1, &amqp091.BasicCancel{ConsumerTag: "r"})
		p.expect("basic.cancel-ok")
		server.send(1, &amqp091.QueueDeclare{Queue: string(to), Passive: true})
		server.expect("close 404 NOT_FOUND - no queue '" + string(to) + "' in vhost '/'")
		server.drop()
	})
}

func TestCancelNotify(t *testing.T) {
	inWorld(t, Options{}, func(w *world, p *peer) {
		p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
		p.publish(1, "", "q", &amqp091.Properties{}, "1")
		p.send(1, &amqp091.QueueDelete{Queue: "q"}, &amqp091.BasicAck{DeliveryTag: 1})
		p.expect(`queue.declare-ok, basic.consume-ok, deliver c "1", cancel c, queue.delete-ok`)
	})
}

func TestConsumerTimeout(t *testing.T) {
	inWorld(t, Options{ConsumerTimeout: time.Minute}, func(w *world, p *peer) {
		p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
		p.publish(1, "", "q", &amqp091.Properties{}, "1")
		time.Sleep(30 * time.Second)
		p.publish(1, "", "q", &amqp091.Properties{}, "2")
		p.send(1, &amqp091.BasicAck{DeliveryTag: 1})
		time.Sleep(40 * time.Second)
		p.expect(`queue.declare-ok, basic.consume-ok, deliver c "1", deliver c "2"`)
		time.Sleep(21 * time.Second)
		p.expect("close 406 PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 60000 ms. " +
			"This timeout value can be configured, see consumers doc guide to learn more")
		equal(t, "queue", drain(t, w.vhost("/").queue("q")), "2r")
	})
}

// TestGetTimeout: basic.get counts as a consumer.
func TestGetTimeout(t *testing.T) {
	inWorld(t, Options{ConsumerTimeout: time.Minute}, func(w *world, p *peer) {
		p.send(1, &amqp091.QueueDeclare{Queue: "q"})
		for _, body := range []string{"1", "2", "3"} {
			p.publish(1, "", "q", &amqp091.Properties{}, body)
		}
		p.send(1, &amqp091.BasicGet{Queue: "q", NoAck: true}, &amqp091.BasicGet{Queue: "q"}, &amqp091.BasicAck{DeliveryTag: 2})
		w.wait()
		time.Sleep(2 * time.Minute)
		p.send(1, &amqp091.BasicGet{Queue: "q"})
		w.wait()
		time.Sleep(59 * time.Second)
		w.wait()
		p.taken()
		time.Sleep(2 * time.Second)
		p.expect("close 406 PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 60000 ms. " +
			"This timeout value can be configured, see consumers doc guide to learn more")
		equal(t, "queue", drain(t, w.vhost("/").queue("q")), "3r")
	})
}

// TestAlarmFromTheBeginning: the first message finds out that memory is scarce.
func TestAlarmFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Options{MemoryLimit: 1000, MemoryUsed: func() int64 { return 2000 }}, nil)
		p := w.blockable("client")
		p.publish(1, "", "q", &amqp091.Properties{}, "1")
		p.expect("blocked low on memory")
		p.drop()
		w.close()
	})
}

func TestAlarms(t *testing.T) {
	var used atomic.Int64
	var alarms []string
	o := Options{MemoryLimit: 1000, MemoryUsed: used.Load}
	o.Events.Alarm = func(what string, on bool) { alarms = append(alarms, fmt.Sprint(what, on)) }
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &o, nil)
		p := w.blockable("client")
		p.send(1, &amqp091.QueueDeclare{Queue: "q"})
		p.publish(1, "", "q", &amqp091.Properties{}, "1")
		p.expect("queue.declare-ok")
		used.Store(2000)
		time.Sleep(time.Second)
		p.publish(1, "", "q", &amqp091.Properties{}, "2")
		p.expect("blocked low on memory")
		p.publish(1, "", "q", &amqp091.Properties{}, "3") // and is not read any more
		p.expect("")
		p.publish(1, "", "q", &amqp091.Properties{}, "4")
		p.expect("")
		equal(t, "queue", drain(t, w.vhost("/").queue("q")), "1 2 3")
		used.Store(10)
		time.Sleep(time.Second)
		p.expect("connection.unblocked")
		equal(t, "queue", drain(t, w.vhost("/").queue("q")), "4")
		equal(t, "alarms", fmt.Sprint(alarms), "[memorytrue memoryfalse]")
		p.drop()
		w.close()
	})
}

// blockable connects a client that knows connection.blocked.
func (w *world) blockable(name string) *peer {
	w.capabilities = amqp091.Table{{Key: "connection.blocked", Value: true}}
	p := w.dial(name).start()
	w.wait()
	p.taken()
	return p
}

// TestDiskFull fills the disk: publishers are blocked, nothing that was confirmed is lost, and it goes on when there is room.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		o := Options{Dir: "data", fs: disk, SegmentSize: 64 << 10, DiskLimit: 512 << 10, MemoryLimit: -1}
		w := newWorld(t, &o, nil)
		p := w.blockable("client")
		p.send(1, &amqp091.ConfirmSelect{}, &amqp091.QueueDeclare{Queue: "q", Durable: true})
		p.expect("confirm.select-ok, queue.declare-ok")
		body := strings.Repeat("x", 1000)
		acked, blocked := 0, false
		for range 2000 {
			p.publish(1, "", "q", &amqp091.Properties{DeliveryMode: amqp091.Persistent}, body)
			w.wait()
			time.Sleep(10 * time.Millisecond)
			for _, c := range p.taken() {
				switch m := c.method.(type) {
				case *amqp091.BasicAck:
					acked = int(m.DeliveryTag)
				case *amqp091.ConnectionBlocked:
					blocked = true
				}
			}
			if blocked {
				break
			}
		}
		if !blocked || acked == 0 {
			t.Fatalf("blocked %t after %d", blocked, acked)
		}
		q := w.vhost("/").queue("q")
		q.mu.Lock()
		list := q.purge()
		q.unlock()
		list.discard()
		n := list.n
		if n < acked {
			t.Errorf("%d of %d are there", n, acked)
		}
		for range 100 {
			time.Sleep(time.Second)
		}
		p.publish(1, "", "q", &amqp091.Properties{DeliveryMode: amqp091.Persistent}, "on")
		time.Sleep(time.Second)
		if got := drain(t, q); !strings.HasSuffix(got, "on") {
			t.Errorf("got %d bytes", len(got))
		}
		p.drop()
		w.close()
	})
}

// TestUpdateSecret: passwords do not expire, so that any secret will do; an Authenticator is asked.
func TestUpdateSecret(t *testing.T) {
	inWorld(t, Options{}, func(w *world, p *peer) {
		p.send(0, &amqp091.ConnectionUpdateSecret{NewSecret: []byte("new secret"), Reason: "because"})
		w.wait()
		equal(t, "any secret", p.lines(), "connection.update-secret-ok")
	})
	login := func(_ context.Context, l *Login) (string, error) {
		switch l.Password {
		case "guest", "renewed":
			return l.User, nil
		case "other":
			return "somebody else", nil
		}
		return "", errors.New("no such token")
	}
	for _, v := range []struct{ secret, want string }{
		{"renewed", "connection.update-secret-ok"},
		{"expired", "connection.close"},
		{"other", "connection.close"},
	} {
		inWorld(t, Options{Authenticate: login, Unregistered: Everything()}, func(w *world, p *peer) {
			p.send(0, &amqp091.ConnectionUpdateSecret{NewSecret: []byte(v.secret)})
			w.wait()
			list := p.taken()
			if c, ok := list[0].method.(*amqp091.ConnectionClose); ok && c.ReplyCode != amqp091.NotAllowed {
				t.Error(c)
			}
			if got := fmt.Sprint(list[0].method); !strings.HasPrefix(got, v.want+"(") {
				t.Errorf("%s: %s", v.secret, got)
			}
		})
	}
}
