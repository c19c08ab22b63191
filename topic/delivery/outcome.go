package delivery

import "strconv"

// Outcome is how a delivery ended (AMQP 1.0 section 3.4). The zero value says
// that it has not ended yet.
type Outcome uint8

const (
	// Accepted means that the receiver took the message: PUBACK, PUBREC and
	// PUBCOMP with a reason code below 0x80, basic.ack.
	Accepted Outcome = iota + 1

	// Rejected means that the message is invalid and must not be sent again:
	// PUBACK and PUBREC with a reason code of 0x80 or above, basic.nack and
	// basic.reject without requeue.
	Rejected

	// Released means that the receiver did not and will not process the
	// message, which may go to anybody again: basic.reject with requeue.
	Released

	// Modified is Released with changes, such as a failed attempt to count.
	Modified
)

// String returns the word of AMQP 1.0, such as "accepted", or "none" for the
// zero value.
func (o Outcome) String() string {
	switch o {
	case 0:
		return "none"
	case Accepted:
		return "accepted"
	case Rejected:
		return "rejected"
	case Released:
		return "released"
	case Modified:
		return "modified"
	}
	return "Outcome(" + strconv.Itoa(int(o)) + ")"
}
