package delivery

import "math"

// Unlimited is the credit that does not run out, see [Credit.Set].
const Unlimited = math.MaxInt64

// Credit is how many more deliveries may be sent: link credit of AMQP 1.0
// (section 2.6.7), the send quota below MQTT's receive maximum, prefetch of
// AMQP 0-9-1. A sender takes credit for each delivery. A receiver that keeps a
// Credit of its own takes for each delivery that arrives, and the peer has sent
// too much when there is none.
//
// The zero value has no credit. It is not safe for concurrent use.
type Credit struct {
	balance int64
	count   uint32
}

// Set makes the credit n, which may be [Unlimited]. A negative n is a debt that
// grants pay first: a prefetch lowered to 10 with 15 unsettled is Set(-5).
func (c *Credit) Set(n int64) { c.balance = n }

// Grant adds n: what a settled delivery gives back, or more. A negative n takes
// back. It changes nothing while the credit is unlimited.
func (c *Credit) Grant(n int64) {
	if c.balance == Unlimited {
		return
	}
	sum := c.balance + n
	switch {
	case n > 0 && (sum < c.balance || sum == Unlimited):
		sum = Unlimited - 1
	case n < 0 && sum > c.balance:
		sum = math.MinInt64
	}
	c.balance = sum
}

// Flow sets the credit from the flow of an AMQP 1.0 receiver: its
// delivery-count and link-credit. Deliveries that the receiver had not seen
// when it sent the flow are subtracted; what it took back below them is a debt.
func (c *Credit) Flow(count, credit uint32) {
	inFlight := int32(c.count - count) // serial number arithmetic of RFC 1982
	c.balance = int64(credit) - int64(inFlight)
}

// Take takes one credit, or reports false when there is none.
func (c *Credit) Take() bool {
	if c.balance <= 0 {
		return false
	}
	if c.balance != Unlimited {
		c.balance--
	}
	c.count++
	return true
}

// Drain takes all credit that is left, as a sender with nothing to send does
// when the receiver asks for it, and returns how much that was. Unlimited
// credit cannot be drained: it stays, and Drain returns 0.
func (c *Credit) Drain() int64 {
	n := c.Available()
	if n == Unlimited {
		return 0
	}
	c.balance -= n
	c.count += uint32(n)
	return n
}

// Available returns how much there is to take, 0 when there is a debt.
func (c *Credit) Available() int64 { return max(c.balance, 0) }

// Count returns how much has been taken and drained since the beginning, as a
// 32-bit serial number: the delivery-count of an AMQP 1.0 link.
func (c *Credit) Count() uint32 { return c.count }

// SetCount sets [Credit.Count], such as to the initial-delivery-count of a link.
func (c *Credit) SetCount(n uint32) { c.count = n }
