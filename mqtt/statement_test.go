package mqtt_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

const (
	byClient = mqtt.Client
	byServer = mqtt.Server

	malformed = mqtt.ReasonMalformedPacket
	protocol  = mqtt.ReasonProtocolError
	badName   = mqtt.ReasonTopicNameInvalid
	badFilter = mqtt.ReasonTopicFilterInvalid
	noVersion = mqtt.ReasonUnsupportedProtocolVersion
	badClient = mqtt.ReasonClientIdentifierNotValid
)

// str is a string of the wire: a length in two bytes and the text.
func str(text string) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint16(nil, uint16(len(text)))) + hex.EncodeToString([]byte(text))
}

// wire is a packet: the first byte, the remaining length and the parts, all but the length in hexadecimal.
func wire(first byte, parts ...string) []byte {
	body, err := hex.DecodeString(strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
	if err != nil {
		panic(err)
	}
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

// sentence is a packet about which a normative statement says something: it must be refused with a reason code, or be
// accepted when that is zero.
type sentence struct {
	id   string
	from mqtt.Role
	in   []byte
	code mqtt.ReasonCode
}

func (r sentence) run(t *testing.T, v mqtt.Version) {
	t.Run(r.id, func(t *testing.T) {
		d := mqtt.Decoder{From: r.from}
		p, n, err := d.Decode(r.in, v)
		if r.code == 0 {
			if err != nil || n != len(r.in) {
				t.Fatalf("Decode(%x) = %v, %d, %v", r.in, p, n, err)
			}
			again, err := mqtt.Append(nil, p, v)
			if err != nil || !bytes.Equal(again, r.in) {
				t.Fatalf("Append(%s) = %x, %v\nwant %x", p, again, err, r.in)
			}
			return
		}
		if !errors.Is(codeOf(err), &mqtt.Error{Code: r.code}) {
			t.Fatalf("Decode(%x) = %v, %d, %v; want %v", r.in, p, n, err, r.code)
		}
	})
}

// codeOf returns err without its details.
func codeOf(err error) error {
	var e *mqtt.Error
	if errors.As(err, &e) {
		return &mqtt.Error{Code: e.Code}
	}
	return err
}

func TestStatements5(t *testing.T) {
	for _, r := range slices.Concat(strings5(), connect5(), publish5(), requests5(), answers5()) {
		r.run(t, mqtt.Version5)
	}
}

// strings5 has section 1.5, 2 and 4.7.
func strings5() []sentence {
	return []sentence{
		{"MQTT-1.5.4-1", byClient, wire(0x30, "0002 c328", "00"), malformed},
		{"MQTT-1.5.4-1", byClient, wire(0x30, "0003 eda080", "00"), malformed},
		{"MQTT-1.5.4-1", byClient, wire(0x30, "0003 edbfbf", "00"), malformed},
		{"MQTT-1.5.4-1", byClient, wire(0x30, "0003 ed9fbf", "00"), 0}, // U+D7FF
		{"MQTT-1.5.4-2", byClient, wire(0x30, "0003 610062", "00"), malformed},
		{"MQTT-1.5.4-2", byClient, wire(0x30, str("t"), "04 03 0001 00"), malformed},
		{"MQTT-1.5.4-3", byClient, wire(0x30, "0004 efbbbf61", "00"), 0},
		{"MQTT-1.5.4-3", byClient, wire(0x30, "0004 61efbbbf", "00"), 0},
		{"MQTT-1.5.5-1", byClient, []byte{0xC0, 0x80, 0x00}, malformed},
		{"MQTT-1.5.5-1", byClient, wire(0x30, str("t"), "8000"), malformed},
		{"MQTT-1.5.5-1", byServer, wire(0x30, str("t"), "03 0b 8100"), malformed},
		{"MQTT-1.5.7-1", byClient, wire(0x30, str("t"), "07 26 0001ff 0001 61"), malformed},
		{"MQTT-1.5.7-1", byClient, wire(0x30, str("t"), "07 26 000161 0001 00"), malformed},
		{"MQTT-2.1.3-1", byClient, wire(0xC1), malformed},
		{"MQTT-2.1.3-1", byClient, wire(0x41, "0001"), malformed},
		{"MQTT-2.1.3-1", byClient, wire(0x60, "0001"), malformed},
		{"MQTT-2.1.3-1", byServer, wire(0x22, "0000 00"), malformed},
		{"MQTT-2.2.1-2", byClient, wire(0x30, str("t"), "00 0001"), 0}, // what looks like one is payload
		{"MQTT-2.2.1-3", byClient, wire(0x32, str("t"), "0000 00"), protocol},
		{"MQTT-2.2.1-3", byClient, wire(0x82, "0000 00", str("t"), "00"), protocol},
		{"MQTT-2.2.1-3", byClient, wire(0xA2, "0000 00", str("t")), protocol},
		{"MQTT-2.2.1-4", byServer, wire(0x34, str("t"), "0000 00"), protocol},
		{"MQTT-2.2.2-1", byClient, wire(0x30, str("t")), malformed},
		{"MQTT-2.2.2-1", byClient, wire(0x30, str("t"), "00"), 0},
		{"MQTT-4.7.0-1", byClient, wire(0x30, str("a/+"), "00"), badName},
		{"MQTT-4.7.0-1", byClient, wire(0x82, "0001 00", str("a/+"), "00"), 0},
		{"MQTT-4.7.1-1", byClient, wire(0x82, "0001 00", str("a/#/b"), "00"), badFilter},
		{"MQTT-4.7.1-1", byClient, wire(0x82, "0001 00", str("a#"), "00"), badFilter},
		{"MQTT-4.7.1-1", byClient, wire(0x82, "0001 00", str("a/#"), "00"), 0},
		{"MQTT-4.7.1-1", byClient, wire(0x82, "0001 00", str("#"), "00"), 0},
		{"MQTT-4.7.1-2", byClient, wire(0x82, "0001 00", str("a+/b"), "00"), badFilter},
		{"MQTT-4.7.1-2", byClient, wire(0x82, "0001 00", str("+/a/+"), "00"), 0},
		{"MQTT-4.7.3-1", byClient, wire(0x82, "0001 00", str(""), "00"), badFilter},
		{"MQTT-4.7.3-1", byClient, wire(0xA2, "0001 00", str("")), badFilter},
		{"MQTT-4.7.3-1", byClient, wire(0x30, str(""), "00"), protocol},
		{"MQTT-4.7.3-2", byClient, wire(0x82, "0001 00 0001 00", "00"), malformed},
		{"MQTT-4.7.3-2", byClient, wire(0x30, "0001 00", "00"), malformed},
		{"MQTT-4.7.3-3", byClient, wire(0x30, str(strings.Repeat("x", 65535)), "00"), 0},
		{"MQTT-4.7.3-3", byClient, wire(0x82, "0001 00", str(strings.Repeat("x", 65535)), "00"), 0},
		{"MQTT-4.8.2-1", byClient, wire(0x82, "0001 00", str("$share//a"), "00"), badFilter},
		{"MQTT-4.8.2-1", byClient, wire(0x82, "0001 00", str("$share/g/a"), "00"), 0},
		{"MQTT-4.8.2-2", byClient, wire(0x82, "0001 00", str("$share/g+/a"), "00"), badFilter},
		{"MQTT-4.8.2-2", byClient, wire(0x82, "0001 00", str("$share/g#/a"), "00"), badFilter},
		{"MQTT-4.8.2-2", byClient, wire(0x82, "0001 00", str("$share/g"), "00"), badFilter},
		{"MQTT-4.8.2-2", byClient, wire(0x82, "0001 00", str("$share/g/"), "00"), badFilter},
	}
}

// connect5 has sections 3.1 and 3.2.
func connect5() []sentence {
	head, id := str("MQTT"), str("c")
	return []sentence{
		{"MQTT-3.1.2-1", byClient, wire(0x10, str("MQTZ"), "05 02 0000 00", id), noVersion},
		{"MQTT-3.1.2-2", byClient, wire(0x10, head, "06 02 0000 00", id), noVersion},
		{"MQTT-3.1.2-3", byClient, wire(0x10, head, "05 03 0000 00", id), malformed},
		{"MQTT-3.1.2-9", byClient, wire(0x10, head, "05 06 0000 00", id, "00", str("w")), malformed},
		{"MQTT-3.1.2-9", byClient, wire(0x10, head, "05 06 0000 00", id, "00"), malformed},
		{"MQTT-3.1.2-9", byClient, wire(0x10, head, "05 06 0000 00", id), malformed},
		{"MQTT-3.1.2-9", byClient, wire(0x10, head, "05 06 0000 00", id, "00", str("w"), "0000"), 0},
		{"MQTT-3.1.2-11", byClient, wire(0x10, head, "05 0a 0000 00", id), malformed},
		{"MQTT-3.1.2-12", byClient, wire(0x10, head, "05 06 0000 00", id, "00", str("w"), "0000"), 0},
		{"MQTT-3.1.2-12", byClient, wire(0x10, head, "05 0e 0000 00", id, "00", str("w"), "0000"), 0},
		{"MQTT-3.1.2-12", byClient, wire(0x10, head, "05 16 0000 00", id, "00", str("w"), "0000"), 0},
		{"MQTT-3.1.2-12", byClient, wire(0x10, head, "05 1e 0000 00", id, "00", str("w"), "0000"), malformed},
		{"MQTT-3.1.2-13", byClient, wire(0x10, head, "05 22 0000 00", id), malformed},
		{"MQTT-3.1.2-16", byClient, wire(0x10, head, "05 02 0000 00", id, str("u")), malformed},
		{"MQTT-3.1.2-17", byClient, wire(0x10, head, "05 82 0000 00", id), malformed},
		{"MQTT-3.1.2-17", byClient, wire(0x10, head, "05 82 0000 00", id, str("u")), 0},
		{"MQTT-3.1.2-18", byClient, wire(0x10, head, "05 82 0000 00", id, str("u"), str("p")), malformed},
		{"MQTT-3.1.2-19", byClient, wire(0x10, head, "05 c2 0000 00", id, str("u")), malformed},
		{"MQTT-3.1.2-19", byClient, wire(0x10, head, "05 42 0000 00", id, str("p")), 0},
		{"MQTT-3.1.3-1", byClient, wire(0x10, head, "05 c6 0000 00", id, "00", str("w"), str("x"), str("u"), str("p")), 0},
		{"MQTT-3.1.3-3", byClient, wire(0x10, head, "05 02 0000 00"), malformed},
		{"MQTT-3.1.3-4", byClient, wire(0x10, head, "05 02 0000 00", "0001 ff"), malformed},
		{"MQTT-3.1.3-5", byClient, wire(0x10, head, "05 02 0000 00", str("0123456789abcdefghijklm")), 0},
		{"MQTT-3.1.3-5", byClient, wire(0x10, head, "05 02 0000 00", str("nopqrstuvwxyzABCDEFGHIJ")), 0},
		{"MQTT-3.1.3-5", byClient, wire(0x10, head, "05 02 0000 00", str("KLMNOPQRSTUVWXYZ")), 0},
		{"MQTT-3.1.3-6", byClient, wire(0x10, head, "05 00 0000 00", str("")), 0},
		{"MQTT-3.1.3-11", byClient, wire(0x10, head, "05 06 0000 00", id, "00", "0001 ff", "0000"), malformed},
		{"MQTT-3.1.3-12", byClient, wire(0x10, head, "05 82 0000 00", id, "0001 ff"), malformed},
		{"MQTT-3.1.4-1", byClient, wire(0x10, head, "05 02 0000 00", id, "00"), malformed},
		{"MQTT-3.2.2-1", byServer, wire(0x20, "02 00 00"), malformed},
		{"MQTT-3.2.2-1", byServer, wire(0x20, "80 00 00"), malformed},
		{"MQTT-3.2.2-6", byServer, wire(0x20, "01 87 00"), protocol},
		{"MQTT-3.2.2-8", byServer, wire(0x20, "00 01 00"), protocol},
		{"MQTT-3.2.2-8", byServer, wire(0x20, "00 8e 00"), protocol},
	}
}

// publish5 has section 3.3.
func publish5() []sentence {
	topic := str("t")
	return []sentence{
		{"MQTT-3.3.1-2", byClient, wire(0x38, topic, "00"), malformed},
		{"MQTT-4.3.1-1", byServer, wire(0x38, topic, "00"), malformed},
		{"MQTT-3.3.1-4", byClient, wire(0x36, topic, "0001 00"), malformed},
		{"MQTT-3.3.1-4", byServer, wire(0x3e, topic, "0001 00"), malformed},
		{"MQTT-3.3.2-1", byClient, wire(0x30), malformed},
		{"MQTT-3.3.2-1", byClient, wire(0x30, "0001 ff", "00"), malformed},
		{"MQTT-3.3.2-2", byClient, wire(0x30, str("+"), "00"), badName},
		{"MQTT-3.3.2-2", byServer, wire(0x30, str("long/enough/#"), "00"), badName},
		{"MQTT-3.3.2-8", byClient, wire(0x30, topic, "03 23 0000"), mqtt.ReasonTopicAliasInvalid},
		{"MQTT-3.3.2-13", byClient, wire(0x30, topic, "04 08 0001 ff"), malformed},
		{"MQTT-3.3.2-14", byClient, wire(0x30, topic, "04 08", str("#")), protocol},
		{"MQTT-3.3.2-14", byClient, wire(0x30, topic, "06 08", str("a/+")), protocol},
		{"MQTT-3.3.2-17", byServer, wire(0x30, topic, "0b 26", str("b"), str(""), "26", str(""), str("")), 0},
		{"MQTT-3.3.2-18", byServer, wire(0x30, topic,
			"15 26", str("b"), str("1"), "26", str("a"), str("2"), "26", str("b"), str("3")), 0},
		{"MQTT-3.3.2-19", byClient, wire(0x30, topic, "04 03 0001 ff"), malformed},
		{"MQTT-3.3.4-6", byClient, wire(0x30, topic, "02 0b 01"), protocol},
		{"MQTT-3.3.4-6", byServer, wire(0x30, topic, "02 0b 01"), 0},
		{"MQTT-3.3.4-4", byServer, wire(0x30, topic, "04 0b 01 0b 02"), 0},
	}
}

// requests5 has sections 3.8, 3.10, 3.12, 3.14 and 3.15.
func requests5() []sentence {
	return []sentence{
		{"MQTT-3.8.1-1", byClient, wire(0x80, "0001 00", str("a"), "00"), malformed},
		{"MQTT-3.8.1-1", byClient, wire(0x83, "0001 00", str("a"), "00"), malformed},
		{"MQTT-3.8.3-1", byClient, wire(0x82, "0001 00", "0001 ff", "00"), malformed},
		{"MQTT-3.8.3-2", byClient, wire(0x82, "0001 00"), protocol},
		{"MQTT-3.8.3-2", byClient, wire(0x82, "0001 00", str("a/b")), malformed},
		{"MQTT-3.8.3-4", byClient, wire(0x82, "0001 00", str("$share/g/a"), "04"), protocol},
		{"MQTT-3.8.3-5", byClient, wire(0x82, "0001 00", str("a"), "40"), malformed},
		{"MQTT-3.8.3-5", byClient, wire(0x82, "0001 00", str("a"), "80"), malformed},
		{"MQTT-3.10.1-1", byClient, wire(0xA0, "0001 00", str("a")), malformed},
		{"MQTT-3.10.3-1", byClient, wire(0xA2, "0001 00", "0001 ff"), malformed},
		{"MQTT-3.10.3-2", byClient, wire(0xA2, "0001 00"), protocol},
		{"MQTT-3.14.1-1", byClient, wire(0xE1), malformed},
		{"MQTT-3.14.1-1", byServer, wire(0xE8, "00"), malformed},
		{"MQTT-3.14.2-1", byClient, wire(0xE0, "01"), protocol},
		{"MQTT-3.14.2-2", byServer, wire(0xE0, "00 05 11 00000001"), protocol},
		{"MQTT-3.14.2-2", byClient, wire(0xE0, "00 05 11 00000001"), 0},
		{"MQTT-3.15.1-1", byClient, wire(0xF1, "00"), malformed},
		{"MQTT-3.15.1-1", byServer, wire(0xF8, "00"), malformed},
		{"MQTT-3.15.2-1", byClient, wire(0xF0, "80"), protocol},
		{"MQTT-4.12.0-2", byServer, wire(0xF0, "18 05 15", str("ab")), 0},
		{"MQTT-4.12.0-3", byClient, wire(0xF0, "18 05 15", str("ab")), 0},
		{"MQTT-4.12.0-5", byClient, wire(0xF0, "18"), protocol},
	}
}

// answers5 has the reason codes of acknowledgements.
func answers5() []sentence {
	return []sentence{
		{"MQTT-2.2.1-5", byClient, wire(0x40), malformed},
		{"MQTT-2.2.1-6", byServer, wire(0x90), malformed},
		{"MQTT-3.4.2-1", byClient, wire(0x40, "0001 01"), protocol},
		{"MQTT-3.5.2-1", byClient, wire(0x50, "0001 92"), protocol},
		{"MQTT-3.6.1-1", byClient, wire(0x60, "0001"), malformed},
		{"MQTT-3.6.1-1", byClient, wire(0x6a, "0001"), malformed},
		{"MQTT-3.6.2-1", byClient, wire(0x62, "0001 10"), protocol},
		{"MQTT-3.7.2-1", byClient, wire(0x70, "0001 80"), protocol},
		{"MQTT-3.8.4-6", byServer, wire(0x90, "0001 00"), protocol},
		{"MQTT-3.8.4-7", byServer, wire(0x90, "0001 00 03"), protocol},
		{"MQTT-3.9.3-1", byServer, wire(0x90, "0001 00 02 00 80 01"), 0},
		{"MQTT-3.9.3-2", byServer, wire(0x90, "0001 00 11"), protocol},
		{"MQTT-3.11.3-1", byServer, wire(0xB0, "0001 00 11 00 87"), 0},
		{"MQTT-3.11.3-2", byServer, wire(0xB0, "0001 00 01"), protocol},
	}
}

func TestStatements311(t *testing.T) {
	for _, r := range slices.Concat(connect311(), flow311()) {
		r.run(t, mqtt.Version311)
	}
}

// connect311 has sections 3.1 and 3.2.
func connect311() []sentence {
	head, id := str("MQTT"), str("c")
	return []sentence{
		{"MQTT311-3.1.2-1", byClient, wire(0x10, str("MQTZ"), "04 02 0000", id), noVersion},
		{"MQTT311-3.1.2-2", byClient, wire(0x10, head, "03 02 0000", id), noVersion},
		{"MQTT311-3.1.2-3", byClient, wire(0x10, head, "04 03 0000", id), malformed},
		{"MQTT311-3.1.2-9", byClient, wire(0x10, head, "04 06 0000", id, str("w")), malformed},
		{"MQTT311-3.1.2-9", byClient, wire(0x10, head, "04 06 0000", id, str("w"), "0000"), 0},
		{"MQTT311-3.1.2-11", byClient, wire(0x10, head, "04 02 0000", id, str("w"), "0000"), malformed},
		{"MQTT311-3.1.2-11", byClient, wire(0x10, head, "04 2a 0000", id), malformed},
		{"MQTT311-3.1.2-13", byClient, wire(0x10, head, "04 0a 0000", id), malformed},
		{"MQTT311-3.1.2-14", byClient, wire(0x10, head, "04 1e 0000", id, str("w"), "0000"), malformed},
		{"MQTT311-3.1.2-15", byClient, wire(0x10, head, "04 22 0000", id), malformed},
		{"MQTT311-3.1.2-18", byClient, wire(0x10, head, "04 02 0000", id, str("u")), malformed},
		{"MQTT311-3.1.2-19", byClient, wire(0x10, head, "04 82 0000", id), malformed},
		{"MQTT311-3.1.2-20", byClient, wire(0x10, head, "04 82 0000", id, str("u"), str("p")), malformed},
		{"MQTT311-3.1.2-21", byClient, wire(0x10, head, "04 c2 0000", id, str("u")), malformed},
		{"MQTT311-3.1.2-22", byClient, wire(0x10, head, "04 42 0000", id, str("p")), malformed},
		{"MQTT311-3.1.3-1", byClient, wire(0x10, head, "04 c6 0000", id, str("w"), str("x"), str("u"), str("p")), 0},
		{"MQTT311-3.1.3-3", byClient, wire(0x10, head, "04 02 0000"), malformed},
		{"MQTT311-3.1.3-4", byClient, wire(0x10, head, "04 02 0000", "0001 ff"), malformed},
		{"MQTT311-3.1.3-5", byClient, wire(0x10, head, "04 02 0000", str("0123456789abcdefghijklm")), 0},
		{"MQTT311-3.1.3-6", byClient, wire(0x10, head, "04 02 0000", str("")), 0},
		{"MQTT311-3.1.3-7", byClient, wire(0x10, head, "04 00 0000", str("")), badClient},
		{"MQTT311-3.1.3-8", byClient, wire(0x10, head, "04 00 0000", str("")), badClient},
		{"MQTT311-3.1.3-10", byClient, wire(0x10, head, "04 06 0000", id, "0001 ff", "0000"), malformed},
		{"MQTT311-3.1.3-11", byClient, wire(0x10, head, "04 82 0000", id, "0001 ff"), malformed},
		{"MQTT311-3.1.4-1", byClient, wire(0x10, head, "04 02 0000", id, "00"), malformed},
		{"MQTT311-3.2.2-4", byServer, wire(0x20, "01 05"), protocol},
		{"MQTT311-2.2.2-2", byServer, wire(0x21, "00 00"), malformed},
	}
}

// flow311 has all the rest.
func flow311() []sentence {
	topic := str("t")
	return []sentence{
		{"MQTT311-1.5.3-1", byClient, wire(0x30, "0003 eda080"), malformed},
		{"MQTT311-1.5.3-1", byClient, wire(0x30, "0002 c328"), malformed},
		{"MQTT311-1.5.3-2", byClient, wire(0x30, "0003 610062"), malformed},
		{"MQTT311-1.5.3-3", byClient, wire(0x30, "0004 efbbbf61"), 0},
		{"MQTT311-2.2.2-1", byClient, wire(0xC1), malformed},
		{"MQTT311-2.2.2-2", byClient, wire(0x48, "0001"), malformed},
		{"MQTT311-2.3.1-1", byClient, wire(0x32, topic, "0000"), protocol},
		{"MQTT311-2.3.1-1", byClient, wire(0x82, "0000", topic, "00"), protocol},
		{"MQTT311-2.3.1-1", byClient, wire(0xA2, "0000", topic), protocol},
		{"MQTT311-2.3.1-5", byClient, wire(0x30, topic, "0001"), 0}, // payload
		{"MQTT311-2.3.1-6", byClient, wire(0x40), malformed},
		{"MQTT311-2.3.1-7", byServer, wire(0xB0), malformed},
		{"MQTT311-3.3.1-2", byClient, wire(0x38, topic), malformed},
		{"MQTT311-4.3.1-1", byServer, wire(0x38, topic), malformed},
		{"MQTT311-3.3.1-4", byClient, wire(0x36, topic, "0001"), malformed},
		{"MQTT311-3.3.2-1", byClient, wire(0x30), malformed},
		{"MQTT311-3.3.2-2", byClient, wire(0x30, str("a/#")), badName},
		{"MQTT311-3.6.1-1", byClient, wire(0x60, "0001"), malformed},
		{"MQTT311-3.8.1-1", byClient, wire(0x80, "0001", topic, "00"), malformed},
		{"MQTT311-3.8.3-1", byClient, wire(0x82, "0001", "0001 ff", "00"), malformed},
		{"MQTT311-3.8.3-3", byClient, wire(0x82, "0001"), protocol},
		{"MQTT311-3.8.3-4", byClient, wire(0x82, "0001", topic, "04"), malformed},
		{"MQTT311-3.8.3-4", byClient, wire(0x82, "0001", topic, "03"), malformed},
		{"MQTT311-3.8.4-5", byServer, wire(0x90, "0001"), protocol},
		{"MQTT311-3.9.3-1", byServer, wire(0x90, "0001 02 80 00"), 0},
		{"MQTT311-3.9.3-2", byServer, wire(0x90, "0001 03"), protocol},
		{"MQTT311-3.9.3-2", byServer, wire(0x90, "0001 87"), protocol},
		{"MQTT311-3.10.1-1", byClient, wire(0xA0, "0001", topic), malformed},
		{"MQTT311-3.10.3-1", byClient, wire(0xA2, "0001", "0001 ff"), malformed},
		{"MQTT311-3.10.3-2", byClient, wire(0xA2, "0001"), protocol},
		{"MQTT311-3.14.1-1", byClient, wire(0xE1), malformed},
		{"MQTT311-4.7.1-1", byClient, wire(0x30, str("+")), badName},
		{"MQTT311-4.7.1-2", byClient, wire(0x82, "0001", str("a/#/b"), "00"), badFilter},
		{"MQTT311-4.7.1-3", byClient, wire(0x82, "0001", str("a+"), "00"), badFilter},
		{"MQTT311-4.7.3-1", byClient, wire(0x82, "0001", str(""), "00"), badFilter},
		{"MQTT311-4.7.3-1", byClient, wire(0x30, str("")), protocol},
		{"MQTT311-4.7.3-2", byClient, wire(0x82, "0001", "0001 00", "00"), malformed},
		{"MQTT311-4.7.3-3", byClient, wire(0x30, str(strings.Repeat("x", 65535))), 0},
	}
}

// TestFirstPacket checks that nothing but CONNECT is taken before CONNECT.
func TestFirstPacket(t *testing.T) {
	for _, id := range []string{"MQTT-3.1.0-1", "MQTT311-3.1.0-1"} {
		t.Run(id, func(t *testing.T) {
			for kind := mqtt.TypeConnack; kind <= mqtt.TypeAuth; kind++ {
				var d mqtt.Decoder
				_, _, err := d.Decode([]byte{byte(kind) << 4}, 0)
				if want := (&mqtt.Error{Code: protocol}); !errors.Is(codeOf(err), want) {
					t.Errorf("%v first: %v, want %v", kind, err, want)
				}
			}
		})
	}
}

// TestPieces checks that the boundaries of reads do not matter.
func TestPieces(t *testing.T) {
	for _, id := range []string{"MQTT-6.0.0-2", "MQTT311-6.0.0-2"} {
		t.Run(id, func(t *testing.T) {
			var in []byte
			for range 3 {
				in = append(in, wire(0x32, str("a/b"), "0007", hex.EncodeToString(bytes.Repeat([]byte("x"), 200)))...)
				in = append(in, wire(0x40, "0007")...)
				in = append(in, wire(0xC0)...)
			}
			for size := 1; size <= len(in); size++ {
				var d mqtt.Decoder
				var held []byte
				packets := 0
				for piece := range slices.Chunk(in, size) {
					held = append(held, piece...)
					for {
						p, n, err := d.Decode(held, mqtt.Version311)
						if err != nil {
							t.Fatal(err)
						}
						if p == nil {
							break
						}
						packets++
						held = held[n:]
					}
				}
				if packets != 9 || len(held) > 0 {
					t.Fatalf("%d packets and %d bytes left with pieces of %d", packets, len(held), size)
				}
			}
		})
	}
}
