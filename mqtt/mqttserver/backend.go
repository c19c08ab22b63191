package mqttserver

import (
	"context"

	"github.com/quartet-mq/quartet/mqtt"
)

// Backend decides who may connect, and serves the sessions of those who may. It is safe for concurrent use.
//
// A backend that also implements [Authenticator] takes part in enhanced authentication.
type Backend interface {
	// Connect is called when a client has sent a CONNECT packet within the limits, in a goroutine of that connection;
	// it may block. ctx ends with the connect timeout and with the server.
	//
	// It may call the accessors of c, [Conn.Connect] first of all, and keep c; the other methods of c work from the
	// call of Session.Start on. When the client has another connection, Connect closes it (Disconnect with
	// ReasonSessionTakenOver) and waits until its Session.Closed is called, before it gives the state to this one.
	//
	// An error refuses the client: an *mqtt.Error chooses the reason code, its Reason is sent to version 5 clients. Any
	// other error becomes ReasonUnspecifiedError; it is logged and not sent. Beside an error an Accepted may be
	// returned for its Properties, which go into the CONNACK (a server reference, for example).
	Connect(ctx context.Context, c *Conn) (*Accepted, error)
}

// Accepted is a backend's consent to a connection.
type Accepted struct {
	Session Session
	// State is what the session keeps between connections; new(mqtt.State) for a new session, never nil. The server
	// uses it until Session.Closed is called.
	State *mqtt.State
	// Present tells the client that the server has its session.
	Present bool
	// ClientID is the identifier assigned to a client that sent none; empty otherwise. The server tells it to version
	// 5 clients.
	ClientID string
	// Properties are added to the CONNACK of version 5: session expiry interval, response information, user properties
	// and so on. The server itself adds the properties of its limits and the assigned client identifier.
	Properties mqtt.Properties
}

// Session serves one connection. The server calls its methods one at a time: those that answer packets in the order of
// the packets, from the goroutine that reads the connection. It holds no lock while it calls.
//
// The methods must not wait for a client or for another connection: whoever does so stops the reader of this
// connection. Everything that must wait, an acknowledgement for example, is answered later by the means given here.
//
// A Session may implement [Persister], [Subscriptions] and [StreamSession].
type Session interface {
	// Start is called once, first, when CONNACK and everything that is redelivered is on its way: send what is queued.
	Start(b *Batch)

	// Publish is called for each message from the client. p and its slices are valid during the call only; a topic
	// alias is resolved. The topic and its size are within the limits. At QoS 1 and 2 call ack.Done exactly once, now
	// or later, from any goroutine, when the message is owned (and durable, where that is promised). At QoS 0 ack does
	// nothing.
	Publish(b *Batch, p *mqtt.Publish, ack Ack)

	// Subscribe is called for each SUBSCRIBE. The filters are valid and within the limits and may be kept; those that
	// are not have been taken out, and the server puts their reason codes in the answer. Answer with [Conn.Suback] with
	// one reason for each of p.Filters, then send retained messages.
	Subscribe(b *Batch, p *mqtt.Subscribe)

	// Unsubscribe is called for each UNSUBSCRIBE. Answer with [Conn.Unsuback].
	Unsubscribe(b *Batch, p *mqtt.Unsubscribe)

	// Settled is called when the outbound QoS 1 or 2 message ref is done: reason is the client's last word.
	Settled(b *Batch, ref any, reason mqtt.ReasonCode)

	// Resend asks for the body of the outbound QoS 1 or 2 message ref, to send it again after a reconnect or to send it
	// once its barrier is passed. The result is used before the next call. ok is false when the message is gone: it is
	// settled then, without a call of Settled.
	Resend(ref any) (p *mqtt.Publish, ok bool)

	// Ready is called after [Conn.Publish] or [Conn.Offer] returned Refused and there is room again.
	Ready(b *Batch)

	// Closed is the last call. The connection is closed or about to be; its Conn does nothing any more and the State
	// is the backend's again. cause is nil when the client sent DISCONNECT with a normal reason or one that is not an
	// error; d is that DISCONNECT, nil when the client sent none. cause is an *mqtt.Error with its code where the
	// protocol has one, and wraps net.ErrClosed when the connection is lost.
	Closed(cause error, d *mqtt.Disconnect)
}

// Persister is implemented by a [Session] whose messages outlive the process. With it each step of QoS 2 waits until
// it is durable.
type Persister interface {
	// Persist makes a change of the session's State durable and then calls [Conn.Persisted] with token, now or later,
	// from any goroutine. Changes of one connection come in order, with growing tokens; the lazy ones need no answer. It
	// is called without locks, possibly from another connection's goroutine, at the flush of a batch.
	Persist(b *Batch, d Delta)
}

// Delta is a change of a session's [mqtt.State], see State.Apply.
type Delta struct {
	Delta mqtt.Delta
	ID    uint16
	QoS   mqtt.QoS
	Ref   any
	Token uint64 // 0 when nothing waits for it
}

// Subscriptions is implemented by a [Session] that knows its subscriptions. [Limits].MaxSubscriptions holds for such
// sessions only.
type Subscriptions interface {
	// Subscribed reports whether the session has a subscription with this filter, as it stands in the SUBSCRIBE.
	Subscribed(filter string) bool
	// Subscriptions returns how many subscriptions the session has.
	Subscriptions() int
}

// StreamSession is implemented by a [Session] that knows data streams: further streams of a connection (MQTT over QUIC) on
// which a client publishes and subscribes. The number of a data stream is a multiple of four below 1<<27, and not used again
// on its connection. Without it messages for subscriptions that were made on a data stream go on stream 0.
//
// By default what belongs to a data stream ends with it: its subscriptions, and its messages of QoS 1 and 2 that are in
// flight in both directions. [Session].Settled is called for those that were sent; an [Ack] does nothing any more. Where
// [Conn.KeepsStreams] reports true all that lives on in the session: messages are sent again on stream 0.
type StreamSession interface {
	// SubscribeStream is Session.Subscribe on a data stream, for subscriptions whose messages are to be sent there with
	// [Conn.PublishStream].
	SubscribeStream(b *Batch, stream uint64, p *mqtt.Subscribe)

	// StreamClosed is called when a data stream has ended while its connection goes on.
	StreamClosed(b *Batch, stream uint64)
}

// Authenticator is implemented by a [Backend] that offers enhanced authentication (section 4.12).
type Authenticator interface {
	// Auth begins an exchange for the method that the client named in CONNECT, or for a re-authentication (c is
	// connected then). An error refuses it as one from Connect does; an unknown method is ReasonBadAuthenticationMethod.
	Auth(ctx context.Context, c *Conn, method string) (AuthExchange, error)
}

// AuthExchange is one run of an authentication method. When the first one is done, Backend.Connect is called, where
// [Conn.Auth] returns it.
type AuthExchange interface {
	// Step takes the client's authentication data (nil when it sent none) and returns the server's. While done is
	// false the client is asked to go on; then out goes into the CONNACK or the last AUTH. It may block.
	Step(ctx context.Context, data []byte) (out []byte, done bool, err error)
}
