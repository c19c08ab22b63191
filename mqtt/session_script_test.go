package mqtt

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/script"
)

// TestSessionScripts runs the scripts of testdata/session. Those of which the name is a statement of the standard show
// that statement. A script drives one machine: the shell's verbs by their names, packets of the peer as "recv" and the
// type. The output has what the verb returned and every event.
func TestSessionScripts(t *testing.T) {
	script.Run(t, "testdata/session/*.txt", func(t *testing.T) func(*script.Command) string {
		m := &scripted{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), st: new(State)}
		return m.do
	})
}

// scripted is a machine under the control of a script.
type scripted struct {
	t   *testing.T
	s   *Session
	st  *State
	now time.Time
	out strings.Builder
}

func (m *scripted) do(c *script.Command) string {
	m.out.Reset()
	m.now = m.now.Add(c.Duration(m.t, "after", 0))
	stream := uint64(c.Int(m.t, "stream", 0))
	if kind, ok := strings.CutPrefix(c.Name, "recv-"); ok {
		p := m.packet(c, kind)
		if _, err := AppendIllegal(nil, p, Version5); err != nil {
			m.t.Fatalf("line %d: %v", c.Line, err)
		}
		m.result(m.s.Receive(m.now, stream, p))
	} else {
		m.verb(c, stream)
	}
	if m.s != nil {
		m.events()
	}
	return m.out.String()
}

// verb runs a command that is not a packet of the peer.
func (m *scripted) verb(c *script.Command, stream uint64) {
	id := uint16(c.Int(m.t, "id", 0))
	switch c.Name {
	case "new":
		m.create(c)
	case "state":
		m.state(c, id)
	case "connect":
		m.result(m.s.Connect(m.now, m.packet(c, "connect").(*Connect), m.st))
	case "accept":
		if c.Has("fresh") {
			m.st = new(State)
		}
		m.result(m.s.Accept(m.now, m.packet(c, "connack").(*Connack), m.st))
	case "reject":
		m.result(m.s.Reject(m.now, m.packet(c, "connack").(*Connack)))
	case "auth":
		m.result(m.s.Auth(m.now, m.packet(c, "auth").(*Auth)))
	case "publish":
		m.publish(c, stream)
	case "resend":
		p := m.packet(c, "publish").(*Publish)
		if err := m.s.Resend(m.now, stream, id, p); err != nil {
			m.result(err)
			break
		}
		m.line("now %v%s", p, onStream(stream))
	case "drop":
		m.s.Drop(id)
	case "ack":
		m.result(m.s.Ack(m.now, id, ReasonCode(c.Int(m.t, "reason", 0)), m.props(c)))
	case "persisted":
		m.s.Persisted(m.now, uint64(c.Int(m.t, "token", 0)))
	case "subscribe":
		m.result(m.s.Subscribe(m.now, stream, m.packet(c, "subscribe").(*Subscribe), c.String("ref", "")))
	case "unsubscribe":
		m.result(m.s.Unsubscribe(m.now, stream, m.packet(c, "unsubscribe").(*Unsubscribe), c.String("ref", "")))
	case "suback":
		m.result(m.s.Suback(m.now, m.packet(c, "suback").(*Suback)))
	case "unsuback":
		m.result(m.s.Unsuback(m.now, m.packet(c, "unsuback").(*Unsuback)))
	case "disconnect":
		m.result(m.s.Disconnect(m.now, m.packet(c, "disconnect").(*Disconnect)))
	case "fail":
		var p Packet
		if c.Has("v") {
			p = &Connect{Version: Version(c.Int(m.t, "v", 0))}
		}
		m.s.Fail(m.now, p, &Error{Code: ReasonCode(c.Int(m.t, "code", 0)), Reason: c.String("text", "")})
	case "barriers":
		m.s.UseBarriers()
	case "lost":
		m.s.Lost()
	case "advance":
		m.s.Advance(m.now)
	case "timeout":
		if at := m.s.Timeout(); at.IsZero() {
			m.line("never")
		} else {
			m.line("in %v", at.Sub(m.now))
		}
	case "quota":
		m.line("%d", m.s.Quota())
	default:
		m.t.Fatalf("line %d: no command %s", c.Line, c.Name)
	}
}

