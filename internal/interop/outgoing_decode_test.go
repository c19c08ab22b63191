package interop

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	paho5 "github.com/eclipse/paho.golang/packets"
	paho311 "github.com/eclipse/paho.mqtt.golang/packets"
)

// The decoders of TestOutgoing. Each returns the fields of a packet in the same form, see js/decode.js.

// fields collects what a decoder has found.
type fields []string

func (f *fields) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// flag adds a name if it holds.
func (f *fields) flag(name string, on bool) {
	if on {
		*f = append(*f, name)
	}
}

// text returns the form that is compared.
func (f fields) text(kind string) string {
	slices.Sort(f)
	return strings.TrimSpace(strings.Join(append([]string{kind}, f...), " "))
}

func digit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// decodeJS decodes with mqtt-packet, which is part of mqtt.js.
func decodeJS(t *testing.T, all []packet) []string {
	need(t, "node", "js/node_modules/mqtt/package.json")
	var in strings.Builder
	for _, p := range all {
		fmt.Fprintf(&in, "%d %s\n", p.version, hex.EncodeToString(p.bytes))
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "js/decode.js")
	cmd.Stdin, cmd.Stderr = strings.NewReader(in.String()), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(all) {
		t.Fatalf("%d lines for %d packets", len(lines), len(all))
	}
	for i, line := range lines {
		lines[i] = stars(line, all[i].want)
	}
	return lines
}

// stars replaces the values of those fields that may be anything.
func stars(got, want string) string {
	fields := strings.Fields(want)
	var out []string
	for _, f := range strings.Fields(got) {
		name, _, _ := strings.Cut(f, "=")
		if slices.Contains(fields, name+"=*") {
			f = name + "=*"
		}
		out = append(out, f)
	}
	return strings.Join(out, " ")
}

// number adds a property that is there.
func number[T byte | uint16 | uint32 | int](f *fields, name string, v *T) {
	if v != nil {
		f.add("%s=%d", name, *v)
	}
}

func (f *fields) word(name, v string) {
	if v != "" {
		f.add("%s=%s", name, strings.ReplaceAll(v, " ", "_"))
	}
}

func (f *fields) properties(prefix string, p *paho5.Properties) {
	if p == nil {
		return
	}
	number(f, prefix+"payloadFormatIndicator", p.PayloadFormat)
	number(f, prefix+"messageExpiryInterval", p.MessageExpiry)
	f.word(prefix+"contentType", p.ContentType)
	f.word(prefix+"responseTopic", p.ResponseTopic)
	f.word(prefix+"correlationData", string(p.CorrelationData))
	number(f, prefix+"subscriptionIdentifier", p.SubscriptionIdentifier)
	number(f, prefix+"sessionExpiryInterval", p.SessionExpiryInterval)
	f.word(prefix+"assignedClientIdentifier", p.AssignedClientID)
	number(f, prefix+"serverKeepAlive", p.ServerKeepAlive)
	f.word(prefix+"authenticationMethod", p.AuthMethod)
	f.word(prefix+"authenticationData", string(p.AuthData))
	number(f, prefix+"requestProblemInformation", p.RequestProblemInfo)
	number(f, prefix+"willDelayInterval", p.WillDelayInterval)
	number(f, prefix+"requestResponseInformation", p.RequestResponseInfo)
	f.word(prefix+"responseInformation", p.ResponseInfo)
	f.word(prefix+"serverReference", p.ServerReference)
	f.word(prefix+"reasonString", p.ReasonString)
	number(f, prefix+"receiveMaximum", p.ReceiveMaximum)
	number(f, prefix+"topicAliasMaximum", p.TopicAliasMaximum)
	number(f, prefix+"topicAlias", p.TopicAlias)
	number(f, prefix+"maximumQoS", p.MaximumQOS)
	number(f, prefix+"retainAvailable", p.RetainAvailable)
	for _, u := range p.User {
		f.add("%suser:%s=%s", prefix, u.Key, u.Value)
	}
	number(f, prefix+"maximumPacketSize", p.MaximumPacketSize)
	number(f, prefix+"wildcardSubscriptionAvailable", p.WildcardSubAvailable)
	number(f, prefix+"subscriptionIdentifiersAvailable", p.SubIDAvailable)
	number(f, prefix+"sharedSubscriptionAvailable", p.SharedSubAvailable)
}

