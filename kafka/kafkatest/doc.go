// Package kafkatest has Kafka brokers for tests.
//
// [NewBroker] starts one, or what looks like several, in about a millisecond: in memory, also inside a testing/synctest
// bubble, or on ports of 127.0.0.1 for programs outside of the test. It is a real broker, with topics, groups and
// transactions. Tests make topics and records and read back what was written; let requests be slow, fail, get lost or
// be answered by themselves ([Faults]); move leaders and make groups rebalance.
//
// [NewPeer] is one end of a connection that the test plays by hand, and [NewPeerBroker] a broker all of whose connections
// are: they expect requests and answer them, rightly or not, and say readably what was wrong. [Trace] records what goes over
// the wire as [Text] and compares it with a golden file.
package kafkatest
