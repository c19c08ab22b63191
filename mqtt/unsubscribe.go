package mqtt

import (
	"bytes"

	"github.com/quartet-mq/quartet/codec"
)

// Unsubscribe is the UNSUBSCRIBE packet (section 3.10). The decoder allocates the filters, they may be kept.
type Unsubscribe struct {
	ID         uint16
	Filters    []string
	Properties Properties // version 5 only
}

// Type returns [TypeUnsubscribe].
func (p *Unsubscribe) Type() PacketType { return TypeUnsubscribe }

func decodeUnsubscribe(b []byte, v Version) (Packet, error) {
	r := codec.NewReader(b)
	p := &Unsubscribe{ID: r.Uint16()}
	props, _, err := unsubscribeProps.read(&r, v)
	if err != nil {
		return nil, err
	}
	p.Properties = bytes.Clone(props)
	for r.Len() > 0 {
		filter, err := readString(&r, "topic filter")
		if err != nil {
			return nil, err
		}
		if r.Err() != nil {
			break
		}
		if err := checkFilter(filter, v); err != nil {
			return nil, err
		}
		p.Filters = append(p.Filters, filter)
	}
	if err := end(&r, nil); err != nil {
		return nil, err
	}
	return p, checkRequest(p.ID, len(p.Filters), TypeUnsubscribe)
}

func (p *Unsubscribe) check(v Version) error {
	if _, err := unsubscribeProps.checkFor(p.Properties, v); err != nil {
		return err
	}
	for _, filter := range p.Filters {
		if err := checkString(filter, "topic filter"); err != nil {
			return err
		}
		if err := checkFilter(filter, v); err != nil {
			return err
		}
	}
	return checkRequest(p.ID, len(p.Filters), TypeUnsubscribe)
}

func (p *Unsubscribe) appendTo(dst []byte, v Version) ([]byte, error) {
	start := len(dst)
	dst = append(begin(dst, byte(TypeUnsubscribe)<<4|TypeUnsubscribe.flags()), byte(p.ID>>8), byte(p.ID))
	dst = p.Properties.appendTo(dst, v)
	for _, filter := range p.Filters {
		dst = codec.AppendString16(dst, filter)
	}
	return finish(dst, start)
}

// String returns the text form of the packet.
func (p *Unsubscribe) String() string {
	b := appendNumber([]byte("UNSUBSCRIBE"), "id", p.ID)
	for _, filter := range p.Filters {
		b = appendString(b, "filter", filter)
	}
	return string(p.Properties.appendText(b, "props"))
}
