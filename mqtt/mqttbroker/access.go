package mqttbroker

import (
	"net"

	"github.com/quartet-mq/quartet/mqtt"
)

// Client is a client as the broker knows it. It is not changed once it is given away.
type Client struct {
	ID   string // client identifier
	User string // what the [Authenticator] returned
	// The rest is there while the client is connected.
	RemoteAddr net.Addr
	Listener   string
	Version    mqtt.Version
	Properties mqtt.Properties // of CONNECT, version 5 only
}

// Action is what a client wants to do with a topic.
type Action uint8

// The actions.
const (
	// ActionPublish: publish to the topic. Wills are asked for when the client connects and when they are due.
	ActionPublish Action = iota + 1
	// ActionSubscribe: subscribe to the topic filter. For a shared subscription it is the filter after the share name.
	ActionSubscribe
	// ActionReceive: get a message with this topic, by a subscription that was answered with [AllowEach].
	ActionReceive
)

// String returns "publish", "subscribe" or "receive".
func (a Action) String() string {
	switch a {
	case ActionPublish:
		return "publish"
	case ActionSubscribe:
		return "subscribe"
	case ActionReceive:
		return "receive"
	}
	return "unknown"
}

// Decision is the answer of [Permissions].
type Decision uint8

// The decisions.
const (
	// Deny refuses: with ReasonNotAuthorized where the protocol can say so.
	Deny Decision = iota
	// Allow permits. For [ActionSubscribe] it also means that every topic that matches the filter may be received: nothing is
	// asked at delivery.
	Allow
	// AllowEach permits a subscription; whether its messages may be received is asked for each topic.
	AllowEach
)

// Permissions say what one client may do. The broker calls them often, from many goroutines at a time, with locks held:
// they must be quick, must not block and must not call the broker. Answers about publishing are remembered for the
// topics that a connection used last, until [Broker.Reauthorize].
type Permissions func(a Action, topic string) Decision

// Authorizer returns the permissions of a client, nil if it has none. It is called when a client connects and, for all
// sessions, by [Broker.Reauthorize].
type Authorizer func(c *Client) Permissions

// everything is what clients may do without an Authorizer.
func everything(Action, string) Decision { return Allow }

// nothing is what clients with nil permissions may do.
func nothing(Action, string) Decision { return Deny }
