package amqpbroker

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func (c *call) publish() (any, error) {
	b, err := c.read(maxPublish)
	if err != nil {
		return nil, err
	}
	in, err := parseBody(b, "routing_key", "properties", "payload", "payload_encoding")
	if err != nil {
		return nil, err
	}
	key, err := in.text("routing_key")
	if err != nil {
		return nil, err
	}
	if err := checkName(key); err != nil {
		return nil, err
	}
	payload, err := in.text("payload")
	if err != nil {
		return nil, err
	}
	encoding, err := in.text("payload_encoding")
	if err != nil {
		return nil, err
	}
	data := []byte(payload)
	switch encoding {
	case "string":
	case "base64":
		if data, err = base64.StdEncoding.DecodeString(payload); err != nil {
			return nil, badRequest([]string{"not_base64", payload})
		}
	default:
		return nil, badRequest([]string{"unsupported_encoding", encoding})
	}
	if most := cmp.Or(c.m.opts.MaxMessage, amqp091.DefaultMaxMessage); most > 0 && len(data) > most {
		return nil, badRequest(fmt.Sprintf("PRECONDITION_FAILED - message size %d is larger than configured max size %d", len(data), most))
	}
	props, err := parseProperties(in["properties"])
	if err != nil {
		return nil, err
	}
	routed, err := c.m.b.publishMessage(c.r.Context(), c.user.Name, c.vars["vhost"], c.exchange(), key, props, data)
	if err != nil {
		if e, ok := err.(*amqp091.Error); ok && e.Code == amqp091.NotFound {
			return nil, badRequest(e.Error())
		}
		return nil, err
	}
	return struct {
		Routed bool `json:"routed"`
	}{routed}, nil
}

// messageProperties are the properties of a message in JSON.
type messageProperties struct {
	ContentType     string    `json:"content_type,omitempty"`
	ContentEncoding string    `json:"content_encoding,omitempty"`
	Headers         Arguments `json:"headers,omitempty"`
	DeliveryMode    *flexInt  `json:"delivery_mode,omitempty"`
	Priority        *flexInt  `json:"priority,omitempty"`
	CorrelationID   string    `json:"correlation_id,omitempty"`
	ReplyTo         string    `json:"reply_to,omitempty"`
	Expiration      flexText  `json:"expiration,omitempty"`
	MessageID       string    `json:"message_id,omitempty"`
	Timestamp       *flexInt  `json:"timestamp,omitempty"`
	Type            string    `json:"type,omitempty"`
	UserID          string    `json:"user_id,omitempty"`
	AppID           string    `json:"app_id,omitempty"`
	ClusterID       string    `json:"cluster_id,omitempty"`
}

// flexInt is a number that may come in a string.
type flexInt int64

// UnmarshalJSON decodes a number or a string with one.
func (n *flexInt) UnmarshalJSON(b []byte) error {
	in := body{"n": b}
	v, err := in.number("n")
	*n = flexInt(v)
	return err
}

// flexText is a string that may come as a number.
type flexText string

// UnmarshalJSON decodes a string or a number.
func (s *flexText) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if text, ok := v.(string); ok {
		*s = flexText(text)
	} else {
		*s = flexText(b)
	}
	return nil
}

func parseProperties(b json.RawMessage) (amqp091.RawProperties, error) {
	var in messageProperties
	if string(b) != "[]" { // RabbitMQ writes no properties so
		if err := json.Unmarshal(b, &in); err != nil {
			return nil, badRequest("bad properties: " + err.Error())
		}
	}
	p := amqp091.Properties{
		ContentType: in.ContentType, ContentEncoding: in.ContentEncoding, Headers: amqp091.Table(in.Headers), CorrelationID: in.CorrelationID,
		ReplyTo: in.ReplyTo, Expiration: string(in.Expiration), MessageID: in.MessageID, Type: in.Type, UserID: in.UserID, AppID: in.AppID,
		ClusterID: in.ClusterID,
	}
	for _, f := range []struct {
		in *flexInt
		to *uint8
	}{{in.DeliveryMode, &p.DeliveryMode}, {in.Priority, &p.Priority}} {
		if f.in != nil {
			if *f.in < 0 || *f.in > math.MaxUint8 {
				return nil, badRequest("bad properties: a number is out of range")
			}
			*f.to = uint8(*f.in)
		}
	}
	if in.Timestamp != nil {
		p.Timestamp = time.Unix(int64(*in.Timestamp), 0)
	}
	raw, err := p.Append(nil)
	if err != nil {
		return nil, badRequest("bad properties: " + err.Error())
	}
	return raw, nil
}

