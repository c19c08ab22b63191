package mqtt

import (
	"testing"
	"time"

	"github.com/quartet-mq/quartet/topic/delivery"
)

// FuzzSession throws packets and verbs in any order at machines of both roles, over several connections of one State:
// no panic, nothing after EventClose, every packet that is sent can be decoded by a strict peer, memory bounded by the
// identifiers in use.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 5, 0, 3, 1, 0x21, 7, 20, 7, 0, 6, 7, 0})
	f.Add([]byte{1, 5, 1, 2, 0, 22, 1, 1, 4, 1, 0, 24, 0, 0})
	f.Add([]byte{6, 4, 0, 3, 1, 0x42, 7, 20, 7, 0, 23, 9, 0, 6, 7, 0, 25, 3, 3})
	f.Add([]byte{8, 5, 0, 0x40, 0, 26, 1, 1, 15, 0x18, 0, 26, 2, 2, 30, 0, 0, 0, 5, 0, 3, 0x80, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		z := &fuzzed{t: t, in: in, st: new(State), now: time.Unix(1, 0), from: Server}
		z.create(z.next())
		for len(z.in) > 0 && !t.Failed() {
			z.op(z.next(), z.next(), z.next())
		}
	})
}

// fuzzed is a machine under a fuzzer.
type fuzzed struct {
	t      *testing.T
	in     []byte
	s      *Session
	st     *State
	now    time.Time
	from   Role
	closed bool
	dec    Decoder
	token  uint64
}

func (z *fuzzed) next() byte {
	if len(z.in) == 0 {
		return 0
	}
	b := z.in[0]
	z.in = z.in[1:]
	return b
}

func (z *fuzzed) create(b byte) {
	cfg := Config{Role: Client + Role(b&1^1), Barriers: b&2 != 0, ReceiveMaximum: uint16(b >> 2 & 3), TopicAliasMaximum: 3,
		SendAliasMaximum: uint16(b >> 4 & 3), SendMaximum: uint16(b >> 6)}
	z.s, z.closed = NewSession(cfg), false
	z.dec = Decoder{From: cfg.Role}
}

// op runs a packet or verb that three bytes describe.
func (z *fuzzed) op(kind, a, b byte) {
	s, now := z.s, z.now
	stream := uint64(b >> 6 & 1 * 4)
	switch kind % 40 {
	case 20:
		s.Ack(now, uint16(a), ReasonCode(b&0x87), Properties(nil).AppendUser("k", "v")[:b&8/8*7])
	case 21:
		s.Publish(now, stream, z.publish(a, b), a)
	case 22:
		s.Connect(now, z.connect(a, b), z.st)
	case 23:
		s.Persisted(now, z.token-uint64(a&3))
	case 24:
		z.now = now.Add(time.Duration(a) * time.Second)
		s.Advance(z.now)
	case 25:
		p := z.publish(a, b)
		s.Resend(now, stream, uint16(a&15), p)
	case 26:
		ack := &Connack{SessionPresent: b&1 != 0, Properties: z.limits(b)}
		s.Accept(now, ack, z.st)
	case 27:
		s.Drop(uint16(a & 15))
	case 28:
		s.Subscribe(now, stream, &Subscribe{Filters: []Subscription{{Filter: "f"}}}, b)
	case 29:
		s.Unsubscribe(now, stream, &Unsubscribe{Filters: []string{"f"}}, b)
	case 30:
		s.Lost()
		z.events()
		z.create(a)
	case 31:
		s.Disconnect(now, &Disconnect{Reason: ReasonCode(a)})
	case 32:
		s.Auth(now, &Auth{Reason: ReasonCode(a)})
	case 33:
		s.Suback(now, &Suback{ID: uint16(a), Reasons: []ReasonCode{0}, Properties: Properties(nil).AppendUser("k", "v")})
	case 34:
		s.Fail(now, nil, errProtocol("fuzz"))
	case 35:
		s.Reject(now, &Connack{Reason: ReasonCode(a)})
	case 36:
		z.st.Apply(Delta(a&7), uint16(b), QoS(a>>3&3), a)
	case 37:
		s.Quota()
	case 38:
		s.CloseStream(now, 4, a&1 != 0)
	case 39:
		if a&1 != 0 {
			s.IsolateStreams()
		} else {
			s.AckStream(now, stream, uint16(b&15), ReasonCode(a&0x80), nil)
		}
		s.Owes(stream)
	default:
		z.receive(stream, z.packet(kind%20, a, b))
	}
	z.events()
	z.bounded()
}

func (z *fuzzed) receive(stream uint64, p Packet) {
	was := z.s.phase
	if err := z.s.Receive(z.now, stream, p); err != nil && err != ErrState && z.s.phase != phaseClosed {
		z.t.Errorf("error %v does not end a connection in phase %d", err, was)
	}
}

