package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// TestOutgoing looks at what our client and our broker put on the wire with the decoders of others. The peer here speaks
// in bytes that are put together by hand, so that no code of ours decodes or encodes anything for it.

// raw is a packet: the first byte, the remaining length and the parts. A string is a length and the text, a uint16 two
// bytes, a byte one.
func raw(first byte, parts ...any) []byte {
	var body []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			body = append(binary.BigEndian.AppendUint16(body, uint16(len(p))), p...)
		case uint16:
			body = binary.BigEndian.AppendUint16(body, p)
		case int:
			body = append(body, byte(p))
		case []byte:
			body = append(body, p...)
		default:
			panic(fmt.Sprintf("%T", p))
		}
	}
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

// A packet is one that ours has sent, and what others must find in it.
type packet struct {
	version int
	bytes   []byte
	want    string
}

// A recorder is the other end of a connection of ours. It notes what comes.
type recorder struct {
	t       *testing.T
	conn    net.Conn
	version int
	packets *[]packet
}

// send sends packets.
func (r *recorder) send(packets ...[]byte) {
	r.t.Helper()
	if _, err := r.conn.Write(bytes.Join(packets, nil)); err != nil {
		r.t.Fatal(err)
	}
}

// frame reads a packet.
func (r *recorder) frame() []byte {
	r.t.Helper()
	r.conn.SetReadDeadline(time.Now().Add(waitTime))
	head, one := make([]byte, 0, 5), make([]byte, 1)
	for len(head) < 2 || head[len(head)-1] >= 0x80 {
		if _, err := io.ReadFull(r.conn, one); err != nil {
			r.t.Fatalf("after % x: %v", head, err)
		}
		head = append(head, one[0])
	}
	n, _ := binary.Uvarint(head[1:])
	body := make([]byte, n)
	if _, err := io.ReadFull(r.conn, body); err != nil {
		r.t.Fatal(err)
	}
	return append(head, body...)
}

// takes reads a packet for each text, which says what others must find in it. It answers pings that are not among them: a
// client sends one when the test takes longer than the keep alive.
func (r *recorder) takes(texts ...string) {
	r.t.Helper()
	ping := []byte{0xC0, 0}
	for _, want := range texts {
		fields := strings.Fields(want)
		slices.Sort(fields[1:])
		b := r.frame()
		for bytes.Equal(b, ping) && fields[0] != "pingreq" {
			r.send([]byte{0xD0, 0})
			b = r.frame()
		}
		*r.packets = append(*r.packets, packet{r.version, b, strings.Join(fields, " ")})
	}
}

// pick returns the text for version 5, or the one for the others.
func (r *recorder) pick(five, older string) string {
	if r.version == 5 {
		return five
	}
	return older
}

// props puts the properties into the parts of a packet: their length and bytes in version 5, else nothing.
func (r *recorder) props(b ...byte) []byte {
	if r.version < 5 {
		return nil
	}
	return append([]byte{byte(len(b))}, b...)
}

// end waits for the end of the connection.
func (r *recorder) end() {
	r.t.Helper()
	r.conn.SetReadDeadline(time.Now().Add(waitTime))
	if n, err := r.conn.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Errorf("%d bytes, %v instead of the end", n, err)
	}
}

func TestOutgoing(t *testing.T) {
	var all []packet
	for _, version := range []int{3, 4, 5} {
		t.Run(fmt.Sprintf("record/client/%d", version), func(t *testing.T) { recordClient(t, version, &all) })
		t.Run(fmt.Sprintf("record/broker/%d", version), func(t *testing.T) { recordBroker(t, version, &all) })
	}
	if t.Failed() {
		return
	}
	kinds := make(map[string]bool)
	for _, p := range all {
		kinds[fmt.Sprint(p.version, strings.Fields(p.want)[0])] = true
	}
	if len(kinds) != 14+14+15 {
		t.Errorf("%d kinds of packets in three versions: %v", len(kinds), kinds)
	}
	for name, decode := range map[string]func(*testing.T, []packet) []string{
		"mqtt-packet": decodeJS, "paho.golang": decodePaho, "paho.mqtt.golang": decodePaho3,
	} {
		t.Run(name, func(t *testing.T) {
			got := decode(t, all)
			checked := 0
			for i, p := range all {
				if got[i] == "" { // not a version of that decoder
					continue
				}
				if checked++; got[i] != p.want {
					t.Errorf("version %d, % x\ngot  %s\nwant %s", p.version, p.bytes, got[i], p.want)
				}
			}
			t.Logf("%d packets", checked)
		})
	}
}

