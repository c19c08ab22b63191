package amqp091_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/script"
)

// TestVectors decodes what is in testdata/vectors, in full and cut at every place, and encodes it again. The commands
// are frame, table (the content of one) and properties. The argument long says that encoding gives other bytes with
// the same meaning, more that the input is the beginning of a frame.
func TestVectors(t *testing.T) {
	script.Run(t, "testdata/vectors/*.txt", func(t *testing.T) func(*script.Command) string {
		return func(c *script.Command) (out string) {
			in, long, maxSize := parseHex(t, c.Input), c.Has("long"), uint32(c.Int(t, "max", 0))
			more := c.Has("more")
			t.Run(c.String("name", "line "+strconv.Itoa(c.Line)), func(t *testing.T) {
				switch {
				case c.Name == "frame" && more:
					out = needsMore(t, in, maxSize)
				case c.Name == "frame":
					out = frameVector(t, in, maxSize, long)
				case c.Name == "table":
					out = tableVector(t, in, long)
				case c.Name == "properties":
					out = propertiesVector(t, in, long)
				default:
					t.Fatalf("line %d: no command %s", c.Line, c.Name)
				}
			})
			return out
		}
	})
}

func needsMore(t *testing.T, in []byte, maxSize uint32) string {
	if _, n, err := amqp091.NextFrame(in, maxSize); n != 0 || err != nil {
		t.Errorf("NextFrame = %d, %v; want to wait for more", n, err)
	}
	return "more"
}

func frameVector(t *testing.T, in []byte, maxSize uint32, long bool) string {
	f, n, err := amqp091.NextFrame(append(in[:len(in):len(in)], "and more"...), maxSize)
	if err != nil {
		if n != 0 || f.Payload != nil {
			t.Errorf("NextFrame = %v, %d beside an error", f, n)
		}
		return errorText(t, err)
	}
	if n != len(in) {
		t.Errorf("NextFrame took %d bytes of %d", n, len(in))
	}
	for cut := range in {
		if _, n, err := amqp091.NextFrame(in[:cut], maxSize); n != 0 || err != nil {
			t.Fatalf("NextFrame of the first %d bytes = %d, %v", cut, n, err)
		}
	}
	if again := amqp091.AppendFrame(nil, f); !bytes.Equal(again, in) {
		t.Errorf("AppendFrame = %x\nwant %x", again, in)
	}
	again, err := encodePayload(f)
	if err != nil {
		if text := f.String(); !strings.Contains(text, "malformed") {
			t.Errorf("String = %s, but %v", text, err)
		}
		return errorText(t, err)
	}
	if !long && !bytes.Equal(again, in) {
		t.Errorf("encoded again: %x\nwant           %x", again, in)
	}
	if f2, _, err := amqp091.NextFrame(again, 0); err != nil || f2.String() != f.String() {
		t.Errorf("decoded again: %v, %v", f2, err)
	}
	if f.Type == amqp091.FrameMethod || f.Type == amqp091.FrameHeader {
		checkCuts(t, f)
	}
	checkViews(t, f)
	return f.String()
}

// encodePayload decodes the payload of a frame and encodes it again into a frame.
func encodePayload(f amqp091.Frame) ([]byte, error) {
	switch f.Type {
	case amqp091.FrameMethod:
		m, err := amqp091.DecodeMethod(f.Payload)
		if err != nil {
			return nil, err
		}
		return amqp091.AppendMethod(nil, f.Channel, m)
	case amqp091.FrameHeader:
		class, size, raw, err := amqp091.DecodeContentHeader(f.Payload)
		if err != nil {
			return nil, err
		}
		out := amqp091.AppendContentHeader(nil, f.Channel, size, raw)
		out[7], out[8] = byte(class>>8), byte(class)
		return out, nil
	case amqp091.FrameBody:
		if len(f.Payload) > 0 {
			return amqp091.AppendBody(nil, f.Channel, f.Payload, 0), nil
		}
	}
	return amqp091.AppendFrame(nil, f), nil
}

