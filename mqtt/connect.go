package mqtt

import (
	"bytes"
	"strconv"

	"github.com/quartet-mq/quartet/codec"
)

// Connect is the CONNECT packet (section 3.1). The decoder allocates its strings and slices, they may be kept.
type Connect struct {
	Version    Version // protocol level; chooses the format of the whole packet
	CleanStart bool    // Clean Session in 3.1 and 3.1.1
	KeepAlive  uint16  // seconds, 0 is off
	ClientID   string
	// Will is nil without a will message.
	Will *Will
	// Username and Password count when HasUsername and HasPassword are set. MQTT 3.1 and 3.1.1 allow a password only
	// beside a user name.
	Username    string
	Password    []byte
	HasUsername bool
	HasPassword bool
	Properties  Properties // version 5 only
}

// Will is the will message of a CONNECT packet (sections 3.1.2.5 and 3.1.3.2).
type Will struct {
	Topic      string
	Payload    []byte
	QoS        QoS
	Retain     bool
	Properties Properties // version 5 only
}

// The connect flags (section 3.1.2.3).
const (
	connectReserved   = 1 << 0
	connectCleanStart = 1 << 1
	connectWill       = 1 << 2
	connectWillQoS    = 1 << 3 // two bits
	connectWillRetain = 1 << 5
	connectPassword   = 1 << 6
	connectUsername   = 1 << 7
)

// protocolName returns the name that goes with the protocol level.
func (v Version) protocolName() string {
	if v == Version31 {
		return "MQIsdp"
	}
	return "MQTT"
}

// Type returns [TypeConnect].
func (p *Connect) Type() PacketType { return TypeConnect }

// decodeConnect returns the packet with an error too: its Version says in which version to answer.
func decodeConnect(b []byte) (Packet, error) {
	p := new(Connect)
	r := codec.NewReader(b)
	name, level := r.Bytes16(), Version(r.Uint8())
	if r.Err() != nil {
		return p, end(&r, nil)
	}
	p.Version = level &^ 0x80 // some bridges set this bit; refused, in that version, they try without
	if checkVersion(level) != nil || string(name) != level.protocolName() {
		return p, &Error{Code: ReasonUnsupportedProtocolVersion, Reason: "no such protocol name and level"}
	}
	flags := r.Uint8()
	p.KeepAlive = r.Uint16()
	if r.Err() == nil {
		if err := checkConnectFlags(flags, level); err != nil {
			return p, err
		}
	}
	return p, end(&r, p.decodeFields(&r, flags))
}

// checkConnectFlags checks which flags go together.
func checkConnectFlags(flags byte, v Version) error {
	willQoS := flags / connectWillQoS & 3
	switch {
	case flags&connectReserved != 0 && v != Version31: // not used there
		return errMalformed("CONNECT has a reserved flag") // [MQTT-3.1.2-3]
	case flags&connectWill == 0 && (willQoS != 0 || flags&connectWillRetain != 0):
		return errMalformed("CONNECT has will flags without a will") // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
	case willQoS > 2:
		return errMalformed("will has QoS 3") // [MQTT-3.1.2-12]
	case v < Version5 && flags&connectPassword != 0 && flags&connectUsername == 0:
		return errMalformed("CONNECT has a password without a user name") // [MQTT311-3.1.2-22]
	}
	return nil
}

// decodeFields decodes what follows the keep alive. Failures of r are left to the caller.
func (p *Connect) decodeFields(r *codec.Reader, flags byte) error {
	props, seen, err := connectProps.read(r, p.Version)
	if err == nil {
		err = seen.checkAuthentication()
	}
	if err != nil {
		return err
	}
	p.Properties = bytes.Clone(props)
	p.CleanStart = flags&connectCleanStart != 0
	if p.ClientID, err = readString(r, "client identifier"); err != nil {
		return err
	}
	if flags&connectWill != 0 {
		p.Will = &Will{QoS: QoS(flags / connectWillQoS & 3), Retain: flags&connectWillRetain != 0}
		if err := p.Will.decode(r, p.Version); err != nil {
			return err
		}
	}
	// In MQTT 3.1 the packet may end before the user name and the password that its flags announce (section 3.1).
	if flags&connectUsername != 0 && (r.Len() > 0 || p.Version > Version31) {
		p.HasUsername = true
		if p.Username, err = readString(r, "user name"); err != nil {
			return err
		}
	}
	if flags&connectPassword != 0 && (r.Len() > 0 || p.Version > Version31) {
		p.HasPassword = true
		p.Password = bytes.Clone(r.Bytes16())
	}
	if r.Err() != nil || r.Len() > 0 {
		return nil
	}
	return p.checkClientID()
}

func (w *Will) decode(r *codec.Reader, v Version) error {
	props, _, err := willProps.read(r, v)
	if err != nil {
		return err
	}
	w.Properties = bytes.Clone(props)
	if w.Topic, err = readString(r, "will topic"); err != nil {
		return err
	}
	w.Payload = bytes.Clone(r.Bytes16())
	if r.Err() != nil {
		return nil
	}
	return w.checkTopic()
}

