// Package amqp is what both versions of AMQP share: the protocol headers with which connections begin, and telling
// from the first bytes what a connection is about to speak. It performs no I/O, starts no goroutine, takes no lock and
// reads no clock.
package amqp
