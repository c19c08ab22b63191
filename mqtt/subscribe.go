package mqtt

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

// Suback is the SUBACK packet (section 3.9): one reason for each filter of the SUBSCRIBE, in its order.
type Suback struct {
	ID         uint16
	Reasons    []ReasonCode
	Properties Properties // version 5 only
}

// Unsubscribe is the UNSUBSCRIBE packet (section 3.10).
type Unsubscribe struct {
	ID         uint16
	Filters    []string
	Properties Properties // version 5 only
}

// Unsuback is the UNSUBACK packet (section 3.11). Before version 5 it has no reasons.
type Unsuback struct {
	ID         uint16
	Reasons    []ReasonCode
	Properties Properties // version 5 only
}