// asker is an Authenticator of the client.
type asker struct{}

func (asker) Method() string                        { return "M" }
func (asker) Start(context.Context) ([]byte, error) { return []byte("hello"), nil }
func (asker) Step(_ context.Context, b []byte) ([]byte, error) {
	return append([]byte("re-"), b...), nil
}
func (asker) Finish([]byte) error { return nil }

var wireVersions = map[int]mqtt.Version{3: mqtt.Version31, 4: mqtt.Version311, 5: mqtt.Version5}

// recordClient makes our client send every packet that it has.
func recordClient(t *testing.T, version int, all *[]packet) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := &mqttclient.Options{
		Servers: []string{"mqtt://" + l.Addr().String()}, Version: wireVersions[version], ClientID: "ours",
		Username: "u", Password: []byte("p"), KeepAlive: 4 * time.Second, SessionExpiry: time.Minute,
		Backoff: mqttclient.Backoff{Min: -1},
		Will:    &mqtt.Will{Topic: "w", Payload: []byte("gone"), QoS: 1, Retain: true},
		Limits:  mqttclient.Limits{ReceiveMaximum: 7, MaxPacketSize: 1000, TopicAliases: 3},
	}
	var message mqtt.Properties
	if version == 5 {
		o.Auth = asker{}
		o.ConnectProperties = o.ConnectProperties.AppendUser("client", "ours")
		o.Will.Properties = o.Will.Properties.AppendUint32(mqtt.PropWillDelayInterval, 5).
			AppendUint32(mqtt.PropMessageExpiryInterval, 9).AppendByte(mqtt.PropPayloadFormatIndicator, 1).
			AppendString(mqtt.PropContentType, "text").AppendString(mqtt.PropResponseTopic, "answers").
			AppendBytes(mqtt.PropCorrelationData, []byte("data")).AppendUser("k", "v")
		message = message.AppendByte(mqtt.PropPayloadFormatIndicator, 1).AppendUint32(mqtt.PropMessageExpiryInterval, 77).
			AppendString(mqtt.PropContentType, "text/plain").AppendString(mqtt.PropResponseTopic, "answers").
			AppendBytes(mqtt.PropCorrelationData, []byte("data")).AppendUser("k", "v")
	}
	c, err := mqttclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accept := func() *recorder {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return &recorder{t, conn, version, all}
	}
	r := accept()
	connect := func(clean int) string {
		text := fmt.Sprintf("connect version=%d protocol=%s clean=%d id=ours keepalive=4 username=u password=p will=w:gone:1:1",
			version, map[bool]string{true: "MQIsdp", false: "MQTT"}[version == 3], clean)
		if version == 5 {
			text += " sessionExpiryInterval=60 receiveMaximum=7 maximumPacketSize=1000 topicAliasMaximum=3 user:client=ours" +
				" authenticationMethod=M authenticationData=hello will.willDelayInterval=5 will.messageExpiryInterval=9" +
				" will.payloadFormatIndicator=1 will.contentType=text will.responseTopic=answers will.correlationData=data will.user:k=v"
		}
		return text
	}
	method := []byte("\x15\x00\x01M")
	data := func(s string) []byte { return append([]byte("\x16\x00\x01"), s[0]) }
	authenticate := func() {
		if version == 5 {
			r.send(raw(0xF0, 0x18, r.props(append(method, data("1")...)...)))
			r.takes("auth reason=24 authenticationMethod=M authenticationData=re-1")
		}
	}
	connack := func(session int) {
		if version == 5 {
			r.send(raw(0x20, session, 0, r.props(append(slices.Clone(method), 0x22, 0, 5)...)))
		} else {
			r.send(raw(0x20, session, 0))
		}
	}
	r.takes(connect(map[int]int{3: 0, 4: 0, 5: 1}[version]))
	authenticate()
	connack(0)
	recordRequests(t, r, c, message)

	// A message that is not acknowledged comes again on the next connection.
	if _, err := c.PublishAsync(t.Context(), &mqttclient.Message{Topic: "again", Payload: []byte("x"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	r.takes("publish topic=again qos=1 id=5 payload=x")
	r.conn.Close()
	r = accept()
	r.takes(connect(0))
	authenticate()
	connack(1)
	r.takes("publish topic=again qos=1 id=5 payload=x dup")
	r.send(raw(0x40, uint16(5)))
	if version == 5 {
		for _, fields := range aliased("b/long") {
			if err := c.Publish(t.Context(), &mqttclient.Message{Topic: "b/long", Payload: []byte("x")}); err != nil {
				t.Error(err)
			}
			r.takes(fields)
		}
		done := make(chan error, 1)
		go func() { done <- c.Reauthenticate(t.Context()) }()
		r.takes("auth reason=25 authenticationMethod=M authenticationData=hello")
		r.send(raw(0xF0, 0, r.props(method...)))
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	r.takes("pingreq")
	r.send([]byte{0xD0, 0})
	d := &mqtt.Disconnect{}
	if version == 5 {
		d.Reason = mqtt.ReasonDisconnectWithWill
		d.Properties = d.Properties.AppendUint32(mqtt.PropSessionExpiryInterval, 9).AppendString(mqtt.PropReasonString, "bye").AppendUser("k", "v")
	}
	if err := c.Disconnect(t.Context(), d); err != nil {
		t.Error(err)
	}
	r.takes(r.pick("disconnect reason=4 sessionExpiryInterval=9 reasonString=bye user:k=v", "disconnect"))
	r.end()
}

// recordRequests subscribes, receives, publishes and unsubscribes.
func recordRequests(t *testing.T, r *recorder, c *mqttclient.Client, message mqtt.Properties) {
	ctx, results := t.Context(), make(chan error, 10)
	begin := func(f func() error) { go func() { results <- f() }() }
	finish := func() {
		t.Helper()
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	var s *mqttclient.Subscription
	filters := []mqtt.Subscription{{Filter: "a/+", QoS: 2}, {Filter: "b/#", QoS: 1}}
	if r.version == 5 {
		filters[0].NoLocal, filters[0].RetainAsPublished, filters[0].RetainHandling = true, true, mqtt.RetainDontSend
	}
	begin(func() (err error) {
		s, err = c.Subscribe(ctx, &mqttclient.SubscribeOptions{ManualAck: true}, filters...)
		return err
	})
	r.takes("subscribe id=1 " + r.pick("filter=a/+:2:1:1:2 filter=b/#:1:0:0:0 subscriptionIdentifier=1", "filter=a/+:2 filter=b/#:1"))
	r.send(raw(0x90, uint16(1), r.props(), 2, 1))
	finish()

	r.send(raw(0x32, "b/1", uint16(10), r.props(), []byte("x")), raw(0x34, "a/1", uint16(11), r.props(), []byte("x")),
		raw(0x32, "b/2", uint16(12), r.props(), []byte("x")), raw(0x34, "a/2", uint16(13), r.props(), []byte("x")))
	n := 0
	for m, err := range s.Messages(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n <= 2 || r.version < 5 {
			m.Ack()
		} else {
			m.Nack(mqtt.ReasonNotAuthorized)
		}
		if n == 4 {
			break
		}
	}
	r.takes("puback id=10"+r.pick(" reason=0", ""), "pubrec id=11"+r.pick(" reason=0", ""),
		"puback id=12"+r.pick(" reason=135", ""), "pubrec id=13"+r.pick(" reason=135", ""))
	r.send(raw(0x62, uint16(11)))
	r.takes("pubcomp id=11" + r.pick(" reason=0", ""))
	r.send(raw(0x62, uint16(1000))) // of no message
	r.takes("pubcomp id=1000" + r.pick(" reason=146", ""))

	with := r.pick(" payloadFormatIndicator=1 messageExpiryInterval=77 contentType=text/plain responseTopic=answers correlationData=data user:k=v", "")
	for qos := range mqtt.QoS(3) {
		begin(func() error {
			return c.Publish(ctx, &mqttclient.Message{Topic: fmt.Sprint("t/", qos), Payload: []byte("x"), QoS: qos, Retain: qos == 0, Properties: message})
		})
		switch qos {
		case 0:
			r.takes("publish topic=t/0 qos=0 payload=x retain" + with)
		case 1:
			r.takes("publish topic=t/1 qos=1 id=2 payload=x" + with)
			r.send(raw(0x40, uint16(2)))
		case 2:
			r.takes("publish topic=t/2 qos=2 id=3 payload=x" + with)
			r.send(raw(0x50, uint16(3)))
			r.takes("pubrel id=3" + r.pick(" reason=0", ""))
			r.send(raw(0x70, uint16(3)))
		}
		finish()
	}
	begin(func() error { return s.Unsubscribe(ctx) })
	r.takes("unsubscribe id=4 filter=a/+ filter=b/#")
	if r.version == 5 {
		r.send(raw(0xB0, uint16(4), 0, 0, 0))
	} else {
		r.send(raw(0xB0, uint16(4)))
	}
	finish()
}

// aliased are three messages to a topic: its alias comes with the second and stands for it in the third.
func aliased(topic string) []string {
	const rest = " qos=0 payload=x"
	return []string{"publish topic=" + topic + rest, "publish topic=" + topic + rest + " topicAlias=1", "publish topic=" + rest + " topicAlias=1"}
}

// riddle is an exchange of the broker.
type riddle struct{ asked bool }

func (x *riddle) Step(_ context.Context, data []byte) ([]byte, bool, error) {
	if !x.asked {
		x.asked = true
		return []byte("what"), false, nil
	}
	return []byte("right"), true, nil
}

// recordBroker makes our broker send every packet that it has.
func recordBroker(t *testing.T, version int, all *[]packet) {
	b, err := mqttbroker.New(&mqttbroker.Options{
		SysInterval: -1,
		Authenticate: func(_ context.Context, l *mqttbroker.Login) (string, error) {
			if l.Username == "bad" {
				return "", &mqtt.Error{Code: mqtt.ReasonBadUserNameOrPassword, Reason: "no"}
			}
			return "u", nil
		},
		Authorize: func(*mqttbroker.Client) mqttbroker.Permissions {
			return func(_ mqttbroker.Action, topic string) mqttbroker.Decision {
				if strings.HasPrefix(topic, "denied") {
					return mqttbroker.Deny
				}
				return mqttbroker.Allow
			}
		},
		Exchange: func(context.Context, *mqttserver.Conn, string) (mqttserver.AuthExchange, error) {
			return new(riddle), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	srv := mqttserver.New(b, nil)
	defer srv.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l, nil)
	dial := func() *recorder {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return &recorder{t, conn, version, all}
	}
	protocol := map[bool]string{true: "MQIsdp", false: "MQTT"}[version == 3]
	limits := " receiveMaximum=1024 maximumPacketSize=1048576 topicAliasMaximum=64"
	// connect opens a connection: with a clean session or one that lasts a minute.
	connect := func(id string, clean bool) *recorder {
		r := dial()
		flags, props := 0, []byte{0x11, 0, 0, 0, 60, 0x22, 0, 10}
		if clean {
			flags, props = 2, nil
		}
		r.send(raw(0x10, protocol, version, flags, uint16(0), r.props(props...), id))
		return r
	}
	session := func(n int) string {
		if version == 3 {
			n = 0 // it does not have that flag
		}
		return fmt.Sprint("connack reason=0 session=", n)
	}
	s, p := connect("s", false), connect("p", true)
	s.takes(session(0) + s.pick(limits, ""))
	p.takes(session(0) + s.pick(limits, ""))
	s.send(raw(0x82, uint16(1), s.props(0x0b, 9), "a/+", 2, "denied/x", 1, "b", 1, "c", 0))
	s.takes("suback id=1 codes=" + map[int]string{3: "2,128,1,0", 4: "2,128,1,0", 5: "2,135,1,0"}[version])

	none := s.pick(" reason=16", "")
	ok := s.pick(" reason=0", "")
	p.send(raw(0x32, "nobody", uint16(1), p.props(), []byte("x")), raw(0x34, "nobody", uint16(2), p.props(), []byte("x")))
	p.takes("puback id=1"+none, "pubrec id=2"+none)
	p.send(raw(0x62, uint16(2)), raw(0x62, uint16(99)))
	p.takes("pubcomp id=2"+ok, "pubcomp id=99"+p.pick(" reason=146", ""))
	p.send(raw(0x32, "denied/y", uint16(3), p.props(), []byte("x")))
	p.takes("puback id=3" + p.pick(" reason=135", ""))

	all3 := "\x01\x01\x02\x00\x00\x00\x4d\x03\x00\x04text\x08\x00\x07answers\x09\x00\x04data\x26\x00\x01k\x00\x01v"
	with := s.pick(" payloadFormatIndicator=1 messageExpiryInterval=77 contentType=text responseTopic=answers correlationData=data user:k=v subscriptionIdentifier=9", "")
	p.send(raw(0x31, "c", p.props([]byte(all3)...), []byte("0")))
	s.takes("publish topic=c qos=0 payload=0" + with)
	p.send(raw(0x32, "b", uint16(4), p.props([]byte(all3)...), []byte("1")))
	s.takes("publish topic=b qos=1 id=1 payload=1" + with)
	p.takes("puback id=4" + ok)
	p.send(raw(0x34, "a/1", uint16(5), p.props([]byte(all3)...), []byte("2")))
	s.takes("publish topic=a/1 qos=2 id=2 payload=2" + with)
	p.takes("pubrec id=5" + ok)
	s.send(raw(0x50, uint16(2)), raw(0x50, uint16(77)))
	s.takes("pubrel id=2"+ok, "pubrel id=77"+s.pick(" reason=146", ""))
	s.send(raw(0x70, uint16(2)), raw(0xC0))
	s.takes("pingresp")

	// The connection ends: PUBLISH again, and what came meanwhile.
	s.conn.Close()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) { // the broker takes note of it in its own time
		if x, ok := b.Session("s"); ok && !x.Connected {
			break
		}
		if time.Since(begin) > waitTime {
			t.Fatal("the session has not lost its connection")
		}
	}
	p.send(raw(0x32, "b", uint16(6), p.props(), []byte("queued")))
	p.takes("puback id=6" + ok)
	s = connect("s", false)
	id := s.pick(" subscriptionIdentifier=9", "")
	again := s.pick(strings.ReplaceAll(with, "=77", "=*"), "")
	s.takes(session(1)+s.pick(limits, ""), "publish topic=b qos=1 id=1 payload=1 dup"+again, "publish topic=b qos=1 id=3 payload=queued"+id)
	s.send(raw(0x40, uint16(1)), raw(0x40, uint16(3)))
	s.send(raw(0x82, uint16(8), s.props(), "c", 0))
	// A retained message, and then live ones by alias.
	s.takes("suback id=8 codes=0")
	s.takes("publish topic=c qos=0 payload=0 retain" + strings.ReplaceAll(again, id, ""))
	if version == 5 {
		for _, fields := range aliased("a/long") {
			p.send(raw(0x30, "a/long", p.props(), []byte("x")))
			s.takes(fields + id)
		}
	}
	s.send(raw(0xA2, uint16(9), s.props(), "a/+", "none"))
	s.takes("unsuback id=9" + s.pick(" codes=0,17", ""))

	// Taken over, refused, malformed.
	other := connect("s", false)
	if version == 5 {
		s.takes("disconnect reason=142")
	}
	s.end()
	other.takes(session(1) + s.pick(limits, ""))
	refused := dial()
	refused.send(raw(0x10, protocol, version, 0xC2, uint16(0), refused.props(), "x", "bad", "p"))
	refused.takes(refused.pick("connack reason=134 session=0 reasonString=no", "connack reason=4 session=0"))
	refused.end()
	other.send([]byte{0xC1, 0})
	if version < 5 {
		other.end()
		return
	}
	other.takes("disconnect reason=129 reasonString=PINGREQ_has_reserved_flags")
	other.end()
	secret := dial()
	secret.send(raw(0x10, protocol, version, 2, uint16(0), secret.props([]byte("\x15\x00\x01M")...), ""))
	secret.takes("auth reason=24 authenticationMethod=M authenticationData=what")
	secret.send(raw(0xF0, 0x18, secret.props([]byte("\x15\x00\x01M")...)))
	secret.takes("connack reason=0 session=0 authenticationMethod=M authenticationData=right assignedClientIdentifier=*" + limits)
	secret.send(raw(0xF0, 0x19, secret.props([]byte("\x15\x00\x01M")...)))
	secret.takes("auth reason=24 authenticationMethod=M authenticationData=what")
	secret.send(raw(0xF0, 0x18, secret.props([]byte("\x15\x00\x01M")...)))
	secret.takes("auth reason=0 authenticationMethod=M authenticationData=right")
	go srv.Shutdown(t.Context())
	secret.takes("disconnect reason=139")
}
