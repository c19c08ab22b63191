package kafkatest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Text returns a request, a response or another message of package kafkawire as a line of text: the names and values of
// fields, without those that are zero, such as
//
//	Topics=[{Name="t"}] AllowAutoTopicCreation
//
// Record batches are shown with their records, the messages of SASL by their size only.
func Text(m kafkawire.Message) string { return newTexter().text(m) }

// texter makes text of messages. What differs from run to run gets a number instead, the same one each time it comes again.
type texter struct {
	known  map[string]string
	counts map[string]int
	exact  bool // nothing gets a number
}

func newTexter() *texter {
	return &texter{known: make(map[string]string), counts: make(map[string]int), exact: true}
}

// field is where in a message a value is.
type field struct {
	key  kafkawire.APIKey // of the message, -1 for other ones
	name string
}

// text returns the fields of a message.
func (t *texter) text(m kafkawire.Message) string {
	key := kafkawire.APIKey(-1)
	if k, ok := m.(interface{ Key() kafkawire.APIKey }); ok {
		key = k.Key()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return err.Error()
	}
	d := json.NewDecoder(&b)
	d.UseNumber()
	s := t.value(d, field{key: key})
	return strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}")
}

// value returns the text of the next value, empty for one that is zero.
func (t *texter) value(d *json.Decoder, f field) string {
	token, err := d.Token()
	if err != nil {
		return err.Error()
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			return t.object(d, f.key)
		}
		return t.array(d, f)
	case string:
		return t.stringText(v, f)
	case json.Number:
		return t.number(v.String(), f)
	case bool:
		if v {
			return "true"
		}
	}
	return ""
}

func (t *texter) object(d *json.Decoder, key kafkawire.APIKey) string {
	var parts []string
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err.Error()
		}
		f := field{key, name.(string)}
		switch s := t.value(d, f); s {
		case "":
		case "true":
			parts = append(parts, f.name)
		default:
			parts = append(parts, f.name+"="+s)
		}
	}
	_, _ = d.Token()
	return "{" + strings.Join(parts, " ") + "}"
}

func (t *texter) array(d *json.Decoder, f field) string {
	var parts []string
	zero := true
	for d.More() {
		s := t.value(d, f)
		zero = zero && s == ""
		if s == "" {
			s = "0"
		}
		parts = append(parts, s)
	}
	_, _ = d.Token()
	const uuid = 16
	if strings.Contains(f.name, "ID") && len(parts) == uuid { // brokers are never so many here
		if zero {
			return ""
		}
		return t.number16(parts)
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// number16 returns the text of a UUID.
func (t *texter) number16(parts []string) string {
	var id kafkawire.UUID
	for i := range id {
		n, err := strconv.ParseUint(parts[i], 10, 8)
		if err != nil {
			return "[" + strings.Join(parts, " ") + "]"
		}
		id[i] = byte(n)
	}
	return t.random("uuid", id.String())
}

func (t *texter) stringText(v string, f field) string {
	if isBytes(f) {
		b, err := base64.StdEncoding.DecodeString(v)
		switch {
		case err != nil:
			return err.Error()
		case f.name == "Records":
			return t.records(b)
		case isSecret(f):
			return fmt.Sprintf("<%d bytes>", len(b))
		}
		return strconv.Quote(string(b))
	}
	if v == "" {
		return ""
	}
	switch f.name {
	case "MemberID":
		return t.random("member", v)
	case "ClusterID":
		return t.random("cluster", v)
	}
	if s, ok := t.known[v]; ok {
		return s
	}
	return strconv.Quote(v)
}

func (t *texter) number(v string, f field) string {
	const time = 13 // digits of the milliseconds since 1970
	n, err := strconv.ParseInt(v, 10, 64)
	switch {
	case err == nil && n == 0:
		return ""
	case f.name == "ErrorCode":
		return kafkawire.ErrorCode(n).String()
	case f.name == "SessionID" && !t.exact:
		return t.random("session", v)
	case len(v) == time && n > 0 && !t.exact:
		return "time"
	}
	return v
}

// random returns the text of a value that is another one in each run.
func (t *texter) random(kind, v string) string {
	if t.exact {
		return strconv.Quote(v)
	}
	if s, ok := t.known[v]; ok {
		return s
	}
	t.counts[kind]++
	s := fmt.Sprintf("%s#%d", kind, t.counts[kind])
	t.known[v] = s
	return s
}

// isBytes reports whether a field has bytes, not text.
func isBytes(f field) bool {
	switch f.name {
	case "Records", "AuthBytes", "Salt", "SaltedPassword", "HMAC", "MemberMetadata", "MemberAssignment", "Metrics":
		return true
	case "Assignment":
		return f.key == kafkawire.KeySyncGroup
	case "Metadata":
		return f.key == kafkawire.KeyJoinGroup
	}
	return false
}

// isSecret reports whether a field must not be shown.
func isSecret(f field) bool {
	switch f.name {
	case "AuthBytes", "Salt", "SaltedPassword", "HMAC":
		return true
	}
	return false
}

// maxUnpacked bounds the records of a batch that are shown.
const maxUnpacked = 1 << 20

// records returns the text of record batches.
func (t *texter) records(b []byte) string {
	var parts []string
	for len(b) > 0 {
		entry, rest, err := kafka.Split(b)
		if err != nil || entry == nil {
			parts = append(parts, fmt.Sprintf("<%d bytes that are no batch>", len(b)))
			break
		}
		b = rest
		if kafka.Magic(entry) == 2 {
			parts = append(parts, t.batch(kafka.Batch(entry)))
		} else {
			parts = append(parts, fmt.Sprintf("<%d bytes of an old message>", len(entry)))
		}
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// batch returns the text of a record batch.
func (t *texter) batch(b kafka.Batch) string {
	var w strings.Builder
	fmt.Fprintf(&w, "{BaseOffset=%d", b.BaseOffset())
	if id := b.ProducerID(); id >= 0 {
		fmt.Fprintf(&w, " ProducerID=%d ProducerEpoch=%d BaseSequence=%d", id, b.ProducerEpoch(), b.BaseSequence())
	}
	a := b.Attributes()
	if c := a.Compression(); c != 0 {
		fmt.Fprintf(&w, " %v", c)
	}
	if a.Transactional() {
		w.WriteString(" Transactional")
	}
	if err := b.Check(); err != nil {
		fmt.Fprintf(&w, " <%v>}", err)
		return w.String()
	}
	if a.Control() {
		w.WriteString(" Control")
	}
	r, err := kafka.Open(b, nil, maxUnpacked)
	for rec := (kafka.Record{}); err == nil && r.Next(&rec); {
		fmt.Fprintf(&w, " %s", recordText(&rec, a.Control()))
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		fmt.Fprintf(&w, " <%v>", err)
	}
	return w.String() + "}"
}

func recordText(r *kafka.Record, control bool) string {
	if control {
		return fmt.Sprintf("%d:% x=% x", r.Offset, r.Key, r.Value)
	}
	s := fmt.Sprintf("%d:", r.Offset)
	if r.Key != nil {
		s += strconv.Quote(string(r.Key)) + "="
	}
	if r.Value == nil {
		s += "null"
	} else {
		s += strconv.Quote(string(r.Value))
	}
	for h := range r.Headers.All() {
		s += fmt.Sprintf(" %q:%q", h.Key, h.Value)
	}
	return s
}
