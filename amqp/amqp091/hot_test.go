package amqp091_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// step is one step of a message flow that must not allocate.
type step struct {
	name string
	run  func() error
}

// flow returns the steps of a message flow. Each works on buffers that are large enough.
func flow(tb testing.TB) []step {
	props := everyProperty()
	raw := appendProperties(tb, props)
	body := bytes.Repeat([]byte("x"), 256)
	dst := make([]byte, 0, 4096)
	payload := func(b []byte, err error) []byte {
		f, n, err2 := amqp091.NextFrame(b, 0)
		if err != nil || err2 != nil || n != len(b) {
			tb.Fatal(err, err2, n)
		}
		return bytes.Clone(f.Payload)
	}
	publish := payload(amqp091.AppendPublish(nil, 1, "amq.topic", "site.12.machine.34", true))
	deliver := payload(amqp091.AppendDeliver(nil, 1, "ctag-1.abcdefghijklm", 4711, false, "amq.topic", "site.12.machine.34"))
	getOK := payload(amqp091.AppendGetOK(nil, 1, 4711, true, "amq.topic", "site.12.machine.34", 12))
	returned := payload(amqp091.AppendReturn(nil, 1, amqp091.NoRoute, "NO_ROUTE", "amq.topic", "site.12.machine.34"))
	ack := payload(amqp091.AppendAck(nil, 1, 4711, true), nil)
	nack := payload(amqp091.AppendNack(nil, 1, 4711, true, true), nil)
	header := payload(amqp091.AppendContentHeader(nil, 1, 256, raw), nil)
	frame := amqp091.AppendBody(nil, 1, body, 0)
	headers := raw.Headers()
	return []step{
		{"NextFrame", func() error { _, _, err := amqp091.NextFrame(frame, 131072); return err }},
		{"decode publish", func() error { var v amqp091.PublishView; return v.Decode(publish) }},
		{"decode deliver", func() error { var v amqp091.DeliverView; return v.Decode(deliver) }},
		{"decode get-ok", func() error { var v amqp091.GetOKView; return v.Decode(getOK) }},
		{"decode return", func() error { var v amqp091.ReturnView; return v.Decode(returned) }},
		{"decode ack", func() error { var v amqp091.AckView; return v.Decode(ack) }},
		{"decode nack", func() error { var v amqp091.AckView; return v.Decode(nack) }},
		{"decode content header", func() error { _, _, _, err := amqp091.DecodeContentHeader(header); return err }},
		{"append publish", func() (err error) {
			_, err = amqp091.AppendPublish(dst, 1, "amq.topic", "site.12.machine.34", true)
			return err
		}},
		{"append deliver", func() (err error) {
			_, err = amqp091.AppendDeliver(dst, 1, "ctag-1.abcdefghijklm", 4711, false, "amq.topic", "site.12.machine.34")
			return err
		}},
		{"append get-ok", func() (err error) {
			_, err = amqp091.AppendGetOK(dst, 1, 4711, true, "amq.topic", "site.12.machine.34", 12)
			return err
		}},
		{"append return", func() (err error) {
			_, err = amqp091.AppendReturn(dst, 1, amqp091.NoRoute, "NO_ROUTE", "amq.topic", "site.12.machine.34")
			return err
		}},
		{"append ack", func() error { amqp091.AppendAck(dst, 1, 4711, true); return nil }},
		{"append nack", func() error { amqp091.AppendNack(dst, 1, 4711, true, true); return nil }},
		{"append reject", func() error { amqp091.AppendReject(dst, 1, 4711, true); return nil }},
		{"append heartbeat", func() error { amqp091.AppendHeartbeat(dst); return nil }},
		{"append content header", func() error { amqp091.AppendContentHeader(dst, 1, 256, raw); return nil }},
		{"append body", func() error { amqp091.AppendBody(dst, 1, body, 100); return nil }},
		{"append properties", func() error { _, err := props.Append(dst); return err }},
		{"properties", func() error {
			n := int(raw.DeliveryMode())
			for _, get := range []func() ([]byte, bool){raw.Expiration, raw.UserID, raw.ReplyTo, raw.CorrelationID, raw.MessageID} {
				b, _ := get()
				n += len(b)
			}
			priority, _ := raw.Priority()
			if n+int(priority) == 0 {
				return amqp091.SoftError(amqp091.InternalError, "nothing")
			}
			return raw.Validate()
		}},
		{"edit properties", func() error {
			raw.Edit(dst, amqp091.PropertyEdit{SetHeaders: true, Headers: headers, DropExpiration: true})
			return nil
		}},
		{"headers", func() error {
			n := 0
			for key, v := range headers.All() {
				text, _ := v.Text()
				n += len(key) + len(text)
			}
			if v, ok := headers.Get("n"); !ok || v.Tag != amqp091.TagInt32 || n == 0 {
				return amqp091.SoftError(amqp091.InternalError, "no header")
			}
			return headers.Validate()
		}},
	}
}

