// Package amqptest helps to test programs that speak AMQP 0-9-1.
//
//   - [NewBroker] starts a real broker for one test, in memory or on a loopback port.
//   - [NewPeer] is one end of a connection that the test plays by hand, as a client or as a server: it expects and sends
//     methods and messages, legal or not, and says readably what was wrong.
//   - [Faults] make connections drop, delay, cut, corrupt or replace frames and messages, and refuse to be made.
//   - [Trace] records what goes over the wire and compares it with a golden file.
//
// Everything works inside a testing/synctest bubble, where waiting takes no time, as long as connections are in memory.
package amqptest