// gotView is a message that was got.
type gotView struct {
	PayloadBytes int    `json:"payload_bytes"`
	Redelivered  bool   `json:"redelivered"`
	Exchange     string `json:"exchange"`
	RoutingKey   string `json:"routing_key"`
	MessageCount int    `json:"message_count"`
	Properties   any    `json:"properties"`
	Payload      string `json:"payload"`
	Encoding     string `json:"payload_encoding"`
}

// maxGet and maxGetBytes bound how many messages are got at once: none is begun beyond them.
const (
	maxGet      = 10_000
	maxGetBytes = 32 << 20
)

func (c *call) getMessages() (any, error) {
	in, err := c.body("ackmode", "count", "encoding")
	if err != nil {
		return nil, err
	}
	n, err := in.number("count")
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, badRequest("count should not be negative")
	}
	ackmode, err := in.text("ackmode")
	if err != nil {
		return nil, err
	}
	modes := map[string]getMode{
		"ack_requeue_true": getAckRequeue, "ack_requeue_false": getAckRemove,
		"reject_requeue_true": getRejectRequeue, "reject_requeue_false": getRejectRemove,
	}
	mode, ok := modes[ackmode]
	if !ok {
		return nil, badRequest("Unsupported ackmode. Please use ack_requeue_true, ack_requeue_false, reject_requeue_true or " +
			"reject_requeue_false.")
	}
	encoding, err := in.text("encoding")
	if err != nil {
		return nil, err
	}
	if encoding != "auto" && encoding != "base64" {
		return nil, badRequest("Unsupported encoding. Please use auto or base64.")
	}
	truncate := int64(math.MaxInt64)
	if _, ok := in["truncate"]; ok {
		if truncate, err = in.number("truncate"); err != nil {
			return nil, err
		}
	}
	list, err := c.m.b.getMessages(c.r.Context(), c.user.Name, c.vars["vhost"], c.vars["queue"], int(min(n, maxGet)), mode)
	if err != nil {
		return nil, err
	}
	out := make([]gotView, len(list))
	for i, m := range list {
		v := gotView{
			PayloadBytes: len(m.body), Redelivered: m.redelivered, Exchange: m.exchange, RoutingKey: m.key, MessageCount: m.left,
			Properties: viewProperties(m.props), Encoding: "string",
		}
		data := m.body[:min(int64(len(m.body)), max(truncate, 0))]
		if encoding == "auto" && utf8.Valid(data) {
			v.Payload = string(data)
		} else {
			v.Payload, v.Encoding = base64.StdEncoding.EncodeToString(data), "base64"
		}
		out[i] = v
	}
	return out, nil
}

// viewProperties returns the properties of a message for JSON; none are an empty array, as RabbitMQ writes it.
func viewProperties(raw amqp091.RawProperties) any {
	var p amqp091.Properties
	if err := raw.Decode(&p); err != nil {
		return []any{}
	}
	out := messageProperties{
		ContentType: p.ContentType, ContentEncoding: p.ContentEncoding, Headers: Arguments(p.Headers), CorrelationID: p.CorrelationID,
		ReplyTo: p.ReplyTo, Expiration: flexText(p.Expiration), MessageID: p.MessageID, Type: p.Type, UserID: p.UserID, AppID: p.AppID,
		ClusterID: p.ClusterID,
	}
	if p.DeliveryMode != 0 {
		n := flexInt(p.DeliveryMode)
		out.DeliveryMode = &n
	}
	if n, ok := raw.Priority(); ok {
		n := flexInt(n)
		out.Priority = &n
	}
	if t, ok := raw.Timestamp(); ok {
		n := flexInt(t.Unix())
		out.Timestamp = &n
	}
	if b := mustJSON(out); string(b) == "{}" {
		return []any{}
	}
	return out
}
