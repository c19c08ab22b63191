package amqp091

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/script"
)

// TestConn runs the scripts of the machines. Those of testdata/conn/rabbitmq are named by the lines of RabbitMQ's
// observable semantics that they show.
func TestConn(t *testing.T) {
	for _, pattern := range []string{"testdata/conn/*.txt", "testdata/conn/rabbitmq/*.txt"} {
		script.Run(t, pattern, func(t *testing.T) func(*script.Command) string {
			m := &scripted{t: t, now: time.Unix(1000, 0).UTC(), consumers: make(map[string]*Consumer)}
			return m.run
		})
	}
}

// scripted is a machine under a script.
type scripted struct {
	t         *testing.T
	c         *Conn
	cfg       Config
	now       time.Time
	out       strings.Builder
	consumers map[string]*Consumer
	channels  map[uint16]*Channel // also those that are gone
}

func (m *scripted) line(format string, args ...any) { fmt.Fprintf(&m.out, format+"\n", args...) }

func (m *scripted) result(err error) {
	if err != nil {
		m.line("error %v", err)
	}
}

// run runs a command.
func (m *scripted) run(c *script.Command) string {
	m.out.Reset()
	t := m.t
	ch := m.channels[uint16(c.Int(t, "ch", 1))]
	switch c.Name {
	case "new":
		m.create(c)
	case "recv":
		m.receive(m.frames(c.Input))
	case "bytes":
		b, err := hex.DecodeString(strings.ReplaceAll(c.Input, " ", ""))
		if err != nil {
			t.Fatalf("line %d: %v", c.Line, err)
		}
		m.receive(b)
	case "send":
		for _, f := range strings.Split(c.Input, "\n") {
			id, method := m.method(f)
			m.result(m.channels[id].Send(m.now, method))
		}
	case "call":
		for i, f := range strings.Split(c.Input, "\n") {
			id, method := m.method(f)
			m.result(m.channels[id].Call(m.now, method, fmt.Sprintf("%s%d", c.String("ref", "r"), i)))
		}
	case "start":
		m.result(m.c.Start(m.now, c.String("mechanisms", "PLAIN AMQPLAIN")))
	case "connect":
		m.result(m.c.Connect(m.now))
	case "start-ok":
		m.result(m.c.StartOK(m.now, &ConnectionStartOK{Mechanism: "PLAIN", Response: []byte("\x00u\x00p"), Locale: "en_US"}))
	case "secure":
		m.result(m.c.Secure(m.now, []byte(c.Input)))
	case "secure-ok":
		m.result(m.c.SecureOK(m.now, []byte(c.Input)))
	case "tune":
		m.result(m.c.Tune(m.now))
	case "refuse":
		m.result(m.c.Refuse(m.now, nil))
	case "open-ok":
		m.result(m.c.OpenOK(m.now))
	case "block":
		m.result(m.c.Block(m.now, c.String("reason", "")))
	case "unblock":
		m.result(m.c.Unblock(m.now))
	case "update-secret":
		m.result(m.c.UpdateSecret(m.now, []byte("s"), "r", c.String("ref", "")))
	case "update-secret-ok":
		m.result(m.c.UpdateSecretOK(m.now))
	case "close":
		m.c.Close(m.now, m.error(c, true))
	case "close-ok":
		m.result(m.c.CloseOK(m.now))
	case "lost":
		m.c.Lost()
	case "channel":
		_, err := m.c.OpenChannel(m.now, c.String("ref", ""))
		m.result(err)
		for id, ch := range m.c.channels {
			m.channels[id] = ch
		}
	case "channel-open-ok":
		m.result(ch.OpenOK(m.now))
	case "channel-close":
		ch.Close(m.now, m.error(c, c.Has("hard")))
	case "channel-close-ok":
		m.result(ch.CloseOK(m.now))
	case "consume":
		s, err := ch.Consume(c.String("tag", "c"), c.Has("noack"))
		m.result(err)
		if err == nil {
			m.consumers[s.Tag()] = s
		}
	case "cancel":
		m.line("%v", ch.Cancel(m.consumers[c.String("tag", "c")]))
	case "deliver":
		for ref := range strings.SplitSeq(c.String("ref", ""), ",") {
			tag, ok := ch.Deliver(m.now, m.consumers[c.String("tag", "c")], ref)
			m.line("%v tag=%d", ok, tag)
		}
	case "get":
		tag, ok := ch.Get(m.now, c.Has("noack"), c.String("ref", ""))
		m.line("%v tag=%d", ok, tag)
	case "confirm", "refuse-message":
		for seq := range strings.SplitSeq(c.String("seq", ""), ",") {
			n, err := strconv.ParseUint(seq, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			ch.Confirm(n, c.Name == "confirm")
		}
	case "flush":
		size := m.c.Confirms()
		b := m.c.AppendConfirms(m.now, nil)
		if len(b) > size {
			t.Errorf("line %d: %d bytes of confirms, not at most %d", c.Line, len(b), size)
		}
		m.sent(b)
	case "publish":
		out := &Outgoing{Exchange: c.String("exchange", ""), RoutingKey: c.String("key", ""), Mandatory: c.Has("mandatory"),
			Body: []byte(c.Input)}
		seq, err := ch.Publish(m.now, out, c.String("ref", ""))
		m.result(err)
		m.line("seq=%d", seq)
		b, err := out.AppendTo(nil, ch.id, m.c.FrameMax(), true)
		m.result(err)
		m.sent(b)
	case "settle":
		s := map[string]Settlement{"ack": Acked, "reject": Rejected, "requeue": Requeued}[c.String("as", "ack")]
		m.result(ch.Settle(m.now, uint64(c.Int(t, "tag", 0)), c.Has("multiple"), s))
	case "take":
		m.line("unsettled=%v unconfirmed=%v calls=%v", ch.Unsettled(), ch.Unconfirmed(), ch.Calls())
	case "counts":
		m.line("channels=%d unsettled=%d unconfirmed=%d consumers=%d", m.c.Channels(), ch.UnsettledCount(), ch.UnconfirmedCount(),
			ch.Consumers())
	case "limits":
		m.line("channel-max=%d frame-max=%d heartbeat=%v", m.c.ChannelMax(), m.c.FrameMax(), m.c.Heartbeat())
	case "pause":
		m.c.Pause(m.now, !c.Has("off"))
	case "advance":
		m.now = m.now.Add(c.Duration(t, "by", 0))
		m.c.Advance(m.now)
	case "timeout":
		if at := m.c.Timeout(); at.IsZero() {
			m.line("never")
		} else {
			m.line("in %v", at.Sub(m.now))
		}
	default:
		t.Fatalf("line %d: unknown command %s", c.Line, c.Name)
	}
	if m.c != nil {
		m.events()
	}
	return m.out.String()
}

func (m *scripted) error(c *script.Command, hard bool) *Error {
	if !c.Has("code") {
		return nil
	}
	return &Error{Code: Code(c.Int(m.t, "code", 0)), Text: c.String("text", ""), Hard: hard}
}

// create makes a machine; "open" makes it go through the handshake, for a peer with some capabilities, and opens channel 1.
func (m *scripted) create(c *script.Command) {
	t := m.t
	m.cfg = Config{Role: Client, FrameMax: uint32(c.Int(t, "frame-max", 0)), ChannelMax: uint16(c.Int(t, "channel-max", 0)),
		Heartbeat: c.Duration(t, "heartbeat", 0), MaxMessage: c.Int(t, "max-message", 0), VirtualHost: c.String("vhost", "")}
	if c.Has("server") {
		m.cfg.Role = Server
		m.cfg.Properties = Table{{"product", "Quartet"}}
	} else if !c.Has("client") {
		t.Fatalf("line %d: client or server?", c.Line)
	}
	m.c, m.channels = NewConn(&m.cfg), make(map[uint16]*Channel)
	if !c.Has("open") {
		return
	}
	known := Table{}
	for key := range strings.SplitSeq(c.String("caps", ""), ",") {
		if key != "" {
			known = append(known, Field{key, true})
		}
	}
	peer := Table{{"capabilities", known}}
	beat := seconds(c.Duration(t, "heartbeat", 0))
	do := func(err error) {
		if err != nil {
			t.Fatalf("line %d: %v", c.Line, err)
		}
		for _, ok := m.c.Next(); ok; _, ok = m.c.Next() {
		}
	}
	in := func(channel uint16, list ...Method) {
		var b []byte
		for _, method := range list {
			b, _ = AppendMethod(b, channel, method)
		}
		for len(b) > 0 {
			n, err := m.c.Receive(m.now, b)
			do(err)
			if n == 0 {
				t.Fatalf("line %d: the machine takes nothing", c.Line)
			}
			b = b[n:]
		}
	}
	if m.cfg.Role == Server {
		m.c.Receive(m.now, []byte(ProtocolHeader))
		do(m.c.Start(m.now, "PLAIN"))
		in(0, &ConnectionStartOK{Mechanism: "PLAIN", ClientProperties: peer})
		do(m.c.Tune(m.now))
		in(0, &ConnectionTuneOK{ChannelMax: m.cfg.maxChannels(), FrameMax: m.cfg.maxFrame(), Heartbeat: beat}, &ConnectionOpen{VirtualHost: "/"})
		do(m.c.OpenOK(m.now))
		in(1, &ChannelOpen{})
		m.channels[1] = m.c.channels[1]
		do(m.channels[1].OpenOK(m.now))
		return
	}
	do(m.c.Connect(m.now))
	in(0, &ConnectionStart{VersionMinor: 9, ServerProperties: peer, Mechanisms: "PLAIN"})
	do(m.c.StartOK(m.now, &ConnectionStartOK{Mechanism: "PLAIN"}))
	in(0, &ConnectionTune{ChannelMax: 2047, FrameMax: 131072, Heartbeat: beat}, &ConnectionOpenOK{})
	ch, err := m.c.OpenChannel(m.now, nil)
	do(err)
	m.channels[1] = ch
	in(1, &ChannelOpenOK{})
}

// receive feeds bytes to the machine.
func (m *scripted) receive(b []byte) {
	for len(b) > 0 {
		n, err := m.c.Receive(m.now, b)
		m.events()
		m.result(err)
		if n == 0 {
			m.line("%d bytes left", len(b))
			return
		}
		b = b[n:]
	}
}

// frames makes frames of lines: CHANNEL METHOD ARGUMENTS, CHANNEL header size=N PROPERTIES, CHANNEL body TEXT, CHANNEL
// heartbeat, CHANNEL zeros N, or the protocol header.
func (m *scripted) frames(text string) (b []byte) {
	for l := range strings.SplitSeq(text, "\n") {
		if l == "AMQP0091" {
			b = append(b, ProtocolHeader...)
			continue
		}
		channel, rest, _ := strings.Cut(l, " ")
		n, err := strconv.ParseUint(channel, 10, 16)
		if err != nil {
			m.t.Fatalf("%q: %v", l, err)
		}
		id := uint16(n)
		kind, args, _ := strings.Cut(rest, " ")
		switch kind {
		case "header":
			size, class, props := uint64(0), ClassBasic, Properties{}
			m.fill(reflect.ValueOf(&props).Elem(), args, func(key, value string) bool {
				n, _ := strconv.ParseUint(value, 10, 64)
				switch key {
				case "size":
					size = n
				case "class":
					class = uint16(n)
				default:
					return false
				}
				return true
			})
			raw, err := props.Append(nil)
			if err != nil {
				m.t.Fatal(err)
			}
			at := len(b)
			b = AppendContentHeader(b, id, size, raw)
			b[at+frameHeaderSize], b[at+frameHeaderSize+1] = byte(class>>8), byte(class)
		case "body":
			b = AppendFrame(b, Frame{FrameBody, id, []byte(args)})
		case "zeros":
			n, _ := strconv.Atoi(args)
			b = AppendFrame(b, Frame{FrameBody, id, make([]byte, n)})
		case "heartbeat":
			b = AppendFrame(b, Frame{FrameHeartbeat, id, nil})
		default:
			_, method := m.method(l)
			if b, err = AppendMethod(b, id, method); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	return b
}

// method makes a method of a line: CHANNEL NAME KEY=VALUE FLAG.
func (m *scripted) method(l string) (uint16, Method) {
	channel, rest, _ := strings.Cut(l, " ")
	n, _ := strconv.ParseUint(channel, 10, 16)
	name, args, _ := strings.Cut(rest, " ")
	for class := uint32(10); class <= 90; class += 5 {
		for i := range uint32(130) {
			if id := MethodID(class<<16 | i); id.name() == name {
				method := newMethod(id)
				m.fill(reflect.ValueOf(method).Elem(), args, nil)
				return uint16(n), method
			}
		}
	}
	m.t.Fatalf("no method %q", name)
	return 0, nil
}

// fill sets the fields of a struct from key=value and flags, unless other takes them.
func (m *scripted) fill(v reflect.Value, args string, other func(key, value string) bool) {
	for arg := range strings.FieldsSeq(args) {
		key, value, _ := strings.Cut(arg, "=")
		if other != nil && other(key, value) {
			continue
		}
		field := v.FieldByNameFunc(func(name string) bool {
			return strings.EqualFold(name, strings.ReplaceAll(key, "-", ""))
		})
		n, _ := strconv.ParseUint(value, 10, 64)
		switch {
		case !field.IsValid():
			m.t.Fatalf("no field %q", key)
		case field.Kind() == reflect.String:
			field.SetString(value)
		case field.Kind() == reflect.Bool:
			field.SetBool(value != "false")
		case field.CanUint():
			field.SetUint(n)
		case field.Type() == reflect.TypeFor[Table]():
			t := Table{}
			for key := range strings.SplitSeq(value, ",") {
				t = append(t, Field{key, true})
			}
			if key == "client-properties" {
				t = Table{{"capabilities", t}}
			}
			field.Set(reflect.ValueOf(t))
		case field.Type() == reflect.TypeFor[[]byte]():
			field.SetBytes([]byte(value))
		default:
			m.t.Fatalf("field %q has type %v", key, field.Type())
		}
	}
}

// sent writes frames that are sent.
func (m *scripted) sent(b []byte) {
	for len(b) > 0 {
		f, n, err := NextFrame(b, 0)
		if err != nil || n == 0 {
			m.t.Fatalf("sends what is no frame: %q, %v", b, err)
		}
		m.line("send %v", f)
		b = b[n:]
	}
}

var kinds = [...]string{"", "send", "header", "start-ok", "secure-ok", "open", "update-secret", "channel-open", "method", "publish",
	"settled", "ready", "start", "secure", "opened", "reply", "deliver", "return", "confirm", "blocked", "unblocked",
	"channel-close", "channel-closed", "channel-gone", "down", "close"}

// events writes the events that the machine has.
func (m *scripted) events() {
	for {
		e, ok := m.c.Next()
		if !ok {
			return
		}
		if e.Kind == EventSend {
			b, err := e.AppendTo(nil)
			if err != nil {
				m.t.Fatalf("cannot encode: %v", err)
			}
			if string(b) == ProtocolHeader {
				m.line("send AMQP0091")
			} else {
				m.sent(b)
			}
			continue
		}
		m.line("%s", m.text(&e))
		if e.Kind == EventChannelOpen {
			m.channels[e.Channel.id] = e.Channel
		}
	}
}

func (m *scripted) text(e *Event) string {
	text := kinds[e.Kind]
	add := func(format string, args ...any) { text += fmt.Sprintf(" "+format, args...) }
	if e.Channel != nil {
		add("ch=%d", e.Channel.id)
	}
	if e.Settlement != 0 {
		add("%v", e.Settlement)
	}
	if e.Nack {
		add("nack")
	}
	if e.Seq != 0 {
		add("seq=%d", e.Seq)
	}
	if e.Ref != nil {
		add("ref=%v", e.Ref)
	}
	if e.Refs != nil {
		add("refs=%v", e.Refs)
	}
	if e.Method != nil {
		add("%v", e.Method)
	}
	if t := e.Content; t != nil {
		if t.ConsumerTag != nil {
			add("consumer=%s", t.ConsumerTag)
		}
		if t.DeliveryTag != 0 {
			add("tag=%d", t.DeliveryTag)
		}
		if t.Code != 0 {
			add("%d %s", t.Code, t.Text)
		}
		add("exchange=%s key=%s", t.Exchange, t.RoutingKey)
		if t.Mandatory {
			add("mandatory")
		}
		if t.Redelivered {
			add("redelivered")
		}
		var p Properties
		if err := t.Properties.Decode(&p); err != nil {
			m.t.Fatal(err)
		}
		if s := p.String(); s != "properties()" && s != "()" {
			add("%s", s)
		}
		if len(t.Body) > 64 {
			add("body=%d bytes", len(t.Body))
		} else {
			add("body=%s", t.Body)
		}
	}
	switch e.Kind {
	case EventChannelClose, EventChannelClosed:
		if err := e.Channel.Err(); err != nil {
			add("%v", err)
		}
	case EventDown:
		if err := m.c.Err(); err != nil {
			add("%v", err)
		}
	}
	return text
}