func (m *scripted) create(c *script.Command) {
	n := func(key string) uint16 { return uint16(c.Int(m.t, key, 0)) }
	cfg := Config{
		Role: Server, Barriers: c.Has("barriers"), RetainUnavailable: c.Has("noretain"), ReceiveMaximum: n("recvmax"),
		SendMaximum: n("sendmax"), TopicAliasMaximum: n("alias"), SendAliasMaximum: n("sendalias"),
		ServerKeepAlive: n("keepalive"), MaximumPacketSize: uint32(n("maxpacket")),
		PingTimeout: c.Duration(m.t, "pingtimeout", 0),
	}
	if c.Has("maxqos") {
		cfg.LimitQoS, cfg.MaximumQoS = true, QoS(n("maxqos"))
	}
	if c.Has("client") {
		cfg.Role = Client
	} else if !c.Has("server") {
		m.t.Fatalf("line %d: client or server?", c.Line)
	}
	m.s = NewSession(cfg)
	if !c.Has("open") {
		return
	}
	v := Version(c.Int(m.t, "v", 5))
	connect := &Connect{Version: v, ClientID: "c", CleanStart: true, KeepAlive: n("ka"), Properties: m.props(c)}
	var err error
	if cfg.Role == Server {
		err = errors.Join(m.s.Receive(m.now, 0, connect), m.s.Accept(m.now, &Connack{}, m.st))
	} else {
		connect.Properties = nil
		err = errors.Join(m.s.Connect(m.now, connect, m.st), m.s.Receive(m.now, 0, &Connack{Properties: m.props(c)}))
	}
	if err != nil {
		m.t.Fatalf("line %d: %v", c.Line, err)
	}
	for _, ok := m.s.Next(); ok; _, ok = m.s.Next() {
	}
}

// state changes or shows the State.
func (m *scripted) state(c *script.Command, id uint16) {
	deltas := map[string]Delta{"received": DeltaReceived, "released": DeltaReleased, "assigned": DeltaAssigned,
		"pubrec": DeltaPubrec, "settled": DeltaSettled}
	switch op := c.String("apply", ""); {
	case c.Has("fresh"):
		m.st = new(State)
	case c.Has("resume"):
		m.st.Resume()
	case op != "":
		m.result(m.st.Apply(deltas[op], id, QoS(c.Int(m.t, "qos", 2)), c.String("ref", "")))
	}
	m.line("empty=%v", m.st.Empty())
}

func (m *scripted) publish(c *script.Command, stream uint64) {
	p := m.packet(c, "publish").(*Publish)
	send, err := m.s.Publish(m.now, stream, p, c.String("ref", ""))
	switch {
	case err != nil:
		m.result(err)
	case send:
		m.line("now %v%s", p, onStream(stream))
	default:
		m.line("held id=%d", p.ID)
	}
}

func (m *scripted) line(format string, args ...any) { fmt.Fprintf(&m.out, format+"\n", args...) }

func (m *scripted) result(err error) {
	if err != nil {
		m.line("error %v", err)
	}
}

func onStream(stream uint64) string {
	if stream == 0 {
		return ""
	}
	return fmt.Sprintf(" stream=%d", stream)
}

// events writes the events that the machine has.
func (m *scripted) events() {
	for {
		e, ok := m.s.Next()
		if !ok {
			return
		}
		m.line("%s", eventText(m.t, &e, m.s))
	}
}

// eventText returns an event in words.
func eventText(t testing.TB, e *Event, s *Session) string {
	kinds := [...]string{"", "send", "connect", "connack", "auth", "publish", "subscribe", "unsubscribe", "suback",
		"unsuback", "persist", "resend", "settled", "lost", "quota", "pong", "disconnect", "close"}
	text := kinds[e.Kind]
	switch e.Kind {
	case EventSend:
		v := s.Version()
		if v == 0 {
			v = Version5
		}
		b, err := e.AppendTo(nil, v)
		if err != nil {
			t.Fatalf("cannot encode %v: %v", e, err)
		}
		p, _, err := new(Decoder).Decode(b, v)
		if err != nil {
			t.Fatalf("sends what cannot be decoded, %x: %v", b, err)
		}
		return text + " " + p.String() + onStream(e.Stream)
	case EventPersist:
		text += fmt.Sprintf(" %s %s id=%d token=%d", barrierText(e.Barrier), deltaText(e.Delta), e.ID, e.Token)
	case EventResend, EventSettled, EventLost:
		text += fmt.Sprintf(" id=%d qos=%d", e.ID, e.QoS)
		if e.Dup {
			text += " dup"
		}
		if e.Delta != DeltaNone {
			text += " " + deltaText(e.Delta)
		}
	case EventClose:
		if s.Err() != nil {
			text += " " + s.Err().Error()
		}
		return text
	}
	if e.Reason != 0 {
		text += fmt.Sprintf(" reason=0x%02X", uint8(e.Reason))
	}
	if e.Ref != nil && e.Ref != "" {
		text += fmt.Sprintf(" ref=%v", e.Ref)
	}
	if e.Packet != nil {
		text += " " + e.Packet.String()
	}
	if e.Kind == EventPublish && e.Barrier != BarrierNone {
		text += " (" + barrierText(e.Barrier) + " " + deltaText(e.Delta) + ")"
	}
	return text + onStream(e.Stream)
}

