package mqtt_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// everyProperty has each property once, two subscription identifiers and two user properties.
func everyProperty() (p mqtt.Properties) {
	for _, id := range []mqtt.PropertyID{
		mqtt.PropPayloadFormatIndicator, mqtt.PropRequestProblemInformation, mqtt.PropRequestResponseInformation,
		mqtt.PropMaximumQoS, mqtt.PropRetainAvailable, mqtt.PropWildcardSubscriptionAvailable,
		mqtt.PropSubscriptionIdentifierAvailable, mqtt.PropSharedSubscriptionAvailable,
	} {
		p = p.AppendByte(id, 1)
	}
	for _, id := range []mqtt.PropertyID{
		mqtt.PropServerKeepAlive, mqtt.PropReceiveMaximum, mqtt.PropTopicAliasMaximum, mqtt.PropTopicAlias,
	} {
		p = p.AppendUint16(id, 0x0203)
	}
	for _, id := range []mqtt.PropertyID{
		mqtt.PropMessageExpiryInterval, mqtt.PropSessionExpiryInterval, mqtt.PropWillDelayInterval,
		mqtt.PropMaximumPacketSize,
	} {
		p = p.AppendUint32(id, 0x04050607)
	}
	p = p.AppendUvarint(mqtt.PropSubscriptionIdentifier, 1).AppendUvarint(mqtt.PropSubscriptionIdentifier, 268_435_455)
	for _, id := range []mqtt.PropertyID{
		mqtt.PropContentType, mqtt.PropResponseTopic, mqtt.PropAssignedClientIdentifier, mqtt.PropAuthenticationMethod,
		mqtt.PropResponseInformation, mqtt.PropServerReference, mqtt.PropReasonString,
	} {
		p = p.AppendString(id, "text")
	}
	p = p.AppendBytes(mqtt.PropCorrelationData, []byte{0, 1}).AppendBytes(mqtt.PropAuthenticationData, []byte("secret"))
	return p.AppendUser("k", "1").AppendUser("k", "2")
}

func TestProperties(t *testing.T) {
	p := everyProperty()
	if v, ok := p.Byte(mqtt.PropMaximumQoS); v != 1 || !ok {
		t.Errorf("Byte = %d, %t", v, ok)
	}
	if v, ok := p.Uint16(mqtt.PropTopicAlias); v != 0x0203 || !ok {
		t.Errorf("Uint16 = %x, %t", v, ok)
	}
	if v, ok := p.Uint32(mqtt.PropWillDelayInterval); v != 0x04050607 || !ok {
		t.Errorf("Uint32 = %x, %t", v, ok)
	}
	if v, ok := p.Uvarint(mqtt.PropSubscriptionIdentifier); v != 1 || !ok {
		t.Errorf("Uvarint = %d, %t", v, ok)
	}
	if v, ok := p.Bytes(mqtt.PropCorrelationData); !bytes.Equal(v, []byte{0, 1}) || !ok {
		t.Errorf("Bytes = %x, %t", v, ok)
	}
	if v, ok := p.String(mqtt.PropServerReference); v != "text" || !ok {
		t.Errorf("String = %q, %t", v, ok)
	}
	if ids := slices.Collect(p.SubscriptionIDs()); !slices.Equal(ids, []uint32{1, 268_435_455}) {
		t.Errorf("SubscriptionIDs = %d", ids)
	}
	var users []string
	for k, v := range p.UserProperties() {
		users = append(users, k+v)
	}
	if !slices.Equal(users, []string{"k1", "k2"}) {
		t.Errorf("UserProperties = %q", users)
	}
	var copied mqtt.Properties
	for q := range p.All() {
		copied = copied.Append(q)
	}
	if !bytes.Equal(copied, p) {
		t.Errorf("copied with All and Append: %x\nwant %x", copied, p)
	}
}

// TestPropertiesOtherType checks that an accessor does not give what is of another type, or not there.
func TestPropertiesOtherType(t *testing.T) {
	p := everyProperty()
	if v, ok := p.Byte(mqtt.PropTopicAlias); ok {
		t.Errorf("Byte of two bytes = %d", v)
	}
	if v, ok := p.Uint16(mqtt.PropMaximumQoS); ok {
		t.Errorf("Uint16 of a byte = %d", v)
	}
	if v, ok := p.Uint32(mqtt.PropSubscriptionIdentifier); ok {
		t.Errorf("Uint32 of a variable byte integer = %d", v)
	}
	if v, ok := p.String(mqtt.PropUserProperty); ok {
		t.Errorf("String of a user property = %q", v)
	}
	if v, ok := p.Uvarint(0); ok || p.Has(0) || p.Has(0x2B) || p.Has(0xFF) {
		t.Errorf("property 0 = %d", v)
	}
	if v, ok := mqtt.Properties(nil).Uint32(mqtt.PropMessageExpiryInterval); ok {
		t.Errorf("Uint32 of nothing = %d", v)
	}
	for q := range p.All() {
		if name, _ := q.User(); (name != nil) != (q.ID == mqtt.PropUserProperty) {
			t.Errorf("%v has user name %q", q, name)
		}
	}
	if zero := (mqtt.Property{}); zero.Uint() != 0 || zero.Bytes() != nil {
		t.Errorf("zero property has a value")
	}
}

// TestPropertiesBreak leaves every iterator at its first value.
func TestPropertiesBreak(t *testing.T) {
	p, n := everyProperty(), 0
	for range p.All() {
		n++
		break
	}
	for range p.UserProperties() {
		n++
		break
	}
	for range p.SubscriptionIDs() {
		n++
		break
	}
	if n != 3 {
		t.Errorf("%d values", n)
	}
}

func TestPropertiesText(t *testing.T) {
	text := (&mqtt.Publish{Topic: []byte("a"), Properties: everyProperty()}).String()
	for _, want := range []string{
		"props={payload-format-indicator=1 ", " maximum-packet-size=67438087 ", " subscription-identifier=268435455 ",
		` correlation-data=2:"\x00\x01" `, " authentication-data=6:*** ", ` user-property="k":"1" user-property="k":"2"}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	broken := mqtt.Properties(nil).AppendByte(mqtt.PropMaximumQoS, 1)
	broken = append(broken, 0x02, 0x00)
	text = (&mqtt.Connack{Properties: broken}).String()
	if want := `CONNACK reason=0x00 props={maximum-qos=1 broken=2:"\x02\x00"}`; text != want {
		t.Errorf("text of broken properties: %s\nwant %s", text, want)
	}
}

func TestPropertyIDString(t *testing.T) {
	names := map[string]bool{}
	for p := range everyProperty().All() {
		names[p.ID.String()] = true
	}
	if len(names) != 27 {
		t.Errorf("%d names of 27 properties", len(names))
	}
	if got := mqtt.PropertyID(0x2B).String(); got != "property-43" {
		t.Errorf("name of no property: %s", got)
	}
}