// list joins numbers with commas.
func list(b []byte) string { return strings.ReplaceAll(strings.Trim(fmt.Sprint(b), "[]"), " ", ",") }

// decodePaho decodes the packets of version 5 with paho.golang.
func decodePaho(t *testing.T, all []packet) []string {
	out := make([]string, len(all))
	for i, p := range all {
		if p.version != 5 {
			continue
		}
		r := bytes.NewReader(p.bytes)
		c, err := paho5.ReadPacket(r)
		if err != nil || r.Len() > 0 {
			out[i] = fmt.Sprintf("error: %v, %d bytes left", err, r.Len())
			continue
		}
		out[i] = stars(describe5(c), p.want)
	}
	return out
}

func describe5(c *paho5.ControlPacket) string {
	var f fields
	switch p := c.Content.(type) {
	case *paho5.Connect:
		f.add("version=%d", p.ProtocolVersion)
		f.add("protocol=%s", p.ProtocolName)
		f.add("clean=%d", digit(p.CleanStart))
		f.add("keepalive=%d", p.KeepAlive)
		f.add("id=%s", p.ClientID)
		f.word("username", p.Username)
		f.word("password", string(p.Password))
		if p.WillFlag {
			f.add("will=%s:%s:%d:%d", p.WillTopic, p.WillMessage, p.WillQOS, digit(p.WillRetain))
			f.properties("will.", p.WillProperties)
		}
		f.properties("", p.Properties)
		return f.text("connect")
	case *paho5.Connack:
		f.add("reason=%d", p.ReasonCode)
		f.add("session=%d", digit(p.SessionPresent))
		f.properties("", p.Properties)
		return f.text("connack")
	case *paho5.Publish:
		f.flag("retain", p.Retain)
		f.flag("dup", p.Duplicate)
		f.add("qos=%d", p.QoS)
		f.add("topic=%s", p.Topic)
		f.add("payload=%s", p.Payload)
		if p.QoS > 0 {
			f.add("id=%d", p.PacketID)
		}
		f.properties("", p.Properties)
		return f.text("publish")
	case *paho5.Puback:
		return f.ack("puback", p.PacketID, p.ReasonCode, p.Properties)
	case *paho5.Pubrec:
		return f.ack("pubrec", p.PacketID, p.ReasonCode, p.Properties)
	case *paho5.Pubrel:
		return f.ack("pubrel", p.PacketID, p.ReasonCode, p.Properties)
	case *paho5.Pubcomp:
		return f.ack("pubcomp", p.PacketID, p.ReasonCode, p.Properties)
	}
	return describeRest5(c)
}

func (f *fields) ack(kind string, id uint16, reason byte, p *paho5.Properties) string {
	f.add("id=%d", id)
	f.add("reason=%d", reason)
	f.properties("", p)
	return f.text(kind)
}

func describeRest5(c *paho5.ControlPacket) string {
	var f fields
	switch p := c.Content.(type) {
	case *paho5.Subscribe:
		f.add("id=%d", p.PacketID)
		for _, s := range p.Subscriptions {
			f.add("filter=%s:%d:%d:%d:%d", s.Topic, s.QoS, digit(s.NoLocal), digit(s.RetainAsPublished), s.RetainHandling)
		}
		f.properties("", p.Properties)
		return f.text("subscribe")
	case *paho5.Suback:
		f.add("id=%d", p.PacketID)
		f.add("codes=%s", list(p.Reasons))
		f.properties("", p.Properties)
		return f.text("suback")
	case *paho5.Unsubscribe:
		f.add("id=%d", p.PacketID)
		for _, s := range p.Topics {
			f.add("filter=%s", s)
		}
		f.properties("", p.Properties)
		return f.text("unsubscribe")
	case *paho5.Unsuback:
		f.add("id=%d", p.PacketID)
		f.add("codes=%s", list(p.Reasons))
		f.properties("", p.Properties)
		return f.text("unsuback")
	case *paho5.Disconnect:
		f.add("reason=%d", p.ReasonCode)
		f.properties("", p.Properties)
		return f.text("disconnect")
	case *paho5.Auth:
		f.add("reason=%d", p.ReasonCode)
		f.properties("", p.Properties)
		return f.text("auth")
	case *paho5.Pingreq:
		return "pingreq"
	case *paho5.Pingresp:
		return "pingresp"
	}
	return fmt.Sprintf("error: %T", c.Content)
}

