package delivery

import (
	"slices"
	"testing"
)

// These tests show, one per protocol, that the types serve its ways to deliver:
// at most, at least and exactly once, its window and its cumulative
// acknowledgement. Each case does what the protocol's package would do.

// sender is a side that sends deliveries and waits for their outcomes.
type sender struct {
	w       Window[sent]
	credit  Credit
	settled []uint64 // in the order of settling
}

type sent struct {
	outcome  Outcome
	received bool // MQTT: PUBREC came; AMQP 1.0: an outcome came unsettled
}

// send sends as many of n as there is credit for. Nothing is remembered of a
// delivery that is settled when it is sent.
func (s *sender) send(n int, settled bool) (sent int) {
	for sent < n && (settled || s.credit.Take()) {
		if !settled {
			s.add()
		}
		sent++
	}
	return sent
}

func (s *sender) add() { s.w.Add(sent{}) }

func (s *sender) settle(first, last uint64) {
	for seq := range s.w.SettleRange(first, last) {
		s.settled = append(s.settled, seq)
		s.credit.Grant(1)
	}
}

func (s *sender) expect(t *testing.T, unsettled int, available int64, settled ...uint64) {
	t.Helper()
	if s.w.Len() != unsettled || s.credit.Available() != available || !slices.Equal(s.settled, settled) {
		t.Errorf("%d unsettled, %d available, settled %v; want %d, %d, %v",
			s.w.Len(), s.credit.Available(), s.settled, unsettled, available, settled)
	}
}

// packetID is the packet identifier of MQTT for a sequence number.
func packetID(seq uint64) uint16 { return uint16(seq%65535) + 1 }

// packetSeq is the sequence number of the unsettled delivery with that packet
// identifier, provided that the window spans at most 65,535.
func packetSeq(low uint64, id uint16) uint64 {
	return low + (uint64(id)-1+65535-low%65535)%65535
}

func TestProtocolMQTT(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *sender)
	}{
		{"at most once: QoS 0", func(t *testing.T, s *sender) {
			if n := s.send(100, true); n != 100 {
				t.Errorf("sent %d", n)
			}
			s.expect(t, 0, 3)
		}},
		{"at least once: PUBACK", func(t *testing.T, s *sender) {
			s.send(2, false)
			s.settle(1, 1)
			s.expect(t, 1, 2, 1)
			s.settle(1, 1) // a PUBACK again changes nothing
			s.expect(t, 1, 2, 1)
			var again []uint64 // redelivery in send order after a reconnect
			for seq := range s.w.Unsettled() {
				again = append(again, seq)
			}
			if !slices.Equal(again, []uint64{0}) {
				t.Errorf("redelivered %v", again)
			}
		}},
		{"exactly once: settled in two steps", func(t *testing.T, s *sender) {
			s.send(1, false)
			var receiver IDs
			if id := packetID(0); !receiver.Add(id) || receiver.Add(id) {
				t.Error("a PUBLISH sent again is new")
			}
			s.w.Get(0).received = true // PUBREC: from now on PUBREL is sent, not PUBLISH
			s.expect(t, 1, 2)
			if id := packetID(0); !receiver.Remove(id) || receiver.Remove(id) { // PUBREL
				t.Error("released twice")
			}
			s.settle(0, 0) // PUBCOMP
			s.expect(t, 0, 3, 0)
		}},
		{"exactly once: refused in the first step", func(t *testing.T, s *sender) {
			s.send(1, false)
			s.settle(0, 0) // PUBREC with a reason code of 0x80 or above
			s.expect(t, 0, 3, 0)
		}},
		{"window: receive maximum", func(t *testing.T, s *sender) {
			if n := s.send(5, false); n != 3 {
				t.Errorf("sent %d with a receive maximum of 3", n)
			}
			s.settle(2, 2)
			s.settle(0, 0)
			if n := s.send(5, false); n != 2 {
				t.Errorf("sent %d after two PUBACKs", n)
			}
			s.expect(t, 3, 0, 2, 0)
		}},
		{"packet identifiers are dense and wrap", func(t *testing.T, s *sender) {
			s.w.SkipTo(3*65535 - 1)
			for i, want := range []uint16{65535, 1, 2} {
				seq := s.w.Add(sent{})
				if id := packetID(seq); id != want || packetSeq(s.w.Low(), id) != seq {
					t.Errorf("delivery %d: id %d, want %d, back to %d of %d", i, id, want, packetSeq(s.w.Low(), id), seq)
				}
			}
		}},
		{"acknowledgements go out in receive order", func(t *testing.T, s *sender) {
			var done Watermark // the application acknowledges in any order [MQTT-4.6.0-2]
			var out []uint64
			for _, seq := range []uint64{2, 0, 1, 3} {
				from := done.Low()
				done.Done(seq)
				for ; from < done.Low(); from++ {
					out = append(out, from)
				}
			}
			if !slices.Equal(out, []uint64{0, 1, 2, 3}) {
				t.Errorf("sent %v", out)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sender
			s.credit.Set(3)
			c.run(t, &s)
		})
	}
}

