package mqttbroker

import (
	"context"

	"github.com/quartet-mq/quartet/mqtt"
)

// Hooks take part in what the broker does. Each may be nil. They are called from many goroutines at a time.
type Hooks struct {
	// OnPublish is called for each message that a client, a will or [Broker.Publish] publishes, after authorisation and
	// before anything else, on the goroutine of the publisher: the others of this publisher wait meanwhile. It may
	// change p.Message, whose slices are valid during the call, and may call the broker. An error rejects the message;
	// an *mqtt.Error chooses the reason code that a version 5 publisher gets at QoS 1 and 2, if it is one for PUBACK.
	OnPublish func(ctx context.Context, p *Publishing) error
	// OnDeliver is called before a message is sent to a client, or queued for it. Returning false withholds it. It is
	// called with locks held: it must be quick, must not keep or change the message and must not call the broker.
	OnDeliver func(client string, p *mqtt.Publish) bool
}

// Publishing is a message that is about to be accepted.
type Publishing struct {
	// Client is who publishes, nil for the application itself.
	Client *Client
	// Will tells that the message is a will.
	Will bool
	// Sequence is the number of the message: greater than those of the messages that this publisher published before.
	Sequence uint64
	// Message is what is published. Its properties hold the user properties. A hook may point its fields elsewhere; it
	// must not write into the slices.
	Message *mqtt.Publish
}

// Events tell what happens. Each may be nil. They are called synchronously, some with locks held: they must be quick and
// must not call the broker.
type Events struct {
	// Connected: a client is connected; present tells that it has resumed its session.
	Connected func(c *Client, present bool)
	// Disconnected: the connection has ended; cause is nil when the client said goodbye.
	Disconnected func(c *Client, cause error)
	// SessionCreated and SessionEnded: a session begins; it ends, for the given reason.
	SessionCreated func(client string)
	SessionEnded   func(client string, why End)
	// Subscribed and Unsubscribed: a client's subscription was made or replaced; it was removed by UNSUBSCRIBE.
	Subscribed   func(c *Client, s mqtt.Subscription)
	Unsubscribed func(c *Client, filter string)
	// Dropped: a message does not reach a client. topic is valid during the call; it is empty when the message is not in
	// memory.
	Dropped func(client, topic string, why Drop)
}

// End says why a session ended.
type End uint8

// The reasons of [Events].SessionEnded.
const (
	EndExpired  End = iota + 1 // the session expiry interval has passed, or was zero
	EndReplaced                // the client asked for a clean start
	EndDeleted                 // [Broker.DeleteSession]
)

// String returns "expired", "replaced" or "deleted".
func (e End) String() string {
	switch e {
	case EndExpired:
		return "expired"
	case EndReplaced:
		return "replaced"
	case EndDeleted:
		return "deleted"
	}
	return "unknown"
}

// Drop says why a message was dropped.
type Drop uint8

// The reasons of [Events].Dropped.
const (
	DropQueueFull  Drop = iota + 1 // the queue of the session is full
	DropExpired                    // its expiry interval has passed while it waited
	DropTooLarge                   // larger than the client's maximum packet size
	DropSlow                       // QoS 0, and the client does not read fast enough
	DropEnded                      // the session ended while it waited
	DropDenied                     // the client may not receive it any more
	DropUnreadable                 // the journal cannot read it; that is logged
)

// String returns the reason in a few words.
func (d Drop) String() string {
	switch d {
	case DropQueueFull:
		return "queue full"
	case DropExpired:
		return "expired"
	case DropTooLarge:
		return "too large"
	case DropSlow:
		return "slow client"
	case DropEnded:
		return "session ended"
	case DropDenied:
		return "not authorized"
	case DropUnreadable:
		return "unreadable"
	}
	return "unknown"
}
