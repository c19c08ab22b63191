package mqtt

// Unsuback is the UNSUBACK packet (section 3.11): one reason for each filter of the UNSUBSCRIBE, in its order. Before
// version 5 it has no reasons; they are not sent.
type Unsuback struct {
	ID         uint16
	Reasons    []ReasonCode
	Properties Properties // version 5 only
}

// Type returns [TypeUnsuback].
func (p *Unsuback) Type() PacketType { return TypeUnsuback }

func decodeUnsuback(b []byte, v Version) (Packet, error) {
	p := new(Unsuback)
	var err error
	p.ID, p.Properties, p.Reasons, err = decodeReasons(b, v)
	switch {
	case err != nil:
		return nil, err
	case v >= Version5:
		return p, checkReasons(p.ID, p.Reasons, TypeUnsuback)
	case p.ID == 0:
		return nil, errZeroID()
	case len(p.Reasons) > 0:
		return nil, errTrailing()
	}
	return p, nil
}

func (p *Unsuback) check(v Version) error {
	if _, err := ackProps.checkFor(p.Properties, v); err != nil {
		return err
	}
	if v >= Version5 {
		return checkReasons(p.ID, p.Reasons, TypeUnsuback)
	}
	if p.ID == 0 {
		return errZeroID()
	}
	return nil
}

func (p *Unsuback) appendTo(dst []byte, v Version) ([]byte, error) {
	start := len(dst)
	dst = append(begin(dst, byte(TypeUnsuback)<<4), byte(p.ID>>8), byte(p.ID))
	dst = p.Properties.appendTo(dst, v)
	if v >= Version5 {
		for _, c := range p.Reasons {
			dst = append(dst, byte(c))
		}
	}
	return finish(dst, start)
}

// String returns the text form of the packet.
func (p *Unsuback) String() string {
	b := appendNumber([]byte("UNSUBACK"), "id", p.ID)
	if len(p.Reasons) > 0 {
		b = appendReasons(b, p.Reasons)
	}
	return string(p.Properties.appendText(b, "props"))
}