func barrierText(b Barrier) string {
	return [...]string{"", "before-pubrec", "before-pubcomp", "before-publish", "before-pubrel"}[b]
}

func deltaText(d Delta) string {
	return [...]string{"", "received", "released", "assigned", "pubrec", "settled"}[d]
}

// packet builds a packet from the arguments of a command.
func (m *scripted) packet(c *script.Command, kind string) Packet {
	t := m.t
	id := uint16(c.Int(t, "id", 0))
	reason := ReasonCode(c.Int(t, "reason", 0))
	props := m.props(c)
	switch kind {
	case "connect":
		p := &Connect{Version: Version(c.Int(t, "v", 5)), CleanStart: c.Has("clean"), ClientID: c.String("client", "c"),
			KeepAlive: uint16(c.Int(t, "ka", 0)), Properties: props}
		if c.Has("will") {
			p.Will = &Will{Topic: c.String("will", ""), QoS: QoS(c.Int(t, "willqos", 0)), Retain: c.Has("willretain")}
		}
		return p
	case "connack":
		return &Connack{SessionPresent: c.Has("present"), Reason: reason, Properties: props}
	case "publish":
		return &Publish{Topic: []byte(c.String("topic", "t")), Payload: []byte(c.String("payload", "")), ID: id,
			QoS: QoS(c.Int(t, "qos", 0)), Dup: c.Has("dup"), Retain: c.Has("retain"), Properties: props}
	case "puback":
		return &Puback{ID: id, Reason: reason, Properties: props}
	case "pubrec":
		return &Pubrec{ID: id, Reason: reason, Properties: props}
	case "pubrel":
		return &Pubrel{ID: id, Reason: reason, Properties: props}
	case "pubcomp":
		return &Pubcomp{ID: id, Reason: reason, Properties: props}
	case "subscribe":
		p := &Subscribe{ID: id, Properties: props}
		for f := range strings.SplitSeq(c.String("filter", "f"), ",") {
			p.Filters = append(p.Filters, Subscription{Filter: f, QoS: QoS(c.Int(t, "qos", 0))})
		}
		return p
	case "unsubscribe":
		return &Unsubscribe{ID: id, Filters: strings.Split(c.String("filter", "f"), ","), Properties: props}
	case "suback", "unsuback":
		var reasons []ReasonCode
		for r := range strings.SplitSeq(c.String("reasons", "0"), ",") {
			n, err := strconv.ParseUint(r, 0, 8)
			if err != nil {
				t.Fatalf("line %d: %v", c.Line, err)
			}
			reasons = append(reasons, ReasonCode(n))
		}
		if kind == "suback" {
			return &Suback{ID: id, Reasons: reasons, Properties: props}
		}
		return &Unsuback{ID: id, Reasons: reasons, Properties: props}
	case "pingreq":
		return &Pingreq{}
	case "pingresp":
		return &Pingresp{}
	case "disconnect":
		return &Disconnect{Reason: reason, Properties: props}
	case "auth":
		return &Auth{Reason: reason, Properties: props}
	}
	t.Fatalf("line %d: no packet %s", c.Line, kind)
	return nil
}

// props builds properties from props="name=value name=value"; user-property=k:v.
func (m *scripted) props(c *script.Command) Properties {
	var p Properties
	for field := range strings.FieldsSeq(c.String("props", "")) {
		name, value, _ := strings.Cut(field, "=")
		id := PropertyID(0)
		for i := range PropertyID(0x2B) {
			if i.kind() != kindNone && i.String() == name {
				id = i
			}
		}
		n, _ := strconv.ParseUint(value, 0, 32)
		switch id.kind() {
		case kindByte:
			p = p.AppendByte(id, byte(n))
		case kindUint16:
			p = p.AppendUint16(id, uint16(n))
		case kindUint32:
			p = p.AppendUint32(id, uint32(n))
		case kindUvarint:
			p = p.AppendUvarint(id, uint32(n))
		case kindBinary, kindString:
			p = p.AppendString(id, value)
		case kindPair:
			k, v, _ := strings.Cut(value, ":")
			p = p.AppendUser(k, v)
		default:
			m.t.Fatalf("line %d: no property %s", c.Line, name)
		}
	}
	return p
}
