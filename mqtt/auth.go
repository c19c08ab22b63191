package mqtt

// Auth is the AUTH packet of version 5 (section 3.15).
type Auth struct {
	Reason     ReasonCode
	Properties Properties
}

// Type returns [TypeAuth].
func (p *Auth) Type() PacketType { return TypeAuth }

func decodeAuth(b []byte) (Packet, error) {
	reason, props, seen, err := decodeEnd(b, TypeAuth, authProps)
	if err != nil {
		return nil, err
	}
	p := &Auth{Reason: reason, Properties: props}
	return p, p.checkFields(seen)
}

// checkFields checks that there is an authentication method. Only AUTH with reason success and nothing else, of which
// section 3.15.2.1 has a form without anything, does without.
func (p *Auth) checkFields(seen propertySet) error {
	if !seen.has(PropAuthenticationMethod) && (p.Reason != ReasonSuccess || len(p.Properties) > 0) {
		return errProtocol("AUTH has no authentication method")
	}
	return nil
}

func (p *Auth) check(v Version) error {
	if v < Version5 {
		return errProtocol("MQTT " + v.String() + " has no AUTH")
	}
	if !p.Reason.ValidFor(TypeAuth) {
		return errReason(TypeAuth, p.Reason) // [MQTT-3.15.2-1]
	}
	seen, err := authProps.checkFor(p.Properties, v)
	if err != nil {
		return err
	}
	return p.checkFields(seen)
}

func (p *Auth) appendTo(dst []byte, _ Version) ([]byte, error) {
	return appendEnd(dst, TypeAuth, p.Reason, p.Properties, Version5)
}

// String returns the text form of the packet.
func (p *Auth) String() string {
	b := appendReason([]byte("AUTH"), p.Reason)
	return string(p.Properties.appendText(b, "props"))
}