func TestFlowAllocatesNothing(t *testing.T) {
	for _, s := range flow(t) {
		if err := s.run(); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = s.run() }); n != 0 {
			t.Errorf("%s: %v allocations", s.name, n)
		}
	}
}

// A method without tables costs its struct, its strings and nothing else.
func TestMethodAllocations(t *testing.T) {
	b, err := amqp091.AppendMethod(nil, 1, &amqp091.BasicGet{Queue: "queue"})
	if err != nil {
		t.Fatal(err)
	}
	payload := b[7 : len(b)-1]
	if n := testing.AllocsPerRun(100, func() { _, _ = amqp091.DecodeMethod(payload) }); n > 2 {
		t.Errorf("DecodeMethod: %v allocations", n)
	}
	m := &amqp091.BasicGet{Queue: "queue"}
	dst := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() { _, _ = amqp091.AppendMethod(dst, 1, m) }); n != 0 {
		t.Errorf("AppendMethod: %v allocations", n)
	}
}

func TestViewsOfOtherMethods(t *testing.T) {
	b, err := amqp091.AppendMethod(nil, 1, &amqp091.BasicQos{})
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range [][]byte{nil, {0, 60}, b[7 : len(b)-1]} {
		for i, v := range []interface{ Decode([]byte) error }{new(amqp091.PublishView), new(amqp091.DeliverView),
			new(amqp091.GetOKView), new(amqp091.ReturnView), new(amqp091.AckView)} {
			if err := v.Decode(payload); errorCode(err) != amqp091.FrameError || !strings.Contains(err.Error(), "another method") {
				t.Errorf("view %d of %x: %v", i, payload, err)
			}
		}
	}
}

func TestBodyIsSplit(t *testing.T) {
	body := make([]byte, 10_000)
	for i := range body {
		body[i] = byte(i * 7)
	}
	for _, frameMax := range []uint32{0, 1, 8, 9, 10, 100, 4096, 9_999, 10_007, 10_008, 10_009, 131072, 1<<32 - 1} {
		for _, n := range []int{0, 1, 4088, 4089, 9_999, 10_000} {
			b := amqp091.AppendBody([]byte("before"), 3, body[:n], frameMax)[len("before"):]
			if size := amqp091.BodySize(n, frameMax); size != len(b) {
				t.Errorf("BodySize(%d, %d) = %d, want %d", n, frameMax, size, len(b))
			}
			limit := frameMax
			if limit <= amqp091.FrameOverhead && limit != 0 {
				limit = amqp091.FrameMinSize
			}
			var got []byte
			for len(b) > 0 {
				f, size, err := amqp091.NextFrame(b, limit)
				if err != nil || size == 0 || f.Type != amqp091.FrameBody || f.Channel != 3 || len(f.Payload) == 0 {
					t.Fatalf("frame-max %d: %v, %d, %v", frameMax, f, size, err)
				}
				got = append(got, f.Payload...)
				b = b[size:]
			}
			if !bytes.Equal(got, body[:n]) {
				t.Errorf("frame-max %d: %d bytes of %d came through", frameMax, len(got), n)
			}
		}
	}
	if amqp091.BodySize(-1, 0) != 0 {
		t.Error("BodySize(-1)")
	}
}

func BenchmarkFlow(b *testing.B) {
	for _, s := range flow(b) {
		b.Run(strings.ReplaceAll(s.name, " ", "-"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := s.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
