package amqp

// Opening is what the first bytes of a connection tell.
type Opening uint8

// What a connection begins with.
const (
	// OpeningShort: more bytes are needed.
	OpeningShort Opening = iota
	// OpeningHeader: a protocol header that is known.
	OpeningHeader
	// OpeningVersion: a protocol header of a version or a protocol that is not known.
	OpeningVersion
	// OpeningTLS: a TLS handshake, without a protocol header before it.
	OpeningTLS
	// OpeningOther: something else.
	OpeningOther
)

// String returns the name of the opening.
func (o Opening) String() string {
	switch o {
	case OpeningShort:
		return "more bytes needed"
	case OpeningHeader:
		return "protocol header"
	case OpeningVersion:
		return "protocol header of an unknown version"
	case OpeningTLS:
		return "TLS handshake"
	}
	return "no AMQP"
}

// Detect tells what a connection begins with. b is what has arrived so far; it fails as early as it can, so that
// nobody waits for the rest of what is no AMQP. The header is set for OpeningHeader only; it takes [HeaderSize] bytes.
func Detect(b []byte) (Opening, Header) {
	if len(b) == 0 {
		return OpeningShort, ""
	}
	if b[0] == 0x16 { // a TLS record of type handshake, version 3.x
		if len(b) > 1 && b[1] != 3 {
			return OpeningOther, ""
		}
		if len(b) == 1 {
			return OpeningShort, ""
		}
		return OpeningTLS, ""
	}
	const name = "AMQP"
	if n := min(len(b), len(name)); string(b[:n]) != name[:n] {
		return OpeningOther, ""
	}
	if len(b) < HeaderSize {
		return OpeningShort, ""
	}
	switch Header(b[:HeaderSize]) {
	case Header091:
		return OpeningHeader, Header091
	case Header10:
		return OpeningHeader, Header10
	case HeaderSASL:
		return OpeningHeader, HeaderSASL
	case HeaderTLS:
		return OpeningHeader, HeaderTLS
	}
	return OpeningVersion, ""
}
