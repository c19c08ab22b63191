package mqtt

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// The failures of other brokers that the session machine must not have, each by its name.

// subscriber is a server machine with a queue of messages for a client that acknowledges.
type subscriber struct {
	t     *testing.T
	s     *Session
	st    *State
	queue []string
	wire  []string // PUBLISH packets on the wire
	now   time.Time
}

// fill publishes from the queue while there is quota.
func (c *subscriber) fill() {
	for len(c.queue) > 0 {
		p := &Publish{Topic: []byte("t"), Payload: []byte(c.queue[0]), QoS: QoS1}
		send, err := c.s.Publish(c.now, 0, p, c.queue[0])
		if err == ErrQuota {
			return
		}
		if err != nil || !send {
			c.t.Fatal(send, err)
		}
		c.queue = c.queue[1:]
		c.wire = append(c.wire, p.String())
	}
}

// acknowledge answers everything that is on the wire until nothing comes any more.
func (c *subscriber) acknowledge(from int) {
	for i := from; i < len(c.wire); i++ {
		var id uint16
		fmt.Sscanf(c.wire[i], "PUBLISH id=%d", &id)
		if err := c.s.Receive(c.now, 0, &Puback{ID: id}); err != nil {
			c.t.Fatal(err)
		}
		for e, ok := c.s.Next(); ok; e, ok = c.s.Next() {
			if e.Kind == EventQuota {
				c.fill()
			}
		}
	}
}

func subscribed(t *testing.T, receiveMaximum uint16, messages int) *subscriber {
	c := &subscriber{t: t, now: time.Unix(1, 0)}
	c.s, c.st = openServer(t, Config{}, Version5, Properties(nil).AppendUint16(PropReceiveMaximum, receiveMaximum))
	for i := range messages {
		c.queue = append(c.queue, fmt.Sprint(i))
	}
	c.fill()
	return c
}

