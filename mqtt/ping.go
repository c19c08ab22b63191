package mqtt

// Pingreq is the PINGREQ packet (section 3.12).
type Pingreq struct{}

// Pingresp is the PINGRESP packet (section 3.13).
type Pingresp struct{}

// Type returns [TypePingreq].
func (p *Pingreq) Type() PacketType { return TypePingreq }

// Type returns [TypePingresp].
func (p *Pingresp) Type() PacketType { return TypePingresp }

// String returns the text form of the packet.
func (p *Pingreq) String() string { return "PINGREQ" }

// String returns the text form of the packet.
func (p *Pingresp) String() string { return "PINGRESP" }

func decodePing(t PacketType, b []byte) (Packet, error) {
	if len(b) > 0 {
		return nil, errTrailing()
	}
	if t == TypePingreq {
		return &Pingreq{}, nil
	}
	return &Pingresp{}, nil
}

func (p *Pingreq) check(v Version) error  { return checkVersion(v) }
func (p *Pingresp) check(v Version) error { return checkVersion(v) }

func (p *Pingreq) appendTo(dst []byte, _ Version) ([]byte, error) {
	return append(dst, byte(TypePingreq)<<4, 0), nil
}

func (p *Pingresp) appendTo(dst []byte, _ Version) ([]byte, error) {
	return append(dst, byte(TypePingresp)<<4, 0), nil
}