// decodePaho3 decodes the packets of versions 3.1 and 3.1.1 with paho.mqtt.golang.
func decodePaho3(t *testing.T, all []packet) []string {
	out := make([]string, len(all))
	for i, p := range all {
		if p.version == 5 {
			continue
		}
		r := bytes.NewReader(p.bytes)
		c, err := paho311.ReadPacket(r)
		if err != nil || r.Len() > 0 {
			out[i] = fmt.Sprintf("error: %v, %d bytes left", err, r.Len())
			continue
		}
		out[i] = describe3(c)
	}
	return out
}

func describe3(c paho311.ControlPacket) string {
	var f fields
	switch p := c.(type) {
	case *paho311.ConnectPacket:
		f.add("version=%d", p.ProtocolVersion)
		f.add("protocol=%s", p.ProtocolName)
		f.add("clean=%d", digit(p.CleanSession))
		f.add("keepalive=%d", p.Keepalive)
		f.add("id=%s", p.ClientIdentifier)
		f.word("username", p.Username)
		f.word("password", string(p.Password))
		if p.WillFlag {
			f.add("will=%s:%s:%d:%d", p.WillTopic, p.WillMessage, p.WillQos, digit(p.WillRetain))
		}
		if code := p.Validate(); code != paho311.Accepted {
			f.add("invalid=%d", code)
		}
		return f.text("connect")
	case *paho311.ConnackPacket:
		f.add("reason=%d", p.ReturnCode)
		f.add("session=%d", digit(p.SessionPresent))
		return f.text("connack")
	case *paho311.PublishPacket:
		f.flag("retain", p.Retain)
		f.flag("dup", p.Dup)
		f.add("qos=%d", p.Qos)
		f.add("topic=%s", p.TopicName)
		f.add("payload=%s", p.Payload)
		if p.Qos > 0 {
			f.add("id=%d", p.MessageID)
		}
		return f.text("publish")
	case *paho311.SubscribePacket:
		for i, s := range p.Topics {
			f.add("filter=%s:%d", s, p.Qoss[i])
		}
		f.add("id=%d", p.MessageID)
		return f.text("subscribe")
	case *paho311.SubackPacket:
		f.add("id=%d", p.MessageID)
		f.add("codes=%s", list(p.ReturnCodes))
		return f.text("suback")
	case *paho311.UnsubscribePacket:
		for _, s := range p.Topics {
			f.add("filter=%s", s)
		}
		f.add("id=%d", p.MessageID)
		return f.text("unsubscribe")
	}
	// All others have an identifier or nothing.
	kind := strings.ToLower(paho311.PacketNames[uint8(kind3(c))])
	if id := c.Details().MessageID; id > 0 {
		f.add("id=%d", id)
	}
	return f.text(kind)
}

// kind3 returns the packet's type.
func kind3(c paho311.ControlPacket) int {
	switch c.(type) {
	case *paho311.PubackPacket:
		return paho311.Puback
	case *paho311.PubrecPacket:
		return paho311.Pubrec
	case *paho311.PubrelPacket:
		return paho311.Pubrel
	case *paho311.PubcompPacket:
		return paho311.Pubcomp
	case *paho311.UnsubackPacket:
		return paho311.Unsuback
	case *paho311.PingreqPacket:
		return paho311.Pingreq
	case *paho311.PingrespPacket:
		return paho311.Pingresp
	}
	return paho311.Disconnect
}