func (c *subscriber) wantWire(dups int) {
	c.t.Helper()
	for i, got := range c.wire {
		dup := ""
		if i < dups {
			dup = " dup"
		}
		text := fmt.Sprint(i)
		want := fmt.Sprintf("PUBLISH id=%d qos=1%s topic=\"t\" payload=%d:%q", i+1, dup, len(text), text)
		if got != want {
			c.t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// Sixty queued QoS 1 messages came out with 29 inversions.
func TestQueuedMessagesKeepTheirOrder(t *testing.T) {
	c := subscribed(t, 7, 60)
	c.acknowledge(0)
	if len(c.wire) != 60 {
		t.Fatalf("%d of 60 messages", len(c.wire))
	}
	c.wantWire(0)
}

// A client with receive maximum 3 got 6 of 200 messages and then nothing.
func TestReceiveMaximumDoesNotStall(t *testing.T) {
	c := subscribed(t, 3, 200)
	if len(c.wire) != 3 {
		t.Fatalf("%d messages before the first PUBACK", len(c.wire))
	}
	c.acknowledge(0)
	if len(c.wire) != 200 || c.s.Quota() != 3 || !c.st.Empty() {
		t.Fatalf("%d of 200 messages, quota %d", len(c.wire), c.s.Quota())
	}
}

// DUP was set on the first delivery of queued messages, and QoS 1 became QoS 0 when the quota was exhausted.
func TestDupOnlyOnRedelivery(t *testing.T) {
	c := subscribed(t, 5, 20)
	c.wantWire(0)
	c.s.Lost()
	c.wire = nil
	c.s = NewSession(Config{Role: Server})
	if err := c.s.Receive(c.now, 0, &Connect{Version: Version5, ClientID: "c"}); err != nil {
		t.Fatal(err)
	}
	c.s.Next()
	if err := c.s.Accept(c.now, &Connack{SessionPresent: true}, c.st); err != nil {
		t.Fatal(err)
	}
	for e, ok := c.s.Next(); ok; e, ok = c.s.Next() {
		if e.Kind == EventResend {
			p := &Publish{Topic: []byte("t"), Payload: []byte(e.Ref.(string))}
			if err := c.s.Resend(c.now, 0, e.ID, p); err != nil {
				t.Fatal(err)
			}
			c.wire = append(c.wire, p.String())
		}
	}
	c.fill()
	c.wantWire(5)
	c.acknowledge(0)
	if len(c.wire) != 20 {
		t.Fatalf("%d of 20 messages", len(c.wire))
	}
}

// An eight byte SUBSCRIBE without its options byte crashed the process.
func TestShortSubscribe(t *testing.T) {
	s, _ := openServer(t, Config{}, Version5, nil)
	b := []byte{0x82, 6, 0, 1, 0, 0, 1, 'a'}
	p, _, err := (&Decoder{From: Client}).Decode(b, s.Version())
	if err == nil {
		t.Fatal("decoded")
	}
	s.Fail(time.Unix(1, 0), p, err)
	e, _ := s.Next()
	out, err := e.AppendTo(nil, s.Version())
	if err != nil || !bytes.HasPrefix(out[2:], []byte{byte(ReasonMalformedPacket)}) || out[0] != byte(TypeDisconnect)<<4 {
		t.Fatalf("sends %x, %v", out, err)
	}
	if e, _ := s.Next(); e.Kind != EventClose {
		t.Fatalf("event %d", e.Kind)
	}
}

// Message expiry was forced to 24 hours: the machine leaves the properties of a message alone.
func TestMessageExpiryIsLeftAlone(t *testing.T) {
	s, _ := openServer(t, Config{SendAliasMaximum: 5}, Version5, Properties(nil).AppendUint16(PropTopicAliasMaximum, 5))
	for _, props := range []Properties{nil, Properties(nil).AppendUint32(PropMessageExpiryInterval, 0xffffffff)} {
		for range 3 {
			p := &Publish{Topic: []byte("topic"), Properties: props}
			if _, err := s.Publish(time.Unix(1, 0), 0, p, nil); err != nil {
				t.Fatal(err)
			}
			if got := p.Properties.without(PropTopicAlias); !bytes.Equal(got, props) {
				t.Fatalf("properties %v became %v", props, got)
			}
		}
	}
}

// A message that is too large for a subscriber stalled its queue.
func TestTooLargeDoesNotStall(t *testing.T) {
	props := Properties(nil).AppendUint32(PropMaximumPacketSize, 50).AppendUint16(PropReceiveMaximum, 1)
	s, st := openServer(t, Config{}, Version5, props)
	now := time.Unix(1, 0)
	for range 3 {
		p := &Publish{Topic: []byte("t"), Payload: make([]byte, 100), QoS: QoS2}
		if _, err := s.Publish(now, 0, p, "large"); err != ErrTooLarge {
			t.Fatal(err)
		}
		p = &Publish{Topic: []byte("t"), QoS: QoS1}
		if send, err := s.Publish(now, 0, p, "small"); err != nil || !send {
			t.Fatal(send, err)
		}
		if err := s.Receive(now, 0, &Puback{ID: p.ID}); err != nil {
			t.Fatal(err)
		}
	}
	if !st.Empty() {
		t.Error("something is left in flight")
	}
}

// A peer that never acknowledges one message must not make the window grow without end, nor lose its own order.
func TestStuckMessage(t *testing.T) {
	s, st := openServer(t, Config{SendMaximum: 10}, Version5, nil)
	now := time.Unix(1, 0)
	publish := func(qos QoS) (uint16, error) {
		p := &Publish{Topic: []byte("t"), QoS: qos}
		_, err := s.Publish(now, 0, p, "m")
		return p.ID, err
	}
	stuck, err := publish(QoS2)
	if err != nil {
		t.Fatal(err)
	}
	sent := 1
	for ; sent < 100_000; sent++ {
		id, err := publish(QoS1)
		if err == ErrQuota {
			break
		}
		if err := s.Receive(now, 0, &Puback{ID: id}); err != nil {
			t.Fatal(err)
		}
		drain(s)
	}
	if sent != 8192 || s.Quota() != 0 {
		t.Errorf("%d messages beyond one that is not acknowledged, quota %d", sent, s.Quota())
	}
	s.Receive(now, 0, &Pubrec{ID: stuck})
	s.Receive(now, 0, &Pubcomp{ID: stuck})
	var quota bool
	for e, ok := s.Next(); ok; e, ok = s.Next() {
		quota = quota || e.Kind == EventQuota
	}
	if !quota || s.Quota() != 10 || !st.Empty() {
		t.Errorf("quota event %v, quota %d", quota, s.Quota())
	}
}

// Packet identifiers wrap around, and one that is in use is not given out again.
func TestPacketIDsWrap(t *testing.T) {
	s, _ := openServer(t, Config{}, Version311, nil)
	now := time.Unix(1, 0)
	inUse := make(map[uint16]bool)
	for i := range 200_000 {
		p := &Publish{Topic: []byte("t"), QoS: QoS1}
		if _, err := s.Publish(now, 0, p, nil); err != nil {
			t.Fatal(i, err)
		}
		if p.ID == 0 || inUse[p.ID] {
			t.Fatalf("message %d has identifier %d", i, p.ID)
		}
		inUse[p.ID] = true
		if i >= 65_000 {
			id := uint16((i-65_000)%65_535) + 1
			if err := s.Receive(now, 0, &Puback{ID: id}); err != nil {
				t.Fatal(err)
			}
			delete(inUse, id)
			drain(s)
		}
	}
}

// A session with tens of thousands of messages in flight is resumed piece by piece, not with an event for each at once.
func TestResumeManyMessages(t *testing.T) {
	st := new(State)
	for i := range uint64(30_000) {
		if err := st.Apply(DeltaAssigned, idOf(i), QoS2, i); err != nil {
			t.Fatal(err)
		}
	}
	s, now := NewSession(Config{Role: Server}), time.Unix(1, 0)
	if err := s.Receive(now, 0, &Connect{Version: Version311, ClientID: "c"}); err != nil {
		t.Fatal(err)
	}
	s.Next()
	if err := s.Accept(now, &Connack{SessionPresent: true}, st); err != nil {
		t.Fatal(err)
	}
	next, most := uint64(0), 0
	for e, ok := s.Next(); ok; e, ok = s.Next() {
		most = max(most, len(s.events.buf))
		if e.Kind != EventResend {
			continue
		}
		if e.Ref != next {
			t.Fatalf("message %v after %d", e.Ref, next)
		}
		next++
		if err := s.Resend(now, 0, e.ID, &Publish{Topic: []byte("t")}); err != nil {
			t.Fatal(err)
		}
	}
	if next != 30_000 || s.redo != nil || most > 1024 {
		t.Errorf("%d messages, %d events at a time", next, most)
	}
}