func (z *fuzzed) limits(b byte) Properties {
	var p Properties
	if z.s.Version() != Version5 && b&2 != 0 {
		return nil
	}
	if b&4 != 0 {
		p = p.AppendUint16(PropReceiveMaximum, uint16(b>>4))
	}
	if b&8 != 0 {
		p = p.AppendUint16(PropTopicAliasMaximum, 2)
	}
	if b&16 != 0 {
		p = p.AppendUint32(PropMaximumPacketSize, uint32(b))
	}
	return p
}

func (z *fuzzed) connect(a, b byte) *Connect {
	p := &Connect{Version: Version(3 + a%4), CleanStart: a&8 != 0, ClientID: "c", KeepAlive: uint16(a >> 4)}
	if p.Version == Version5 {
		p.Properties = z.limits(b)
		if b&0x80 != 0 {
			p.Properties = p.Properties.AppendString(PropAuthenticationMethod, "m")
		}
	}
	return p
}

func (z *fuzzed) publish(a, b byte) *Publish {
	p := &Publish{Topic: []byte("topic"), ID: uint16(a & 15), QoS: QoS(b & 3), Dup: b&4 != 0, Retain: b&8 != 0}
	if p.QoS == QoS2+1 {
		p.QoS = QoS0
	}
	if b&16 != 0 {
		p.Properties = p.Properties.AppendUint16(PropTopicAlias, uint16(a>>4))
	}
	if b&32 != 0 {
		p.Topic = nil
	}
	return p
}

func (z *fuzzed) packet(kind, a, b byte) Packet {
	id, reason := uint16(a), ReasonCode(b)
	switch PacketType(kind%15 + 1) {
	case TypeConnect:
		return z.connect(a, b)
	case TypeConnack:
		return &Connack{SessionPresent: a&1 != 0, Reason: reason & 0x80, Properties: z.limits(b)}
	case TypePublish:
		return z.publish(a, b)
	case TypePuback:
		return &Puback{ID: id, Reason: reason}
	case TypePubrec:
		return &Pubrec{ID: id, Reason: reason}
	case TypePubrel:
		return &Pubrel{ID: id, Reason: reason}
	case TypePubcomp:
		return &Pubcomp{ID: id, Reason: reason}
	case TypeSubscribe:
		return &Subscribe{ID: id, Filters: []Subscription{{Filter: "f"}}}
	case TypeSuback:
		return &Suback{ID: id, Reasons: []ReasonCode{0}}
	case TypeUnsubscribe:
		return &Unsubscribe{ID: id, Filters: []string{"f"}}
	case TypeUnsuback:
		return &Unsuback{ID: id, Reasons: []ReasonCode{0}}
	case TypePingreq:
		return &Pingreq{}
	case TypePingresp:
		return &Pingresp{}
	case TypeDisconnect:
		return &Disconnect{Reason: reason, Properties: Properties(nil).AppendUint32(PropSessionExpiryInterval, 1)[:a&1*5]}
	}
	return &Auth{Reason: reason, Properties: Properties(nil).AppendString(PropAuthenticationMethod, "m")[:a&1*4]}
}

// events takes all events.
func (z *fuzzed) events() {
	for e, ok := z.s.Next(); ok; e, ok = z.s.Next() {
		lost := e.Kind == EventLost || e.Kind == EventPersist && e.Barrier == BarrierNone // by CloseStream
		if z.closed && !lost {
			z.t.Errorf("event %d after the last", e.Kind)
		}
		switch e.Kind {
		case EventClose:
			z.closed = true
		case EventPersist:
			z.token = e.Token
		case EventSend:
			b, err := e.AppendTo(nil, z.s.Version())
			if err != nil {
				z.t.Errorf("cannot encode %+v: %v", e, err)
			} else if _, n, err := z.dec.Decode(b, z.s.Version()); err != nil || n != len(b) {
				z.t.Errorf("a strict peer refuses %x: %v", b, err)
			}
			if limit := z.s.maxPacket; limit > 0 && len(b) > int(limit) && limit >= 5 {
				z.t.Errorf("%d bytes for a peer that takes %d", len(b), limit)
			}
		}
	}
}

// bounded checks that the machine holds no more than the identifiers in use need: there are at most 256 here.
func (z *fuzzed) bounded() {
	s := z.s
	if s.in != nil && (s.in.pubacks.n > 256 || s.in.pubrecs.n > 256 || len(s.in.props) > 256 || len(s.in.streams) > 256) {
		z.t.Errorf("owes %d PUBACKs, %d PUBRECs, %d properties, %d answers",
			s.in.pubacks.n, s.in.pubrecs.n, len(s.in.props), len(s.in.streams))
	}
	if s.held != nil && len(s.held.buf)-s.held.head > 256+z.st.out.Len() {
		z.t.Errorf("%d barriers", len(s.held.buf)-s.held.head)
	}
	if s.received > 256 || s.used() > z.st.out.Len() {
		z.t.Errorf("%d received, %d sent of %d", s.received, s.used(), z.st.out.Len())
	}
}

// used returns how much of the send quota is used.
func (s *Session) used() int {
	if s.credit == (delivery.Credit{}) { // never opened
		return 0
	}
	return int(s.sendMax) - int(s.credit.Available())
}