// checkCuts checks that a payload that is good is not good when something is missing, or too much.
func checkCuts(t *testing.T, f amqp091.Frame) {
	t.Helper()
	whole := f.Payload
	for cut := range whole {
		f.Payload = whole[:cut]
		if _, err := encodePayload(f); errorCode(err) != amqp091.FrameError {
			t.Errorf("payload of %d bytes: %v", cut, err)
		}
		checkViews(t, f)
	}
	f.Payload = append(whole[:len(whole):len(whole)], 0)
	if _, err := encodePayload(f); errorCode(err) != amqp091.FrameError {
		t.Errorf("payload with a byte too many: %v", err)
	}
	checkViews(t, f)
}

// checkViews compares the views of a method frame with the method, and the functions that append with AppendMethod.
func checkViews(t *testing.T, f amqp091.Frame) {
	t.Helper()
	if f.Type != amqp091.FrameMethod {
		return
	}
	want, wantErr := amqp091.DecodeMethod(f.Payload)
	id, _ := amqp091.PeekMethod(f.Payload)
	var got amqp091.Method
	var out []byte
	var err, appendErr error
	switch id {
	case amqp091.IDBasicPublish:
		var v amqp091.PublishView
		err = v.Decode(f.Payload)
		m := &amqp091.BasicPublish{Exchange: string(v.Exchange), RoutingKey: string(v.RoutingKey), Mandatory: v.Mandatory,
			Immediate: v.Immediate}
		if w, ok := want.(*amqp091.BasicPublish); ok {
			m.Ticket = w.Ticket
		}
		got = m
		out, appendErr = amqp091.AppendPublish(nil, f.Channel, m.Exchange, m.RoutingKey, m.Mandatory)
		if m.Ticket != 0 || m.Immediate {
			out = nil // what AppendPublish cannot send
		}
	case amqp091.IDBasicDeliver:
		var v amqp091.DeliverView
		err = v.Decode(f.Payload)
		m := &amqp091.BasicDeliver{ConsumerTag: string(v.ConsumerTag), DeliveryTag: v.DeliveryTag, Redelivered: v.Redelivered,
			Exchange: string(v.Exchange), RoutingKey: string(v.RoutingKey)}
		got = m
		out, appendErr = amqp091.AppendDeliver(nil, f.Channel, m.ConsumerTag, m.DeliveryTag, m.Redelivered, m.Exchange, m.RoutingKey)
	case amqp091.IDBasicGetOK:
		var v amqp091.GetOKView
		err = v.Decode(f.Payload)
		m := &amqp091.BasicGetOK{DeliveryTag: v.DeliveryTag, Redelivered: v.Redelivered, Exchange: string(v.Exchange),
			RoutingKey: string(v.RoutingKey), MessageCount: v.MessageCount}
		got = m
		out, appendErr = amqp091.AppendGetOK(nil, f.Channel, m.DeliveryTag, m.Redelivered, m.Exchange, m.RoutingKey, m.MessageCount)
	case amqp091.IDBasicReturn:
		var v amqp091.ReturnView
		err = v.Decode(f.Payload)
		m := &amqp091.BasicReturn{ReplyCode: v.ReplyCode, ReplyText: string(v.ReplyText), Exchange: string(v.Exchange),
			RoutingKey: string(v.RoutingKey)}
		got = m
		out, appendErr = amqp091.AppendReturn(nil, f.Channel, m.ReplyCode, m.ReplyText, m.Exchange, m.RoutingKey)
	case amqp091.IDBasicAck:
		var v amqp091.AckView
		err = v.Decode(f.Payload)
		got = &amqp091.BasicAck{DeliveryTag: v.DeliveryTag, Multiple: v.Multiple}
		out = amqp091.AppendAck(nil, f.Channel, v.DeliveryTag, v.Multiple)
	case amqp091.IDBasicNack:
		var v amqp091.AckView
		err = v.Decode(f.Payload)
		got = &amqp091.BasicNack{DeliveryTag: v.DeliveryTag, Multiple: v.Multiple, Requeue: v.Requeue}
		out = amqp091.AppendNack(nil, f.Channel, v.DeliveryTag, v.Multiple, v.Requeue)
	case amqp091.IDBasicReject:
		var v amqp091.AckView
		err = v.Decode(f.Payload)
		got = &amqp091.BasicReject{DeliveryTag: v.DeliveryTag, Requeue: v.Requeue}
		out = amqp091.AppendReject(nil, f.Channel, v.DeliveryTag, v.Requeue)
	default:
		return
	}
	if errorString(err) != errorString(wantErr) {
		t.Fatalf("view of %x: %v\nDecodeMethod: %v", f.Payload, err, wantErr)
	}
	if err != nil {
		return
	}
	if got.String() != want.String() {
		t.Errorf("view %s\nmethod %s", got, want)
	}
	again, err := amqp091.AppendMethod(nil, f.Channel, want)
	if err != nil || appendErr != nil || out != nil && !bytes.Equal(out, again) {
		t.Errorf("appended %x, %v\nAppendMethod %x, %v", out, appendErr, again, err)
	}
}