func TestProtocolAMQP091(t *testing.T) {
	for _, c := range []struct {
		name     string
		prefetch int64
		run      func(t *testing.T, s *sender)
	}{
		{"at most once: no-ack", 2, func(t *testing.T, s *sender) {
			if n := s.send(10, true); n != 10 {
				t.Errorf("sent %d", n)
			}
			s.expect(t, 0, 2)
		}},
		{"at least once: ack", 2, func(t *testing.T, s *sender) {
			s.send(2, false)
			s.settle(1, 1)
			s.expect(t, 1, 1, 1)
		}},
		{"at least once: requeue when the channel closes", 3, func(t *testing.T, s *sender) {
			s.send(3, false)
			s.settle(1, 1)
			var requeued []uint64
			for seq := range s.w.SettleThrough(s.w.Next()) {
				requeued = append(requeued, seq)
			}
			if !slices.Equal(requeued, []uint64{0, 2}) {
				t.Errorf("requeued %v", requeued)
			}
		}},
		{"at least once: confirm", 0, func(t *testing.T, s *sender) {
			// The broker confirms what is durable, several by one basic.ack.
			var durable Watermark
			confirmed := durable.Low()
			var acks [][2]uint64 // tag, number of messages
			for _, tag := range []uint64{1, 2, 0, 3} {
				if durable.Done(tag) {
					acks = append(acks, [2]uint64{durable.Low() - 1, durable.Low() - confirmed})
					confirmed = durable.Low()
				}
			}
			if !slices.Equal(acks, [][2]uint64{{2, 3}, {3, 1}}) {
				t.Errorf("acks %v", acks)
			}
		}},
		{"window: prefetch", 2, func(t *testing.T, s *sender) {
			if n := s.send(5, false); n != 2 {
				t.Errorf("sent %d with a prefetch of 2", n)
			}
			s.credit.Grant(1 - 2) // basic.qos lowers it to 1
			s.settle(0, 0)
			s.expect(t, 1, 0, 0)
			s.settle(1, 1)
			s.expect(t, 0, 1, 0, 1)
		}},
		{"window: prefetch 0 is unlimited", Unlimited, func(t *testing.T, s *sender) {
			if n := s.send(1000, false); n != 1000 {
				t.Errorf("sent %d", n)
			}
			s.settle(0, 999)
			if s.credit.Available() != Unlimited || s.w.Len() != 0 {
				t.Errorf("%d available, %d unsettled", s.credit.Available(), s.w.Len())
			}
		}},
		{"cumulative: multiple flag", 10, func(t *testing.T, s *sender) {
			s.send(5, false)
			s.settle(1, 1)
			s.settle(0, 3)
			s.expect(t, 1, 9, 1, 0, 2, 3)
			s.settle(0, s.w.Next()) // delivery tag 0: all
			s.expect(t, 0, 10, 1, 0, 2, 3, 4)
		}},
		{"an unknown delivery tag is an error of the channel", 1, func(t *testing.T, s *sender) {
			s.send(1, false)
			if s.w.Get(1) != nil || s.w.Get(0) == nil {
				t.Error("tag 1 is known, or 0 is not")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sender
			s.credit.Set(c.prefetch)
			c.run(t, &s)
		})
	}
}

func TestProtocolAMQP10(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *sender)
	}{
		{"at most once: pre-settled", func(t *testing.T, s *sender) {
			for range 3 {
				s.credit.Take() // credit counts these too
			}
			if s.credit.Count() != 3 || s.w.Len() != 0 {
				t.Errorf("delivery-count %d, %d unsettled", s.credit.Count(), s.w.Len())
			}
		}},
		{"at least once: receiver settles first", func(t *testing.T, s *sender) {
			s.send(2, false)
			for seq := range s.w.SettleRange(0, 0) { // disposition settled=true, accepted
				s.settled = append(s.settled, seq)
			}
			s.expect(t, 1, 3, 0) // settling gives no link credit
		}},
		{"exactly once: receiver settles second", func(t *testing.T, s *sender) {
			s.send(1, false)
			s.w.Get(0).outcome = Accepted // disposition settled=false of the receiver
			if p := s.w.Get(0); p == nil || p.outcome != Accepted {
				t.Error("not unsettled with an outcome")
			}
			if v, ok := s.w.Settle(0); !ok || v.outcome != Accepted { // ours, settled=true
				t.Errorf("settled with %v, %v", v.outcome, ok)
			}
		}},
		{"outcomes", func(t *testing.T, s *sender) {
			s.send(4, false)
			for seq, o := range []Outcome{Accepted, Rejected, Released, Modified} {
				s.w.Get(uint64(seq)).outcome = o
			}
			var again []uint64
			for seq, v := range s.w.SettleThrough(3) {
				if v.outcome == Released || v.outcome == Modified {
					again = append(again, seq)
				}
			}
			if !slices.Equal(again, []uint64{2, 3}) {
				t.Errorf("sent again: %v", again)
			}
		}},
		{"window: link credit", func(t *testing.T, s *sender) {
			if n := s.send(9, false); n != 5 {
				t.Errorf("sent %d", n)
			}
			s.credit.Flow(3, 5) // the receiver had seen 3
			s.expect(t, 5, 3)
		}},
		{"window: drain", func(t *testing.T, s *sender) {
			s.send(2, false)
			if n := s.credit.Drain(); n != 3 || s.credit.Count() != 5 || s.credit.Take() {
				t.Errorf("drained %d, delivery-count %d", n, s.credit.Count())
			}
		}},
		{"cumulative: first to last", func(t *testing.T, s *sender) {
			s.send(5, false)
			s.settle(1, 3)
			s.settle(0, 1<<32-1) // a range beyond the window costs nothing
			s.expect(t, 0, 5, 1, 2, 3, 0, 4)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sender
			s.credit.Flow(0, 5)
			c.run(t, &s)
		})
	}
}

