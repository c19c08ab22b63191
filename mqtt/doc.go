// Package mqtt is the pure root of Quartet's MQTT support: the packets of MQTT 3.1, 3.1.1 and 5.0, their codec, and
// the session state machine for both roles. It performs no I/O, starts no goroutine, takes no lock and reads no clock;
// everything that depends on time takes it as an argument.
//
// Packets are plain structs. [Append] encodes any of them after a byte slice, [Decoder] decodes them from one without
// allocating for the packets of a message flow. The protocol version is an argument of both, not a part of the packet.
// Version 5 properties stay in their wire form, see [Properties].
//
// [Session] is the state machine of one connection and the session it serves. Packages mqttclient and mqttserver put
// connections, goroutines and timers around it.
//
// Section numbers and statements such as [MQTT-3.3.1-4] in comments refer to the OASIS standard MQTT Version 5.0;
// statements of MQTT Version 3.1.1 are written [MQTT311-3.3.1-4].
package mqtt
