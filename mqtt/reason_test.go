package mqtt_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// allReasons are the 46 values of section 2.4 that have a meaning.
const allReasons = "\x00\x01\x02\x04\x10\x11\x18\x19" +
	"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8A\x8B\x8C\x8D\x8E\x8F" +
	"\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9A\x9B\x9C\x9D\x9E\x9F\xA0\xA1\xA2"

func TestReasonCodeString(t *testing.T) {
	names := map[string]bool{}
	for i := range 256 {
		c := mqtt.ReasonCode(i)
		known := strings.IndexByte(allReasons, byte(i)) >= 0
		if unnamed := strings.HasPrefix(c.String(), "reason code 0x"); known == unnamed {
			t.Errorf("0x%02X is %q", i, c)
		}
		if names[c.String()] {
			t.Errorf("%q twice", c)
		}
		names[c.String()] = true
		if c.IsError() != (i >= 0x80) {
			t.Errorf("IsError of 0x%02X is %t", i, c.IsError())
		}
		for kind := range mqtt.PacketType(16) {
			if c.ValidFor(kind) && !known {
				t.Errorf("0x%02X is valid for %v", i, kind)
			}
		}
	}
}

// TestReasonCodeValidFor compares with the column "Packets" of the standard's table, by the number of codes for each
// packet; the codes themselves are in testdata/vectors.
func TestReasonCodeValidFor(t *testing.T) {
	for kind, want := range map[mqtt.PacketType]int{
		mqtt.TypeConnect: 0, mqtt.TypeConnack: 22, mqtt.TypePublish: 0, mqtt.TypePuback: 9, mqtt.TypePubrec: 9,
		mqtt.TypePubrel: 2, mqtt.TypePubcomp: 2, mqtt.TypeSubscribe: 0, mqtt.TypeSuback: 12, mqtt.TypeUnsuback: 7,
		mqtt.TypePingreq: 0, mqtt.TypeDisconnect: 29, mqtt.TypeAuth: 3,
	} {
		n := 0
		for i := range 256 {
			if mqtt.ReasonCode(i).ValidFor(kind) {
				n++
			}
		}
		if n != want {
			t.Errorf("%v has %d reason codes, want %d", kind, n, want)
		}
	}
}

func TestReturnCode(t *testing.T) {
	for i := range 256 {
		c := mqtt.ReasonCode(i)
		five, ok := c.ReturnCode(mqtt.Version5)
		if ok != c.ValidFor(mqtt.TypeConnack) || five != byte(i) {
			t.Errorf("0x%02X in 5.0 is %d, %t", i, five, ok)
		}
		code, ok := c.ReturnCode(mqtt.Version311)
		if code > 5 || !ok && code != 0 || ok && (code == 0) != (i == 0) {
			t.Errorf("0x%02X in 3.1.1 is %d, %t", i, code, ok)
		}
		if older, okOlder := c.ReturnCode(mqtt.Version31); older != code || okOlder != ok {
			t.Errorf("0x%02X in 3.1 is %d, %t", i, older, okOlder)
		}
		t.Run("MQTT311-3.2.2-6", func(t *testing.T) {
			_, err := mqtt.Append(nil, &mqtt.Connack{Reason: c}, mqtt.Version311)
			if (err == nil) != ok {
				t.Errorf("CONNACK with %v: %v", c, err)
			}
		})
	}
}

func TestError(t *testing.T) {
	cause := io.ErrUnexpectedEOF
	err := fmt.Errorf("serving: %w", &mqtt.Error{Code: mqtt.ReasonNotAuthorized, Reason: "not you", Err: cause})
	if got, want := err.Error(), "serving: mqtt: Not authorized: not you: unexpected EOF"; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
	if !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonNotAuthorized}) || !errors.Is(err, cause) {
		t.Error("Is does not see the code and the cause")
	}
	if errors.Is(err, &mqtt.Error{Code: mqtt.ReasonBanned}) {
		t.Error("Is sees another code")
	}
	peer := &mqtt.Error{Code: mqtt.ReasonServerBusy, Remote: true}
	if got, want := peer.Error(), "mqtt: peer: Server busy"; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
}

func TestNames(t *testing.T) {
	for v, want := range map[mqtt.Version]string{
		3: "3.1", 4: "3.1.1", 5: "5.0", 0: "unknown version", 9: "unknown version",
	} {
		if got := v.String(); got != want {
			t.Errorf("Version(%d) is %q, want %q", v, got, want)
		}
	}
	for kind, want := range map[mqtt.PacketType]string{
		mqtt.TypeConnect: "CONNECT", mqtt.TypeAuth: "AUTH", 0: "packet type 0", 16: "packet type 16",
	} {
		if got := kind.String(); got != want {
			t.Errorf("packet type is %q, want %q", got, want)
		}
	}
}