func TestProtocolKafka(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"at most once: acks=0", func(t *testing.T) {
			var s sender
			s.credit.Set(5)
			s.send(10, true)
			s.expect(t, 0, 5)
		}},
		{"at least once: acks=all, sent again in order", func(t *testing.T) {
			var s sender
			s.credit.Set(5)
			s.send(3, false)
			s.settle(0, 0)
			var again []uint64
			for seq := range s.w.Unsettled() {
				again = append(again, seq)
			}
			if !slices.Equal(again, []uint64{1, 2}) {
				t.Errorf("sent again: %v", again)
			}
		}},
		{"exactly once: producer id, epoch, sequence", func(t *testing.T) {
			var p Producer
			var log []int32
			produce := func(epoch int16, first, last int32) Verdict {
				v, _ := p.Check(epoch, first, last)
				if v == New {
					p.Accept(epoch, first, last, int64(len(log)))
					log = append(log, first)
				}
				return v
			}
			got := []Verdict{
				produce(0, 0, 9), produce(0, 10, 19), produce(0, 0, 9), // a retry whose answer was lost
				produce(0, 30, 39),                     // batch 20 to 29 was lost
				produce(0, 20, 29), produce(0, 30, 39), // both again
				produce(1, 0, 0), produce(0, 40, 40), // a new instance fences the old one
			}
			want := []Verdict{New, New, Duplicate, OutOfOrder, New, New, New, Fenced}
			if !slices.Equal(got, want) || !slices.Equal(log, []int32{0, 10, 20, 30, 0}) {
				t.Errorf("verdicts %v, log %v", got, log)
			}
		}},
		{"window: in flight per connection, answered in order", func(t *testing.T) {
			var s sender
			s.credit.Set(5)
			if n := s.send(9, false); n != 5 {
				t.Errorf("sent %d", n)
			}
			for range 2 {
				s.settle(s.w.Low(), s.w.Low())
			}
			s.expect(t, 3, 2, 0, 1)
		}},
		{"cumulative: offset commit", func(t *testing.T) {
			var done Watermark
			done.Reset(1000) // the committed offset of the group
			for _, offset := range []uint64{1002, 1000, 1003} {
				done.Done(offset)
			}
			if done.Low() != 1001 || done.Ahead() != 2 {
				t.Errorf("commit %d with %d ahead", done.Low(), done.Ahead())
			}
			if done.Done(1001); done.Low() != 1004 {
				t.Errorf("commit %d", done.Low())
			}
		}},
	} {
		t.Run(c.name, c.run)
	}
}
