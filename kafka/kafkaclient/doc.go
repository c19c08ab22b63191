// Package kafkaclient is a Kafka client.
//
// [New] makes a [Client]: the connections to the brokers of a cluster, and what is known about it. It connects when there
// is something to do. Producers, consumers and [Admin] work on top of it and share it.
//
// # Errors
//
// What a broker says is a *kafka.Error with Remote set, which wraps its code: errors.Is(err,
// kafkawire.ErrTopicAuthorizationFailed). What happened to a connection is a [*ConnError]. [Retriable] tells whether it
// can succeed later, and [Fatal] whether it never will. Errors that pass are tried again by the client itself, for as long
// as a ctx and the options allow.
//
// # Concurrency
//
// All methods of all types may be called concurrently, unless they say otherwise.
package kafkaclient
