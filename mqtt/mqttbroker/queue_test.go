package mqttbroker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/quartet-mq/quartet/mqtt"
)

func TestQueue(t *testing.T) {
	var q queue
	next, want := 0, 0
	for round := range 200 {
		for range round % 17 {
			q.push(newMessage("t", &mqtt.Publish{}, uint64(next), 0))
			next++
		}
		for range round % 13 {
			if q.len() == 0 {
				break
			}
			if got := q.pop().(*Message).seq; got != uint64(want) {
				t.Fatalf("got %d, want %d", got, want)
			}
			want++
		}
		if q.len() != next-want || q.bytes != q.len()*(1+messageOverhead) {
			t.Fatalf("%d messages, %d bytes; want %d", q.len(), q.bytes, next-want)
		}
	}
	odd := q.filter(func(ref any) bool { return ref.(*Message).seq%2 == 0 })
	for _, ref := range odd {
		if ref.(*Message).seq%2 == 0 {
			t.Fatal("an even one was taken out")
		}
	}
	if len(odd)+q.len() != next-want {
		t.Fatal("some are lost")
	}
	for last := -1; q.len() > 0; {
		seq := int(q.pop().(*Message).seq)
		if seq <= last || seq%2 != 0 {
			t.Fatalf("%d after %d", seq, last)
		}
		last = seq
	}
	if q.ring != nil || q.bytes != 0 {
		t.Error("an empty queue keeps its ring")
	}
}

func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Message{}); n > 32 {
		t.Errorf("a Message has %d bytes", n)
	}
	if n := unsafe.Sizeof(session{}); n > 192 {
		t.Errorf("a session has %d bytes", n)
	}
	if n := unsafe.Sizeof(subscription{}); n > 48 {
		t.Errorf("a subscription has %d bytes", n)
	}
}

func TestMessageProperties(t *testing.T) {
	var props mqtt.Properties
	props = props.AppendUser("a", "1").AppendUint32(mqtt.PropMessageExpiryInterval, 60).AppendUser("b", "2")
	m := newMessage("t", &mqtt.Publish{Payload: []byte("payload"), Properties: props, QoS: 1}, 1, 60_000)
	if string(m.Payload()) != "payload" {
		t.Errorf("payload %q", m.Payload())
	}
	out := m.appendProperties(nil, 10_500, []uint32{7, 300})
	if left, _ := out.Uint32(mqtt.PropMessageExpiryInterval); left != 50 {
		t.Errorf("%d seconds are left", left)
	}
	got := ""
	for k, v := range out.UserProperties() {
		got += k + v
	}
	for id := range out.SubscriptionIDs() {
		got += fmt.Sprint(" ", id)
	}
	if got != "a1b2 7 300" {
		t.Error(got)
	}
	if m.expired(59_999) || !m.expired(60_000) {
		t.Error("expires at the wrong time")
	}
	if got := m.Expires(); !got.Equal(time.UnixMilli(60_000)) {
		t.Error(got)
	}
	if n, _ := m.appendProperties(nil, 70_000, nil).Uint32(mqtt.PropMessageExpiryInterval); n != 1 {
		t.Errorf("an expired message leaves with %d seconds", n)
	}
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired []string
		start := time.Now()
		d := deadlines{fire: func(d deadline, now time.Time) {
			fired = append(fired, fmt.Sprint(d.s.id, "@", now.Sub(start)))
		}}
		at := func(s time.Duration) int64 { return start.Add(s).UnixMilli() }
		a, b, c := &session{id: "a"}, &session{id: "b"}, &session{id: "c"}
		d.set(a, at(3*time.Second))
		d.start()
		d.set(b, at(2*time.Second))
		d.set(c, at(time.Second))
		d.set(b, at(5*time.Second))
		d.set(c, 0)
		time.Sleep(4 * time.Second)
		d.set(a, at(4500*time.Millisecond))
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got := fmt.Sprint(fired); got != "[a@3s a@4.5s b@5s]" {
			t.Error(got)
		}
		d.set(a, at(10*time.Second))
		d.close()
		time.Sleep(4 * time.Second)
		if len(fired) != 3 || b.place != 0 {
			t.Error(fired)
		}
	})
}