// checkTopic checks that the topic is a topic name.
func (w *Will) checkTopic() error {
	if len(w.Topic) == 0 {
		return errTopicName("will topic is empty") // [MQTT-4.7.3-1]
	}
	return checkName([]byte(w.Topic))
}

// checkClientID checks when the client identifier may be empty.
func (p *Connect) checkClientID() error {
	switch {
	case p.ClientID != "" || p.Version >= Version5:
		return nil
	case p.Version == Version31:
		return &Error{Code: ReasonClientIdentifierNotValid, Reason: "client identifier is empty"}
	case !p.CleanStart: // [MQTT311-3.1.3-7]
		return &Error{Code: ReasonClientIdentifierNotValid, Reason: "client identifier is empty in a kept session"}
	}
	return nil
}

// readString reads a UTF-8 encoded string.
func readString(r *codec.Reader, what string) (string, error) {
	b := r.Bytes16()
	if !validText(b) {
		return "", errMalformed(what + " is not a UTF-8 encoded string")
	}
	return string(b), nil
}

// checkString checks a string that is to be sent.
func checkString(s, what string) error {
	if len(s) > maxString {
		return errLong(what)
	}
	if !validText([]byte(s)) {
		return errMalformed(what + " is not a UTF-8 encoded string")
	}
	return nil
}

func (p *Connect) check(v Version) error {
	v = p.version(v)
	seen, err := connectProps.checkFor(p.Properties, v)
	if err != nil {
		return err
	}
	if err := seen.checkAuthentication(); err != nil {
		return err
	}
	if err := checkConnectFlags(p.flags(), v); err != nil {
		return err
	}
	if err := checkString(p.ClientID, "client identifier"); err != nil {
		return err
	}
	if err := p.checkClientID(); err != nil {
		return err
	}
	if p.Will != nil {
		if err := p.Will.check(v); err != nil {
			return err
		}
	}
	if p.HasUsername {
		if err := checkString(p.Username, "user name"); err != nil {
			return err
		}
	}
	if p.HasPassword && len(p.Password) > maxString {
		return errLong("password")
	}
	return nil
}

func (w *Will) check(v Version) error {
	if w.QoS > QoS2 {
		return errMalformed("will has QoS 3")
	}
	if _, err := willProps.checkFor(w.Properties, v); err != nil {
		return err
	}
	if err := checkString(w.Topic, "will topic"); err != nil {
		return err
	}
	if len(w.Payload) > maxString {
		return errLong("will payload")
	}
	return w.checkTopic()
}

// version returns the version to encode in.
func (p *Connect) version(v Version) Version {
	if p.Version != 0 {
		return p.Version
	}
	return v
}

func (p *Connect) flags() byte {
	flags := byte(0)
	if p.CleanStart {
		flags |= connectCleanStart
	}
	if p.Will != nil {
		flags |= connectWill | byte(p.Will.QoS&3)*connectWillQoS
		if p.Will.Retain {
			flags |= connectWillRetain
		}
	}
	if p.HasPassword {
		flags |= connectPassword
	}
	if p.HasUsername {
		flags |= connectUsername
	}
	return flags
}

func (p *Connect) appendTo(dst []byte, v Version) ([]byte, error) {
	v = p.version(v)
	start := len(dst)
	dst = codec.AppendString16(begin(dst, byte(TypeConnect)<<4), v.protocolName())
	dst = append(dst, byte(v), p.flags(), byte(p.KeepAlive>>8), byte(p.KeepAlive))
	dst = p.Properties.appendTo(dst, v)
	dst = codec.AppendString16(dst, p.ClientID)
	if p.Will != nil {
		dst = p.Will.Properties.appendTo(dst, v)
		dst = codec.AppendString16(dst, p.Will.Topic)
		dst = codec.AppendBytes16(dst, p.Will.Payload)
	}
	if p.HasUsername {
		dst = codec.AppendString16(dst, p.Username)
	}
	if p.HasPassword {
		dst = codec.AppendBytes16(dst, p.Password)
	}
	return finish(dst, start)
}

// String returns the text form of the packet.
func (p *Connect) String() string {
	b := append([]byte("CONNECT version="), p.Version.String()...)
	b = appendFlag(b, "clean-start", p.CleanStart)
	b = appendNumber(b, "keep-alive", p.KeepAlive)
	b = appendString(b, "client-id", p.ClientID)
	if p.HasUsername {
		b = appendString(b, "username", p.Username)
	}
	if p.HasPassword {
		b = appendSecret(append(b, " password="...), p.Password)
	}
	b = p.Properties.appendText(b, "props")
	if w := p.Will; w != nil {
		b = append(b, " will={"...)
		b = append(b, "qos="...)
		b = strconv.AppendUint(b, uint64(w.QoS), 10)
		b = appendFlag(b, "retain", w.Retain)
		b = appendString(b, "topic", w.Topic)
		b = appendBlob(append(b, " payload="...), w.Payload)
		b = append(w.Properties.appendText(b, "props"), '}')
	}
	return string(b)
}