func tableVector(t *testing.T, in []byte, long bool) string {
	raw := amqp091.RawTable(in)
	table, err := raw.Decode()
	if errorString(err) != errorString(raw.Validate()) {
		t.Errorf("Decode: %v\nValidate: %v", err, raw.Validate())
	}
	if err != nil {
		return errorText(t, err)
	}
	again, err := table.Append([]byte("before"))
	if err != nil || !long && string(again) != "before"+string(in) {
		t.Errorf("Append = %x, %v", again, err)
	}
	for cut := range in {
		n := 0
		for range raw[:cut].All() {
			n++
		}
		part, err := raw[:cut].Decode()
		if err == nil && (len(part) != n || !part.Equal(table[:n])) || errorString(err) != errorString(raw[:cut].Validate()) {
			t.Errorf("Decode of the first %d bytes = %v, %v", cut, part, err)
		}
	}
	return table.String()
}

func propertiesVector(t *testing.T, in []byte, long bool) string {
	var p amqp091.Properties
	raw := amqp091.RawProperties(in)
	if err := raw.Decode(&p); err != nil {
		if err2 := raw.Validate(); errorString(err) != errorString(err2) {
			t.Errorf("Decode: %v\nValidate: %v", err, err2)
		}
		return errorText(t, err)
	}
	again, err := p.Append([]byte("before"))
	if err != nil || !long && string(again) != "before"+string(in) {
		t.Errorf("Append = %x, %v", again, err)
	}
	for cut := range in {
		if err := raw[:cut].Validate(); cut > 0 && errorCode(err) != amqp091.FrameError {
			t.Errorf("the first %d bytes: %v", cut, err)
		}
	}
	return p.String()
}

func errorCode(err error) amqp091.Code {
	var e *amqp091.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func errorString(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// errorText tells what is wrong, on one line.
func errorText(t *testing.T, err error) string {
	t.Helper()
	var e *amqp091.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is a %T", err, err)
	}
	if !e.Hard || e.Remote {
		t.Errorf("error %#v", e)
	}
	text := e.Error()
	if e.Method != 0 {
		text = fmt.Sprintf("%s (%v)", text, e.Method)
	}
	return "error " + text
}

// parseHex takes bytes in hexadecimal and text in quotes.
func parseHex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if quoted, err := strconv.QuotedPrefix(s); err == nil {
			text, _ := strconv.Unquote(quoted)
			out = append(out, text...)
			s = s[len(quoted):]
			continue
		}
		word, rest, _ := strings.Cut(s, " ")
		if line, more, ok := strings.Cut(word, "\n"); ok {
			word, rest = line, more+" "+rest
		}
		b, err := hex.DecodeString(word)
		if err != nil {
			t.Fatalf("%q: %v", word, err)
		}
		out, s = append(out, b...), rest
	}
	return out
}
