// Package memnet is a network in memory for tests. Its listeners and connections behave like TCP ones (buffered, full
// duplex, half-close, deadlines, resets) and carry extra streams and datagrams besides (netio.Streams).
//
// Everything works inside a testing/synctest bubble: a goroutine that waits here is durably blocked, and latency,
// bandwidth and deadlines use the standard time. A listener or pipe belongs to the bubble in which it was made.
//
// Options give each direction of a connection a latency, a bandwidth and a Fault, which may drop, delay, alter or cut.
package memnet
