package amqpserver

import (
	"context"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Backend decides who may connect, and serves the sessions of those who may. It is safe for concurrent use.
type Backend interface {
	// Authenticate checks who a client is and returns the name of its user. It is called in a goroutine of the
	// connection and may block; ctx ends with the handshake timeout and with the server.
	//
	// Any error refuses the client in the same words, 403 ACCESS_REFUSED, whatever it says; it is logged.
	Authenticate(ctx context.Context, c *Conn, a *Auth) (user string, err error)

	// Open is called when the client opens a virtual host. It may block as Authenticate may, and keep c, whose methods
	// that send work from the call of Session.Start on. An *amqp091.Error refuses the client with its code, any other
	// error becomes 541 INTERNAL_ERROR; it is logged and not sent.
	Open(ctx context.Context, c *Conn, vhost string) (Session, error)
}

// Auth is what a client says about itself.
type Auth struct {
	Mechanism string // "PLAIN", "AMQPLAIN", "EXTERNAL" or "ANONYMOUS"
	User      string // with EXTERNAL the user of the certificate, see [Options]; with ANONYMOUS empty
	Password  string // of PLAIN and AMQPLAIN
}

// Session serves one connection. The server calls its methods one at a time: those that answer the client in the order
// in which it sent, from the goroutine that reads the connection. It holds no lock while it calls.
//
// The methods must not wait for a client or for another connection: whoever does so stops the reader of this
// connection. Everything that must wait is answered later by the methods of [Channel] and [Conn], from any goroutine.
//
// Where a method returns an error, an *amqp091.Error closes the channel or, if it is Hard, the connection; the server
// fills in which method failed. Any other error closes the connection with 541 INTERNAL_ERROR; it is logged and not sent.
//
// The server itself answers basic.qos, basic.recover, confirm.select, tx.select, channel.flow and access.request; it
// checks the delivery tags, the order of methods and contents, and what is not implemented.
//
// A Session may implement [Flusher] and [SecretUpdater].
type Session interface {
	// Start is called once, first, when connection.open-ok is on its way.
	Start(b *Batch)

	// OpenChannel is called for each channel.open. channel.open-ok follows unless it fails. The backend may keep ch and
	// use its Value.
	OpenChannel(b *Batch, ch *Channel) error

	// Method is called for the methods of the classes exchange and queue, and for basic.consume, basic.cancel,
	// basic.get, tx.commit and tx.rollback. m and everything in it may be kept. Answer with [Channel.Reply] (or
	// [Channel.GetOK]), now or later, unless the method has NoWait; the answers must be in the order of the methods.
	//
	// After tx.rollback the deliveries that the transaction settled are unsettled again: their references are open as if
	// Settled had not been called. An error of tx.commit says that nothing of the transaction was done: CloseChannel has
	// its references, too.
	Method(b *Batch, ch *Channel, m amqp091.Method) error

	// Publish is called for each message from the client. p and its slices are valid during the call only. When p.Seq is
	// not 0, call [Channel.Confirm] with it exactly once, now or later, from any goroutine, when the message is owned
	// (and durable, where that is promised). On a transactional channel the message is the transaction's.
	//
	// The properties are well-formed; what they say (expiration, user-id, CC) is for the backend to check.
	Publish(b *Batch, ch *Channel, p *Publish) error

	// Settled is called when the client has settled deliveries: refs are the references that were given to
	// [Channel.Deliver] and [Channel.GetOK], in the order of the delivery tags. The slice is valid during the call. On a
	// transactional channel the settlement is the transaction's, see Method, unless it is Recovered.
	Settled(b *Batch, ch *Channel, refs []any, s Settlement)

	// Ready is called when [Channel.Deliver] has said no on this channel and may say yes again.
	Ready(b *Batch, ch *Channel)

	// CloseChannel is called once for each channel that OpenChannel accepted, when the channel or the connection is
	// closed by whomever. refs are the references of deliveries that were not settled, in the order of the tags; those of
	// a transaction that was not committed are among them. The consumers have ended. The answer to the client's
	// channel.close follows the return.
	CloseChannel(b *Batch, ch *Channel, refs []any)

	// Closed is the last call, after CloseChannel for each channel; the only one when the connection ended during Open. The
	// connection is closed or about to be; its Conn does nothing any more. The answer to the client's connection.close
	// follows the return. cause is nil when the client closed the connection with code 200; otherwise it is an
	// *amqp091.Error with its code where the protocol has one, and wraps net.ErrClosed when the connection is lost.
	Closed(cause error)
}

// Flusher is implemented by a [Session] that gathers work.
type Flusher interface {
	// Flush is called when all that was read at once has been handled, before the batch is flushed; not after Closed.
	Flush(b *Batch)
}

// SecretUpdater is implemented by a [Session] that takes new secrets from clients (connection.update-secret). Without it
// the connection is closed with 530 NOT_ALLOWED.
type SecretUpdater interface {
	// UpdateSecret checks the new secret. An error closes the connection as in the other methods. It may block; ctx ends
	// with the connection, and after Limits.HandshakeTimeout.
	UpdateSecret(ctx context.Context, b *Batch, secret []byte, reason string) error
}

// Publish is a message from a client. Its slices are valid during the call of Session.Publish.
type Publish struct {
	Exchange   []byte
	RoutingKey []byte
	Mandatory  bool // return it when it goes to no queue, see [Channel.Return]
	Properties amqp091.RawProperties
	Body       []byte
	// Owned says that the server does not use Body after the call: the backend may keep it. It is so for bodies that came
	// in several frames.
	Owned bool
	Seq   uint64 // its number for [Channel.Confirm]; 0: no confirm is expected
}

// Delivery is a message to a client. The strings and slices are used during the call only, but for a Body longer than
// [LargeBody], which is sent from where it is: it must never change any more.
type Delivery struct {
	Exchange    string
	RoutingKey  string
	Redelivered bool
	Properties  amqp091.RawProperties
	Body        []byte
}

// Settlement is what a client did with deliveries.
type Settlement = amqp091.Settlement

const (
	// Acked: basic.ack.
	Acked = amqp091.Acked
	// Rejected: basic.reject or basic.nack without requeue. Drop the message or dead-letter it.
	Rejected = amqp091.Rejected
	// Requeued: basic.reject or basic.nack with requeue. Put the message back in its place.
	Requeued = amqp091.Requeued
	// Recovered: basic.recover. Put the message back in its place; at once also on a transactional channel.
	Recovered = amqp091.Recovered
)
