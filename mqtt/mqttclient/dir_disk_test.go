package mqttclient

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/mqtt"
)

// TestDirFails: an error of the disk ends the client, and nothing is acknowledged.
func TestDirFails(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		t.Run(op.String(), func(t *testing.T) {
			withDir(t, Options{Unrouted: &SubscribeOptions{ManualAck: true}}, func(t *testing.T, d *disk) {
				p := d.connect("a", mqtt.Connack{})
				p.send(message("t", "x", 2, 1))
				m := next(t, d.c.Unrouted())
				waiting := d.publish("1", mqtt.QoS1)
				p.expect("PUBLISH")
				d.fs.SetFail(func(o vfs.Op, _ string) error {
					if o == op {
						return syscall.EIO
					}
					return nil
				})
				m.Ack()
				_, err := d.c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: 2})
				var failed *StorageError
				if !errors.As(err, &failed) || !errors.Is(err, syscall.EIO) || !errors.Is(err, ErrClosed) {
					t.Errorf("publish: %v", err)
				}
				<-d.c.Done()
				for _, err := range []error{d.c.Err(), waiting.Err(), d.c.Publish(t.Context(), &Message{Topic: "t", QoS: 1})} {
					if !errors.As(err, &failed) {
						t.Errorf("got %v", err)
					}
				}
				p.expect("end")
				if err := d.c.Close(); !errors.As(err, &failed) {
					t.Errorf("close: %v", err)
				}
				d.fs.SetFail(nil)
				d.fs = d.fs.DropClone()
				d.hosts["a"].Close()
				d.hosts["a"] = memnet.Listen("a")
				d.open()
				p = d.connect("a", kept)
				if q := p.receive().(*mqtt.Publish); string(q.Payload) != "1" || !q.Dup {
					t.Errorf("got %v", q)
				}
				d.c.Close()
				d.hosts["a"].Close()
			})
		})
	}
}

// TestDirFull: a full disk makes publishers wait.
func TestDirFull(t *testing.T) {
	withDir(t, Options{}, func(t *testing.T, d *disk) {
		big := make([]byte, 300<<10)
		d.fs.SetCapacity(800 << 10)
		var err error
		n := 0
		for ; err == nil && n < 10; n++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err = d.c.PublishAsync(ctx, &Message{Topic: "t", Payload: big, QoS: 1})
			cancel()
		}
		if !errors.Is(err, context.DeadlineExceeded) || !SafeToRetry(err) {
			t.Fatalf("after %d: %v", n, err)
		}
		wait := async(func() error {
			_, err := d.c.PublishAsync(t.Context(), &Message{Topic: "t", Payload: []byte("later"), QoS: 1})
			return err
		})
		time.Sleep(time.Minute + 1234567*time.Nanosecond) // not when the journal looks, too
		d.fs.SetCapacity(1 << 40)
		if err := wait(); err != nil {
			t.Error(err)
		}
		d.crash()
		p := d.connect("a", mqtt.Connack{})
		for range n - 1 {
			if got := p.payload(); len(got) != len(big) {
				t.Errorf("got %d bytes", len(got))
			}
		}
		if got := p.payload(); got != "later" {
			t.Errorf("got %.20q", got)
		}
	})
	withDir(t, Options{Queue: Queue{Policy: QueueError}}, func(t *testing.T, d *disk) {
		d.fs.SetCapacity(400 << 10)
		time.Sleep(10 * time.Second)
		d.publish("1", mqtt.QoS1)
		time.Sleep(10 * time.Second)
		if _, err := d.c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: 1}); !errors.Is(err, ErrQueueFull) {
			t.Errorf("got %v", err)
		}
	})
}

