// Package mqtttest helps to test programs that speak MQTT.
//
//   - [NewBroker] starts a real broker for one test, in memory or on a loopback port.
//   - [NewPeer] is one end of a connection that the test plays by hand: it expects and sends packet after packet, legal
//     or not, and says readably what was wrong.
//   - [Peer.OpenStream] and its siblings play on further streams of a connection and with datagrams, as in MQTT over QUIC:
//     connections in memory have them, and faults and traces tell them apart.
//   - [Faults] make connections drop, delay, cut, corrupt or replace packets, and refuse to be made.
//   - [Trace] records what goes over the wire and compares it with a golden file.
//
// Everything works inside a testing/synctest bubble, where waiting takes no time, as long as connections are in memory.
package mqtttest
