package amqp091_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func everyProperty() amqp091.Properties {
	return amqp091.Properties{
		ContentType: "text/plain", ContentEncoding: "gzip", Headers: amqp091.Table{{Key: "k", Value: "v"}, {Key: "n", Value: int32(1)}},
		DeliveryMode: amqp091.Persistent, Priority: 7, CorrelationID: "cor", ReplyTo: "rep", Expiration: "60000", MessageID: "mid",
		Timestamp: time.Unix(1721873091, 0).UTC(), Type: "typ", UserID: "usr", AppID: "app", ClusterID: "clu",
	}
}

func appendProperties(t testing.TB, p amqp091.Properties) amqp091.RawProperties {
	t.Helper()
	raw, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestPropertiesAccessors(t *testing.T) {
	p := everyProperty()
	raw := appendProperties(t, p)
	var got amqp091.Properties
	if err := raw.Decode(&got); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("Decode = %v, %v", got, err)
	}
	for name, get := range stringAccessors() {
		want := reflect.ValueOf(p).FieldByName(name).String()
		if b, ok := get(raw); string(b) != want || !ok {
			t.Errorf("%s = %q, %t", name, b, ok)
		}
		for _, none := range []amqp091.RawProperties{nil, {}, {0}, {0, 0}, {0xff, 0xfc}} {
			if b, ok := get(none); b != nil || ok {
				t.Errorf("%s of %x = %q, %t", name, none, b, ok)
			}
		}
		// Only this property, and only it is found.
		var one amqp091.Properties
		reflect.ValueOf(&one).Elem().FieldByName(name).SetString("x")
		only := appendProperties(t, one)
		for other, get := range stringAccessors() {
			if b, ok := get(only); ok != (other == name) || ok && string(b) != "x" {
				t.Errorf("%s alone: %s = %q, %t", name, other, b, ok)
			}
		}
	}
	if v := raw.DeliveryMode(); v != amqp091.Persistent {
		t.Errorf("DeliveryMode = %d", v)
	}
	if v, ok := raw.Priority(); v != 7 || !ok {
		t.Errorf("Priority = %d, %t", v, ok)
	}
	if v, ok := raw.Timestamp(); !v.Equal(p.Timestamp) || !ok {
		t.Errorf("Timestamp = %v, %t", v, ok)
	}
	if v, ok := raw.Headers().Get("n"); !ok || v.Value() != int32(1) {
		t.Errorf("Headers = %v", v)
	}
	var none amqp091.RawProperties
	_, hasPriority := none.Priority()
	_, hasTimestamp := none.Timestamp()
	if none.DeliveryMode() != 0 || none.Headers() != nil || hasPriority || hasTimestamp || none.Validate() != nil {
		t.Error("nothing has properties")
	}
	if err := none.Decode(&got); err != nil || !reflect.DeepEqual(got, amqp091.Properties{}) {
		t.Errorf("Decode of nothing = %v, %v", got, err)
	}
	got = p
	if err := (amqp091.RawProperties{1}).Decode(&got); err == nil || !reflect.DeepEqual(got, p) {
		t.Errorf("Decode of what is malformed: %v, %v", got, err)
	}
}

func stringAccessors() map[string]func(amqp091.RawProperties) ([]byte, bool) {
	return map[string]func(amqp091.RawProperties) ([]byte, bool){
		"ContentType": amqp091.RawProperties.ContentType, "ContentEncoding": amqp091.RawProperties.ContentEncoding,
		"CorrelationID": amqp091.RawProperties.CorrelationID, "ReplyTo": amqp091.RawProperties.ReplyTo,
		"Expiration": amqp091.RawProperties.Expiration, "MessageID": amqp091.RawProperties.MessageID,
		"Type": amqp091.RawProperties.Type, "UserID": amqp091.RawProperties.UserID, "AppID": amqp091.RawProperties.AppID,
		"ClusterID": amqp091.RawProperties.ClusterID,
	}
}

func TestPropertiesTooLong(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name := range stringAccessors() {
		var p amqp091.Properties
		reflect.ValueOf(&p).Elem().FieldByName(name).SetString(long[1:])
		if _, err := p.Append(nil); err != nil {
			t.Errorf("%s of 255 bytes: %v", name, err)
		}
		reflect.ValueOf(&p).Elem().FieldByName(name).SetString(long)
		if b, err := p.Append([]byte("x")); errorCode(err) != amqp091.SyntaxError || string(b) != "x" {
			t.Errorf("%s of 256 bytes: %q, %v", name, b, err)
		}
	}
}

// Edits are what decoding, changing and encoding would be.
func TestPropertiesEdit(t *testing.T) {
	headers, err := amqp091.Table{{Key: "x-death", Value: []any{}}}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	edits := map[string]struct {
		edit   amqp091.PropertyEdit
		change func(*amqp091.Properties)
	}{
		"nothing": {amqp091.PropertyEdit{}, func(p *amqp091.Properties) {}},
		"headers": {amqp091.PropertyEdit{SetHeaders: true, Headers: headers}, func(p *amqp091.Properties) {
			p.Headers = amqp091.Table{{Key: "x-death", Value: []any{}}}
		}},
		"no headers":    {amqp091.PropertyEdit{SetHeaders: true}, func(p *amqp091.Properties) { p.Headers = nil }},
		"no expiration": {amqp091.PropertyEdit{DropExpiration: true}, func(p *amqp091.Properties) { p.Expiration = "" }},
		"no user":       {amqp091.PropertyEdit{DropUserID: true}, func(p *amqp091.Properties) { p.UserID = "" }},
		"transient":     {amqp091.PropertyEdit{DeliveryMode: amqp091.Transient}, func(p *amqp091.Properties) { p.DeliveryMode = 1 }},
		"all": {amqp091.PropertyEdit{SetHeaders: true, Headers: headers, DropExpiration: true, DropUserID: true, DeliveryMode: 2},
			func(p *amqp091.Properties) {
				p.Headers, p.Expiration, p.UserID = amqp091.Table{{Key: "x-death", Value: []any{}}}, "", ""
				p.DeliveryMode = 2
			}},
	}
	for name, edit := range edits {
		for _, p := range []amqp091.Properties{{}, everyProperty(), {Expiration: "1", AppID: "a"}, {ContentType: "a", Priority: 1}} {
			raw := appendProperties(t, p)
			changed := p
			edit.change(&changed)
			want := appendProperties(t, changed)
			if got := raw.Edit([]byte("x"), edit.edit); !bytes.Equal(got[1:], want) || got[0] != 'x' {
				t.Errorf("%s of %v: % x\nwant % x", name, p.String(), got[1:], want)
			}
		}
	}
	raw := appendProperties(t, everyProperty())
	if got := amqp091.RawProperties(raw.WithHeaders(nil, headers)); !bytes.Equal(got.Headers(), headers) {
		t.Errorf("WithHeaders: % x", got)
	}
	if _, ok := amqp091.RawProperties(raw.WithoutExpiration(nil)).Expiration(); ok {
		t.Error("WithoutExpiration leaves it")
	}
	if got := amqp091.RawProperties(nil).WithHeaders(nil, headers); amqp091.RawProperties(got).Validate() != nil {
		t.Errorf("WithHeaders of nothing: % x", got)
	}
}