// TestDirMemory: what waits is in the journal, but for a part.
func TestDirMemory(t *testing.T) {
	again(t, "bodies", Options{}, func(t *testing.T, d *disk, again func() *Client) {
		const n = 300
		hot := func() {
			d.t.Helper()
			d.c.mu.Lock()
			defer d.c.mu.Unlock()
			sum := 0
			for i := range d.c.out.queue.Len() {
				if p := d.c.out.queue.At(i); !p.cold() {
					sum += p.size()
				}
			}
			for p := d.c.out.first; p != nil; p = p.next {
				if !p.cold() {
					sum += len(p.pub.Payload) + len(p.pub.Topic)
				}
			}
			if sum != d.c.store.hot || sum > hotBytes+loadBytes {
				d.t.Errorf("%d bytes in memory, %d counted", sum, d.c.store.hot)
			}
		}
		body := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 10_000+i) }
		for i := range n {
			m := &Message{Topic: "t", Payload: body(i), QoS: mqtt.QoS(1 + i%2)}
			if _, err := d.c.PublishAsync(d.t.Context(), m); err != nil {
				d.t.Fatal(err)
			}
		}
		hot()
		p := d.connect("a", mqtt.Connack{})
		for i := range n / 2 {
			q := p.receive().(*mqtt.Publish)
			if !bytes.Equal(q.Payload, body(i)) {
				d.t.Fatalf("message %d is %d bytes", i, len(q.Payload))
			}
			hot()
		}
		again()
		hot()
		p = d.connect("a", kept)
		for i := 0; i < n; {
			q, ok := p.receive().(*mqtt.Publish)
			if !ok {
				continue
			}
			if !bytes.Equal(q.Payload, body(i)) {
				d.t.Fatalf("message %d is %d bytes", i, len(q.Payload))
			}
			i++
			switch id := q.ID; q.QoS {
			case mqtt.QoS1:
				p.send(&mqtt.Puback{ID: id})
			case mqtt.QoS2:
				p.send(&mqtt.Pubrec{ID: id}, &mqtt.Pubcomp{ID: id})
			}
			hot()
		}
		synctest.Wait()
		d.c.mu.Lock()
		defer d.c.mu.Unlock()
		if s := d.c.store; len(s.live) > 0 || s.hot != 0 {
			d.t.Errorf("%d messages, %d bytes are left", len(s.live), s.hot)
		}
	})
}

// TestDirBounded: the directory of a client that has been at work for long is small.
func TestDirBounded(t *testing.T) {
	withDir(t, Options{Unrouted: &SubscribeOptions{}}, func(t *testing.T, d *disk) {
		go func() {
			for range d.c.Unrouted().Messages(t.Context()) {
			}
		}()
		body := bytes.Repeat([]byte("x"), 1000)
		old := d.publish("0", mqtt.QoS1) // is never acknowledged
		p := d.connect("a", mqtt.Connack{})
		p.expect("PUBLISH")
		size := int64(0)
		for i := range 4000 {
			m := &Message{Topic: "t", Payload: body, QoS: mqtt.QoS(1 + i%2)}
			wait := async(func() error { return d.c.Publish(t.Context(), m) })
			q := p.receive().(*mqtt.Publish)
			id := q.ID
			if q.QoS == mqtt.QoS1 {
				p.send(&mqtt.Puback{ID: id})
			} else {
				p.send(&mqtt.Pubrec{ID: id})
				p.expect("PUBREL")
				p.send(&mqtt.Pubcomp{ID: id})
			}
			if err := wait(); err != nil {
				t.Fatal(err)
			}
			if i%8 == 0 {
				p.send(message("t", "x", 2, 9))
				p.expect("PUBREC")
				p.send(&mqtt.Pubrel{ID: 9})
				p.expect("PUBCOMP")
			}
			time.Sleep(time.Millisecond) // the journal cleans in the background
			if i%100 == 0 {
				size = max(size, d.size())
			}
		}
		if size > 512<<10 {
			t.Errorf("the directory had %d bytes", size)
		}
		if old.Err() != nil {
			t.Error(old.Err())
		}
		d.crash()
		p = d.connect("a", kept)
		q := p.receive().(*mqtt.Publish)
		if string(q.Payload) != "0" || !q.Dup || q.ID != 1 {
			t.Errorf("got %v", q)
		}
		p.quiet()
	})
}

// size returns the size of the directory.
func (d *disk) size() (sum int64) {
	for _, name := range d.fs.Names() {
		n, err := d.fs.Size(name)
		if err == nil {
			sum += n
		}
	}
	return sum
}
