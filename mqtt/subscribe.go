package mqtt

import (
	"bytes"
	"strings"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/topic"
)

// Subscribe is the SUBSCRIBE packet (section 3.8). The decoder allocates the filters, they may be kept.
type Subscribe struct {
	ID         uint16
	Filters    []Subscription
	Properties Properties // version 5 only
}

// Subscription is a topic filter and its subscription options (section 3.8.3). Before version 5 only QoS counts.
type Subscription struct {
	Filter            string
	QoS               QoS // maximum QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    RetainHandling
}

// RetainHandling tells whether retained messages are sent when a subscription is made (section 3.8.3.1).
type RetainHandling uint8

// The values of RetainHandling.
const (
	RetainSend      RetainHandling = 0 // send them at each SUBSCRIBE
	RetainSendIfNew RetainHandling = 1 // send them only if the subscription did not exist
	RetainDontSend  RetainHandling = 2 // do not send them
)

// The subscription options (section 3.8.3.1).
const (
	optionNoLocal           = 1 << 2
	optionRetainAsPublished = 1 << 3
	optionRetainHandling    = 1 << 4 // two bits
	optionReserved          = 3 << 6
	optionReservedV3        = 0xff &^ 3
)

// Type returns [TypeSubscribe].
func (p *Subscribe) Type() PacketType { return TypeSubscribe }

func decodeSubscribe(b []byte, v Version) (Packet, error) {
	r := codec.NewReader(b)
	p := &Subscribe{ID: r.Uint16()}
	props, _, err := subscribeProps.read(&r, v)
	if err != nil {
		return nil, err
	}
	p.Properties = bytes.Clone(props)
	for r.Len() > 0 {
		s, err := readSubscription(&r, v)
		if err != nil {
			return nil, err
		}
		p.Filters = append(p.Filters, s)
	}
	if err := end(&r, nil); err != nil {
		return nil, err
	}
	return p, checkRequest(p.ID, len(p.Filters), TypeSubscribe)
}

// readSubscription reads a filter and its options. Failures of r are left to the caller.
func readSubscription(r *codec.Reader, v Version) (Subscription, error) {
	filter, err := readString(r, "topic filter")
	options := r.Uint8()
	if err != nil || r.Err() != nil {
		return Subscription{}, err
	}
	if v < Version5 && options&optionReservedV3 != 0 || options&optionReserved != 0 {
		return Subscription{}, errMalformed("subscription options have reserved bits") // [MQTT-3.8.3-5]
	}
	s := Subscription{
		Filter:            filter,
		QoS:               QoS(options & 3),
		NoLocal:           options&optionNoLocal != 0,
		RetainAsPublished: options&optionRetainAsPublished != 0,
		RetainHandling:    RetainHandling(options / optionRetainHandling & 3),
	}
	return s, s.checkFields(v)
}

// checkFields checks what remains when the filter is text and no reserved bit is set.
func (s *Subscription) checkFields(v Version) error {
	if err := checkFilter(s.Filter, v); err != nil {
		return err
	}
	switch {
	case s.QoS > QoS2 && v < Version5:
		return errMalformed("subscription has QoS 3") // [MQTT311-3.8.3-4]
	case s.QoS > QoS2:
		return errProtocol("subscription has QoS 3")
	case v < Version5:
		return nil
	case s.RetainHandling > RetainDontSend:
		return errProtocol("subscription has retain handling 3")
	case s.NoLocal && strings.HasPrefix(s.Filter, "$share/"):
		return errProtocol("shared subscription has no local") // [MQTT-3.8.3-4]
	}
	return nil
}

// checkFilter checks a topic filter that is text (sections 4.7 and 4.8).
func checkFilter(filter string, v Version) error {
	var err error
	shared := false
	if v >= Version5 { // earlier versions know nothing of shared subscriptions
		_, _, shared, err = topic.ParseShared(filter)
	}
	if !shared {
		err = topic.MQTT.ValidateFilter(filter)
	}
	if err != nil {
		return &Error{Code: ReasonTopicFilterInvalid, Err: err}
	}
	return nil
}

// checkRequest checks what SUBSCRIBE and UNSUBSCRIBE have in common.
func checkRequest(id uint16, filters int, t PacketType) error {
	switch {
	case id == 0:
		return errZeroID()
	case filters == 0:
		return errProtocol(t.String() + " has no topic filter") // [MQTT-3.8.3-2] [MQTT-3.10.3-2]
	}
	return nil
}

func (p *Subscribe) check(v Version) error {
	if _, err := subscribeProps.checkFor(p.Properties, v); err != nil {
		return err
	}
	for i := range p.Filters {
		s := &p.Filters[i]
		if err := checkString(s.Filter, "topic filter"); err != nil {
			return err
		}
		if err := s.checkFields(v); err != nil {
			return err
		}
	}
	return checkRequest(p.ID, len(p.Filters), TypeSubscribe)
}

func (s *Subscription) options(v Version) byte {
	b := byte(s.QoS & 3)
	if v < Version5 {
		return b
	}
	if s.NoLocal {
		b |= optionNoLocal
	}
	if s.RetainAsPublished {
		b |= optionRetainAsPublished
	}
	return b | byte(s.RetainHandling&3)*optionRetainHandling
}

func (p *Subscribe) appendTo(dst []byte, v Version) ([]byte, error) {
	start := len(dst)
	dst = append(begin(dst, byte(TypeSubscribe)<<4|TypeSubscribe.flags()), byte(p.ID>>8), byte(p.ID))
	dst = p.Properties.appendTo(dst, v)
	for i := range p.Filters {
		dst = codec.AppendString16(dst, p.Filters[i].Filter)
		dst = append(dst, p.Filters[i].options(v))
	}
	return finish(dst, start)
}

// String returns the text form of the packet.
func (p *Subscribe) String() string {
	b := appendNumber([]byte("SUBSCRIBE"), "id", p.ID)
	for i := range p.Filters {
		s := &p.Filters[i]
		b = appendString(b, "filter", s.Filter)
		b = appendNumber(b, "qos", s.QoS)
		b = appendFlag(b, "no-local", s.NoLocal)
		b = appendFlag(b, "retain-as-published", s.RetainAsPublished)
		if s.RetainHandling != RetainSend {
			b = appendNumber(b, "retain-handling", s.RetainHandling)
		}
	}
	return string(p.Properties.appendText(b, "props"))
}
